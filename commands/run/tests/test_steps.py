"""What a run tells its loads of its own verdict, from the evidence that there is before them."""

from __future__ import annotations

from pathlib import Path

import msgspec

from commands.run.steps import latency_gates
from loadtests.recording.early import Gate
from reports.evidence import Run, RunFolder
from reports.tests.synthetic_run import Story, run_record


def before_a_load(path: Path, profile: str) -> RunFolder:
    folder = RunFolder.create(path)
    record: Run = msgspec.structs.replace(run_record(Story()), profile=profile, regions=["iad", "syd"])
    folder.write_run(record)
    return folder


def test_a_load_may_be_ended_by_the_latencies_that_its_profile_judges(tmp_path: Path) -> None:
    gates = latency_gates(before_a_load(tmp_path / "browse", "load.api-browse"))
    assert gates == [Gate(row="api.read_p99", region=region, limit_ms=100.0, minimum=1000) for region in ("iad", "syd")]
    ingest = latency_gates(before_a_load(tmp_path / "ingest", "load.bus-ingest"))
    assert {gate.row for gate in ingest} == {"bus.publish_p99", "bus.delivery_p99"}


def test_a_profile_that_judges_no_latency_ends_nothing(tmp_path: Path) -> None:
    assert latency_gates(before_a_load(tmp_path, "load.catch-up")) == []
