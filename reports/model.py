"""The report as data: what the verdict computes and every document prints.

`Document` is `report.json` field by field, and nothing more. `Report` adds what the readable documents show
besides and what the exit code needs, so that no document has to compute anything again. A value that is not
known is None, never zero; a percentile that falls among failed operations is infinite (null in JSON).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from reports.evidence import SCHEMA, Fingerprint, HostSample, Kind, Knee, Possibility, Preflight, Proof

Verdict = Literal["PASS", "FAIL", "INVALID", "INCONCLUSIVE", "NOT_JUDGED"]
Op = Literal["<", "<=", ">", ">=", "=="]

WORST_FIRST: tuple[Verdict, ...] = ("FAIL", "INVALID", "INCONCLUSIVE", "PASS", "NOT_JUDGED")
"""A miss on valid evidence outranks a harness that cannot be trusted, which outranks missing evidence."""


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """What a value must meet: `< 100 ms`."""

    op: Op
    value: float
    unit: str

    def met_by(self, value: float) -> bool:
        match self.op:
            case "<":
                return value < self.value
            case "<=":
                return value <= self.value
            case ">":
                return value > self.value
            case ">=":
                return value >= self.value
            case "==":
                return value == self.value


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What the seed claims, and whether the measured value meets it; it never affects the exit code. `op`, `value` and
    `unit` are None if the seed claims nothing and the gate is the project's own."""

    text: str
    op: Op | None
    value: float | None
    unit: str | None
    verdict: Verdict


class Ceiling(msgspec.Struct, frozen=True, kw_only=True):
    """The highest rate that calibration found on the same machine, and the share of it that was measured."""

    value: float
    ratio: float


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One row. `verdict` is its gate's; `interval` is at 95% confidence, or the range where `why` says so; `evidence`
    are paths relative to the run folder."""

    id: str
    claim: Claim
    gate: Bound | None
    measured: float | None
    unit: str | None
    interval: tuple[float | None, float | None] | None
    samples: int
    floor: float | None
    ceiling: Ceiling | None
    baseline: float | None
    verdict: Verdict
    why: str
    durability: str
    evidence: list[str]
    p999: float | None = None
    """The 99.9th percentile of a latency, in the row's unit; None with fewer than 1,000 operations."""
    max: float | None = None
    """The highest latency; infinite if an operation failed or was never answered."""


class Clocks(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds since the fault; None for what never happened or was never seen."""

    detected: float | None
    first_success: float | None
    slo_stable: float | None
    redundancy: float | None


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """`lost` of `acked` acknowledged writes are not in PostgreSQL; `lost_seconds` is the age of the oldest of them at
    the fault. `duplicated` counts effects that are there more than once, `unknown` writes that were never answered."""

    acked: int
    lost: int | None
    lost_seconds: float | None
    duplicated: int | None
    unknown: int


class Worst(msgspec.Struct, frozen=True, kw_only=True):
    """The region and operation with the slowest recovery: an experiment's clocks are theirs."""

    region: str
    operation: str


class ExperimentResult(msgspec.Struct, frozen=True, kw_only=True):
    """All repeats of one experiment: the clocks are the worst repeat's, the counts are summed."""

    id: str
    verdict: Verdict
    fault_proven: bool
    healed: bool
    repeats: int
    rto_s: Clocks
    rpo: Loss | None
    worst: Worst | None
    budget_s: float | None


class BrowserResult(msgspec.Struct, frozen=True, kw_only=True):
    """`flaky` is 0 while retries are off. `skipped` does not count tests that failed as expected (`xfailed`), `passed`
    not those that passed against the expectation (`xpassed`)."""

    passed: int
    failed: int
    flaky: int
    skipped: int
    xfailed: int = 0
    xpassed: int = 0


class Planted(msgspec.Struct, frozen=True, kw_only=True):
    """How many planted bugs were caught and missed, and how many false alarms there were. One of which the run cannot
    say counts as neither."""

    caught: int = 0
    missed: int = 0
    false_alarms: int = 0


class TryResult(msgspec.Struct, frozen=True, kw_only=True):
    """One try of a phase. `cause` says what disturbed the machine from outside; empty if nothing did."""

    begin_s: float
    """Seconds since the run began."""
    duration_s: float
    cause: str
    counts: bool
    """Whether it is the one that times and rates are judged by; what was lost or doubled counts from every try."""
    folder: str = ""
    """Of a try that was set aside: its run folder, relative to the run's."""


class PhaseTries(msgspec.Struct, frozen=True, kw_only=True):
    """A phase of which a try was disturbed from outside. `refused` says why the last one was not repeated, too."""

    phase: str
    tries: list[TryResult]
    refused: str = ""


class FirstTries(msgspec.Struct, frozen=True, kw_only=True):
    """What the verdict of the first tries alone would have been, and the rows that differ: row -> its verdict."""

    verdict: Verdict
    rows: dict[str, Verdict] = {}


class Document(msgspec.Struct, kw_only=True):
    """`report.json`."""

    schema: int = SCHEMA
    run_id: str
    verdict: Verdict
    profile: str
    seed: int
    release: str | None
    started_at: str
    finished_at: str | None
    fingerprint: Fingerprint
    slos: list[Row]
    experiments: list[ExperimentResult]
    e2e: BrowserResult
    planted: Planted
    tries: list[PhaseTries] = []
    first_tries: FirstTries | None = None
    """None in reports of old."""


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """What the probes of one region and operation say about a fault. `no_evidence`: too few probes followed the fault.
    `censored`: the probing ended, `observed_s` after the fault, before the operation was stable again."""

    region: str
    operation: str
    state: Literal["no_evidence", "no_outage", "recovered", "censored"]
    detected: float | None
    first_success: float | None
    slo_stable: float | None
    probes: int
    failed: int
    unknown: int
    slow: int
    observed_s: float
    budget_s: float


class HopResult(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger of one client against one hop. `found` counts the acknowledged writes that are there, `unknown_found`
    the unknown ones; examples are names of writes. Counts are None if the hop could not be read."""

    client: str
    hop: str
    region: str | None
    effect: bool
    acked: int
    unknown: int
    found: int | None = None
    lost: int | None = None
    duplicated: int | None = None
    unexpected: int | None = None
    unknown_found: int | None = None
    lost_examples: list[str] = []
    duplicated_examples: list[str] = []
    unexpected_examples: list[str] = []
    problem: str | None = None
    compared: int | None = None
    """Acknowledged writes whose contents were compared; None for a hop that keeps none."""
    uncompared: int = 0
    """Acknowledged writes that are there and whose contents could not be compared."""
    wrong: int = 0
    """Writes that do not say there what was written."""
    wrong_examples: list[str] = []


class LedgerResult(msgspec.Struct, frozen=True, kw_only=True):
    """One client's ledger. Of the hops in the order in which a write passes them, `first_lost` is the first that lacks
    a write and `first_doubled` the first that has one twice. `lost_seconds` is the age at the fault of the oldest
    acknowledged write that PostgreSQL lost; `lost_after_fault` counts the lost writes that were sent after the
    fault."""

    client: str
    acked: int
    failed: int
    unknown: int
    hops: list[HopResult]
    first_lost: str | None = None
    first_doubled: str | None = None
    lost_seconds: float | None = None
    lost_after_fault: int = 0
    says: int = 0
    """Acknowledged writes whose contents were recorded."""


class Repeat(msgspec.Struct, frozen=True, kw_only=True):
    """One repeat of an experiment, for the readable documents."""

    name: str
    """The name of its folder below `evidence/chaos/`."""
    id: str
    title: str
    target: str
    fault_s: float | None
    """Seconds since the run began."""
    proofs: list[Proof]
    steady_before: bool | None
    steady_after: bool | None
    redundancy: float | None
    recoveries: list[Recovery]
    ledger: LedgerResult | None
    problems: list[str]


class LoadResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a load offered and how its operations ended, in the measured window."""

    scenario: str
    duration_s: float
    offered_per_s: float
    offered: int
    sent: int
    ok: int
    failed: int
    unknown: int
    schedule_lag_p99_ms: float | None
    settings: dict[str, str]


class Rehearsed(msgspec.Struct, frozen=True, kw_only=True):
    """What short tries of a load showed before it: whether its generator can be on time on this machine."""

    scenario: str
    rows: list[str]
    """The judged rows that the load is evidence for."""
    outcome: Literal["carried", "disturbed", "too_small"]
    says: str
    """In words: what was expected, what was found, what to do."""


class KneeResult(msgspec.Struct, frozen=True, kw_only=True):
    """A search for a knee, its verdict, and that verdict in words."""

    knee: Knee
    verdict: Verdict
    says: str


class HostResult(msgspec.Struct, frozen=True, kw_only=True):
    """The machine over the whole run: mean shares of all cores, percentiles in ms."""

    samples: int
    busy: float
    steal: float
    foreign: float
    timer_lag_p95_ms: float
    fsync_p90_ms: float
    worst: HostSample
    """The interval in which the most CPU was taken from the run."""
    throttled: float = 0.0
    """Cores that stood still since the CPU limit of the run's container or service was used up."""


class NotTonight(msgspec.Struct, frozen=True, kw_only=True):
    """Something that takes turns from night to night and did not run."""

    kind: Kind
    name: str
    why: str
    says: str
    """The run, the commit and the verdict that saw it last, in words."""
    seen: bool
    """Whether that counts for this release."""


class Report(Document, kw_only=True):
    """The document, and what the readable documents show besides."""

    state: str
    error: str | None
    planted_bug: str | None
    durability: str
    security: str
    command: str
    size: str
    bus: str
    distance: str
    regions: list[str]
    duration_s: float | None
    waived: dict[str, str]
    """Judged row whose verdict is waived -> by whom, until when and why, in words."""
    notes: list[str]
    """What a reader must know before any number: parts that died, what was skipped, evidence that is damaged."""
    repeats: list[Repeat]
    ledgers: list[LedgerResult]
    loads: list[LoadResult]
    rehearsed: list[Rehearsed] = []
    knees: list[KneeResult] = []
    measuring_s: dict[str, float] = {}
    """Row -> for how many seconds it was measured, where that was recorded."""
    host: HostResult | None
    preflight: Preflight | None
    """What was found possible before the run."""
    possible: dict[str, Possibility]
    """Row -> whether the preflight finds its claim possible."""
    lifted: dict[str, str]
    """Row whose gate was moved, by a floor or by the machine's ceiling -> why."""
    failed_phases: list[str] = []
    """What broke though the run went on, in words: without it a run is no GO."""
    alarms: list[str] = []
    """What became of each planted bug, in words."""
    left_out: list[NotTonight] = []


def document(report: Report) -> Document:
    """The part of a report that is `report.json`."""
    return Document(**{name: getattr(report, name) for name in Document.__struct_fields__})
