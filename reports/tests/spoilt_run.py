"""Ways in which a run's evidence is spoilt, and what is said of it then."""

from __future__ import annotations

import msgspec

from reports.evidence import Hop, HostSample, Operation, Proof
from reports.findings.loaded import Evidence
from reports.model import Report, Row
from reports.policy.claims import load_claims
from reports.policy.policy import Policy, load_policy
from reports.tests.synthetic_run import at, latencies
from reports.verdict.verdict import judge

CLAIMS = load_claims()
POLICY = load_policy(claims=CLAIMS)


def report_of(evidence: Evidence, policy: Policy = POLICY) -> Report:
    """The report of what is there. Tests of single rows write down what they need and no more: whether that is all that
    was to be there is tested by itself."""
    return judge(evidence, CLAIMS, policy, compare=lambda _: [])


def row_of(report: Report, name: str) -> Row:
    return next(row for row in report.slos if row.id == name)


# How a run is spoilt.


def load_of(evidence: Evidence, scenario: str, **changes: object) -> None:
    evidence.loads = [
        msgspec.structs.replace(load, **changes) if load.scenario == scenario else load for load in evidence.loads
    ]


def slow_reads(evidence: Evidence, milliseconds: float = 130) -> None:
    slow = Operation(name="api.read_p99", region="syd", latencies=latencies([milliseconds] * 12_000).close())
    others = [operation for operation in evidence.loads[0].operations if operation.region != "syd"]
    load_of(evidence, "api-browse", operations=[*others, slow])


def stolen(evidence: Evidence) -> None:
    sample = HostSample(at_ns=0, interval_s=1, busy=0.6, steal=0.3, foreign=0.0, timer_lag_ms=0.1, fsync_ms=0.1)
    evidence.host = [msgspec.structs.replace(sample, at_ns=at(second)) for second in range(260)]


def held_back(evidence: Evidence) -> None:
    """A container's CPU limit was used up a third of the time."""
    stolen(evidence)
    evidence.host = [msgspec.structs.replace(each, steal=0.0, throttled=0.3, allowed=0.5) for each in evidence.host]


def unproven(evidence: Evidence) -> None:
    proof = Proof(at_ns=0, what="the leader", expected="another", found="the same", proven=False)
    evidence.trials[0].record.proofs = [proof]


def unwatched(evidence: Evidence) -> None:
    evidence.trials[0].record.proofs = []


def undeclared(evidence: Evidence) -> None:
    evidence.trials[0].record.proofs = []
    evidence.trials[0].record.proof_declared = False


def unhealed(evidence: Evidence) -> None:
    evidence.trials[0].record.healed = False


def lost_write(evidence: Evidence) -> None:
    hops = [hop for hop in evidence.hops if (hop.client, hop.hop) != ("pg-primary-kill", "postgres")]
    evidence.hops = [*hops, Hop(client="pg-primary-kill", hop="postgres", found={})]


def doubled_effect(evidence: Evidence) -> None:
    writes = evidence.ledgers["analytics-kill"].writes
    hops = [hop for hop in evidence.hops if (hop.client, hop.hop) != ("analytics-kill", "analytics")]
    found = {write.id: 1 for write in writes} | {writes[0].id: 2}
    evidence.hops = [*hops, Hop(client="analytics-kill", hop="analytics", effect=True, found=found)]


def down_for_ever(evidence: Evidence) -> None:
    trial = evidence.trials[0]
    after = trial.record.fault_ns or 0
    trial.probes = [
        msgspec.structs.replace(probe, outcome="fail") if probe.at_ns >= after and probe.operation == "write" else probe
        for probe in trial.probes
    ]
