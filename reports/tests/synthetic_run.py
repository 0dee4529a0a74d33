"""Complete run folders made of literal records, as a smoke run would leave them. For tests and screenshots."""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from msgspec import structs

from reports.evidence import (
    BrowserSession,
    BrowserTest,
    Consistency,
    Count,
    Experiment,
    Failure,
    Fingerprint,
    Hop,
    HostSample,
    Load,
    Operation,
    Probe,
    Proof,
    Rate,
    Recorder,
    Run,
    RunFolder,
    Second,
    Span,
    TimelineEvent,
    Write,
)
from reports.findings.contents import EVENTS, STATES
from reports.tests.synthetic_expected import CHECKS, PLACES, REGIONS, SLO, TESTS, expected, hops

SECOND = 1_000_000_000
START = 5_000 * SECOND
EXPERIMENTS = ["pg-primary-kill", "bus-leader-kill", "analytics-kill"]
DURABILITY = "R3, file, sync_interval always; one synchronous standby"
SECURITY = "passwords; no TLS; not encrypted at rest"
_DRAWN = 200
"""Latencies that are drawn for a second of bulk messages; each stands for several of the 2,000."""


@dataclass
class Story:
    """What goes wrong in the run; by default nothing."""

    profile: str = "smoke"
    state: str = "finished"
    error: str | None = None
    planted: str | None = None
    slow_ms: dict[str, float] = field(default_factory=dict)
    """Region -> what every read there takes besides."""
    steal: float = 0.01
    lost: int = 0
    """Acknowledged writes of pg-primary-kill that are not in PostgreSQL."""
    doubled: int = 0
    """Events that analytics applied twice in analytics-kill."""
    proven: bool = True
    healed: bool = True
    outage_s: dict[str, float] = field(default_factory=lambda: {"pg-primary-kill": 4.3, "bus-leader-kill": 2.1})
    died: str | None = None
    browser: str = "passed"
    requests: int = 45_000
    refused: int = 0
    """Of the requests in iad: the last ones, with 503."""
    schedule_lag_ms: float = 0.3
    experiments: list[str] = field(default_factory=lambda: list(EXPERIMENTS))
    seconds: int = 45
    probe_hz: float = 20.0


def at(seconds: float) -> int:
    return START + round(seconds * SECOND)


def fingerprint() -> Fingerprint:
    return Fingerprint(
        cpu="AMD EPYC 7B13",
        cores=2,
        memory_gib=23.5,
        kernel="6.1.0-28-amd64",
        python="3.11.2",
        components={"postgresql": "17.10", "nats-server": "2.15.1", "patroni": "4.1.5", "valkey": "9.1.2"},
        topology_sha256="4f0c" * 16,
        commit="3a511ac9d1f24e0f8f6f0b7f3c1f9a4b8d2e6c70",
    )


def run_record(story: Story) -> Run:
    return Run(
        run_id="2026-11-24T04-42-46-smoke",
        profile=story.profile,
        command="nightly --profile smoke --seed 7",
        seed=7,
        started_at="2026-11-24T04:42:46+00:00",
        started_ns=START,
        finished_at="2026-11-24T04:47:01+00:00",
        state=story.state,  # type: ignore[arg-type]
        error=story.error,
        planted=story.planted,
        regions=REGIONS,
        experiments=story.experiments,
        durability=DURABILITY,
        security=SECURITY,
        fingerprint=fingerprint(),
    )


def latencies(values_ms: list[float], failed: int = 0, times: int = 1) -> Recorder:
    """A recorder of these values, each so many times."""
    recorder = Recorder()
    for value in values_ms:
        recorder.record_us(round(value * 1000), times)
    recorder.failed = failed
    return recorder


def _spread(dice: random.Random, count: int, middle_ms: float) -> list[float]:
    return [middle_ms * dice.lognormvariate(0, 0.45) for _ in range(count)]


def _second(begin_s: float, index: int, values_ms: list[float], times: int = 1) -> Second:
    """A second in which each of these was measured so many times."""
    ordered = sorted(values_ms)
    return Second(
        at_ns=at(begin_s + index),
        ok=len(ordered) * times,
        failed=0,
        p50_ms=ordered[-(-len(ordered) // 2) - 1],
        p99_ms=ordered[-(-len(ordered) * 99 // 100) - 1],
    )


def _lag(story: Story, operations: int) -> Recorder:
    """One in ten is so late."""
    recorder = latencies([0.05], times=operations - operations // 10)
    recorder.record_us(round(story.schedule_lag_ms * 1000), operations // 10)
    return recorder


def _api_browse(story: Story, dice: random.Random) -> Load:
    each = story.requests // len(REGIONS)
    by_region = {
        region: [value + story.slow_ms.get(region, 0.0) for value in _spread(dice, each, 4.0 + index)]
        for index, region in enumerate(REGIONS)
    }
    by_region["iad"] = by_region["iad"][: each - story.refused]
    bounds = [index * each // story.seconds for index in range(story.seconds + 1)]
    seconds = [
        _second(20, index, [value for values in by_region.values() for value in values[first:end]])
        for index, (first, end) in enumerate(pairwise(bounds))
    ]
    seconds[-1] = structs.replace(seconds[-1], failed=story.refused)
    return Load(
        scenario="api-browse",
        begin_ns=at(20),
        end_ns=at(20 + story.seconds),
        warmup_s=5,
        offered_per_s=story.requests / story.seconds,
        offered=each * len(REGIONS),
        sent=each * len(REGIONS),
        ok=each * len(REGIONS) - story.refused,
        failed=story.refused,
        unknown=0,
        schedule_lag=_lag(story, each * len(REGIONS)).close(),
        operations=[
            Operation(name="api.read_p99", region=region, latencies=latencies(values, each - len(values)).close())
            for region, values in by_region.items()
        ],
        seconds=seconds,
        requests=True,
        settings={"connections": "64 a region"},
        engines=[f"reader-{index}" for index in range(len(REGIONS))],
    )


def _bus_ingest(story: Story, dice: random.Random) -> Load:
    names = {"bus.publish_p99": 4.0, "bus.delivery_p99": 0.9, "bus.end_to_end_p99": 5.1}
    by_second = {name: [_spread(dice, _DRAWN, middle) for _ in range(30)] for name, middle in names.items()}
    return Load(
        scenario="bus-ingest",
        begin_ns=at(70),
        end_ns=at(100),
        warmup_s=5,
        offered_per_s=2000,
        offered=60_000,
        sent=60_000,
        ok=60_000,
        failed=0,
        unknown=0,
        schedule_lag=_lag(story, 60_000).close(),
        operations=[
            Operation(
                name=name,
                latencies=latencies([value for second in seconds for value in second], times=2000 // _DRAWN).close(),
            )
            for name, seconds in by_second.items()
        ],
        rates=[Rate(name="bus.throughput", offered=60_000, completed=60_000)],
        seconds=[
            _second(70, index, values, 2000 // _DRAWN) for index, values in enumerate(by_second["bus.publish_p99"])
        ],
        settings={
            "payload_bytes": "128",
            "mode": "windowed singles",
            "durability": "R3, file, sync_interval always",
            "security": SECURITY,
        },
        engines=["publisher-1", "subscriber"],
    )


def _probes(name: str, story: Story, dice: random.Random, begin_s: float, fault_s: float, end_s: float) -> list[Probe]:
    hit = {"pg-primary-kill": ("write", "effect"), "bus-leader-kill": ("publish", "effect")}.get(name, ("effect",))
    outage_s = story.outage_s.get(name, 1.2)
    probes: list[Probe] = []
    for region, operation in PLACES:
        count = round((end_s - begin_s) * story.probe_hz)
        for index in range(count):
            seconds = begin_s + index / story.probe_hz
            down = operation in hit and fault_s <= seconds < fault_s + outage_s
            unknown = down and seconds < fault_s + 0.4
            probes.append(
                Probe(
                    at_ns=at(seconds),
                    region=region,
                    operation=operation,
                    latency_us=2_000_000 if unknown else round(dice.lognormvariate(8.3, 0.3)),
                    outcome="unknown" if unknown else "fail" if down else "ok",
                    detail="timeout" if unknown else "503 no primary" if down else "",
                )
            )
    return probes


TARGETS = {
    "pg-primary-kill": "postgres-iad-a, primary",
    "bus-leader-kill": "nats-iad-b, leader of COVENANT_PROJECTS",
}
_FOUND = {"pg-primary-kill": "iad-b leads on timeline 2", "bus-leader-kill": "nats-iad-a leads, term 5"}


def _proof(name: str, story: Story, fault_s: float) -> Proof:
    return Proof(
        at_ns=at(fault_s + 0.3),
        what="another leads, or the process is gone",
        expected="a change",
        found=_FOUND.get(name, "pid 4242 is gone") if story.proven else "the same leader as before",
        proven=story.proven,
    )


def _write_chaos(folder: RunFolder, name: str, number: int, story: Story, dice: random.Random) -> None:
    begin_s = 110 + 45 * number
    fault_s, end_s = begin_s + 10, begin_s + 40
    folder.write_experiment(
        Experiment(
            id=name,
            title=f"What happens when the {TARGETS.get(name, 'analytics consumer')} dies",
            target=TARGETS.get(name, "analytics"),
            begin_ns=at(begin_s),
            end_ns=at(end_s),
            steady_before=True,
            fault_ns=at(fault_s),
            proofs=[_proof(name, story, fault_s)],
            undo_ns=at(fault_s + 12),
            redundancy_ns=at(fault_s + 17.5),
            healed=story.healed,
            steady_after=story.healed,
            slo=SLO,
            probe_hz=story.probe_hz,
            chaos_status="completed",
        )
    )
    probes = _probes(name, story, dice, begin_s, fault_s, end_s)
    with folder.probes(name) as file:
        file.add(*probes)
    _write_ledger(folder, name, story, [probe for probe in probes if probe.operation == "write"])


def _write_ledger(folder: RunFolder, name: str, story: Story, probes: list[Probe]) -> None:
    """Each probe of a write is in the ledger, and found everywhere if it was acknowledged."""
    everything = [f"{zlib.crc32(f'{name}/{index}'.encode()):08x}-0000-4000-8000-{index:012d}" for index in range(9999)]
    named = list(zip(everything, sorted(probes, key=lambda probe: probe.at_ns), strict=False))
    with folder.writes(name) as ledger:
        for write, probe in named:
            ledger.add(Write(write, probe.at_ns, None, probe.region, says_of(write)))
            if probe.outcome != "unknown":
                ledger.add(Write(write, probe.at_ns, probe.outcome, probe.region, says_of(write)))
    ids = [write for write, probe in named if probe.outcome == "ok"]
    lost = set(ids[100 - story.lost : 100]) if name == "pg-primary-kill" else set()
    doubled = set(ids[300 : 300 + story.doubled]) if name == "analytics-kill" else set()
    labels = {
        write: f"event {write[:8]}, projects.{index % 4} position {index // 4 + 1}" for index, write in enumerate(ids)
    }
    there = {write: 1 for write in ids if write not in lost}
    contents = {write: says_of(write) for write in there}
    for each in hops(name):
        times = {write: 2 if each.hop == "analytics" and write in doubled else 1 for write in there}
        said = contents if each.hop in (*STATES, *EVENTS) else {}
        folder.write_hop(
            Hop(
                client=name, hop=each.hop, region=each.region, effect=each.effect, found=times, contents=said,
                labels=labels if each.hop == "outbox" else {},
            )
        )  # fmt: skip


def says_of(write: str) -> str:
    """The digest of what this write says."""
    return f"{zlib.crc32(write.encode()):024x}"


def _write_timeline(folder: RunFolder, story: Story) -> None:
    phases = [("system", 0.0, 18.0), *((name, 18.2, 18.4) for name in CHECKS)]
    phases += [("api-browse", 18.5, 66), ("bus-ingest", 66, 101)]
    for number, name in enumerate(story.experiments):
        phases.append((name, 110 + 45 * number - 0.5, 150 + 45 * number + 0.5))
    phases += [] if story.browser == "skipped" else [("browser", 241, 250)]
    with folder.timeline() as timeline:
        for name, begin, end in phases:
            timeline.add(TimelineEvent(at_ns=at(begin), kind="phase_begin", name=name))
            timeline.add(TimelineEvent(at_ns=at(end), kind="phase_end", name=name))
        for number, name in enumerate(story.experiments):
            fault_s = 120 + 45 * number
            target, proof = TARGETS.get(name, "analytics"), _proof(name, story, fault_s)
            timeline.add(TimelineEvent(at_ns=at(fault_s), kind="fault", name=name, detail=target))
            timeline.add(TimelineEvent(at_ns=proof.at_ns, kind="proof", name=name, detail=proof.in_words))
            timeline.add(TimelineEvent(at_ns=at(fault_s + 12), kind="undo", name=name, detail="restarted"))
            timeline.add(TimelineEvent(at_ns=at(fault_s + 17.5), kind="healed", name=name))
        if story.died:
            timeline.add(TimelineEvent(at_ns=at(83), kind="part_died", name=story.died, detail="exit code -9"))
        if story.browser == "skipped":
            timeline.add(TimelineEvent(at_ns=at(241), kind="skipped", name="browser", detail="no browser was found"))


def _write_host(folder: RunFolder, story: Story, dice: random.Random) -> None:
    with folder.host() as host:
        for second in range(255):
            used = 0.62 if 20 < second < 100 else 0.35
            host.add(
                HostSample(
                    at_ns=at(second),
                    interval_s=1.0,
                    busy=used + story.steal + 0.03,
                    steal=story.steal * dice.uniform(0.8, 1.2),
                    foreign=0.03,
                    timer_lag_ms=dice.uniform(0.05, 0.3),
                    fsync_ms=dice.uniform(0.2, 0.6),
                    by_kind={"nats": used / 2, "postgres": used / 4, "api": used / 8, "load": used / 8},
                )
            )


def write_run(path: Path, story: Story | None = None) -> RunFolder:
    """A run folder with all the evidence of a smoke run in which `story` happened."""
    story = story or Story()
    dice = random.Random(7)
    folder = RunFolder.create(path)
    folder.write_run(run_record(story))
    for each in expected(run_record(story), story.requests, story.probe_hz, browser=story.browser != "skipped"):
        folder.write_expected(each)
    _write_timeline(folder, story)
    _write_host(folder, story, dice)
    folder.write_load(_api_browse(story, dice))
    folder.write_load(_bus_ingest(story, dice))
    folder.write_consistency(
        Consistency(
            scenario="api-browse", reads=1_400, own_reads=dict.fromkeys(REGIONS, 120), walks=40, contents=4_000,
            anomalies={}, stale_within_s=2.0,
        )
    )  # fmt: skip
    folder.failures("bus-ingest").close()
    with folder.failures("api-browse") as failures:
        if story.refused:
            at_ns = at(20 + story.seconds) - 1
            failures.add(
                Failure(at_ns=at_ns, region="iad", operation="list", outcome="fail", detail="503", count=story.refused)
            )
    with folder.spans("bus-ingest") as spans:
        for first in range(0, 60_000, 1000):
            for outcome in (None, "ok"):
                spans.add(Span(1, first, first + 999, outcome, at(70 + first / 2000)))
    folder.write_hop(Hop(client="bus-ingest", hop="stream", spans=[(1, 0, 59_999)]))
    for number, name in enumerate(story.experiments):
        _write_chaos(folder, name, number, story, dice)
    with folder.facts() as facts:
        facts.add(Count(row="data.countries", value=195, unit="countries", how="count of countries"))
        facts.add(Count(row="data.projects", value=300, unit="projects", how="count of seeded projects"))
        facts.add(Count(row="data.projects", value=0, unit="groups", how="totals reconcile", ok=True))
        for number in range(20):
            facts.add(Count(row="system.parts", value=0, unit="wrong", how=f"part {number} runs", ok=True))
            facts.add(Count(row="security.transit", value=0, unit="wrong", how=f"listener {number}", ok=True))
        for role in ("nobody", "reader", "steward", "operator", "admin"):
            for action in range(10):
                facts.add(Count(row="security.access", value=0, unit="wrong", how=f"{role}, action {action}", ok=True))
    if story.browser != "skipped":
        passed, other = TESTS
        with folder.browser() as tests:
            tests.add(BrowserTest(id=passed, outcome="passed", duration_s=1.4))
            tests.add(
                BrowserTest(
                    id=other,
                    outcome=story.browser,  # type: ignore[arg-type]
                    duration_s=0.9,
                    detail="" if story.browser == "passed" else "expected role=status to be visible",
                    artifacts=["evidence/e2e/trace.zip"] if story.browser == "failed" else [],
                )
            )
        folder.write_browser_session(
            BrowserSession(selected=list(TESTS), exit_code=int(story.browser == "failed"), said="2 tests")
        )
    return folder
