"""What the evidence says before it is judged: recoveries, ledgers, loads, windows of faults, deaths of parts.

Computed once per run and used by every row and every document.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from reports.evidence import Count, Experiment, Load, percentile_ms
from reports.findings import ledger, recovery
from reports.findings.evidence_contract import Difference
from reports.findings.loaded import ClientLedger, Evidence, Trial
from reports.model import Bound, Clocks, LedgerResult, LoadResult, Recovery, Rehearsed, Repeat, Worst
from reports.policy.claims import RowClaim
from reports.policy.policy import Policy, matches

_DIFFERENCES_MAX = 3

Window = tuple[int, int]
"""First and last instant, nanoseconds of the run's monotonic clock."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One repeat of an experiment, and what its probes and its ledger say. `ledger` is None if there is none.
    `set_aside`: the number of the try that it was, if that does not count."""

    trial: Trial
    recoveries: list[Recovery]
    clocks: Clocks
    worst: Worst | None
    ledger: LedgerResult | None
    set_aside: int | None = None

    @property
    def name(self) -> str:
        return self.trial.name if self.set_aside is None else in_try(self.trial.name, self.set_aside)

    @property
    def window(self) -> Window:
        record = self.trial.record
        return (record.begin_ns if record.fault_ns is None else record.fault_ns, record.end_ns)

    @property
    def distrust(self) -> str | None:
        """Why the repeat proves nothing about recovery; None if it can be trusted. Of a try that was set aside only
        the contents of its ledger are judged, which are proof by themselves."""
        return _distrust(self.trial.record) if self.set_aside is None else None


def numbered_tries(evidence: Evidence) -> list[tuple[int, Evidence]]:
    """The tries that were set aside, each with its number."""
    return [(int(name.rpartition(".")[2]), each) for name, each in sorted(evidence.set_aside.items())]


def in_try(name: str, number: int) -> str:
    """The name of something that a try left which was set aside."""
    return f"{name} (try {number}, set aside)"


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """A run's findings; `gates`: row -> its gate; `judged`: the rows that the profile judges. `set_aside` are the
    experiments of tries that do not count, `ledgers_aside` the ledgers of loads of such tries, by name: what was
    acknowledged is to be found whatever disturbed the machine."""

    evidence: Evidence
    policy: Policy
    gates: dict[str, Bound]
    judged: frozenset[str]
    experiments: list[Finding]
    ledgers: dict[str, LedgerResult]
    rehearsed: list[Rehearsed] = []
    differences: list[Difference] = []
    set_aside: list[Finding] = []
    ledgers_aside: dict[str, LedgerResult] = {}

    def lacking(self, row: str) -> list[str]:
        """What of the evidence for a row is not as it was to be, in words; only the first few."""
        found = [str(each) for each in self.differences if matches(row, each.rows)]
        more = [f"and {len(found) - _DIFFERENCES_MAX} more"] if len(found) > _DIFFERENCES_MAX else []
        return found[:_DIFFERENCES_MAX] + more

    def counts_of_every_try(self, row: str) -> list[Count]:
        """The facts of a row, those of tries that were set aside among them."""
        every = [self.evidence, *self.evidence.set_aside.values()]
        return [count for each in every for count in each.counts if count.row == row]

    @property
    def with_ledger(self) -> list[Finding]:
        """The experiments whose ledgers count: all, and those of tries that were set aside as far as they had a write
        acknowledged. One that broke before is no gap in the evidence: another try counts."""
        return self.experiments + [each for each in self.set_aside if each.ledger and each.ledger.acked]

    def without_result(self) -> list[tuple[str, str]]:
        """(experiment, why) for each planned experiment that left no result."""
        done = {finding.trial.record.id for finding in self.experiments}
        return [
            (name, self.skipped(name) or "no result was left")
            for name in self.evidence.run.experiments
            if name not in done
        ]

    def distrusted(self, loads: Iterable[Load], gates: Iterable[Bound]) -> str | None:
        """Why these loads cannot be trusted for rows with these gates, and what their rehearsals had foretold; None if
        they can."""
        bounds = list(gates)
        found = {load.scenario: why for load in loads if (why := load_distrust(load, bounds, self.policy))}
        foretold = (each.says for each in self.rehearsed if each.scenario in found and each.outcome == "too_small")
        return "; ".join([*foretold, *found.values()]) or None

    def skipped(self, *names: str) -> str | None:
        """Why a phase, experiment or part with one of these names was skipped; None if none was."""
        events = (event for event in self.evidence.timeline if event.kind == "skipped" and event.name in names)
        return next((f"skipped: {event.detail}" for event in events), None)

    def fault_windows(self) -> list[Window]:
        return [finding.window for finding in self.experiments if finding.trial.record.fault_ns is not None]

    def seconds(self, at_ns: int) -> float:
        """The instant as seconds since the run began."""
        return (at_ns - self.evidence.run.started_ns) / 1e9

    def deaths(self, window: Window | None = None) -> list[str]:
        """A sentence for each part that died unplanned, within the window if one is given."""
        return [
            f"{event.name} died unplanned {self.seconds(event.at_ns):+.0f} s into the run"
            + (f" ({event.detail})" if event.detail else "")
            for event in self.evidence.timeline
            if event.kind == "part_died" and (window is None or window[0] <= event.at_ns <= window[1])
        ]


def _distrust(record: Experiment) -> str | None:
    reasons: list[str] = []
    if record.fault_ns is None:
        reasons.append("no fault was injected")
    elif not fault_proven(record):
        unproven = next((proof for proof in record.proofs if not proof.proven), None)
        detail = f" ({unproven.what}: expected {unproven.expected}, found {unproven.found})" if unproven else ""
        if not record.proof_declared:
            detail = " (proof: none declared)"
        reasons.append(f"the fault was not proven to have bitten{detail}")
    if record.failed_steps:
        reasons.append(f"a step of the experiment failed: {'; '.join(record.failed_steps[:_DIFFERENCES_MAX])}")
    if record.steady_before is False:
        reasons.append("the steady state did not hold before the fault")
    if record.healed is not True:
        reasons.append("healing failed" if record.healed is False else "it is not known to have healed")
    return "; ".join(reasons) or None


def fault_proven(record: Experiment) -> bool:
    """Whether the fault has at least one proof, and every proof holds."""
    return bool(record.proofs) and all(proof.proven for proof in record.proofs)


def lag_p99_ms(load: Load) -> float | None:
    """The p99 of the schedule lag; None if the load recorded none."""
    return percentile_ms(load.schedule_lag, 99)


def load_distrust(load: Load, gates: Iterable[Bound], policy: Policy) -> str | None:
    """Why a load cannot be trusted for rows with these gates, of which those in ms count; None if it can."""
    if load.closed_loop:
        return None  # It offers what it sends, and has no schedule to be late on.
    limits = policy.honesty
    reasons: list[str] = []
    ratio = load.sent / load.offered if load.offered else 0.0
    if ratio < limits.sent_ratio_min:
        reasons.append(f"{load.scenario} sent only {ratio:.1%} of the {load.offered:,} operations that it offered")
    targets = [gate.value for gate in gates if gate.unit == "ms"]
    lag_ms = lag_p99_ms(load)
    if lag_ms is None:
        reasons.append(f"{load.scenario} recorded no schedule lag")
    elif targets and lag_ms > limits.lag_share_max * min(targets):
        reasons.append(
            f"{load.scenario} was late itself: schedule lag p99 {lag_ms:.2f} ms is over"
            f" {limits.lag_share_max:.0%} of {min(targets):g} ms"
        )
    return "; ".join(reasons) or None


def load_result(load: Load) -> LoadResult:
    return LoadResult(
        scenario=load.scenario,
        duration_s=(load.end_ns - load.begin_ns) / 1e9,
        offered_per_s=load.offered_per_s,
        offered=load.offered,
        sent=load.sent,
        ok=load.ok,
        failed=load.failed,
        unknown=load.unknown,
        schedule_lag_p99_ms=lag_p99_ms(load),
        settings=load.settings,
    )


def repeat(finding: Finding, findings: Findings) -> Repeat:
    """A repeat as the readable documents show it."""
    record = finding.trial.record
    return Repeat(
        name=finding.name,
        id=record.id,
        title=record.title,
        target=record.target,
        fault_s=None if record.fault_ns is None else findings.seconds(record.fault_ns),
        proofs=record.proofs,
        steady_before=record.steady_before,
        steady_after=record.steady_after,
        redundancy=finding.clocks.redundancy,
        recoveries=finding.recoveries,
        ledger=finding.ledger,
        problems=record.problems,
    )


def _check(client: str, kept: ClientLedger, evidence: Evidence) -> LedgerResult:
    faults = {trial.name: trial.record.fault_ns for trial in evidence.trials}
    return ledger.check(client, kept.writes, kept.spans, evidence.hops, faults.get(client))


def _ledgers(evidence: Evidence) -> dict[str, LedgerResult]:
    return {client: _check(client, kept, evidence) for client, kept in sorted(evidence.ledgers.items())}


def _finding(trial: Trial, ledgers: dict[str, LedgerResult]) -> Finding:
    results = recovery.recoveries(trial.record, trial.probes)
    clocks, worst = recovery.clocks(trial.record, results)
    return Finding(
        trial=trial,
        recoveries=results,
        clocks=clocks,
        worst=worst,
        ledger=ledgers.get(trial.name),
    )


def judged_rows(evidence: Evidence, claims: Iterable[RowClaim], policy: Policy) -> frozenset[str]:
    """The rows that the run's profile judges on what it has. PolicyError if the profile is unknown."""
    run, counted = evidence.run, {count.row for count in evidence.counts}
    return frozenset(
        claim.row
        for claim in claims
        if policy.judges(run.profile, claim.row, measured=claim.row in counted)
        and policy.unbuilt_why(claim.row) is None
        and claim.since <= run.schema
        and (claim.region is None or claim.region in run.regions)
    )


def find(
    evidence: Evidence, policy: Policy, gates: dict[str, Bound], judged: frozenset[str],
    differences: list[Difference],
) -> Findings:  # fmt: skip
    """All findings of a run."""
    ledgers = _ledgers(evidence)
    set_aside: list[Finding] = []
    ledgers_aside: dict[str, LedgerResult] = {}
    for number, tried in numbered_tries(evidence):
        found = _ledgers(tried)
        names = {trial.name for trial in tried.trials}
        set_aside += [msgspec.structs.replace(_finding(each, found), set_aside=number) for each in tried.trials]
        ledgers_aside |= {in_try(name, number): each for name, each in found.items() if name not in names}
    return Findings(
        evidence=evidence,
        policy=policy,
        gates=gates,
        judged=judged,
        experiments=[_finding(trial, ledgers) for trial in evidence.trials],
        ledgers=ledgers,
        differences=differences,
        set_aside=set_aside,
        ledgers_aside=ledgers_aside,
    )
