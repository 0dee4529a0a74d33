"""What each mode puts on the wire, and what answers make of it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.clients import payload as numbered
from loadtests.clients import publish_modes
from loadtests.clients.nats_wire import Parser
from loadtests.clients.publish_modes import Ended, Mode, ModeName
from loadtests.recording.flights import Flights, Run

INBOX = b"_INBOX_load.abc"
PUB_ACK = b'{"stream":"LOAD","seq":7}'


def _mode(name: ModeName, batch: int = 4, payload_bytes: int = 32) -> Mode:
    return publish_modes.make(
        name, subject="load.r1", inbox=INBOX, publisher=3, payload_bytes=payload_bytes, batch=batch
    )


def _published(data: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """(subject, reply, payload) of every PUB and HPUB; the parser of MSG and HMSG reads them, given a subscription."""
    found = []

    class Receiver:
        def on_message(self, subject: bytes, reply: bytes, headers: bytes, payload: bytes) -> None:
            found.append((subject, reply, payload))

        def on_control(self, verb: bytes, argument: bytes) -> None:
            raise AssertionError(verb)

    lines = data.replace(b"HPUB ", b"HMSG ").replace(b"PUB ", b"MSG ")
    Parser(Receiver()).feed(re.sub(rb"(MSG \S+)", rb"\1 1", lines))
    return found


@pytest.mark.parametrize("name", ["singles", "fast"])
def test_every_number_is_sent_once_with_its_instant(name: ModeName) -> None:
    # 0x25 is a percent sign, which the format in between must not take for its own.
    sent = _published(_mode(name).encode([Run(0x25, 0x2F, 0x2525), Run(0x2F, 0x31, 0x2626)], 1))
    assert [numbered.read(payload) for _, _, payload in sent] == [
        (3, n, 0x2525 if n < 0x2F else 0x2626) for n in range(0x25, 0x31)
    ]
    assert {len(payload) for _, _, payload in sent} == {32}


def test_a_single_is_known_by_its_own_answer() -> None:
    mode = _mode("singles")
    mode.encode([Run(5, 8, 100)], 1)
    assert list(mode.answered(INBOX + b".6", b"", PUB_ACK)) == [Ended(Run(6, 7, 100), "ok")]
    assert list(mode.answered(INBOX + b".6", b"", PUB_ACK)) == []
    assert mode.flights.count == 2


def test_a_fast_batch_starts_adds_and_commits() -> None:
    replies = [reply for _, reply, _ in _published(_mode("fast").encode([Run(0, 5, 100)], 1))]
    steps = [tuple(reply[len(INBOX) + 1 :].split(b".")[i] for i in (0, 3, 4)) for reply in replies]
    one, two = b"00000001", b"00000002"
    assert steps == [(one, b"1", b"0"), (one, b"2", b"1"), (one, b"3", b"1"), (one, b"4", b"2"), (two, b"1", b"2")]


@given(sizes=st.lists(st.integers(1, 12), min_size=1, max_size=4), payload_bytes=st.integers(24, 40))
def test_a_fast_batch_carries_nothing_of_the_one_before(sizes: list[int], payload_bytes: int) -> None:
    mode, first = _mode("fast", batch=12, payload_bytes=payload_bytes), 295
    for key, size in enumerate(sizes, 1):
        sent = _published(mode.encode([Run(first, first + size, key)], 1))
        numbers = range(first, first + size)
        assert [numbered.read(payload) for _, _, payload in sent] == [(3, n, key) for n in numbers]
        assert [subject for subject, _, _ in sent] == [b"load.r1.%08d" % (n % publish_modes.SUBJECTS) for n in numbers]
        steps = [0, *[1] * (size - 2), 2] if size > 1 else [2]
        replies = [INBOX + b".%08x.500.fail.%d.%d.$FI" % (key, place, step) for place, step in enumerate(steps, 1)]
        assert [reply for _, reply, _ in sent] == replies
        first += size


def test_a_fast_batch_is_acknowledged_by_flow_and_at_its_end() -> None:
    mode = _mode("fast", batch=10)
    mode.encode([Run(0, 10, 100)], 1)
    answer = INBOX + b".00000001.500.fail.4.1.$FI"
    assert list(mode.answered(answer, b"", b'{"type":"ack","seq":0,"msgs":500}')) == []
    assert list(mode.answered(answer, b"", b'{"type":"ack","seq":4,"msgs":500}')) == [Ended(Run(0, 4, 100), "ok")]
    end = b'{"stream":"LOAD","seq":19,"batch":"x","count":10}'
    assert list(mode.answered(answer, b"", end)) == [Ended(Run(4, 10, 100), "ok")]
    assert mode.flights.count == 0


def test_a_batch_may_hold_several_runs_and_each_keeps_its_instant() -> None:
    mode = _mode("fast", batch=4)
    sent = _published(mode.encode([Run(0, 2, 100), Run(2, 5, 200)], 1))
    assert [numbered.read(payload) for _, _, payload in sent] == [(3, n, 100 if n < 2 else 200) for n in range(5)]
    assert [reply[len(INBOX) + 1 :][:8] for _, reply, _ in sent] == [b"00000001"] * 4 + [b"00000002"]
    end = b'{"stream":"LOAD","seq":19,"batch":"x","count":4}'
    assert list(mode.answered(INBOX + b".00000001.500.fail.4.1.$FI", b"", end)) == [
        Ended(Run(0, 2, 100), "ok"), Ended(Run(2, 4, 200), "ok"),
    ]  # fmt: skip
    assert mode.flights.count == 1


def test_what_is_behind_a_gap_was_not_stored() -> None:
    mode = _mode("fast", batch=10)
    mode.encode([Run(0, 10, 100)], 1)
    answer = INBOX + b".00000001.500.fail.4.1.$FI"
    assert list(mode.answered(answer, b"", b'{"type":"gap","last_seq":2,"seq":3}')) == []
    first, rest = mode.answered(answer, b"", b'{"stream":"LOAD","seq":22,"batch":"x","count":1}')
    assert first == Ended(Run(0, 1, 100), "ok")
    assert (rest.run, rest.outcome) == (Run(1, 10, 100), "fail")


def test_a_leader_that_does_not_know_a_fast_batch_leaves_it_unknown() -> None:
    mode = _mode("fast", batch=10)
    mode.encode([Run(0, 10, 100)], 1)
    error = b'{"error":{"code":400,"err_code":10208,"description":"batch publish ID unknown"},"stream":"LOAD","seq":0}'
    (ended,) = mode.answered(INBOX + b".00000001.500.fail.4.1.$FI", b"", error)
    assert (ended.run, ended.outcome) == (Run(0, 10, 100), "unknown")


def test_an_atomic_batch_ends_as_a_whole() -> None:
    mode = _mode("atomic", batch=4)
    data = mode.encode([Run(0, 6, 100)], 1)
    assert data.count(b"Nats-Batch-Commit: 1") == 2
    assert [reply for _, reply, _ in _published(data) if reply.startswith(INBOX)] == [INBOX + b".1", INBOX + b".2"]
    assert list(mode.answered(INBOX + b".1", b"", PUB_ACK)) == [Ended(Run(0, 4, 100), "ok")]
    refused = b'{"error":{"code":400,"err_code":10176,"description":"incomplete"},"stream":"LOAD","seq":0}'
    assert [ended.outcome for ended in mode.answered(INBOX + b".2", b"", refused)] == ["fail"]


@given(
    count=st.integers(1, 50), first=st.integers(0, 2**60), size=st.sampled_from([8, 16, 64]), batch=st.integers(1, 20)
)
def test_a_frame_holds_every_event(count: int, first: int, size: int, batch: int) -> None:
    frames = _published(_mode("frames", batch, size).encode([Run(first, first + count, 9)], 1))
    read = [numbered.read_frame(payload) for _, _, payload in frames]
    assert all(frame is not None and frame[:2] == (3, 9) for frame in read)
    numbers = [number for frame in read if frame for number in frame[2]]
    assert numbers == list(range(first, first + count))
    assert numbered.read_frame(frames[0][2][:-1]) is None


@pytest.mark.parametrize(("name", "batch", "size"), [("atomic", 1001, 32), ("frames", 1, 12), ("singles", 1, 8)])
def test_a_size_that_cannot_be_is_refused(name: ModeName, batch: int, size: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        _mode(name, batch, size)


def test_flights_are_given_up_from_the_oldest() -> None:
    flights = Flights()
    flights.add(1, [Run(0, 3, 10)], 100)
    flights.add(2, [Run(3, 5, 20)], 200)
    assert flights.land_first(1, 2) == [Run(0, 2, 10)]
    assert flights.overdue(200) == [Run(2, 3, 10)]
    assert (flights.count, flights.clear(), flights.count) == (2, [Run(3, 5, 20)], 0)
