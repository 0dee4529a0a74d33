"""How long an outage lasted as clients saw it: from probe records alone, recomputed offline.

A prober sends each operation from each region at fixed instants, whatever the answers do. A probe is bad if it failed,
was never answered, or was slower than its SLO. A stretch of 3 s without a bad probe is stable; what lies between two
stable stretches is an episode. The clocks start at the fault: `detected` is the end of the first bad probe,
`first_success` the end of the first successful probe that was sent after that, `slo_stable` the end of the first probe
of the stable stretch after the last outage. Recovery time is `slo_stable` of the worst region and operation: one answer
between two failures is no recovery, and an outage that comes back has not ended.

A p99 allows one or two slow probes: such an episode is counted, but is no outage and no relapse. If the probing ended
in an outage, the recovery is censored: it took at least as long as was watched.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Literal

from reports.evidence import Experiment, Probe
from reports.model import Clocks, Recovery, Worst

_State = Literal["no_evidence", "no_outage", "recovered", "censored"]

STABLE_NS = 3_000_000_000
"""How long a stable stretch has to be."""
_GAP_SLOTS = 10
"""A hole of more than so many probe intervals ends a stable stretch, since nothing is known of it."""
EFFECT = "effect"
"""The operation whose latency is the age of the oldest event that has had no effect yet."""
_SLOW_ALLOWED = 2
"""An episode of at most so many bad probes, all of them only slow, is no outage."""


def _end_ns(probe: Probe) -> int:
    """When the prober knew the result. An effect probe reads an age, and knows it at once."""
    if probe.operation == EFFECT and probe.outcome == "ok":
        return probe.at_ns
    return probe.at_ns + probe.latency_us * 1000


def _is_slow(probe: Probe, slo_us: int | None) -> bool:
    return probe.outcome == "ok" and slo_us is not None and probe.latency_us > slo_us


def _stable_from(probes: Sequence[Probe], bad: Sequence[bool], start: int, slot_ns: int) -> int | None:
    """The index at or after `start` from which 3 s of probes are good; None if there is none."""
    begin: int | None = None
    for index in range(start, len(probes)):
        if bad[index]:
            begin = None
            continue
        if begin is None or probes[index].at_ns - probes[index - 1].at_ns > _GAP_SLOTS * slot_ns:
            begin = index
        if probes[index].at_ns + slot_ns - probes[begin].at_ns >= STABLE_NS:
            return begin
    return None


def _outages(probes: Sequence[Probe], bad: Sequence[bool], slot_ns: int) -> list[tuple[int, int | None]]:
    """Episodes of more than a slow probe or two: (index of the first bad probe, index at which the next stable stretch
    begins or None)."""
    outages: list[tuple[int, int | None]] = []
    position: int | None = 0
    while position is not None:
        first = next((index for index in range(position, len(bad)) if bad[index]), None)
        if first is None:
            break
        position = _stable_from(probes, bad, first, slot_ns)
        episode = [probes[index] for index in range(first, position or len(bad)) if bad[index]]
        if len(episode) > _SLOW_ALLOWED or any(probe.outcome != "ok" for probe in episode):
            outages.append((first, position))
    return outages


def _is_watched(probes: Sequence[Probe], fault_ns: int, slot_ns: int) -> bool:
    """Whether probes follow the fault for at least 3 s without a hole."""
    instants = [fault_ns, *(probe.at_ns for probe in probes if probe.at_ns >= fault_ns)]
    if instants[-1] + slot_ns - fault_ns < STABLE_NS:
        return False
    return all(later - earlier <= _GAP_SLOTS * slot_ns for earlier, later in pairwise(instants))


def _budget_s(probes: Iterable[Probe], fault_ns: int, slot_ns: int) -> float:
    """Seconds of error budget: the share of failed probes of each slot, times its length, summed."""
    slots: defaultdict[int, list[bool]] = defaultdict(list)
    for probe in probes:
        slots[(probe.at_ns - fault_ns) // slot_ns].append(probe.outcome != "ok")
    return sum(sum(failed) / len(failed) for failed in slots.values()) * slot_ns / 1e9


def recovery(
    region: str, operation: str, probes: Iterable[Probe], fault_ns: int, slo_us: int | None, rate_hz: float = 20.0
) -> Recovery:
    """The clocks of one region and operation. `probes` are its own, in any order, sent `rate_hz` times a second; those
    that ended before `fault_ns` are ignored. If `slo_us` is None, only failed and unknown probes are bad."""
    slot_ns = round(1e9 / rate_hz)
    after = sorted((probe for probe in probes if _end_ns(probe) > fault_ns), key=lambda probe: probe.at_ns)
    slow = [_is_slow(probe, slo_us) for probe in after]
    bad = [is_slow or probe.outcome != "ok" for is_slow, probe in zip(slow, after, strict=True)]
    outages = _outages(after, bad, slot_ns)
    detected = first_success = stable = None
    state: _State = "no_outage" if _is_watched(after, fault_ns, slot_ns) else "no_evidence"
    if outages:
        seen_ns = min(_end_ns(after[index]) for index in range(outages[0][0], len(after)) if bad[index])
        answers = [_end_ns(probe) for probe in after if probe.outcome == "ok" and probe.at_ns >= seen_ns]
        detected = (seen_ns - fault_ns) / 1e9
        first_success = (min(answers) - fault_ns) / 1e9 if answers else None
        last = outages[-1][1]
        state = "censored" if last is None else "recovered"
        stable = None if last is None else max(0, _end_ns(after[last]) - fault_ns) / 1e9
    elif state == "no_outage":
        detected = first_success = stable = 0.0
    return Recovery(
        region=region,
        operation=operation,
        state=state,
        detected=detected,
        first_success=first_success,
        slo_stable=stable,
        probes=len(after),
        failed=sum(probe.outcome == "fail" for probe in after),
        unknown=sum(probe.outcome == "unknown" for probe in after),
        slow=sum(slow),
        observed_s=max(0, after[-1].at_ns + slot_ns - fault_ns) / 1e9 if after else 0.0,
        budget_s=_budget_s(after, fault_ns, slot_ns),
    )


def recoveries(experiment: Experiment, probes: Iterable[Probe]) -> list[Recovery]:
    """The recovery of every region and operation that was probed; empty without a fault. Left out are probes from a
    region that was lost as a whole, and all probes after that region was handed back."""
    if experiment.fault_ns is None:
        return []
    by_key: defaultdict[tuple[str, str], list[Probe]] = defaultdict(list)
    for probe in probes:
        if probe.region != experiment.lost_region and probe.at_ns < (experiment.handed_back_ns or math.inf):
            by_key[probe.region, probe.operation].append(probe)
    return [
        recovery(region, operation, own, experiment.fault_ns, experiment.slo.get(operation), experiment.probe_hz)
        for (region, operation), own in sorted(by_key.items())
    ]


def worst(results: Iterable[Recovery]) -> Recovery | None:
    """The slowest recovery; one that never became stable is slower than any other. None without evidence."""
    known = [result for result in results if result.state != "no_evidence"]

    def length(result: Recovery) -> tuple[bool, float, float]:
        took = result.observed_s if result.slo_stable is None else result.slo_stable
        return (result.state == "censored", took, result.first_success or 0.0)

    return max(known, key=length, default=None)


def redundancy_s(experiment: Experiment) -> float | None:
    """Seconds from the fault until full redundancy was back; None if that was not seen."""
    if experiment.fault_ns is None or experiment.redundancy_ns is None:
        return None
    return max(0, experiment.redundancy_ns - experiment.fault_ns) / 1e9


def clocks(experiment: Experiment, results: Iterable[Recovery]) -> tuple[Clocks, Worst | None]:
    """The four clocks of an experiment, and the region and operation that took longest to be stable.

    `detected` is the first that any client noticed; `first_success` and `slo_stable` are the last that any
    client waited for, None while one still waits.
    """
    known = list(results)
    slowest = worst(known)
    hit = [result for result in known if result.state in ("recovered", "censored")]
    return (
        Clocks(
            detected=min(
                (result.detected for result in hit if result.detected is not None), default=_no_outage(slowest)
            ),
            first_success=_last([result.first_success for result in hit], _no_outage(slowest)),
            slo_stable=slowest.slo_stable if slowest else None,
            redundancy=redundancy_s(experiment),
        ),
        Worst(region=slowest.region, operation=slowest.operation) if slowest else None,
    )


def _no_outage(slowest: Recovery | None) -> float | None:
    """A clock's value if no client saw an outage: 0, or None without evidence."""
    return 0.0 if slowest else None


def _last(instants: Sequence[float | None], otherwise: float | None) -> float | None:
    """The last instant; None if any is unknown, `otherwise` if there are none."""
    known = [instant for instant in instants if instant is not None]
    if len(known) < len(instants):
        return None
    return max(known, default=otherwise)
