"""What is read of a stream after a load: whose events, stored when, and which of them count."""

from __future__ import annotations

import msgspec
import pytest

from loadtests.arrivals.arrival_process import even
from loadtests.engine import stored_watch
from loadtests.engine.stored_watch import Stored, StoredWatchSpec, events_in, instant_ns

_S = 1_000_000_000
SPEC = StoredWatchSpec(
    scenario="relay-path", folder="", target="", part="", arrival=even(10.0, 4.0), warmup_s=1.0, seeds=[1, 2]
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:01Z", _S),
        ("1970-01-01T00:00:01.5Z", _S + 500_000_000),
        ("1970-01-01T00:01:00.000001+00:00", 60 * _S + 1_000),
        ("1970-01-01T00:00:00.123456789Z", 123_456_789),
    ],
)
def test_instants_are_read_to_the_nanosecond(text: str, expected: int) -> None:
    assert instant_ns(text) == expected


def test_a_message_holds_one_event_or_many() -> None:
    one = {"id": "e", "aggregate_id": "p", "occurred_at": "1970-01-01T00:00:01.000000Z", "more": 1}
    expected = Stored("e", "p", _S, 2 * _S)
    assert events_in(msgspec.json.encode(one), "1970-01-01T00:00:02Z") == [expected]
    assert events_in(msgspec.json.encode([one, one]), "1970-01-01T00:00:02Z") == [expected, expected]
    with pytest.raises(msgspec.MsgspecError):
        events_in(b"nonsense", "1970-01-01T00:00:02Z")


def test_what_is_committed_in_the_window_and_stored_by_its_end_is_completed_once() -> None:
    def event(name: str, occurred_s: float, stored_s: float) -> Stored:
        return Stored(name, "p", round((100 + occurred_s) * _S), round((100 + stored_s) * _S))

    events = [
        event("in the warm-up", 0.5, 0.6), event("first", 1.0, 1.01), event("again", 2.0, 2.5),
        event("again", 2.0, 2.02), event("on its way", 4.9, 5.2), event("late", 4.0, 5.3), event("after", 5.0, 5.1),
    ]  # fmt: skip
    # Monotonic zero is a hundred seconds after 1970; the window is seconds 1 to 5.
    part = stored_watch._part(SPEC, events, 0, 100 * _S, 0)
    assert (part.measured_ns, part.end_ns) == (1 * _S, 5 * _S)
    [rate] = part.rates
    assert (rate.name, rate.offered, rate.completed) == ("bus.relayed", 40, 3)
    assert part.operations[0].latencies.samples == 4
    assert part.problems == ["1 events stand in the stream more than once: consumers drop them"]


def test_a_stream_that_cannot_all_be_read_says_so() -> None:
    part = stored_watch._part(SPEC, [], 0, 0, 3)
    assert part.problems == ["3 messages of the stream could not be read"]
    assert part.rates[0].completed == 0
