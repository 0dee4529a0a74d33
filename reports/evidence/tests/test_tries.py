"""What a try wrote is moved aside, and nothing else."""

from __future__ import annotations

from pathlib import Path

from reports.evidence import Count, RunFolder, Tries, Write
from reports.evidence.tries import mark, set_aside


def write(folder: RunFolder, scenario: str, *, facts: int) -> None:
    for place in ("load", "ledger", "hops", "calibration"):
        path = folder.evidence / place / f"{scenario}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(scenario)
    with folder.writes(scenario) as ledger:
        ledger.add(Write(scenario, 1, "ok", "iad"))
    with folder.facts() as file:
        file.add(*(Count(row="bus.exactly_once", value=number, unit="", how=scenario) for number in range(facts)))


def files(folder: RunFolder) -> set[str]:
    return {path.removeprefix("evidence/") for path in folder.files("") if "tries" not in path}


def test_only_what_a_try_wrote_is_moved(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path)
    write(folder, "api-browse", facts=2)
    before, since = files(folder), mark(folder.evidence)
    (folder.evidence / "host.jsonl").touch()
    write(folder, "bus-ingest", facts=3)
    aside = RunFolder(folder.try_dir("bus-ingest", 1))
    set_aside(folder.evidence, since, aside.evidence)
    assert files(folder) == before | {"host.jsonl"}
    assert [count.how for count in folder.counts()] == ["api-browse"] * 2
    assert [count.how for count in aside.counts()] == ["bus-ingest"] * 3
    assert aside.write_history("bus-ingest") == [Write("bus-ingest", 1, "ok", "iad")]
    write(folder, "bus-ingest", facts=1)
    assert [count.how for count in folder.counts()] == ["api-browse", "api-browse", "bus-ingest"]
    assert len(folder.write_history("bus-ingest")) == 1, "the next try begins with an empty ledger"


def test_a_try_that_wrote_nothing_moves_nothing(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path)
    write(folder, "api-browse", facts=0)
    before = files(folder)
    set_aside(folder.evidence, mark(folder.evidence), folder.try_dir("bus-ingest", 1) / "evidence")
    assert files(folder) == before


def test_a_record_of_tries_is_read_as_it_was_written(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path)
    assert folder.tries() == [], "runs of before have none"
    found = Tries(name="bus-ingest", phase="bus-ingest", kind="load", records=["bus-ingest"], facts=(2, None))
    folder.write_tries(found)
    assert folder.tries() == [found]
