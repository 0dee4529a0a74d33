"""The records that a run leaves behind: what every other part writes and the verdict reads.

A run is a folder. Everything that a verdict needs is a record in its `evidence/` folder, so that every
number of a report can be computed again, offline, by a pure function. Nothing is judged here.

Instants named `*_ns` are CLOCK_MONOTONIC nanoseconds of the machine that ran the harness: one clock for
load, faults, probes and browser. `Run` holds the same instant on both clocks, so that readers can print
the time of day.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

SCHEMA = 2
"""Counts up whenever evidence changes meaning. 1: nothing was declared beforehand, and no file was closed."""
CONTRACT_SINCE = 2
"""The first schema whose runs say beforehand what they will leave, and close each file."""

Outcome = Literal["ok", "fail", "unknown"]
"""How a client saw its operation end. A timeout is unknown, never fail: the write may have happened."""


class Fingerprint(msgspec.Struct, frozen=True, kw_only=True):
    """The machine and the code that a run's numbers belong to."""

    cpu: str
    cores: int
    memory_gib: float
    kernel: str
    python: str
    components: dict[str, str]
    topology_sha256: str
    commit: str
    commit_unknown: str | None = None
    """Why the commit is unknown, in git's own words; None if it is known."""
    cpu_limit: float | None = None
    """How many cores the control group (a container, a service) allows; None without a limit. `cores` and `memory_gib`
    are what the limits leave."""


_INSTANT = msgspec.Meta(pattern=r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(\+\d\d:\d\d|Z)?)?$")


class Run(msgspec.Struct, kw_only=True):
    """What was run. Written when the run begins, rewritten when it ends (`evidence/run.json`)."""

    schema: int = SCHEMA
    run_id: str
    profile: str
    """A key of policy.yaml's `profiles`: smoke, nightly, soak, or `load.<scenario>`, `chaos`, `e2e`."""
    command: str
    seed: int
    release: str | None = None
    started_at: Annotated[str, _INSTANT]
    """ISO 8601, UTC."""
    started_ns: int
    """The same instant on CLOCK_MONOTONIC."""
    finished_at: Annotated[str, _INSTANT] | None = None
    state: Literal["running", "finished", "interrupted", "not_started", "broken"] = "running"
    """`not_started`: the system would not start; `broken`: the run could not go on. `error` says why."""
    error: str | None = None
    planted: str | None = None
    size: str = "core"
    bus: str = "regional"
    distance: str = "none"
    regions: list[str] = []
    experiments: list[str] = []
    """The experiments that were planned: one without a result is missing evidence."""
    durability: str = ""
    """The settings that the system ran with, in words: replication, storage, sync_interval, synchronous standby."""
    security: str = ""
    """The settings that the system ran with, in words: TLS, encryption at rest, authentication."""
    fingerprint: Fingerprint


class TimelineEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened in the run (a line of `evidence/timeline.jsonl`)."""

    at_ns: int
    kind: Literal[
        "phase_begin", "phase_end", "fault", "proof", "undo", "healed", "part_died", "skipped", "note", "error"
    ]
    name: str
    """The phase, experiment or part that it happened to."""
    detail: str = ""


FOREIGN = "foreign"
"""The kind of processes that are neither the system's nor the harness's, where such are told apart by kind."""


class HostSample(msgspec.Struct, frozen=True, kw_only=True):
    """The machine during one interval (a line of `evidence/host.jsonl`, about one a second).

    Fractions are of all cores: 1.0 = every core. `foreign` is CPU that other programs used, neither the system's nor
    the harness's; `steal` is CPU that the hypervisor gave to other machines. `timer_lag_ms` is the worst lateness of
    a sleeping process in the interval, `fsync_ms` the time of one 4 KiB write and fsync beside the components' data.
    """

    at_ns: int
    interval_s: float
    busy: float
    steal: float
    foreign: float
    timer_lag_ms: float
    fsync_ms: float
    by_kind: dict[str, float] = {}
    """CPU fraction by kind of process: nats, postgres, patroni, etcd, api, consumer, load, harness, ..."""
    memory_mib: dict[str, float] = {}
    """Private memory by kind of process (PSS of anonymous pages, plus swap); only every 20th sample has it."""
    files: dict[str, int] = {}
    """Open files by kind of process; the same samples have it."""
    throttled: float = 0.0
    """Fraction of all cores that stood still for the run's control group, since its CPU limit was used up."""
    allowed: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    """Fraction of all cores that the limit allows."""
    foreign_by: dict[str, float] = {}
    """CPU fraction by name of a foreign program; only the largest, of 1% and more."""
    written_mib_s: dict[str, float] = {}
    """MiB a second written to files by kind of process, `foreign` by other programs as far as they may be inspected;
    empty in records of old."""


class Latencies(msgspec.Struct, frozen=True, kw_only=True):
    """One distribution: an HdrHistogram V2 blob of microseconds (1 us to 1 h, 3 significant digits).

    Operations that failed or never answered are not in the blob: `failed` and `unknown` count them, and a percentile
    ranks them above everything recorded. `negative` counts values below zero (from two clocks), which are in the blob
    as 1 us; `min_us` is the lowest of them.
    """

    hdr: str
    samples: int
    """Values in the blob."""
    failed: int = 0
    unknown: int = 0
    negative: int = 0
    min_us: int = 0


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """The latencies of one operation from one region in the measured window.

    `name` is the row that it is evidence for, without the region: `api.read_p99`, `bus.publish_p99`,
    `bus.delivery_p99`, `bus.end_to_end_p99`.
    """

    name: str
    region: str | None = None
    latencies: Latencies

    @property
    def row(self) -> str:
        """The id of the row that it is evidence for, with the region: `api.read_p99.syd`."""
        return f"{self.name}.{self.region}" if self.region else self.name


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """How many of the operations that a measured window offered were completed in time.

    `name` is the row that it is evidence for: `bus.throughput`. A growing backlog is no throughput: an operation counts
    as `completed` only if it completes within a quarter of a second after the window's end.
    """

    name: str
    offered: int
    completed: int


class Second(msgspec.Struct, frozen=True, kw_only=True):
    """One second of a load, for charts; percentiles in ms, None without samples."""

    at_ns: int
    ok: int
    failed: int
    p50_ms: float | None
    p99_ms: float | None


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """What an observer beside a load saw, by the second in which it happened: evidence for the row `name`."""

    name: str
    region: str | None = None
    seconds: list[Second]


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a scenario (`evidence/load/<scenario>.json`); counts are of the measured window."""

    scenario: str
    begin_ns: int
    end_ns: int
    warmup_s: float
    offered_per_s: float
    offered: int
    """Operations that the schedule asked for."""
    sent: int
    ok: int
    failed: int
    unknown: int
    schedule_lag: Latencies
    """Intended instant -> task ready to send. Waiting for a connection or an answer is latency, not this."""
    operations: list[Operation]
    rates: list[Rate] = []
    untimed: dict[str, str] = {}
    """Row -> why this load, with its options, is no evidence for that row. Operations of that name are only shown."""
    seconds: list[Second]
    requests: bool = False
    """Whether these are well-formed requests to the API, which count for availability."""
    settings: dict[str, str] = {}
    """Shown beside every figure: payload_bytes, durability, security, connections, ..."""
    ended_early: str = ""
    """When and why it was ended before all that was planned, since a gate could no longer hold; empty if it was not."""
    closed_loop: bool = False
    """Whether each operation waited for the one before: then no schedule says when they were meant to be sent."""
    observed: list[Observed] = []
    engines: list[str] = []
    """The processes whose results are in it; empty in records of schema 1, and of a locustfile of the user's own."""


class Connections(msgspec.Struct, frozen=True, kw_only=True):
    """The connections to the bus that one process opened and held during a load
    (`evidence/load/connections/<scenario>.<name>.json`)."""

    scenario: str
    name: str
    wanted: int
    """This process's share of what the machine allows."""
    limited_by: str | None
    """What limited all processes together, in words; None if nothing did."""
    per_s: float
    """The rate at which they were opened, in an open loop."""
    opened: int
    """How many a server accepted at some time."""
    retried: int
    """How many attempts failed and were repeated."""
    lost: int
    """How many were accepted, and lost before the end."""
    held: int
    """How many answered a PING when the load had ended."""
    counted: int | None
    """All clients' connections as the servers counted them just before that PING; None if this process did not ask
    them, or they did not answer."""
    memory_bytes: tuple[int, int] | None
    """Resident memory of all servers as they report it: before the first connection, and at the end."""
    taking: Latencies
    """Intended instant -> accepted by a server, over all attempts."""
    begin_ns: int
    end_ns: int
    reasons: dict[str, int] = {}
    """Why an attempt failed or a connection was lost -> how often; only the most frequent reasons."""
    own_problem: str | None = None
    """Why this process could not do its share; the record then says nothing about the servers."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Requests of a load that did not succeed; `at_ns` is the instant of the intended send."""

    at_ns: int
    region: str
    operation: str
    outcome: Outcome
    detail: str
    count: int = 1


class Write(msgspec.Struct, frozen=True, array_like=True):
    """A line of the ledger (`evidence/ledger/<client>.jsonl`): written before the write is sent, with
    outcome None, and again when its outcome is known. A write whose only line says None is unknown."""

    id: str
    """The name of the write, by which it is found at every hop (`ledger.contents.write_id`): the project that it
    creates, or `<project>:<version>` after the version that it leads to."""
    at_ns: int
    outcome: Outcome | None
    region: str
    says: str = ""
    """What the project is by this write: a digest keyed with a secret of the run, or `deleted`; empty where that was
    not recorded."""
    state: str = ""
    """`<incarnation>-<version>` as it was acknowledged; empty in every other line."""


class Span(msgspec.Struct, frozen=True, array_like=True):
    """The ledger of a load whose writes are numbered without gaps by one publisher
    (`evidence/ledger/<client>.spans.jsonl`): first..last, both included. `outcome` None, written first,
    means that these numbers are about to be sent."""

    publisher: int
    first: int
    last: int
    outcome: Outcome | None
    at_ns: int

    def __post_init__(self) -> None:
        if self.first > self.last:
            raise ValueError(f"expected first <= last in a span, found {self.first} and {self.last}")


class Hop(msgspec.Struct, frozen=True, kw_only=True):
    """Which of a ledger's writes were found at one hop after healing (`evidence/hops/<client>.<hop>.json`).

    `found`: id of a write -> how many times it is there; a write that is not in it was not found. Hops are the stores
    that a write passes (postgres, outbox, stream, replica), the consumers by name, and the effects that users see of
    some consumers (audit-log, notification, feed). For numbered writes, `spans` holds what was found as [publisher,
    first, last] and `doubled_spans` what was found more than once.
    """

    client: str
    """The ledger that this hop is checked against."""
    hop: str
    region: str | None = None
    effect: bool = False
    """Whether it is a consumer's effect (bus.exactly_once) or just a place that the write passes."""
    found: dict[str, int] = {}
    spans: list[tuple[int, int, int]] = []
    doubled_spans: list[tuple[int, int, int]] = []
    labels: dict[str, str] = {}
    """Id of a write -> its event id, partition and position, to print beside the id."""
    contents: dict[str, str] = {}
    """Id of a write -> what is there, said as in `Write.says`; empty for a hop that holds no contents."""
    problem: str | None = None
    """Why this hop could not be read; the record then proves nothing."""


class Consistency(msgspec.Struct, frozen=True, kw_only=True):
    """What the history of a load's clients shows (`evidence/consistency/<scenario>.json`): what each read, held against
    what its session had seen, and against what was written."""

    scenario: str
    reads: int
    """Answers that were compared: single items and pages."""
    own_reads: dict[str, int]
    """Region -> answers that had to show a write of their client's own."""
    walks: int
    """Lists that were read to their end, page by page."""
    contents: int
    """Items whose contents were compared with what was written."""
    anomalies: dict[str, int]
    """Kind -> how many, as `ledger.sessions` calls them; kinds that were not found are absent."""
    legal: dict[str, int] = {}
    """What is no anomaly, but worth a count: stale reads within the bound, unknown outcomes."""
    examples: list[str] = []
    """The first anomalies, in words."""
    stale_within_s: float = 0.0
    """The bound of a read that did not ask for what its client had written."""
    problem: str | None = None
    """Why the history could not be read; the record then proves nothing."""


class Probe(msgspec.Struct, frozen=True, array_like=True):
    """One open-loop probe (a line of `evidence/chaos/<experiment>/probes.jsonl`)."""

    at_ns: int
    """Intended instant."""
    region: str
    operation: str
    """read, write, publish, effect."""
    latency_us: int
    """From the intended instant on."""
    outcome: Outcome
    detail: str = ""
    late_us: int = 0
    """How late the prober itself sent it, which the latency includes."""


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What an independent probe saw of the fault. The injector's own word is no proof."""

    at_ns: int
    what: str
    expected: str
    found: str
    proven: bool

    @property
    def in_words(self) -> str:
        return f"{self.what}: expected {self.expected}, found {self.found}"


class Experiment(msgspec.Struct, kw_only=True):
    """One repeat of an experiment (`evidence/chaos/<experiment>/experiment.json`). Its clocks and counts are computed
    from `probes.jsonl`, and from the ledger and the hops of the same name."""

    id: str
    title: str
    target: str
    """What the fault hit, with its role at that time: `nats-iad-b, leader of COVENANT_PROJECTS`."""
    begin_ns: int
    end_ns: int
    steady_before: bool | None = None
    fault_ns: int | None = None
    proofs: list[Proof] = []
    lost_region: str | None = None
    """The region that was lost as a whole; probes from inside it say nothing about recovery."""
    handed_back_ns: int | None = None
    """When the lost region began to be made active again, as planned; probes after that say nothing about recovery."""
    undo_ns: int | None = None
    redundancy_ns: int | None = None
    """When full redundancy was back (replicas streaming, stream replicas current)."""
    healed: bool | None = None
    """Whether the harness undid all that it had done; None if that is not known."""
    steady_after: bool | None = None
    slo: dict[str, int] = {}
    """Operation -> the latency in us up to which a probe of it meets its SLO."""
    probe_hz: Annotated[float, msgspec.Meta(gt=0)] = 20.0
    """Probes a second of each operation in each region; no recovery clock is finer than their distance."""
    chaos_status: str = ""
    """What Chaos Toolkit's own journal says: completed, failed, interrupted, aborted."""
    problems: list[str] = []
    whole: bool | None = None
    """Whether full redundancy was back within the deadline after the fault was undone; None in records of before, or if
    it was not undone."""
    proof_declared: bool = True
    """Whether a step of it looks whether the fault has bitten; one of a user's own need not have such a step."""
    failed_steps: list[str] = []
    """The steps of its method that failed, by Chaos Toolkit's journal: then it was not the experiment that was meant.
    None were recorded in schema 1."""


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """A fact that was counted or checked once (`evidence/facts.jsonl`): a row, what was found, how."""

    row: str
    value: float
    unit: str
    how: str
    ok: bool | None = None
    """Whether a check holds (totals reconcile); None for a number that is compared with a bound. In a matrix of checks,
    None means that the claim does not hold and that the gate allows it (a build without TLS)."""
