"""Whether a try of a phase is set aside, and what the run would have been by its first tries alone. Pure.

A try is set aside only for a cause that was measured outside the system and the harness: CPU that the hypervisor or
other programs took, or a disk that was slow though the run's own writes do not explain it. Samples of the machine and
the generator's own lateness decide, never what was measured or judged: a try that would have passed is set aside by the
same rule as one that missed. A generator that was late is a cause only as far as others took the CPU meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from statistics import fmean

from msgspec import structs

from reports.evidence import HostSample, Load, Tries, percentile_ms
from reports.findings import host
from reports.findings.evidence_contract import paths
from reports.findings.findings import judged_rows, load_distrust
from reports.findings.loaded import Evidence, Trial
from reports.findings.possible import floors, gate
from reports.model import Bound
from reports.policy.claims import RowClaim
from reports.policy.policy import Policy, matches

PHASE_MAX, RUN_MAX = 2, 3
"""The most repeats of one phase, and of all phases of a run."""
WARN_RUNS, WARN_SHARE = 10, 0.2
"""Above this share of the phases of so many runs, the machine is not fit for them."""
_WAIT_FOR_DISK = ("write", "publish")
"""Operations of probes that wait for a disk."""


def judged_gates(evidence: Evidence, claims: list[RowClaim], policy: Policy) -> dict[str, Bound]:
    """Row -> its gate, of those that the run's profile judges. Ceilings move none of a time."""
    least, judged = floors(evidence, claims), judged_rows(evidence, claims, policy)
    return {claim.row: gate(policy, claim, least.get(claim.row))[0] for claim in claims if claim.row in judged}


def cause(
    samples: Sequence[HostSample], loads: Iterable[Load], gates: Mapping[str, Bound], disk_ms: float | None,
    policy: Policy,
) -> str | None:  # fmt: skip
    """Why a try is set aside, in words; None if it counts. `samples` are those of its window; of its loads only the
    generator's own account is looked at, against the gates of the rows that they measure. `disk_ms` is the least time
    that is asked of what waits for a disk, None if nothing does."""
    taken = host.cpu_taken(samples, policy.host, host.OUTSIDE)
    late = [] if taken else [_late(each, samples, _measured(each, gates).values(), policy) for each in loads]
    return "; ".join(filter(None, [taken, *late, host.slow_disk(samples, disk_ms, policy.host)])) or None


def of_loads(
    loads: Sequence[Load], samples: Sequence[HostSample], gates: Mapping[str, Bound], policy: Policy
) -> str | None:
    """Why a try of these loads (at least one) is set aside, by the samples of their window; None if it counts."""
    window = (min(load.begin_ns for load in loads), max(load.end_ns for load in loads))
    measured = {row: bound for load in loads for row, bound in _measured(load, gates).items()}
    on_disk = [bound for row, bound in measured.items() if matches(row, policy.host.fsync_rows)]
    waiting = [bound.value for bound in on_disk if bound.unit == "ms"]
    return cause(host.within(samples, *window), loads, gates, min(waiting, default=None), policy)


def of_experiment(trial: Trial, samples: Sequence[HostSample], policy: Policy) -> str | None:
    """Why a try of an experiment is set aside; None if it counts. Whether its fault was proven does not matter."""
    record = trial.record
    begin_ns = record.begin_ns if record.fault_ns is None else record.fault_ns
    waiting = [record.slo[name] / 1000 for name in _WAIT_FOR_DISK if name in record.slo]
    return cause(host.within(samples, begin_ns, record.end_ns), (), {}, min(waiting, default=None), policy)


def not_at_rest(trial: Trial | None) -> str | None:
    """Why an experiment must not be begun again; None if it has healed and the steady state holds."""
    if trial is None:
        return "it left no record of having healed"
    if trial.record.healed is not True:
        return "it is not known to have healed"
    if trial.record.steady_after is not True:
        return "the steady state is not known to hold again"
    return None


def _measured(load: Load, gates: Mapping[str, Bound]) -> dict[str, Bound]:
    """Judged row -> its gate, of those that the load is evidence for."""
    rows = [operation.row for operation in load.operations if operation.name not in load.untimed]
    return {row: gates[row] for row in rows if row in gates}


def _late(load: Load, samples: Sequence[HostSample], gates: Collection[Bound], policy: Policy) -> str | None:
    """Why a late generator is no fault of ours: it was late for no larger share of its operations than the share of the
    time in which others took the CPU."""
    if not samples or load_distrust(load, gates, policy) is None:
        return None
    often = host.bursts(samples, policy.host, host.OUTSIDE)
    targets = [bound.value for bound in gates if bound.unit == "ms"]
    lag_ms = percentile_ms(load.schedule_lag, 99 * (1 - often))
    sent = load.sent / load.offered if load.offered else 0.0
    if lag_ms is None or sent < policy.honesty.sent_ratio_min * (1 - often):
        return None
    if targets and lag_ms > policy.honesty.lag_share_max * min(targets):
        return None
    busy = [sample for sample in samples if host.taken(sample, host.OUTSIDE) > policy.host.taken_peak]
    share = fmean(host.taken(sample, host.OUTSIDE) for sample in busy)
    return f"{load.scenario} was late while others took {share:.0%} of all cores{host.programs(busy)}"


# The run by its first tries.


def is_repeated(tries: Tries) -> bool:
    """Whether a try of the phase was set aside, so that a later one counts."""
    return any(attempt.set_aside for attempt in tries.tries)


def of_first_tries(evidence: Evidence) -> Evidence:
    """The evidence as it would be had every phase been tried once."""
    first = structs.replace(evidence, tries=[], set_aside={}, counts=list(evidence.counts))
    gone: set[int] = set()
    for tries in filter(is_repeated, evidence.tries):
        was = evidence.set_aside.get(f"{tries.name}.1")
        begin, end = tries.facts
        gone |= set(range(begin, len(evidence.counts) if end is None else end))
        _put_back(first, tries, was)
        later_ns = tries.tries[0].end_ns
        until_ns = tries.tries[-1].end_ns if not tries.tries[-1].set_aside else None
        first.timeline = [
            event for event in first.timeline
            if event.at_ns <= later_ns or (until_ns is not None and event.at_ns > until_ns)
        ]  # fmt: skip
    added = first.counts[len(evidence.counts) :]
    first.counts = [count for number, count in enumerate(evidence.counts) if number not in gone] + added
    return first


def _put_back(first: Evidence, tries: Tries, was: Evidence | None) -> None:
    """Put what the first try left in the place of what counts now; nothing if it left nothing."""
    mine = set(tries.records)
    first.loads = [each for each in first.loads if each.scenario not in mine] + (was.loads if was else [])
    first.connections = [each for each in first.connections if each.scenario not in mine]
    first.calibrations = [each for each in first.calibrations if each.scenario not in mine]
    first.trials = [each for each in first.trials if each.name not in mine] + (was.trials if was else [])
    first.hops = [each for each in first.hops if each.client not in mine] + (was.hops if was else [])
    first.ledgers = {name: each for name, each in first.ledgers.items() if name not in mine}
    phases = {tries.phase}
    gone = paths([each for each in first.expected if each.phase in phases])
    first.expected = [each for each in first.expected if each.phase not in phases] + (was.expected if was else [])
    first.kept = {name: each for name, each in first.kept.items() if name not in gone}
    first.failures = {name: each for name, each in first.failures.items() if name not in mine}
    if tries.kind == "browser":
        first.browser, first.browser_session = [], None
    if was is not None:
        first.failures |= was.failures
        first.kept |= {name: each for name, each in was.kept.items() if name in paths(was.expected)}
        first.connections += was.connections
        first.calibrations += was.calibrations
        first.ledgers |= was.ledgers
        first.counts += was.counts
        if tries.kind == "browser":
            first.browser, first.browser_session = was.browser, was.browser_session
    first.loads.sort(key=lambda each: each.scenario)
    first.trials.sort(key=lambda each: each.record.begin_ns)
