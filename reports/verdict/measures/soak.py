"""What hours of load did to a system: does a component's memory or its number of open files grow, and are answers
slower at the end than at the beginning?

A growth is judged by its interval: it is a leak if even the low end is above the gate, it is none if even the high end
is not, and between the two it is INCONCLUSIVE until a longer run. The beginning, in which caches fill and pools open,
is left out. Readings are gathered in blocks, since neighbouring readings are not independent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import NamedTuple

from reports.evidence import HostSample, Load
from reports.findings.findings import Findings
from reports.findings.intervals import shift_interval, slope_interval
from reports.model import Bound
from reports.policy.claims import RowClaim
from reports.verdict.measures.parts import Measurement, Part, nothing

SETTLED_SHARE = 0.25
"""The share of the window that is left out at its beginning."""
BLOCKS = 24
"""How many blocks the readings are gathered in; there are 276 slopes between their medians."""
DRIFT_BLOCKS = 12
"""How many blocks the first hour has, and the last."""
_NS_PER_HOUR = 3_600_000_000_000
_OURS = ("harness", "load")
"""Kinds of process that are not the system's."""
_NAMED_MAX = 3


class Change(NamedTuple):
    """A change with its 95% interval, in the row's unit."""

    value: float
    low: float
    high: float


def growth(readings: Sequence[tuple[int, float]]) -> Change | None:
    """By how much a value grows in an hour. `readings` are (instant in ns, value) in order; None if they are too
    few."""
    if len(readings) < BLOCKS:
        return None
    blocks = [(instant / _NS_PER_HOUR, value) for instant, value in _blocks(readings, BLOCKS)]
    found = slope_interval(blocks)
    return None if found is None else Change(*found)


def _blocks(readings: Sequence[tuple[int, float]], count: int) -> Iterator[tuple[float, float]]:
    """The readings in `count` blocks of equal length: (median instant, median value) of each."""
    for number in range(count):
        block = readings[len(readings) * number // count : len(readings) * (number + 1) // count]
        if block:
            yield median(instant for instant, _ in block), median(value for _, value in block)


def drift(load: Load) -> Change | None:
    """How many percent higher the median latency of a second is in the last hour than in the first. A load of less than
    three hours is compared by thirds. None with too few seconds."""
    seconds = [(second.at_ns, second.p50_ms) for second in load.seconds if second.p50_ms]
    length_ns = min(_NS_PER_HOUR, (load.end_ns - load.begin_ns) // 3)
    first = [reading for reading in seconds if reading[0] < load.begin_ns + length_ns]
    last = [reading for reading in seconds if reading[0] >= load.end_ns - length_ns]
    if min(len(first), len(last)) < DRIFT_BLOCKS:
        return None
    before, after = ([math.log(value) for _, value in _blocks(each, DRIFT_BLOCKS)] for each in (first, last))
    found = shift_interval(before, after)
    return None if found is None else Change(*(100 * (math.exp(each) - 1) for each in found))


def memory(findings: Findings, claim: RowClaim, gate: Bound) -> Measurement:
    """MiB of private memory that a kind of component gains in an hour; of all kinds the most."""
    return _holdings(findings, gate, lambda sample: sample.memory_mib)


def files(findings: Findings, claim: RowClaim, gate: Bound) -> Measurement:
    """Open files that a kind of component gains in an hour; of all kinds the most."""
    return _holdings(findings, gate, lambda sample: dict(sample.files))


def _holdings(findings: Findings, gate: Bound, of: Callable[[HostSample], dict[str, float]]) -> Measurement:
    """A part for each kind of component; `of` takes what a component holds from a sample."""
    loads = findings.evidence.loads
    if not loads:
        return nothing("no load was run")
    begin_ns, end_ns = min(load.begin_ns for load in loads), max(load.end_ns for load in loads)
    settled_ns = begin_ns + round((end_ns - begin_ns) * SETTLED_SHARE)
    samples = [
        (sample.at_ns, of(sample))
        for sample in findings.evidence.host
        if settled_ns <= sample.at_ns <= end_ns and of(sample)
    ]
    kinds = sorted({kind for _, held in samples for kind in held if kind not in _OURS})
    if not kinds:
        return nothing("nobody looked at what the components hold")
    parts, changes = [], {}
    for kind in kinds:
        readings = [(at_ns, held[kind]) for at_ns, held in samples if kind in held]
        change = growth(readings)
        parts.append(_part(kind, change, gate, samples=len(readings), window=None, last=readings[-1][1]))
        if change is not None:
            changes[kind] = change
    return _measurement(parts, changes, gate, "evidence/host.jsonl")


def latency(findings: Findings, claim: RowClaim, gate: Bound) -> Measurement:
    """By how many percent a load's answers became slower; of all loads the most."""
    loads = findings.evidence.loads
    if not loads:
        return nothing("no load was run")
    parts, changes = [], {}
    for load in loads:
        change = drift(load)
        window = (load.begin_ns, load.end_ns)
        parts.append(_part(load.scenario, change, gate, samples=len(load.seconds), window=window))
        if change is not None:
            changes[load.scenario] = change
    return _measurement(parts, changes, gate, *(f"evidence/load/{load.scenario}.json" for load in loads))


def _part(
    name: str, change: Change | None, gate: Bound, *, samples: int, window: tuple[int, int] | None,
    last: float | None = None,
) -> Part:  # fmt: skip
    if change is None:
        return Part(name=name, value=None, samples=samples, missing=f"{name}: {samples:,} readings are too few")
    says = _words(name, change, gate) + ("" if last is None else f", {last:,.1f} at the end")
    sure = gate.met_by(change.high) or not gate.met_by(change.low)
    return Part(
        name=name,
        # An interval that holds the gate decides nothing.
        value=change.value if sure else None,
        samples=samples,
        says=says,
        missing=None if sure else f"{says}: too wide an interval for {gate.value:g} {gate.unit}, a longer run tells",
        missed=None if gate.met_by(change.low) else says,
        timed=window is not None,
        window=window,
    )


def _words(name: str, change: Change, gate: Bound) -> str:
    return f"{name} {change.value:+.2f} {gate.unit} ({change.low:+.2f} to {change.high:+.2f})"


def _measurement(parts: list[Part], changes: dict[str, Change], gate: Bound, *evidence: str) -> Measurement:
    """The measurement of all parts; its value is the greatest change."""
    worst = sorted(changes, key=lambda name: changes[name].value, reverse=True)
    top = changes[worst[0]] if worst else None
    return Measurement(
        value=None if top is None else top.value,
        interval=None if top is None else (top.low, top.high),
        samples=min(part.samples for part in parts),
        says="most: " + "; ".join(_words(name, changes[name], gate) for name in worst[:_NAMED_MAX]),
        parts=parts,
        evidence=list(evidence),
    )
