"""A run folder gives back what was put in, and says where it is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import structs

from reports.evidence import SCHEMA, Experiment, Hop, Probe, Run, RunFolder, Span, TimelineEvent, Write
from reports.evidence.folder import Appender, EvidenceError
from reports.findings.loaded import load
from reports.tests.synthetic_run import Story, at, fingerprint, run_record, write_run


def test_a_whole_run_comes_back(tmp_path: Path) -> None:
    written = write_run(tmp_path / "run", Story(lost=2))
    evidence = load(RunFolder(written.path))
    assert evidence.problems == []
    assert evidence.run.regions == ["iad", "ams", "syd"]
    assert [load.scenario for load in evidence.loads] == ["api-browse", "bus-ingest"]
    assert [trial.name for trial in evidence.trials] == ["pg-primary-kill", "bus-leader-kill", "analytics-kill"]
    assert len(evidence.ledgers["bus-ingest"].spans) == 120
    assert len(evidence.ledgers["pg-primary-kill"].writes) == 2 * 2400 - 24, "24 were never answered"
    assert {count.row for count in evidence.counts} == {
        "data.countries",
        "data.projects",
        "security.access",
        "security.transit",
        "system.parts",
    }
    assert "evidence/run.json" in evidence.files


def test_records_survive_the_way_to_disk_and_back(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    write = Write("id-1", 5, None, "syd")
    span = Span(1, 0, 999, "unknown", 7)
    probe = Probe(at_ns=9, region="syd", operation="read", latency_us=3, outcome="fail", detail="refused")
    with folder.writes("c") as writes, folder.spans("c") as spans, folder.probes("e") as probes:
        writes.add(write)
        spans.add(span)
        probes.add(probe)
    experiment = Experiment(id="e", title="t", target="x", begin_ns=1, end_ns=2, slo={"read": 100})
    folder.write_experiment(experiment, repeat=2)
    hop = Hop(client="c", hop="replica", region="syd", found={"id-1": 1}, spans=[(1, 0, 5)])
    folder.write_hop(hop)
    assert folder.write_history("c") == [write]
    assert folder.span_history("c") == [span]
    assert folder.probe_history("e") == [probe]
    assert folder.experiments() == [("e.2", experiment)]
    assert folder.hops() == [hop]
    assert folder.ledger_clients() == ["c"]


def test_a_torn_last_line_is_dropped(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    event = TimelineEvent(at_ns=1, kind="note", name="a")
    with folder.timeline() as timeline:
        timeline.add(event)
    with (folder.evidence / "timeline.jsonl").open("ab") as file:
        file.write(b'{"at_ns": 2, "kind": "no')
    assert folder.timeline_events() == [event]


def test_a_torn_line_in_the_middle_is_damage_and_names_its_place(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    path = folder.evidence / "timeline.jsonl"
    path.write_bytes(b'{"at_ns": 2, "kind": "no\n{"at_ns":3,"kind":"note","name":"b"}\n')
    with pytest.raises(EvidenceError, match=r"timeline\.jsonl, line 1"):
        folder.timeline_events()


def test_damage_in_one_file_leaves_the_others_readable(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    (folder.evidence / "host.jsonl").write_bytes(b"{\n{}\n")
    evidence = load(folder)
    assert evidence.host == []
    assert len(evidence.loads) == 2
    assert len(evidence.problems) == 1
    assert "host.jsonl, line 1" in evidence.problems[0]


def test_without_a_run_record_nothing_can_be_said(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match=r"run\.json is missing"):
        load(RunFolder.create(tmp_path / "run"))


def test_a_run_of_a_newer_schema_is_refused_in_one_line(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    folder.write_run(structs.replace(run_record(Story()), schema=SCHEMA + 1))
    with pytest.raises(
        EvidenceError, match=f"with schema {SCHEMA + 1}, and this version knows {SCHEMA} at most"
    ) as said:
        load(folder)
    assert "\n" not in str(said.value)


def test_a_record_is_replaced_whole(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    run = Run(
        run_id="r", profile="smoke", command="c", seed=1, started_at="2026-01-01T00:00:00+00:00", started_ns=at(0),
        fingerprint=fingerprint(),
    )  # fmt: skip
    folder.write_run(run)
    run.state = "finished"
    folder.write_run(run)
    assert folder.run().state == "finished"
    assert {path.name for path in folder.evidence.iterdir()} == {"run.json", "closed.jsonl"}


def test_a_write_that_does_not_fit_on_the_disk_raises() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full to stand for a full disk")
    with Appender[TimelineEvent](full) as appender, pytest.raises(OSError, match="No space left"):
        appender.add(TimelineEvent(at_ns=1, kind="note", name="a"))


def test_words_that_utf_8_cannot_hold_are_written_out_and_lose_no_evidence(tmp_path: Path) -> None:
    # A file's name or an argument that is not UTF-8 comes as surrogates.
    folder = RunFolder.create(tmp_path / "run")
    with folder.timeline() as timeline:
        timeline.add(TimelineEvent(at_ns=1, kind="error", name="run", detail="no file named a\udcff"))
    with folder.writes("c") as ledger:
        ledger.add(Write("\udcfe", 1, "ok", "iad"))
    folder.write_hop(Hop(client="c", hop="h\udc80", found={"\udcfe": 1}))
    assert folder.timeline_events()[0].detail == "no file named a\\udcff"
    assert folder.write_history("c")[0].id == "\\udcfe"
    (hop,) = folder.hops()
    assert (hop.hop, hop.found) == ("h\\udc80", {"\\udcfe": 1})
