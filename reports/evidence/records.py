"""The records that a run leaves behind: what every other part writes and the verdict reads.

A run is a folder. Everything that a verdict needs is a record in its `evidence/` folder, so that every
number of a report can be computed again, offline, by a pure function. Nobody decides anything here.

Instants named `*_ns` are CLOCK_MONOTONIC nanoseconds of the machine that ran the harness: one clock for
load, faults, probes and browser. `Run` holds the same instant on both clocks, so that readers can print
the time of day.
"""

from __future__ import annotations

from typing import Literal

import msgspec

SCHEMA = 1

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


class Run(msgspec.Struct, kw_only=True):
    """What was run. Written when the run begins, rewritten when it ends (`evidence/run.json`)."""

    schema: int = SCHEMA
    run_id: str
    profile: str
    """A key of policy.yaml's `profiles`: smoke, nightly, soak, or `load.<scenario>`, `chaos`, `e2e`."""
    command: str
    seed: int
    release: str | None = None
    started_at: str
    """ISO 8601, UTC."""
    started_ns: int
    """The instant `started_at` on CLOCK_MONOTONIC."""
    finished_at: str | None = None
    state: Literal["running", "finished", "interrupted", "not_started", "broken"] = "running"
    """`not_started`: the system would not start; `broken`: the run could not go on. `error` says why."""
    error: str | None = None
    planted: str | None = None
    size: str = "core"
    bus: str = "regional"
    distance: str = "none"
    regions: list[str] = []
    experiments: list[str] = []
    """The experiments that the run set out to do: one without a result is missing evidence."""
    durability: str = ""
    """As it ran, in words: replication, storage, sync_interval, synchronous standby."""
    security: str = ""
    """As it ran, in words: TLS, encryption at rest, authentication."""
    fingerprint: Fingerprint


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened (a line of `evidence/timeline.jsonl`)."""

    at_ns: int
    kind: Literal[
        "phase_begin", "phase_end", "fault", "proof", "undo", "healed", "part_died", "skipped", "note", "error"
    ]
    name: str
    """Of the phase, experiment or part that it belongs to."""
    detail: str = ""


class HostSample(msgspec.Struct, frozen=True, kw_only=True):
    """The machine during one interval (a line of `evidence/host.jsonl`, about one a second).

    Fractions are of all cores: 1.0 = every core. `foreign` is CPU that neither the system nor the harness
    used; `steal` is CPU that the hypervisor gave to others. `timer_lag_ms` is the worst lateness of a
    sleeping process in the interval, `fsync_ms` one 4 KiB write and fsync beside the components' data.
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
    """Memory of their own by kind of process (PSS of anonymous pages, and what is swapped); in one of 30 samples."""
    files: dict[str, int] = {}
    """Open files by kind of process, in the same samples."""


class Latencies(msgspec.Struct, frozen=True, kw_only=True):
    """One distribution: an HdrHistogram V2 blob of microseconds (1 us to 1 h, 3 significant digits).

    Operations that failed or never answered are not in the blob; `failed` and `unknown` count them, and a
    percentile is taken with them as slower than everything recorded. `negative` counts values below zero
    (two clocks), which are in the blob as 1 us, with the lowest as `min_us`.
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


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """How much of what the measured window asked for was completed at the pace of its schedule.

    `name` is the row that it is evidence for: `bus.throughput`. A backlog that grows is no throughput: what was not
    `completed` a quarter of a second after the window's end does not count, though it may come later.
    """

    name: str
    offered: int
    completed: int


class Second(msgspec.Struct, frozen=True, kw_only=True):
    """One second of a load, for pictures; percentiles in ms, null without samples."""

    at_ns: int
    ok: int
    failed: int
    p50_ms: float | None
    p99_ms: float | None


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
    """Row -> why this load, as it was asked for, does not time it."""
    seconds: list[Second]
    requests: bool = False
    """Whether these are well-formed requests to the API, which count for availability."""
    settings: dict[str, str] = {}
    """Beside every figure: payload_bytes, durability, security, connections, ..."""


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """What the same bus took from a publisher that costs next to nothing, right before or right after a load, as fast
    as it goes with a bounded window (`evidence/calibration/<scenario>.<when>.json`).

    Shares are of the measured window. A rate is a ceiling only where the machine had nothing left to give and most of
    that went to the servers; whether it is one is the verdict's business.
    """

    scenario: str
    when: Literal["before", "after"]
    row: str
    """The row that it is the ceiling of."""
    begin_ns: int
    end_ns: int
    acked: int
    """Messages that were stored and acknowledged in the window."""
    failed: int
    """Messages that were refused or not acknowledged, in the window and out of it."""
    busy: list[float]
    """How busy each core was."""
    servers: float
    """The servers' share of the CPU that was used."""
    generator: float
    """The publisher's."""
    settings: dict[str, str] = {}

    @property
    def per_s(self) -> float:
        return self.acked / ((self.end_ns - self.begin_ns) / 1e9)


class Connections(msgspec.Struct, frozen=True, kw_only=True):
    """Connections to the bus that one process opened and held beside a load
    (`evidence/load/connections/<scenario>.<name>.json`)."""

    scenario: str
    name: str
    wanted: int
    """This process's share of what the machine allows."""
    limited_by: str | None
    """What allowed all processes together no more, in words; None if that was all that was asked for."""
    per_s: float
    """Opened at this rate, in an open loop."""
    opened: int
    """Taken by a server, at some time."""
    retried: int
    """Attempts that failed and were made again."""
    lost: int
    """Taken, and gone before the end."""
    held: int
    """Answered a PING when the load had ended."""
    counted: int | None
    """Connections of everybody by the servers' own count just before that; None if this process did not ask, or got no
    answer."""
    memory_bytes: tuple[int, int] | None
    """Resident memory of all servers before and then, by their own word."""
    taking: Latencies
    """Intended instant -> taken by a server, over all attempts."""
    begin_ns: int
    end_ns: int
    reasons: dict[str, int] = {}
    """Why attempts failed and connections were lost -> how often; the most frequent ones."""
    own_problem: str | None = None
    """Why this process itself could not do its share: then nothing is known of the servers."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Requests of a load that did not succeed, with the instant of the intended send."""

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
    """What the write can be found by at every hop: the id of the project that it creates."""
    at_ns: int
    outcome: Outcome | None
    region: str


class Span(msgspec.Struct, frozen=True, array_like=True):
    """The ledger of a load whose writes are numbered without gaps by one publisher
    (`evidence/ledger/<client>.spans.jsonl`): first..last, both included. `outcome` None, written first,
    means that these numbers are about to be sent."""

    publisher: int
    first: int
    last: int
    outcome: Outcome | None
    at_ns: int


class Hop(msgspec.Struct, frozen=True, kw_only=True):
    """Where the ledger's writes were found at one hop after healing (`evidence/hops/<client>.<hop>.json`).

    `found` maps the id of a write to how often its effect is there; what is not in it was not found. Hops are the
    stores that a write passes (postgres, outbox, stream, replica), the consumers by name, and what some of these
    leave to look at (audit-log, notification, feed). For numbered writes, `spans` holds what was found as
    [publisher, first, last] and `doubled_spans` what was found more than once.
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
    """Further names of a write, to name it with: id -> event id, partition and position."""
    problem: str | None = None
    """Why this hop could not be read; then it proves nothing."""


class Probe(msgspec.Struct, frozen=True, array_like=True):
    """One open-loop probe (a line of `evidence/chaos/<experiment>/probes.jsonl`)."""

    at_ns: int
    """Intended instant."""
    region: str
    operation: str
    """read, write, publish, effect."""
    latency_us: int
    outcome: Outcome
    detail: str = ""


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What an independent probe saw of the fault: not the injector's own word."""

    at_ns: int
    what: str
    expected: str
    found: str
    proven: bool


class Experiment(msgspec.Struct, kw_only=True):
    """What one repeat of an experiment did (`evidence/chaos/<experiment>/experiment.json`); its clocks and
    counts are computed from `probes.jsonl`, the ledger and the hops of the same name."""

    id: str
    title: str
    target: str
    """What the fault hit, as it was found at that moment: `nats-iad-b, leader of COVENANT_PROJECTS`."""
    begin_ns: int
    end_ns: int
    steady_before: bool | None = None
    fault_ns: int | None = None
    proofs: list[Proof] = []
    lost_region: str | None = None
    """A region that was lost as a whole: its own probes say nothing about recovery."""
    handed_back_ns: int | None = None
    """When that region was to be made the active one again, as planned: what was probed from then on is no recovery."""
    undo_ns: int | None = None
    redundancy_ns: int | None = None
    """When everything that the fault took was there again (replicas streaming, stream replicas current)."""
    healed: bool | None = None
    steady_after: bool | None = None
    slo: dict[str, int] = {}
    """The latency in us within which a probe of an operation counts as within its SLO."""
    probe_hz: float = 20.0
    """How often each operation of each region was probed: what no clock can be finer than."""
    chaos_status: str = ""
    """What Chaos Toolkit's own journal says: completed, failed, interrupted, aborted."""
    problems: list[str] = []


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """A fact that was counted or checked once (`evidence/facts.jsonl`): a row, what was found, how."""

    row: str
    value: float
    unit: str
    how: str
    ok: bool | None = None
    """For facts that are not a number against a bound: whether it holds (totals reconcile). None in a matrix of them:
    the claim does not hold, and the gate does not ask for it (a build that knows no TLS)."""


class BrowserTest(msgspec.Struct, frozen=True, kw_only=True):
    """One browser test (a line of `evidence/e2e/tests.jsonl`); retries are off."""

    id: str
    outcome: Literal["passed", "failed", "skipped"]
    duration_s: float
    detail: str = ""
    artifacts: list[str] = []
    """Trace and screenshot, relative to the run folder."""
