"""What one engine process measures, and how the parts of several become one record.

A part holds whole histograms, for the window and for each second of it, so that parts merge exactly. The
statistics that Locust shows are a by-product, rounded as Locust rounds; no verdict reads them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import msgspec

from loadtests.arrivals.schedule import Schedule
from loadtests.recording.live import LiveStats
from reports.evidence import (
    Failure,
    Latencies,
    Load,
    Observed,
    Operation,
    Outcome,
    Rate,
    Recorder,
    Second,
    merge,
    percentile_ms,
)

_NS = 1_000_000_000
_FAILURE_BUCKET_NS = _NS // 10
_COMPLETED_WITHIN_NS = _NS // 4
"""Of the window's end: what is on its way then is no backlog yet; reports/evidence says so of a rate."""
_SECONDS_OPEN = 10
"""Seconds that are still counted: about as long as an operation may take."""


class PartSecond(msgspec.Struct, frozen=True, kw_only=True):
    """`index` counts the seconds of the measured window from 0."""

    index: int
    latencies: Latencies


class PartObserved(msgspec.Struct, frozen=True, kw_only=True):
    """What an observer saw by the second, for the row `name`."""

    name: str
    region: str | None
    seconds: list[PartSecond]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What one engine process measured (`<name>.part.json`); counts are of the measured window."""

    measured_ns: int
    end_ns: int
    """Earlier than planned if the load was ended early."""
    offered_per_s: float = 0.0
    offered: int = 0
    sent: int = 0
    ok: int = 0
    failed: int = 0
    unknown: int = 0
    schedule_lag: Latencies | None = None
    operations: list[Operation]
    rates: list[Rate] = []
    untimed: dict[str, str] = {}
    seconds: list[PartSecond] = []
    observed: list[PartObserved] = []
    settings: dict[str, str] = {}
    problems: list[str] = []


class BySecond:
    """A recorder for each second of the measured window, which begins at `measured_ns`."""

    def __init__(self, measured_ns: int) -> None:
        self._measured_ns = measured_ns
        self._open: dict[int, Recorder] = defaultdict(Recorder)
        self._past: dict[int, Latencies] = {}

    def of(self, at_ns: int) -> Recorder:
        """The recorder of the second of this instant."""
        index = (at_ns - self._measured_ns) // _NS
        if index not in self._open:
            self._fold(max(index, *self._open, 0) - _SECONDS_OPEN)
        return self._open[index]

    def close(self) -> list[PartSecond]:
        self._fold(max(self._open, default=0) + 1)
        return [PartSecond(index=index, latencies=self._past[index]) for index in sorted(self._past)]

    def _fold(self, before: int) -> None:
        """Keep of the seconds that are long past only their records: what counts one takes up to a hundred times as
        much, and an hour has 3,600. What ends later still is added to them."""
        for index in [index for index in self._open if index < before]:
            late = self._open.pop(index).close()
            self._past[index] = merge([self._past[index], late]) if index in self._past else late


class Tally:
    """Counts how the operations of a schedule end. Not measured (in the warm-up): shown, not recorded."""

    def __init__(self, schedule: Schedule, row: str) -> None:
        self._schedule = schedule
        self._measured_ns, self._end_ns = schedule.measured_ns, schedule.end_ns
        self._row = row
        self._lag = Recorder()
        self._operations: dict[str | None, Recorder] = defaultdict(Recorder)
        self._seconds = BySecond(schedule.measured_ns)
        self._failures: dict[tuple[int, str, str, Outcome, str], list[int]] = {}
        self.live = LiveStats(row)
        self._counts: dict[Outcome, int] = {"ok": 0, "fail": 0, "unknown": 0}
        self._sent = 0
        self._completed = 0

    def measured(self, intended_ns: int) -> bool:
        return self._measured_ns <= intended_ns < self._end_ns

    def ready(self, intended_ns: int, now_ns: int, count: int = 1, *, due_ns: int | None = None) -> None:
        """`count` operations were released to be sent: what they are late by is the generator's own fault. From
        here on, whatever keeps them (no free connection, a full window) is the system's. `due_ns` is when they were to
        be released, where that is later than intended: a wait for the rest of a burst is latency and not lag."""
        if self.measured(intended_ns):
            self._sent += count
            self._lag.record_us((now_ns - (intended_ns if due_ns is None else due_ns)) // 1000, count)

    def ended(
        self, intended_ns: int, now_ns: int, outcome: Outcome, *, region: str | None = None,
        method: str, name: str, detail: str = "", count: int = 1,
    ) -> None:  # fmt: skip
        """`count` operations ended at `now_ns`. `method` and `name` are what Locust lists them under."""
        latency_us = (now_ns - intended_ns) // 1000
        warmup = not self.measured(intended_ns)
        error = (detail or outcome) if outcome != "ok" else ""
        self.live.add(method, name, latency_us / 1000, error, count, warmup=warmup, region=region)
        if warmup:
            return
        self._counts[outcome] += count
        if outcome == "ok" and now_ns <= self._end_ns + _COMPLETED_WITHIN_NS:
            self._completed += count
        for recorder in (self._operations[region], self._seconds.of(intended_ns)):
            if outcome == "ok":
                recorder.record_us(latency_us, count)
            elif outcome == "fail":
                recorder.failed += count
            else:
                recorder.unknown += count
        if outcome != "ok":
            key = (intended_ns // _FAILURE_BUCKET_NS, region or "", name, outcome, detail)
            seen = self._failures.setdefault(key, [intended_ns, 0])
            seen[0] = min(seen[0], intended_ns)
            seen[1] += count

    @property
    def failed(self) -> int:
        """Measured operations that did not succeed: failed or unknown."""
        return self._counts["fail"] + self._counts["unknown"]

    def take_failures(self) -> list[Failure]:
        """What failed since last asked for; alike ones within a tenth of a second are one record."""
        taken = [
            Failure(at_ns=at_ns, region=region, operation=name, outcome=outcome, detail=detail, count=count)
            for (_, region, name, outcome, detail), (at_ns, count) in self._failures.items()
        ]
        self._failures.clear()
        return taken

    def close(
        self, released: int, settings: dict[str, str], problems: Sequence[str] = (), *, rate: str | None = None
    ) -> Part:
        """The part of a load of which `released` operations came due: all, unless it was ended early. `rate` is the row
        that the pace of its completion is evidence for."""
        schedule = self._schedule
        offered = max(0, released - schedule.first_measured)
        whole = released >= schedule.total
        return Part(
            measured_ns=schedule.measured_ns,
            end_ns=schedule.end_ns if whole else max(schedule.measured_ns, schedule.intended_ns(released)),
            offered_per_s=schedule.rate,
            offered=offered,
            sent=self._sent,
            ok=self._counts["ok"],
            failed=self._counts["fail"],
            unknown=self._counts["unknown"],
            schedule_lag=self._lag.close(),
            operations=[
                Operation(name=self._row, region=region, latencies=recorder.close())
                for region, recorder in self._operations.items()
            ],
            rates=[Rate(name=rate, offered=offered, completed=self._completed)] if rate else [],
            seconds=self._seconds.close(),
            settings=settings,
            problems=list(problems),
        )


_PART = ".part.json"


def read_parts(folder: Path) -> dict[str, Part]:
    """Engine -> the part that it left in `folder`."""
    return {
        path.name.removesuffix(_PART): msgspec.json.decode(path.read_bytes(), type=Part)
        for path in sorted(folder.glob(f"*{_PART}"))
    }


def merge_parts(
    parts: Sequence[Part], *, scenario: str, warmup_s: float, requests: bool, settings: dict[str, str]
) -> Load:
    """One record of all parts (at least one), in any order the same."""
    # An observer does not know of an early end: the window is that of those who offered.
    offering = [part for part in parts if part.offered_per_s] or parts
    measured_ns = min(part.measured_ns for part in offering)
    end_ns = max(part.end_ns for part in offering)
    operations: dict[tuple[str, str | None], list[Latencies]] = defaultdict(list)
    seconds: dict[int, list[Latencies]] = defaultdict(list)
    rates: dict[str, list[Rate]] = defaultdict(list)
    untimed: dict[str, str] = {}
    merged_settings = dict(settings)
    for part in parts:
        merged_settings |= part.settings
        untimed |= part.untimed
        for rate in part.rates:
            rates[rate.name].append(rate)
        for operation in part.operations:
            operations[operation.name, operation.region].append(operation.latencies)
        for second in part.seconds:
            seconds[second.index].append(second.latencies)
    return Load(
        scenario=scenario,
        begin_ns=measured_ns,
        end_ns=end_ns,
        warmup_s=warmup_s,
        offered_per_s=sum(part.offered_per_s for part in parts),
        offered=sum(part.offered for part in parts),
        sent=sum(part.sent for part in parts),
        ok=sum(part.ok for part in parts),
        failed=sum(part.failed for part in parts),
        unknown=sum(part.unknown for part in parts),
        schedule_lag=merge(part.schedule_lag for part in parts if part.schedule_lag is not None),
        operations=[
            Operation(name=name, region=region, latencies=merge(each))
            for (name, region), each in sorted(operations.items(), key=lambda item: (item[0][0], item[0][1] or ""))
        ],
        rates=[
            Rate(name=name, offered=sum(rate.offered for rate in each), completed=sum(rate.completed for rate in each))
            for name, each in sorted(rates.items())
        ],
        untimed=untimed,
        seconds=[_second(measured_ns + index * _NS, merge(each)) for index, each in sorted(seconds.items())],
        requests=requests,
        settings=merged_settings,
        observed=[
            Observed(
                name=each.name,
                region=each.region,
                seconds=[_second(part.measured_ns + second.index * _NS, second.latencies) for second in each.seconds],
            )
            for part in parts
            for each in part.observed
        ],
    )


def _second(at_ns: int, latencies: Latencies) -> Second:
    # For a picture: of those that were answered; how many were not stands beside it.
    answered = Latencies(hdr=latencies.hdr, samples=latencies.samples)
    return Second(
        at_ns=at_ns,
        ok=latencies.samples,
        failed=latencies.failed + latencies.unknown,
        p50_ms=percentile_ms(answered, 50),
        p99_ms=percentile_ms(answered, 99),
    )
