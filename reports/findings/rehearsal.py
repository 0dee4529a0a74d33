"""Whether the machine can carry a load with its generator on time, by what the same load did for a few seconds before.
Pure.

A load whose schedule is late proves nothing. Its rehearsals show beforehand whether that is to be expected, by the rule
that the load itself is trusted by; only when each of them was late is it, since one may have fallen into a bad moment.
A rehearsal excuses nothing that a load measured: it only tells why a load could not be trusted.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from reports.evidence import HostSample, Load
from reports.findings import host
from reports.findings.findings import Findings, lag_p99_ms, load_distrust
from reports.model import Rehearsed

_KINDS_NAMED = 3


def with_rehearsals(findings: Findings) -> Findings:
    """The findings, with what the rehearsals of each load say together."""
    tries: dict[str, list[Load]] = {}
    for load in findings.evidence.rehearsals:
        tries.setdefault(load.scenario, []).append(load)
    return msgspec.structs.replace(findings, rehearsed=[_rehearsed(found, findings) for found in tries.values()])


def _rehearsed(tries: Sequence[Load], findings: Findings) -> Rehearsed:
    evidence, policy, judged = findings.evidence, findings.policy, findings.judged
    last = tries[-1]
    rows = sorted({each.row for each in last.operations if each.row in judged and each.name not in last.untimed})
    bounds = [findings.gates[row] for row in rows]
    target_ms = min((bound.value for bound in bounds if bound.unit == "ms"), default=None)
    limit = "" if target_ms is None else f" of at most {policy.honesty.lag_share_max * target_ms:.2f} ms"
    seconds = (last.end_ns - last.begin_ns) / 1e9
    says = (
        f"{last.scenario} at {last.offered_per_s:,.0f}/s: expected a schedule lag{limit} at p99, found "
        f"{' and '.join(map(_lag, tries))} in {seconds:.0f} s before the load"
    )
    if any(load_distrust(load, bounds, policy) is None for load in tries):
        return Rehearsed(scenario=last.scenario, rows=rows, outcome="carried", says=f"this machine carries {says}")
    samples = [sample for load in tries for sample in host.within(evidence.host, load.begin_ns, load.end_ns)]
    # A CPU limit is no other: it makes the machine small.
    if others := host.cpu_taken(samples, policy.host, host.OUTSIDE):
        says = f"this machine is disturbed, {says}, and others took of it: {others}; end them and run again"
        return Rehearsed(scenario=last.scenario, rows=rows, outcome="disturbed", says=says)
    cores = evidence.run.fingerprint.cores
    says = f"this machine is too small, {says}, on {cores} core{'s' * (cores != 1)}{_own(samples)}; give it more cores"
    return Rehearsed(scenario=last.scenario, rows=rows, outcome="too_small", says=says)


def _lag(load: Load) -> str:
    lag_ms = lag_p99_ms(load)
    return "none" if lag_ms is None else f"{lag_ms:.2f} ms"


def _own(samples: Sequence[HostSample]) -> str:
    """What the run itself took of all cores, by the kinds that took most of it."""
    if not samples:
        return ""
    taken: dict[str, float] = {}
    for sample in samples:
        for kind, share in sample.by_kind.items():
            taken[kind] = taken.get(kind, 0.0) + share / len(samples)
    most = sorted(taken, key=taken.__getitem__, reverse=True)[:_KINDS_NAMED]
    return f", of whose time the run itself took {sum(taken.values()):.0%}: " + ", ".join(
        f"{kind} {taken[kind]:.0%}" for kind in most
    )
