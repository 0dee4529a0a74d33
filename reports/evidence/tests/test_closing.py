"""What was closed in order is told from what was cut, altered, or left by a writer that was killed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.evidence import Count, RunFolder, Span, TimelineEvent, Write
from reports.evidence.closing import CLOSED, Kept, LineSum, is_evidence, kept
from reports.evidence.tries import mark, set_aside
from reports.tests.synthetic_run import Story, run_record

LEDGER = "ledger/c.jsonl"


def write(number: int) -> Write:
    return Write(f"id-{number}", number, "ok", "syd")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A folder with a ledger of three writes, and a record."""
    folder = RunFolder.create(tmp_path / "run")
    folder.write_run(run_record(Story()))
    with folder.writes("c") as ledger:
        ledger.add(write(1), write(2))
        ledger.add(write(3))
    return folder


def problem(folder: RunFolder, name: str) -> str | None:
    return kept(folder.evidence)[name].problem


def test_what_was_closed_is_as_it_was(folder: RunFolder) -> None:
    assert kept(folder.evidence) == {"run.json": Kept(writers=1), LEDGER: Kept(lines=3, writers=1)}


def test_lines_of_several_writers_may_mix(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path)
    one, other = folder.writes("c"), folder.writes("c")
    for number in range(6):
        (one, other)[number % 2].add(write(number), write(10 + number))
    one.close()
    assert problem(folder, LEDGER) == "of 12 lines only 6 were closed in order"
    other.close()
    assert kept(folder.evidence)[LEDGER] == Kept(lines=12, writers=2)


def test_threads_may_share_a_writer(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path)
    with folder.writes("c") as ledger, ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda number: ledger.add(write(number)), range(2000)))
    assert kept(folder.evidence)[LEDGER] == Kept(lines=2000, writers=1)


def test_a_file_is_closed_once(folder: RunFolder) -> None:
    with folder.spans("c") as spans:
        spans.add(Span(1, 0, 9, "ok", 1))
        spans.close()
    assert kept(folder.evidence)["ledger/c.spans.jsonl"] == Kept(lines=1, writers=1)


def test_a_writer_that_was_killed_has_closed_nothing(folder: RunFolder) -> None:
    timeline = folder.timeline()
    timeline.add(TimelineEvent(at_ns=1, kind="note", name="a"))
    assert problem(folder, "timeline.jsonl") == "it was not closed in order"
    timeline.close()
    assert problem(folder, "timeline.jsonl") is None


def test_a_writer_that_raised_has_closed_nothing(folder: RunFolder) -> None:
    with pytest.raises(ZeroDivisionError), folder.facts() as facts:
        facts.add(Count(row="data.projects", value=1 / 0, unit="", how=""))
    assert kept(folder.evidence)["facts.jsonl"].writers == 0


def cut(lines: list[bytes]) -> bytes:
    return b"".join(lines)[:-3]


SPOILT: dict[str, tuple[Callable[[list[bytes]], bytes], str]] = {
    "cut in the middle of a line": (cut, "its last line is torn"),
    "cut behind a line": (lambda lines: b"".join(lines[:-1]), "3 lines were closed, 2 are there"),
    "emptied": (lambda lines: b"", "3 lines were closed, 0 are there"),
    "a line doubled": (lambda lines: b"".join([*lines, lines[-1]]), "of 4 lines only 3 were closed in order"),
    "two lines exchanged": (
        lambda lines: b"".join([lines[1], lines[0], lines[2]]), "its lines are not those that were closed"
    ),
    "a line put in another's place": (
        lambda lines: b"".join([lines[0], lines[0], lines[2]]), "its lines are not those that were closed"
    ),
    "a number altered": (
        lambda lines: b"".join(lines).replace(b"ok", b"no"), "its lines are not those that were closed"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILT)
def test_a_list_that_was_changed_is_found(folder: RunFolder, name: str) -> None:
    spoil, says = SPOILT[name]
    path = folder.evidence / LEDGER
    path.write_bytes(spoil(path.read_bytes().splitlines(keepends=True)))
    assert problem(folder, LEDGER) == says


def test_a_record_that_was_changed_is_found(folder: RunFolder) -> None:
    path = folder.evidence / "run.json"
    path.write_bytes(path.read_bytes().replace(b"smoke", b"smOke"))
    assert problem(folder, "run.json") == "it is not what was closed"


def test_of_a_record_the_last_writing_counts(folder: RunFolder) -> None:
    path = folder.evidence / "run.json"
    first = path.read_bytes()
    folder.write_run(run_record(Story(state="interrupted")))
    assert problem(folder, "run.json") is None
    path.write_bytes(first)
    assert problem(folder, "run.json") == "it is not what was closed"


@pytest.mark.parametrize("name", ["run.json", LEDGER])
def test_a_file_that_is_gone_is_missed(folder: RunFolder, name: str) -> None:
    (folder.evidence / name).unlink()
    assert problem(folder, name) == "it is missing"


def test_without_the_list_of_what_was_closed_nothing_was(folder: RunFolder) -> None:
    (folder.evidence / CLOSED).unlink()
    assert {each.problem for each in kept(folder.evidence).values()} == {"it was not closed in order"}


@pytest.mark.parametrize("old", [b"3,", b'"ledger', b'"'])
def test_an_altered_list_of_what_was_closed_closes_nothing_else(folder: RunFolder, old: bytes) -> None:
    path = folder.evidence / CLOSED
    head, last = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(head + last.replace(old, b"7" + old, 1))
    assert problem(folder, LEDGER) is not None


def test_logs_and_the_folders_of_tries_are_no_evidence_of_the_run() -> None:
    assert is_evidence("load/api-browse.json")
    assert is_evidence("chaos/link-cut.2/probes.jsonl")
    assert not is_evidence("load/api-browse.locust.log")
    assert not is_evidence("chaos/link-cut/prober.json")
    assert not is_evidence("tries/bus-ingest.1/evidence/facts.jsonl")
    assert not is_evidence(CLOSED)


def test_what_a_try_left_is_as_closed_where_it_is_set_aside(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path)

    def made(facts: int) -> None:
        with folder.writes("c") as ledger, folder.facts() as file:
            ledger.add(write(1))
            file.add(*(Count(row="bus.exactly_once", value=number, unit="", how="") for number in range(facts)))

    with folder.facts() as file:
        file.add(Count(row="data.projects", value=1, unit="", how=""))
    since = mark(folder.evidence)
    made(3)
    aside = folder.try_dir("c", 1) / "evidence"
    set_aside(folder.evidence, since, aside)
    made(2)
    assert kept(aside) == {"facts.jsonl": Kept(lines=3, writers=1), LEDGER: Kept(lines=1, writers=1)}
    assert kept(folder.evidence) == {"facts.jsonl": Kept(lines=3, writers=2), LEDGER: Kept(lines=1, writers=1)}


def test_what_was_altered_before_it_was_set_aside_counts_as_not_closed(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path)
    since = mark(folder.evidence)
    with folder.facts() as file:
        file.add(Count(row="bus.exactly_once", value=1, unit="", how="totals", ok=False))
    path = folder.evidence / "facts.jsonl"
    path.write_bytes(path.read_bytes().replace(b"false", b"true "))
    aside = folder.try_dir("c", 1) / "evidence"
    set_aside(folder.evidence, since, aside)
    assert kept(aside)["facts.jsonl"].problem == "it was not closed in order"


@given(st.lists(st.binary(max_size=9), unique=True, min_size=2, max_size=6), st.randoms())
def test_no_other_order_has_the_same_sum(lines: list[bytes], dice: object) -> None:
    def total(given: list[bytes]) -> str:
        found, offset = LineSum(), 0
        for line in given:
            found.add(line + b"\n", offset)
            offset += len(line) + 1
        return str(found)

    other = list(lines)
    dice.shuffle(other)  # type: ignore[attr-defined]
    assert (total(other) == total(lines)) == (other == lines)
