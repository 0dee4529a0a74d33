"""Each node's own copy of each stream: what agrees, what is behind, and when it is looked at again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from checks import replication
from checks.replication import Copy, StreamCopies, facts_of, settled
from infra.fabric.process.system import System
from infra.machine.waiting import until
from infra.site import bus_layout
from reports.evidence import RunFolder
from system import wire

WHOLE = Copy(3, 100, 1, 100)
BEHIND = Copy(3, 90, 1, 90)


def stream(*copies: Copy | None, leader: str | None = "a", current: int = 2) -> StreamCopies:
    return StreamCopies("EVENTS", dict(zip("abc", copies, strict=True)), leader, current)


def test_equal_copies_on_every_node_hold() -> None:
    number, *cells = facts_of(stream(WHOLE, WHOLE, WHOLE))
    assert (number.value, number.ok) == (3.0, None)
    assert len(cells) == 4
    assert all(cell.ok for cell in cells)


@pytest.mark.parametrize(
    ("found", "number", "wrong"),
    [
        # The leader's word alone would have said that all is well.
        (stream(WHOLE, WHOLE, BEHIND), 2, ["EVENTS on c: R3, all that the leader holds; found R3, 90 messages"]),
        (stream(WHOLE, None, WHOLE), 2, ["EVENTS on b: R3, all that the leader holds; found no copy"]),
        (stream(WHOLE, WHOLE, Copy(1, 100, 1, 100)), 3, ["EVENTS on c: R3, all that the leader holds; found R1"]),
        # As many messages up to the same one, but others: one was removed at another place.
        (stream(WHOLE, WHOLE, Copy(3, 99, 1, 100)), 2, ["EVENTS on c: R3, all that the leader holds; found R3, 99"]),
        (stream(WHOLE, WHOLE, WHOLE, current=1), 3,
         ["EVENTS: its leader counts 2 others as current; found a counts 1"]),
        (stream(WHOLE, WHOLE, WHOLE, leader=None, current=0), 0,
         ["EVENTS on a", "EVENTS on b", "EVENTS on c",
          "EVENTS: its leader counts 2 others as current; found no leader"]),
    ],
)  # fmt: skip
def test_what_differs_is_named(found: StreamCopies, number: int, wrong: list[str]) -> None:
    counted, *cells = facts_of(found)
    said = [cell.how for cell in cells if not cell.ok]
    assert counted.value == number
    assert len(said) == len(wrong)
    assert all(one.startswith(expected) for one, expected in zip(said, wrong, strict=True)), said


def test_a_copy_that_is_on_its_way_is_asked_again_and_one_that_was_whole_stays_so() -> None:
    other = stream(WHOLE, WHOLE, BEHIND)._replace(name="OTHER")
    looks: Iterator[list[StreamCopies]] = iter(
        [
            [stream(WHOLE, WHOLE, BEHIND), other._replace(copies=dict.fromkeys("abc", WHOLE))],
            [stream(WHOLE, WHOLE, WHOLE), other],
        ]
    )
    found = settled(lambda: next(looks), 60)
    assert [each.whole() for each in found] == [True, True]


def test_what_stays_behind_is_found_at_the_deadline() -> None:
    assert [each.whole() for each in settled(lambda: [stream(WHOLE, WHOLE, BEHIND)], 0)] == [False]


@pytest.mark.running
def test_every_node_of_the_running_system_holds_every_stream(system: System, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    replication.record(system, folder)
    found = folder.counts()
    assert [count.how for count in found if count.ok is False] == []
    assert [count.value for count in found if count.ok is None] == [3.0] * len(wire.STREAMS)
    assert len(found) == len(wire.STREAMS) * 5


@pytest.mark.running
def test_a_node_that_does_not_answer_is_a_copy_too_few(system: System) -> None:
    paused = bus_layout.bus(system.place)[-1].name
    system.pause(paused)
    try:
        found = [fact for one in settled(lambda: replication.read(system), 0) for fact in facts_of(one)]
    finally:
        system.resume(paused)
    assert until(lambda: not system.missing() or None, 30), system.missing()
    silent = [fact for fact in found if fact.ok is False and f" on {paused}: " in fact.how]
    assert len(silent) == len(wire.STREAMS)
    assert max(fact.value for fact in found if fact.ok is None) == 2
