"""What is found at a hop against what was written: by events, and by the last state of each project."""

from __future__ import annotations

import pytest

from reports.evidence import Hop, Outcome, Write
from reports.evidence.write_names import DELETED, WriteName, read_name
from reports.findings.ledger import check
from reports.model import HopResult


def wrote(name: str, says: str, outcome: Outcome | None = "ok") -> list[Write]:
    return [Write(name, 1, each, "iad", says) for each in (None, outcome)]


def found(writes: list[Write], hop: str, contents: dict[str, str]) -> HopResult:
    times = dict.fromkeys([*contents, *(write.id for write in writes)], 1)
    return check("c", writes, [], [Hop(client="c", hop=hop, found=times, contents=contents)]).hops[0]


@pytest.mark.parametrize("name", ["p", "p:2", "p/2", "p/3:14"])
def test_a_name_is_read_as_it_was_written(name: str) -> None:
    assert str(read_name(name)) == name
    assert read_name("p/3:14") == WriteName("p", 14, 3)


def test_what_is_as_written_is_compared_and_right() -> None:
    hop = found([*wrote("p", "a1"), *wrote("p:2", "b2")], "stream", {"p": "a1", "p:2": "b2"})
    assert (hop.compared, hop.uncompared, hop.wrong) == (2, 0, 0)


def test_what_says_something_else_is_wrong_and_named() -> None:
    hop = found(wrote("p", "a1"), "outbox", {"p": "ff"})
    assert (hop.wrong, hop.wrong_examples) == (1, ["p: expected a1, found ff"])


def test_what_became_of_an_unknown_write_says_what_was_meant_or_is_wrong() -> None:
    assert found(wrote("p", "a1", None), "stream", {"p": "a1"}).wrong == 0
    assert found(wrote("p", "a1", "unknown"), "stream", {"p": "ff"}).wrong == 1


def test_a_write_that_is_there_without_contents_is_not_compared() -> None:
    hop = found([*wrote("p", "a1"), *wrote("q", "c3")], "audit-log", {"q": "c3"})
    assert (hop.compared, hop.uncompared) == (1, 1)


def test_of_states_only_the_last_acknowledged_write_can_be_compared() -> None:
    writes = [*wrote("p", "a1"), *wrote("p:2", "b2"), *wrote("q", "c3"), *wrote("q:2", "d4", "unknown")]
    hop = found(writes, "postgres", {"p:2": "b2"})
    assert (hop.compared, hop.uncompared, hop.wrong) == (1, 0, 0)
    assert found(writes, "postgres", {"q": "c3"}).uncompared == 1, "nothing says what p is"
    assert found([*wrote("p", "a1"), *wrote("p:2", "b2", "fail")], "replica", {}).uncompared == 1


def test_a_patch_that_was_dropped_while_the_version_rose_is_wrong() -> None:
    hop = found([*wrote("p", "a1"), *wrote("p:2", "b2")], "postgres", {"p:2": "a1"})
    assert hop.wrong_examples == ["p:2: expected b2, found a1"]


def test_a_deletion_says_that_it_is_gone() -> None:
    writes = [*wrote("p", "a1"), *wrote("p:2", DELETED)]
    assert found(writes, "replica", {"p:2": DELETED}).wrong == 0
    assert found(writes, "stream", {"p": "a1", "p:2": "a1"}).wrong == 1


def test_a_hop_that_keeps_no_contents_and_a_ledger_that_says_nothing_are_not_compared() -> None:
    assert found(wrote("p", "a1"), "analytics", {}).compared is None
    assert found(wrote("p", ""), "stream", {"p": "a1"}).compared is None
