"""What the phases of a smoke run say beforehand, literally. For tests."""

from __future__ import annotations

from reports.evidence import (
    SESSION,
    Expected,
    ExpectedFile,
    ExpectedHop,
    ExpectedLoad,
    ExpectedRun,
    ExpectedTrial,
    Run,
)

REGIONS = ["iad", "ams", "syd"]
SLO = {"read": 100_000, "write": 100_000, "publish": 50_000, "effect": 1_000_000}
PLACES = [(region, operation) for region in REGIONS for operation in ("read", "write")]
PLACES += [("bus", "publish"), ("bus", "effect")]
CHECKS = ("data", "access", "security")
TESTS = ("regions show their totals", "the status says which region answered")


def hops(client: str) -> list[ExpectedHop]:
    """Where the writes of an experiment are looked for."""
    once = [("postgres", False), ("outbox", False), ("stream", False), ("analytics", True)]
    once += [("audit-logger", True), ("notifications", True), ("audit-log", True), ("notification", True)]
    everywhere = (
        ("cache-invalidator", True), ("frontend-realtime", True), ("mobile-sync", True), ("replica", False),
        ("feed", True),
    )  # fmt: skip
    return [ExpectedHop(client, hop, None, effect) for hop, effect in once] + [
        ExpectedHop(client, hop, region, effect) for hop, effect in everywhere for region in REGIONS
    ]


def session_expected(run: Run) -> Expected:
    """What the session says of the run before anything begins."""
    phases = [*CHECKS, "api-browse", "bus-ingest", *run.experiments, "browser"]
    return Expected(
        phase=SESSION,
        kind="session",
        files=[ExpectedFile(path=name) for name in ("run.json", "timeline.jsonl", "host.jsonl")],
        run=ExpectedRun(record=run, phases=phases),
    )


def expected(run: Run, requests: int, probe_hz: float, *, browser: bool) -> list[Expected]:
    """What all phases say that they will leave: a load of so many requests, one of messages, its experiments."""
    reads = ["api.read_p99.*", "availability", "harness.honesty"]
    bulk = ["bus.publish_p99", "bus.delivery_p99", "bus.throughput", "bus.exactly_once", "harness.honesty"]
    facts = {"data": {"data.countries": 1, "data.projects": 2}}
    facts |= {"access": {"security.access": 50}, "security": {"security.transit": 20}}
    found = [session_expected(run)]
    found += [
        Expected(
            phase=name, kind="check", rows=list(facts[name]), files=[ExpectedFile(path="facts.jsonl")],
            facts=facts[name],
        )
        for name in CHECKS
    ]  # fmt: skip
    found.append(
        Expected(
            phase="api-browse",
            kind="load",
            rows=reads,
            files=_load_files("api-browse"),
            loads=[
                ExpectedLoad(
                    name="api-browse",
                    engines=[f"reader-{index}" for index in range(len(REGIONS))],
                    operations=requests * 95 // 100,
                    requests=True,
                )
            ],
        )
    )
    found.append(
        Expected(
            phase="bus-ingest",
            kind="load",
            rows=bulk,
            files=[*_load_files("bus-ingest"), ExpectedFile(path="ledger/bus-ingest.spans.jsonl")],
            hops=[ExpectedHop("bus-ingest", "stream")],
            loads=[ExpectedLoad(name="bus-ingest", engines=["publisher-1", "subscriber"], operations=57_000)],
        )
    )
    found += [_experiment_expected(name, probe_hz) for name in run.experiments]
    if browser:
        files = [ExpectedFile(path="e2e/session.json"), ExpectedFile(path="e2e/tests.jsonl")]
        found.append(Expected(phase="browser", kind="browser", rows=["web.e2e"], files=files, tests=list(TESTS)))
    return found


def _load_files(name: str) -> list[ExpectedFile]:
    return [ExpectedFile(path=f"load/{name}.json"), ExpectedFile(path=f"load/{name}.failures.jsonl")]


def _experiment_expected(name: str, probe_hz: float) -> Expected:
    place = f"chaos/{name}"
    return Expected(
        phase=name,
        kind="experiment",
        rows=["recovery.rto", "recovery.rpo_loss", "bus.exactly_once"],
        files=[
            ExpectedFile(path=path)
            for path in (f"{place}/experiment.json", f"{place}/probes.jsonl", f"ledger/{name}.jsonl")
        ],
        hops=hops(name),
        trial=ExpectedTrial(name=name, experiment=name, places=PLACES, probe_hz=probe_hz, slo=SLO),
    )
