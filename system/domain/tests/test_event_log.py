"""A subscriber is sent exactly the events after its positions, in order within each partition, whatever the log has
dropped meanwhile, and however often the subscriber reconnects."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from system.domain.event_log import Cursor, EventLog, block, parse_positions
from system.wire import Aggregate, event_positions

PARTITIONS = ("countries.0", "projects.0", "projects.1", "users.0")
ALL: tuple[Aggregate, ...] = ("countries", "projects", "users", "incidents")


def text_of(partition: str, position: int) -> bytes:
    return b"data: %s/%d\n" % (partition.encode(), position)


def events_in(sent: bytes) -> list[tuple[str, int, str]]:
    """(partition, position, id) of each event in a stream."""
    events = []
    for part in sent.decode().split("\n\n")[:-1]:
        data, mark = part.split("\n")
        partition, position = data.removeprefix("data: ").split("/")
        events.append((partition, int(position), mark.removeprefix("id: ")))
    return events


@dataclass
class World:
    """The log, and the position of every event that ever happened, which the outbox still holds."""

    log: EventLog
    known: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PARTITIONS, 0))

    def happen(self, partition: str) -> None:
        self.known[partition] += 1
        self.log.append(partition, self.known[partition], text_of(partition, self.known[partition]))

    def pass_over(self, partition: str, count: int) -> None:
        self.known[partition] += count
        self.log.pass_over(partition, self.known[partition])


class Subscriber:
    """Checks what it is sent, and reconnects with the last id that it saw."""

    def __init__(self, world: World, aggregates: tuple[Aggregate, ...], since: dict[str, int] | None) -> None:
        self.world = world
        self.aggregates = aggregates
        self.has = dict(world.log.positions if since is None else {**dict.fromkeys(PARTITIONS, 0), **since})
        self.last_id = event_positions(self.has)
        self.cursor = Cursor(world.log, aggregates, since)

    def work(self, bytes_max: int, page: int) -> bool:
        """One step of a connection. Returns whether there was anything to do."""
        behind = self.cursor.behind()
        if behind is None:
            sent = b"".join(self.cursor.take(bytes_max))
        else:
            last = min(behind.position + page, self.world.known[behind.partition])
            read = range(behind.position + 1, last + 1)
            sent = b"".join(self.cursor.pass_on(behind.partition, n, text_of(behind.partition, n)) for n in read)
        for partition, position, mark in events_in(sent):
            self.has[partition] += 1
            assert position == self.has[partition]
            assert partition.split(".")[0] in self.aggregates
            self.last_id = mark
            named = {**dict.fromkeys(PARTITIONS, 0), **parse_positions(mark, PARTITIONS)}
            for name, at in self.has.items():
                # An id holds the subscriber's positions; for other aggregates, how far they have been passed over.
                assert named[name] == at if name.split(".")[0] in self.aggregates else named[name] >= at
        return behind is not None or bool(sent)

    def catch_up(self) -> None:
        while self.work(10_000, 10):
            pass
        for name, at in self.world.known.items():
            if name.split(".")[0] in self.aggregates:
                assert self.has[name] == at
        assert parse_positions(self.cursor.mark.decode(), PARTITIONS) == {
            name: at for name, at in self.world.known.items() if at
        }

    def come_back(self) -> None:
        mark = self.last_id
        has = self.has
        self.__init__(self.world, self.aggregates, parse_positions(mark, PARTITIONS))  # type: ignore[misc]
        for name, at in has.items():
            if name.split(".")[0] in self.aggregates:
                assert self.has[name] == at
        self.has = {**self.has, **has}


class Happen(NamedTuple):
    partition: str
    events: int


class PassOver(NamedTuple):
    partition: str
    events: int


class Work(NamedTuple):
    bytes_max: int
    page: int


class ComeBack(NamedTuple):
    pass


Step = Happen | PassOver | Work | ComeBack

steps = st.lists(
    st.one_of(
        st.builds(Happen, st.sampled_from(PARTITIONS), st.integers(1, 5)),
        st.builds(PassOver, st.sampled_from(PARTITIONS), st.integers(1, 5)),
        st.builds(Work, st.integers(1, 200), st.integers(1, 4)),
        st.builds(ComeBack),
    ),
    max_size=60,
)
filters = st.lists(st.sampled_from(ALL), min_size=1, unique=True).map(tuple)


@given(st.integers(1, 8), filters, steps, steps, st.booleans())
def test_no_event_is_missed_or_sent_twice(
    entries_max: int, aggregates: tuple[Aggregate, ...], first: list[Step], then: list[Step], from_now: bool
) -> None:
    world = World(EventLog(dict.fromkeys(PARTITIONS, 0), entries_max, 10_000))
    for step in first:
        act(world, None, step)
    subscriber = Subscriber(world, aggregates, None if from_now else {})
    for step in then:
        act(world, subscriber, step)
    subscriber.catch_up()


def act(world: World, subscriber: Subscriber | None, step: Step) -> None:
    match step:
        case Happen(partition, events):
            for _ in range(events):
                world.happen(partition)
        case PassOver(partition, events):
            world.pass_over(partition, events)
        case Work(bytes_max, page) if subscriber is not None:
            subscriber.work(bytes_max, page)
        case ComeBack() if subscriber is not None:
            subscriber.come_back()


@given(filters, st.integers(0, 6), st.integers(0, 6))
def test_a_subscriber_that_is_ahead_of_the_log_waits_for_what_follows(
    aggregates: tuple[Aggregate, ...], heard: int, has: int
) -> None:
    world = World(EventLog(dict.fromkeys(PARTITIONS, 0), 3, 10_000))
    for _ in range(heard):
        world.happen("projects.0")
    subscriber = Subscriber(world, aggregates, {"projects.0": has})
    assert subscriber.cursor.ahead() == ({"projects.0": has} if has > heard else {})
    for _ in range(10):
        while subscriber.work(100, 2):
            pass
        world.happen("projects.0")
    subscriber.catch_up()


def test_the_log_is_bounded_by_entries_and_by_bytes() -> None:
    log = EventLog(dict.fromkeys(PARTITIONS, 0), entries_max=5, bytes_max=1_000_000)
    for position in range(1, 11):
        log.append("projects.0", position, b"x")
    assert (log.start, log.end, log.before["projects.0"], log.positions["projects.0"]) == (5, 10, 5, 10)
    log = EventLog(dict.fromkeys(PARTITIONS, 0), entries_max=100, bytes_max=1_000)
    for position in range(1, 11):
        log.append("projects.0", position, b"x" * 300)
    assert log.before["projects.0"] == 7
    log.append("projects.0", 11, b"x" * 2_000)
    assert (log.before["projects.0"], log.positions["projects.0"], log.start == log.end) == (11, 11, True)


def test_subscribers_that_keep_up_are_sent_the_same_bytes() -> None:
    log = EventLog(dict.fromkeys(PARTITIONS, 0), 10, 10_000)
    cursors = [Cursor(log, ALL, None) for _ in range(3)]
    log.append("projects.0", 1, b"x\n")
    for cursor in cursors:
        assert cursor.take(100) == [block(b"x\n", b"projects.0:1")]
        assert cursor.mark is log.mark


def test_only_the_next_position_is_taken() -> None:
    log = EventLog({"projects.0": 4}, 10, 10_000)
    with pytest.raises(ValueError, match="expected position 5, found 6"):
        log.append("projects.0", 6, b"x")
    with pytest.raises(ValueError, match="expected position 4, found 3"):
        Cursor(log, ALL, {"projects.0": 3}).pass_on("projects.0", 3, b"x")


@given(st.dictionaries(st.sampled_from(PARTITIONS), st.integers(1, 2**53)))
def test_positions_are_read_as_they_are_written(positions: dict[str, int]) -> None:
    assert parse_positions(event_positions(positions), PARTITIONS) == positions


@pytest.mark.parametrize(
    "text",
    ["x", "projects.0", "projects.0:", "projects.0:-1", "projects.0:1,projects.0:2", "projects.9:1", "projects.0:1,",
     "projects.0:9007199254740993", "projects.0:1_0", "projects.0:\u0663", "projects.0:1;countries.0:1"],
)  # fmt: skip
def test_other_texts_are_no_positions(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_positions(text, PARTITIONS)
