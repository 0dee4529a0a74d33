"""When events had taken effect and at whom: against what counting by hand finds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ledger.coverage import overlaps
from ledger.numbered import NumberedEvent, NumberedEvents, event_of, sender_prefix, spans
from ledger.timing import PositionHistory, drained, reached_by_all, time_all
from loadtests.engine import outbox_feed
from loadtests.engine.outbox_feed import batches
from reports.evidence import Recorder

looks = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 30)), max_size=20)
some_ranges = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 6)).map(lambda one: (one[0], sum(one))), max_size=8)


def history_of(seen: list[tuple[int, int]]) -> PositionHistory:
    history = PositionHistory()
    for at_ns, position in seen:
        history.add(at_ns, position)
    return history


def events_of(*positions: int, publisher: int = 1) -> NumberedEvents:
    events = NumberedEvents()
    for number, position in enumerate(positions):
        events.add(NumberedEvent(position, publisher, number))
    return events


def reached(seen: list[tuple[int, int]], position: int) -> int | None:
    """The first instant at which a position was seen at or above this one."""
    return min((at_ns for at_ns, one in seen if one >= position), default=None)


@given(st.lists(looks, min_size=1, max_size=3), st.integers(1, 30))
def test_all_have_an_event_when_the_last_of_them_was_seen_to_have_it(
    every: list[list[tuple[int, int]]], at: int
) -> None:
    found = [reached(seen, at) for seen in every]
    expected = None if None in found else max(one for one in found if one is not None)
    history = reached_by_all([history_of(seen) for seen in every])
    assert next((at_ns for at_ns, position in history if position >= at), None) == expected


def test_events_are_timed_from_their_instants_and_what_never_came_counts_as_failed() -> None:
    history = history_of([(5_000, 0), (10_000, 2), (30_000, 4)])
    recorder = Recorder()
    # The instants are 0, 1,000, 2,000, ...; the window ends before that of the sixth.
    timed = time_all(
        events_of(1, 2, 3, 4, 5, 6), history, lambda event: event.number * 1_000, (1_000, 5_000), 20_000, recorder
    )
    assert timed == (1, 1)
    latencies = recorder.close()
    assert (latencies.samples, latencies.failed) == (3, 1)
    assert latencies.min_us == 0 or latencies.negative == 0


def test_a_backlog_is_timed_to_its_last_event_or_to_the_end_of_what_was_watched() -> None:
    second = 1_000_000_000
    zero = events_of(*range(1, 11)), history_of([(0, 2), (2 * second, 6), (4 * second, 10)])
    one = events_of(5, 6, publisher=2), history_of([(0, 4), (1 * second, 7)])
    went = drained([zero, one], 0, 10 * second)
    assert went == (10, 0, 4 * second)
    assert went.per_s(0) == 2.5
    cut = drained([zero, one], 0, 3 * second)
    assert cut == (10, 4, 3 * second)
    assert cut.per_s(0) == 2.0
    assert drained([zero], 4 * second, 4 * second).per_s(4 * second) == 0.0


@given(some_ranges)
def test_what_was_applied_twice_is_found(ranges: list[tuple[int, int]]) -> None:
    twice = {number for number in range(1, 40) if sum(first <= number <= last for first, last in ranges) > 1}
    assert {number for first, last in overlaps(ranges) for number in range(first, last + 1)} == twice


@given(some_ranges, st.sets(st.integers(1, 40)))
def test_numbers_are_found_where_their_positions_were_applied(ranges: list[tuple[int, int]], there: set[int]) -> None:
    events = events_of(*sorted(there))
    expected = {
        number
        for number, position in enumerate(sorted(there))
        if any(first <= position <= last for first, last in ranges)
    }
    found = spans({"projects.0": events}, {"projects.0": ranges})
    assert {number for _, first, last in found for number in range(first, last + 1)} == expected
    assert all(publisher == 1 for publisher, _, _ in found)


def test_events_of_several_partitions_and_publishers_are_told_apart() -> None:
    zero, one = events_of(1, 2, 5), events_of(1, 2, publisher=2)
    everything = [(0, 2**62)]
    found = spans({"projects.0": zero, "projects.1": one}, {"projects.0": everything, "projects.1": [(2, 2)]})
    assert found == [(1, 0, 2), (2, 1, 1)]


@given(st.integers(1, 0xFFFF), st.integers(0, 2**40), st.integers(1, 10**9))
def test_an_event_s_id_holds_who_sent_it_as_which(publisher: int, number: int, position: int) -> None:
    identity = f"{sender_prefix(outbox_feed.prefix('/runs/one'), publisher)}{number:012x}"
    assert len(identity) == 36
    assert event_of(identity, position) == (position, publisher, number)


@given(st.integers(0, 100), st.integers(0, 100), st.integers(1, 9))
def test_batches_begin_at_multiples_of_their_size(first: int, more: int, size: int) -> None:
    found = list(batches(first, first + more, size))
    assert [number for begin, end in found for number in range(begin, end)] == list(range(first, first + more))
    assert all(begin % size == 0 for begin, _ in found[1:])
    assert all(0 < end - begin <= size for begin, end in found)


@given(st.floats(0.1, 1_000_000.0))
def test_batches_are_even_and_bounded(rate: float) -> None:
    burst = outbox_feed.schedule(rate, 0, 0.0, 1.0).burst
    assert burst % 2 == 0
    assert 2 <= burst <= outbox_feed.BATCH_MAX
