"""What a subscriber makes of literal deliveries: which count, which were late, which were never brought."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import received
from loadtests.clients import payload
from loadtests.clients.ordered_consumer import Deliveries
from loadtests.engine.bus_subscriber import BusSubscriberSpec, Subscriber
from reports.evidence.range_set import RangeSet

S = 1_000_000_000
MS = 1_000_000
WALL = 1_700_000_000 * S
"""What the time of day was when the monotonic clock read 0."""


SPEC = BusSubscriberSpec(
    scenario="bus-ingest", folder="", target="", part="", subject="load.r1", warmup_s=1, duration_s=1
)


@pytest.fixture
def subscriber() -> Subscriber:
    made = Subscriber(SPEC)
    made.begin(1 * S, 2 * S)
    return made


def _deliver(
    subscriber: Subscriber, sequence: int, number: int, intended_ns: int, *, stored_ms: int = 2, received_ms: int = 5,
    subject: bytes = b"load.r1.7",
) -> None:  # fmt: skip
    subscriber.on_delivery(
        subject,
        payload.head(1, number, intended_ns) + b"...",
        sequence,
        WALL + intended_ns + stored_ms * MS,
        WALL + intended_ns + received_ms * MS,
        intended_ns + received_ms * MS,
    )


def test_delivery_counts_from_the_stored_timestamp_and_end_to_end_from_the_intended_send(
    subscriber: Subscriber,
) -> None:
    _deliver(subscriber, 1, 0, 1 * S)
    assert [stat.response_times_ms for stat in subscriber.settle()] == [{3: 1}]
    delivery, end_to_end = subscriber.delivery.close(), subscriber.end_to_end.close()
    assert (delivery.samples, end_to_end.samples) == (1, 1)


def test_only_the_measured_window_is_timed_and_everything_is_accounted_for(subscriber: Subscriber) -> None:
    for sequence, intended_ns in enumerate((1 * S - 1, 1 * S, 2 * S - 1, 2 * S), 1):
        _deliver(subscriber, sequence, sequence - 1, intended_ns)
    assert subscriber.delivery.close().samples == 2
    assert subscriber.received.spans == [(1, 0, 3)]


def test_a_negative_delivery_is_reported_and_not_clipped(subscriber: Subscriber) -> None:
    _deliver(subscriber, 1, 0, 1 * S, stored_ms=7)
    delivery = subscriber.delivery.close()
    assert (delivery.negative, delivery.min_us) == (1, -2000)


def test_what_had_to_be_read_again_was_found_and_not_delivered(subscriber: Subscriber) -> None:
    _deliver(subscriber, 1, 0, 1 * S)
    subscriber.catching_up = True
    _deliver(subscriber, 1, 0, 1 * S)
    _deliver(subscriber, 2, 1, 1 * S)
    delivery = subscriber.delivery.close()
    assert (delivery.samples, delivery.failed) == (1, 1)
    assert subscriber.received.spans == [(1, 0, 1)]


def test_a_number_that_the_stream_holds_twice_is_doubled(subscriber: Subscriber) -> None:
    for sequence, number in enumerate((0, 1, 1, 2), 1):
        _deliver(subscriber, sequence, number, 1 * S)
    assert subscriber.received.doubled_spans == [(1, 1, 1)]


def test_other_messages_in_the_stream_are_counted_apart(subscriber: Subscriber) -> None:
    _deliver(subscriber, 1, 0, 1 * S, subject=b"load.another.7")
    subscriber.on_delivery(b"load.r1.7", b"what is this", 2, WALL, WALL, 0)
    assert subscriber.received.foreign == 2
    assert subscriber.received.spans == []


def test_more_disorder_than_memory_allows_is_said_and_proves_nothing(
    subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(received, "RangeSet", lambda: RangeSet(max_ranges=2))
    subscriber.received = received.Arrivals()
    for sequence, number in enumerate((0, 2, 4, 6), 1):
        _deliver(subscriber, sequence, number, 1 * S)
    assert subscriber.problem is not None
    assert "too scattered" in subscriber.problem


@given(
    numbers=st.lists(st.integers(0, 60), min_size=1, max_size=40),
    publishers=st.lists(st.integers(1, 2), min_size=40, max_size=40),
)
def test_messages_read_at_once_count_as_they_would_one_by_one(numbers: list[int], publishers: list[int]) -> None:
    at_once, one_by_one = Subscriber(SPEC), Subscriber(SPEC)
    heads = [payload.head(publishers[at], n, 1000 * n) for at, n in enumerate(numbers)]
    sequences = list(range(5, 5 + len(numbers)))
    for each in (at_once, one_by_one):
        each.begin(10_000, 40_000)
    at_once.on_deliveries(Deliveries(sequences, [WALL] * len(heads), heads, WALL + 3_000_000, 100_000))
    for sequence, head in zip(sequences, heads, strict=True):
        one_by_one.on_delivery(b"load.r1.1", head, sequence, WALL, WALL + 3_000_000, 100_000)
    assert at_once.received.spans == one_by_one.received.spans
    assert at_once.received.doubled_spans == one_by_one.received.doubled_spans
    assert at_once.received.reordered == one_by_one.received.reordered
    assert at_once.delivery.close() == one_by_one.delivery.close()
    assert at_once.end_to_end.close() == one_by_one.end_to_end.close()
