"""Whether the numbers of one phase agree with each other: what was sent with what ended, each second with the whole,
probes with their schedule and with the ledger, samples of the machine with their intervals. Pure.

Two records of the same thing are written in different places, often by different processes. Where they differ, one of
them is not what happened.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from reports.evidence import (
    Count,
    ExpectedTrial,
    Failure,
    Hop,
    HostSample,
    Load,
    Outcome,
    Probe,
    Second,
    Span,
    TimelineEvent,
    Write,
    count_below,
    counts_us,
)
from reports.evidence.expected import spans_path, writes_path
from reports.evidence.range_set import RangeSet
from reports.findings.loaded import Trial
from reports.findings.recovery import STABLE_NS

_NS = 1_000_000_000
_STEP = 0.002
"""The width of a histogram's step, as a share of its value, and some more."""
_TILED_WITHIN_NS = 2_000_000
"""The interval of a sample begins where the one before it ended; it is rounded to a tenth of a millisecond."""
_SAMPLED_WITHIN_NS = 5 * _NS
"""Of the first phase's beginning and of the last one's end; a busy machine starts a process in seconds."""
_OFF_RATE = 0.05
"""How far what was offered may be from its mean rate, and chance besides."""
_STRAGGLERS = 10
_STORES = ("postgres", "outbox", "replica")
"""Hops that hold a write once: it has its place there by its key."""
_NONE_IS_RIGHT = ("wrong", "groups", "changes")
"""Units of facts that count what is wrong."""
_AROUND_NS = 300 * _NS
"""A load's ledger begins before its window and ends behind it by less than this."""
_WRITE = "write"
_ENDED = ("completed", "failed")
"""What Chaos Toolkit says of a method that came to its end; failed: the steady state did not hold."""


# Loads.


def unended(load: Load) -> str | None:
    """Whether all that was sent has ended in one way or another."""
    ended = load.ok + load.failed + load.unknown
    if load.sent == ended:
        return None
    return (
        f"{load.sent:,} operations were sent, and {ended:,} ended: {load.ok:,} ok, {load.failed:,} failed, "
        f"{load.unknown:,} without an answer"
    )


def of_load(load: Load, failures: Sequence[Failure] | None, spans: Sequence[Span]) -> Iterator[str]:
    """In words, what of a load's record does not agree with the rest. `failures` is None if it keeps no list of them;
    `spans` are those of its ledger, empty if it has none."""
    if load.seconds and not load.closed_loop:
        yield from _of_seconds(load)
    elif load.operations and load.ok and not load.closed_loop:
        yield "it has no seconds"
    lag = load.schedule_lag
    if not load.closed_loop and (lag.samples, lag.failed, lag.unknown) != (load.sent, 0, 0):
        yield f"{load.sent:,} operations were sent, the lag of {lag.samples:,} was recorded"
    names = Counter(operation.row for operation in load.operations)
    yield from (f"{row} was measured {times} times" for row, times in names.items() if times > 1)
    for what, latencies in [("lag", lag), *((each.row, each.latencies) for each in load.operations)]:
        counted = sum(count for _, count in counts_us(latencies))
        if counted != latencies.samples:
            yield f"{what}: {latencies.samples:,} samples, {counted:,} in their histogram"
    yield from _of_rate(load)
    for rate in load.rates if load.seconds else ():
        # What was sent in the warm-up may be committed in the window.
        if rate.completed > rate.offered * (1 + _OFF_RATE) + _STRAGGLERS:
            yield f"{rate.name}: {rate.completed:,} completed of {rate.offered:,} offered"
    if failures is not None:
        listed = sum(each.count for each in failures if load.begin_ns <= each.at_ns < load.end_ns)
        if listed != load.failed + load.unknown:
            yield f"{load.failed + load.unknown:,} did not succeed, {listed:,} are in the list of failures"
    if spans:
        yield from _of_spans(load, spans)


def _of_rate(load: Load) -> Iterator[str]:
    """What was offered in the window is what its rate makes of it. A load without seconds has no window of its own."""
    if not load.seconds or load.ended_early or load.closed_loop:
        return
    expected = load.offered_per_s * max(0, load.end_ns - load.begin_ns) / _NS
    if abs(load.offered - expected) > _OFF_RATE * expected + 5 * math.sqrt(expected):
        yield f"{load.offered:,} operations were offered, {load.offered_per_s:,.1f}/s would be {expected:,.0f}"


def _of_seconds(load: Load) -> Iterator[str]:
    ok, failed = sum(each.ok for each in load.seconds), sum(each.failed for each in load.seconds)
    if (ok, failed) != (load.ok, load.failed + load.unknown):
        yield f"its seconds have {ok:,} ok and {failed:,} not, the whole {load.ok:,} and {load.failed + load.unknown:,}"
    strays = [each for each in load.seconds if not load.begin_ns <= each.at_ns < load.end_ns]
    if strays:
        yield f"{len(strays)} of its {len(load.seconds)} seconds lie outside of its window"
    missed = sum(each.latencies.failed + each.latencies.unknown for each in load.operations)
    if missed < load.failed + load.unknown:
        yield f"{load.failed + load.unknown:,} did not succeed, its distributions have {missed:,} of them"
    yield from _of_distributions(load)


def _of_distributions(load: Load) -> Iterator[str]:
    """The percentiles of each second bound from both sides how much of the whole lies below a value and above it."""
    whole = [operation.latencies for operation in load.operations]
    timed = sum(each.samples for each in whole)
    if timed < load.ok:
        yield f"{load.ok:,} operations were ok, and {timed:,} were timed"
        return
    for limit_ms in _limits_ms(load.seconds):
        at_most = sum(count_below(each, limit_ms * 1000 * (1 + _STEP)) for each in whole)
        at_least = timed - sum(count_below(each, limit_ms * 1000 * (1 - _STEP)) for each in whole)
        slow, fast = _bounds(load.seconds, limit_ms)
        if at_least < slow:
            yield f"by its seconds {slow:,} operations took {limit_ms:g} ms or more, by its distributions {at_least:,}"
            return
        if at_most < fast:
            yield f"by its seconds {fast:,} operations took {limit_ms:g} ms or less, by its distributions {at_most:,}"
            return


def _limits_ms(seconds: Iterable[Second]) -> list[float]:
    """A few values to compare at: the least, the median and the highest of both percentiles."""
    found: list[float] = []
    for values in ([each.p50_ms for each in seconds], [each.p99_ms for each in seconds]):
        known = sorted(value for value in values if value is not None)
        found += [known[0], known[len(known) // 2], known[-1]] if known else []
    return found


def _bounds(seconds: Iterable[Second], limit_ms: float) -> tuple[int, int]:
    """(how many at least took so long or longer, how many at least took so long or less), by percentiles of seconds."""
    slow = fast = 0
    for each in seconds:
        half, most = -(-each.ok // 2), -(-each.ok * 99 // 100)
        if each.p50_ms is not None and each.p50_ms >= limit_ms:
            slow += each.ok - half + 1
        elif each.p99_ms is not None and each.p99_ms >= limit_ms:
            slow += each.ok - most + 1
        if each.p99_ms is not None and each.p99_ms <= limit_ms:
            fast += most
        elif each.p50_ms is not None and each.p50_ms <= limit_ms:
            fast += half
    return slow, fast


def _of_spans(load: Load, spans: Iterable[Span]) -> Iterator[str]:
    """The ledger has the warm-up, too."""
    about = sum(span.last - span.first + 1 for span in spans if span.outcome is None)
    acked = sum(span.last - span.first + 1 for span in spans if span.outcome == "ok")
    if about < load.sent:
        yield f"{load.sent:,} operations were sent, its ledger has {about:,} before they were"
    low_ns = load.begin_ns - round(load.warmup_s * _NS) - _AROUND_NS
    if any(not low_ns <= span.at_ns <= load.end_ns + _AROUND_NS for span in spans):
        yield "its ledger has writes from another time"
    if acked < load.ok:
        yield f"{load.ok:,} operations were ok, its ledger has {acked:,} as acknowledged"


# Ledgers and hops.


def of_ledger(client: str, writes: Sequence[Write], spans: Sequence[Span]) -> Iterator[tuple[str, str]]:
    """(path, in words) where a ledger is not one: each write is in it once before it is sent, and at most once when it
    has ended."""
    if writes:
        before = Counter(write.id for write in writes if write.outcome is None)
        ended = Counter(write.id for write in writes if write.outcome is not None)
        if unsent := sum(name not in before for name in ended):
            yield writes_path(client), f"{unsent:,} writes ended that were never about to be sent"
        if twice := sum(count > 1 for times in (before, ended) for count in times.values()):
            yield writes_path(client), f"{twice:,} writes are in it more than once"
        places = {(write.id, write.region) for write in writes}
        if len(places) > len({name for name, _ in places}):
            yield writes_path(client), "a write is in it from two regions"
    if spans:
        about = _numbers(span for span in spans if span.outcome is None)
        ended_spans = _numbers(span for span in spans if span.outcome is not None)
        if any((numbers - about.get(publisher, RangeSet())).count for publisher, numbers in ended_spans.items()):
            yield spans_path(client), "numbers ended that were never about to be sent"
        for outcome in (None, "ok"):
            mine = [span for span in spans if span.outcome == outcome]
            if sum(span.last - span.first + 1 for span in mine) > sum(each.count for each in _numbers(mine).values()):
                yield spans_path(client), f"numbers are in it twice as {outcome or 'about to be sent'}"


def _numbers(spans: Iterable[Span]) -> dict[int, RangeSet]:
    found: dict[int, list[tuple[int, int]]] = {}
    for span in spans:
        found.setdefault(span.publisher, []).append((span.first, span.last))
    return {publisher: RangeSet(ranges) for publisher, ranges in found.items()}


def of_hops(hops: Sequence[Hop], writes: Iterable[Write]) -> Iterator[tuple[Hop, str]]:
    """(hop, in words) where one hop contradicts the others: what an effect was seen of must have passed the hops that
    every write passes, and a store holds a write once."""
    read = [hop for hop in hops if hop.problem is None and not hop.spans]
    seen = {name for hop in read if hop.effect for name, times in hop.found.items() if times > 0}
    acked = {write.id for write in writes if write.outcome == "ok"} & seen
    for hop in read:
        there = {name for name, times in hop.found.items() if times > 0}
        if not hop.effect and (missing := len(acked - there)):
            yield hop, f"it lacks {missing:,} acknowledged writes of which effects were seen"
        if hop.hop in _STORES and (twice := sum(times > 1 for times in hop.found.values())):
            yield hop, f"it holds {twice:,} writes more than once"


# Facts.


def of_fact(count: Count) -> str | None:
    """Whether a fact that says how much is wrong, and whether it holds, says the same twice."""
    if count.unit in _NONE_IS_RIGHT and count.ok is not None and count.ok != (count.value == 0):
        return f"{count.how}: {count.value:g} {count.unit}, and said to {'hold' if count.ok else 'be wrong'}"
    return None


# Experiments.


def of_trial(trial: Trial, expected: ExpectedTrial, writes: Sequence[Write]) -> Iterator[str]:
    """In words, where the probes of an experiment differ from their schedule and from its ledger."""
    record = trial.record
    if record.probe_hz != expected.probe_hz:
        yield f"probed {record.probe_hz:g} times a second, it was to be {expected.probe_hz:g}"
    if record.slo != expected.slo:
        yield "its SLO is not the one that it was to have"
    if expected.steady and (record.steady_before is None or record.steady_after is None):
        yield "it is not known whether the steady state held before and after"
    if record.chaos_status not in _ENDED:
        yield f"its method did not come to its end: Chaos Toolkit says {record.chaos_status or 'nothing'}"
    if (record.lost_region is not None or record.handed_back_ns is not None) and not expected.loses_region:
        yield "it lost a region, which it was not to"
    by_place: dict[tuple[str, str], list[int]] = defaultdict(list)
    for probe in trial.probes:
        by_place[probe.region, probe.operation].append(probe.at_ns)
    slot_ns = _NS / expected.probe_hz
    for region, operation in expected.places:
        instants = by_place.get((region, operation))
        place = f"{operation} from {region}"
        if instants is None:
            yield f"no probe of {place}"
        else:
            yield from _off_schedule(instants, place, slot_ns)
            yield from _short(instants, place, trial)
    if any(not record.begin_ns <= write.at_ns <= record.end_ns for write in writes):
        yield "its ledger has writes from another time"
    yield from _of_writes(trial.probes, writes)


def _off_schedule(instants: Sequence[int], place: str, slot_ns: float) -> Iterator[str]:
    steps = [round((later - earlier) / slot_ns, 1) for earlier, later in pairwise(instants)]
    missing = sum(round(step) - 1 for step in steps if step > 1)
    if missing:
        yield f"{missing:,} probes of {place} are missing"
    if any(step < 1 for step in steps):
        yield f"more probes of {place} than its schedule has"


def _short(instants: Sequence[int], place: str, trial: Trial) -> Iterator[str]:
    """Probing lasts from some seconds before the fault until some behind the last repair."""
    record = trial.record
    if record.fault_ns is None:
        return
    if instants[0] > record.fault_ns - STABLE_NS:
        yield f"probes of {place} begin too late for a fault {(record.fault_ns - instants[0]) / _NS:.1f} s later"
    until_ns = max(record.fault_ns, record.undo_ns or 0, record.redundancy_ns or 0) + STABLE_NS
    if instants[-1] < until_ns:
        yield f"probes of {place} end {(until_ns - instants[-1]) / _NS:.1f} s too early"


def _of_writes(probes: Iterable[Probe], writes: Iterable[Write]) -> Iterator[str]:
    """Each probe of a write is in the ledger, with the same end."""
    probed = Counter((probe.region, probe.outcome) for probe in probes if probe.operation == _WRITE)
    ends: dict[str, tuple[str, Outcome | None]] = {}
    for write in writes:
        known = ends.get(write.id)
        ends[write.id] = (write.region, write.outcome or (known[1] if known else None))
    kept = Counter((region, outcome or "unknown") for region, outcome in ends.values())
    for region, outcome in sorted({*probed, *kept}):
        found, listed = probed[region, outcome], kept[region, outcome]
        if found != listed and (outcome != "unknown" or found > listed):
            yield f"{found:,} writes from {region} ended {outcome}, its ledger has {listed:,}"


def of_timeline(trial: Trial, events: Iterable[TimelineEvent]) -> Iterator[str]:
    """In words, where an experiment's record differs from the timeline."""
    record = trial.record
    mine = [each for each in events if each.name == record.id and record.begin_ns <= each.at_ns <= record.end_ns]
    at = {kind: [each.at_ns for each in mine if each.kind == kind] for kind in ("fault", "undo", "healed")}
    for what, instant in (("fault", record.fault_ns), ("undo", record.undo_ns), ("healed", record.redundancy_ns)):
        if at[what][-1:] != ([] if instant is None else [instant]):
            yield f"the timeline has its {what} at another instant"
    hit = [each.detail for each in mine if each.kind == "fault"][-1:]
    if hit != ([] if record.fault_ns is None else [record.target]):
        yield "it hit something else than the timeline has"
    proofs = [(each.at_ns, each.detail) for each in mine if each.kind == "proof"]
    if proofs != [(proof.at_ns, proof.in_words) for proof in sorted(record.proofs, key=lambda proof: proof.at_ns)]:
        yield f"its {len(record.proofs)} proofs are not the {len(proofs)} of the timeline"


# The machine.


def of_host(samples: Sequence[HostSample], begin_ns: int, end_ns: int) -> Iterator[str]:
    """In words, where the samples leave holes between these instants."""
    if not samples:
        yield "no sample of the machine"
        return
    holes = sum(
        abs(later.at_ns - round(later.interval_s * _NS) - earlier.at_ns) > _TILED_WITHIN_NS
        for earlier, later in pairwise(samples)
    )
    if holes:
        yield f"the samples of the machine do not follow one another in {holes} places"
    if samples[0].at_ns - round(samples[0].interval_s * _NS) > begin_ns + _SAMPLED_WITHIN_NS:
        yield "the machine was not sampled at the beginning"
    if samples[-1].at_ns < end_ns - _SAMPLED_WITHIN_NS:
        yield f"the machine was not sampled in the last {(end_ns - samples[-1].at_ns) / _NS:.0f} s"


# Phases.


def of_phases(events: Iterable[TimelineEvent]) -> Iterator[str]:
    """In words, which phases began and did not end, or the other way, and which failed without saying why."""
    begun: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    early: set[str] = set()
    every = list(events)
    for event in every:
        begun[event.name] += {"phase_begin": 1, "phase_end": -1}.get(event.kind, 0)
        failed[event.name] += {"error": 1, "phase_end": -bool(event.detail)}.get(event.kind, 0)
        early |= {event.name} if begun[event.name] < 0 else set()
    twice = len(every) - len(set(every))
    if twice:
        yield f"{twice} events are in it more than once"
    yield from (f"{name} began and did not end" for name, count in sorted(begun.items()) if count > 0)
    yield from (f"{name} ended before it began" for name in sorted(early))
    yield from (f"{name} failed, and no error says why" for name, count in sorted(failed.items()) if count < 0)
