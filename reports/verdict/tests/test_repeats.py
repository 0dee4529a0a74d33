"""Runs with two tries of a phase: times by the one that counts, contents by both, and the verdict of the first."""

from __future__ import annotations

from pathlib import Path

import pytest

from reports import assess
from reports.evidence import Count, Hop, RepeatedBefore, RunFolder, Tries, Try
from reports.findings.loaded import load
from reports.findings.repeats import of_first_tries
from reports.model import FirstTries, Report, Row
from reports.tests.repeated_run import CAUSE, EXPERIMENT, LOAD, published_in, record, repeat_experiment, repeat_load
from reports.tests.synthetic_run import Story, write_run
from reports.verdict.measures.replication import NODE_LOST


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return write_run(tmp_path / "run")


def row(report: Report, name: str) -> Row:
    return next(row for row in report.slos if row.id == name)


def test_times_are_those_of_the_try_that_counts(folder: RunFolder) -> None:
    repeat_load(folder)
    report = assess(folder)
    assert report.verdict == "PASS"
    assert row(report, "bus.publish_p99").verdict == "PASS"
    assert report.first_tries == FirstTries(verdict="FAIL", rows={"bus.publish_p99": "FAIL"})


def test_a_try_that_would_have_passed_is_set_aside_alike(folder: RunFolder) -> None:
    repeat_load(folder, publish_ms=3.0)
    (good,) = RunFolder(folder.try_dir(LOAD, 1)).loads()
    folder.write_load(published_in(good, 120.0))
    report = assess(folder)
    assert report.verdict == "FAIL"
    assert report.first_tries == FirstTries(verdict="PASS", rows={"bus.publish_p99": "PASS"})


def test_an_experiment_that_was_set_aside_has_no_clocks(folder: RunFolder) -> None:
    repeat_experiment(folder, Story(outage_s={EXPERIMENT: 25}, proven=False))
    report = assess(folder)
    (found,) = (each for each in report.experiments if each.id == EXPERIMENT)
    assert report.verdict == "PASS", "nor does a fault matter there that was not proven"
    assert (found.repeats, found.fault_proven) == (1, True)
    assert found.rto_s.slo_stable is not None
    assert found.rto_s.slo_stable < 10
    assert found.rpo is not None
    assert found.rpo.acked == 2142 + 900, "what was written counts from both"


@pytest.mark.parametrize("name", ["recovery.rpo_loss", "bus.exactly_once"])
def test_what_an_experiment_lost_counts_from_every_try(folder: RunFolder, name: str) -> None:
    repeat_experiment(folder, Story(lost=3))
    report = assess(folder)
    assert report.verdict == "FAIL"
    assert row(report, name).verdict == "FAIL"
    assert f"{EXPERIMENT} (try 1, set aside)" in row(report, name).why
    (found,) = (each for each in report.experiments if each.id == EXPERIMENT)
    assert found.verdict == "FAIL"


@pytest.mark.parametrize(
    ("hop", "verdict", "says"),
    [
        (Hop(client=NODE_LOST, hop="stream", found={}), "FAIL", "2,400 acknowledged writes are not in the stream"),
        (Hop(client=NODE_LOST, hop="stream", problem="no answer"), "INCONCLUSIVE", "could not be read: no answer"),
    ],
)
def test_what_the_stream_lost_with_a_node_counts_from_every_try(
    tmp_path: Path, hop: Hop, verdict: str, says: str
) -> None:
    folder = write_run(tmp_path / "run", Story(profile="nightly"))
    with folder.facts() as facts:
        facts.add(*(Count(row="bus.replication", value=3, unit="copies", how=f"fact {each}") for each in range(20)))
    repeat_experiment(folder, Story(outage_s={NODE_LOST: 25}), NODE_LOST)
    assert row(assess(folder), "bus.replication").verdict == "PASS", "nothing was lost, however long it took"
    RunFolder(folder.try_dir(NODE_LOST, 1)).write_hop(hop)
    found = row(assess(folder), "bus.replication")
    assert found.verdict == verdict
    assert f"{NODE_LOST} (try 1, set aside): " in found.why
    assert says in found.why


def test_what_a_load_lost_counts_from_every_try(folder: RunFolder) -> None:
    repeat_load(folder, lost=7)
    found = row(assess(folder), "bus.exactly_once")
    assert found.verdict == "FAIL"
    assert "bus-ingest (try 1, set aside): 7 lost, first at stream" in found.why
    assert f"evidence/tries/{LOAD}.1/evidence/hops/bus-ingest.stream.json" in found.evidence


def test_totals_that_did_not_add_up_count_from_every_try(folder: RunFolder) -> None:
    repeat_load(folder)
    with RunFolder(folder.try_dir(LOAD, 1)).facts() as facts:
        facts.add(Count(row="bus.exactly_once", value=2, unit="groups", how="totals add up", ok=False))
    assert row(assess(folder), "bus.exactly_once").verdict == "FAIL"


def test_what_could_not_be_read_counts_from_every_try(folder: RunFolder) -> None:
    repeat_load(folder)
    for path in (folder.try_dir(LOAD, 1) / "evidence" / "hops").iterdir():
        path.unlink()
    found = row(assess(folder), "bus.exactly_once")
    assert found.verdict == "INCONCLUSIVE"
    assert "its writes were looked for nowhere" in found.why


def test_what_broke_in_a_try_that_was_set_aside_was_done_again(folder: RunFolder) -> None:
    repeat_load(folder, publish_ms=1.0, error="the load could not be made")
    report = assess(folder)
    assert report.first_tries is not None
    assert (report.verdict, report.first_tries.verdict) == ("PASS", "INCONCLUSIVE")


def test_facts_of_the_first_try_are_in_the_place_of_those_that_count(folder: RunFolder) -> None:
    repeat_load(folder)
    (tries,) = folder.tries()
    number = tries.facts[0]
    with folder.facts() as facts:
        facts.add(Count(row="bus.limits", value=1, unit="", how="of the try that counts"))
    folder.write_tries(Tries(
        name=tries.name, phase=tries.phase, kind="load", records=tries.records, tries=tries.tries,
        facts=(number, number + 1),
    ))  # fmt: skip
    with folder.facts() as facts:
        facts.add(Count(row="bus.limits", value=1, unit="", how="of a later phase"))
    evidence = load(folder)
    assert [count.how for count in evidence.counts[number:]] == ["of the try that counts", "of a later phase"]
    assert [count.how for count in of_first_tries(evidence).counts[number:]] == ["of a later phase", "totals add up"]


def test_notes_say_what_was_repeated_and_why(folder: RunFolder) -> None:
    repeat_load(folder)
    assert assess(folder).notes[:2] == [
        f"{LOAD}: try 1 was set aside and repeated, because {CAUSE}",
        "by first tries alone the verdict would have been FAIL (bus.publish_p99 FAIL)",
    ]


def test_a_try_that_was_disturbed_and_not_repeated_counts_and_is_said(folder: RunFolder) -> None:
    record(folder, LOAD, "load", refused="another 40 s do not fit into the 9 s that are left for repeats")
    report = assess(folder)
    assert report.verdict == "PASS"
    assert report.notes[0] == (
        f"{LOAD}: disturbed and not repeated: {CAUSE}; another 40 s do not fit into the 9 s that are left for repeats"
    )
    assert report.first_tries == FirstTries(verdict="PASS")


def test_a_run_that_was_ended_in_its_second_try_says_what_the_first_was(folder: RunFolder) -> None:
    repeat_load(folder)
    (tries,) = folder.tries()
    folder.write_tries(Tries(
        name=LOAD, phase=LOAD, kind="load", records=[LOAD], tries=tries.tries[:1], facts=(tries.facts[0], None)
    ))  # fmt: skip
    (folder.evidence / "load" / f"{LOAD}.json").unlink()
    report = assess(folder)
    assert row(report, "bus.publish_p99").verdict == "INCONCLUSIVE"
    assert report.first_tries is not None
    assert report.first_tries.rows["bus.publish_p99"] == "FAIL"


@pytest.mark.parametrize(
    ("before", "says"),
    [
        (None, "warning: 1 of 1 phases of this run were repeated"),
        (RepeatedBefore(runs=9, phases=30, repeated=6), "warning: 7 of 31 phases of the last 10 runs were repeated"),
        (RepeatedBefore(runs=9, phases=39, repeated=7), None),
    ],
)
def test_more_than_a_fifth_of_the_phases_of_ten_runs_is_a_warning(
    folder: RunFolder, before: RepeatedBefore | None, says: str | None
) -> None:
    repeat_load(folder)
    if before is not None:
        folder.write_repeated_before(before)
    warnings = [note for note in assess(folder).notes if note.startswith("warning")]
    assert [note.partition(";")[0] for note in warnings] == ([says] if says else [])


def test_phases_that_nothing_disturbed_are_not_shown(folder: RunFolder) -> None:
    folder.write_tries(Tries(name="api-browse", phase="api-browse", kind="load", tries=[Try(begin_ns=1, end_ns=2)]))
    report = assess(folder)
    assert report.tries == []
    assert report.first_tries == FirstTries(verdict="PASS")
