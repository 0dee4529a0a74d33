"""Frames: events of one partition in one message, and what a damaged message still says."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from system.domain import frames
from system.domain.frames import EncodedEvent, Opener, cut, payload, span
from system.wire import EVENTS_A_MESSAGE_MAX, MESSAGE_BYTES_MAX, ProjectEvent, event_subject

SUBJECT = event_subject("projects.0")
OPENER = Opener("projects")


def event(position: int, partition: str = "projects.0") -> ProjectEvent:
    return ProjectEvent(
        id=f"e{position}", type="updated", aggregate="projects", aggregate_id="p", partition=partition,
        position=position, region="ams", occurred_at="2026-01-01T00:00:00Z", before=None, after=None,
    )  # fmt: skip


def encoded(*positions: int) -> list[EncodedEvent]:
    return [EncodedEvent("projects.0", one, f"e{one}", msgspec.json.encode(event(one))) for one in positions]


steps = st.tuples(st.sampled_from(["projects.0", "projects.1"]), st.sampled_from([1, 1, 1, 2]), st.integers(1, 400))


@given(st.lists(steps, max_size=60), st.integers(1, 7), st.integers(200, 1_000))
def test_frames_hold_all_events_in_order_within_the_limits(
    made: list[tuple[str, int, int]], events_max: int, bytes_max: int
) -> None:
    position = {"projects.0": 0, "projects.1": 0}
    events = []
    for partition, step, size in made:
        position[partition] += step
        events.append(EncodedEvent(partition, position[partition], "e", b"1" * size))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames, "EVENTS_A_MESSAGE_MAX", events_max)
        patch.setattr(frames, "MESSAGE_BYTES_MAX", bytes_max)
        cut_up = cut(events)
    for partition in position:
        of_partition = [one for frame in cut_up for one in frame if one.partition == partition]
        assert of_partition == [one for one in events if one.partition == partition]
    assert sum(map(len, cut_up)) == len(events)
    for frame in cut_up:
        assert len({one.partition for one in frame}) == 1
        assert all(one.position + 1 == next_.position for one, next_ in itertools.pairwise(frame))
        assert len(frame) <= events_max
        assert len(frame) == 1 or len(payload(frame)) <= bytes_max


def test_events_that_follow_on_share_a_message() -> None:
    count = EVENTS_A_MESSAGE_MAX + 1
    assert [len(frame) for frame in cut(encoded(*range(1, count + 1)))] == [EVENTS_A_MESSAGE_MAX, 1]
    half = EncodedEvent("projects.0", 1, "e", b"1" * (MESSAGE_BYTES_MAX // 2))
    assert [len(frame) for frame in cut([half, half._replace(position=2)])] == [1, 1]


def test_a_frame_does_not_hold_events_of_two_batches() -> None:
    events = [one._replace(batch=batch) for one, batch in zip(encoded(1, 2, 3, 4), "aabb", strict=True)]
    assert [[one.position for one in frame] for frame in cut(events)] == [[1, 2], [3, 4]]


def test_a_message_is_read_as_it_was_written() -> None:
    frame = encoded(3, 4, 5)
    for stated in ("3-5", None):
        opened = OPENER.open(SUBJECT, stated, payload(frame))
        assert opened == ([event(3), event(4), event(5)], [])
    assert frames.part_of(payload(frame), 3, 4) == frame[1].data


@pytest.mark.parametrize(
    ("text", "expected"),
    [("3-17", (3, 17)), ("4-4", (4, 4)), *((bad, None) for bad in (None, "", "3", "5-4", "0-1", "a-b", "-1-2"))],
)
def test_the_header_holds_the_positions(text: str | None, expected: tuple[int, int] | None) -> None:
    assert span(text) == expected


def test_one_bad_event_leaves_the_others_readable() -> None:
    good, bad, last = encoded(3, 4, 5)
    broken = bad._replace(data=b'{"id": 1}')
    events, [fault] = OPENER.open(SUBJECT, "3-5", payload([good, broken, last]))
    assert events == [event(3), event(5)]
    assert (fault.partition, fault.first, fault.last, fault.payload) == ("projects.0", 4, 4, broken.data)
    assert "id" in fault.reason


@pytest.mark.parametrize("data", [b"", b"nonsense", b"[1, 2", b"[]", b"{}", payload(encoded(3, 4))])
def test_a_message_that_cannot_be_decoded_still_has_its_positions(data: bytes) -> None:
    events, [fault] = OPENER.open(SUBJECT, "3-5", data)
    assert events == []
    assert (fault.partition, fault.first, fault.last, fault.payload) == ("projects.0", 3, 5, data)


@pytest.mark.parametrize(
    ("subject", "stated", "data"),
    [
        (SUBJECT, None, b"nonsense"),
        (SUBJECT, "x", b"[]"),
        ("covenant.projects.events.9", "1-1", payload(encoded(1))),
        ("covenant.projects.events.9", None, b"{}"),
    ],
)
def test_a_message_without_positions_is_not_the_relays(subject: str, stated: str | None, data: bytes) -> None:
    events, [fault] = OPENER.open(subject, stated, data)
    assert events == []
    assert (fault.partition, fault.first, fault.last) == ("", None, None)


def test_an_event_that_contradicts_its_message_is_a_fault() -> None:
    elsewhere = msgspec.json.encode([event(3, "projects.1")])
    assert [one.first for one in OPENER.open(SUBJECT, "3-3", elsewhere).faults] == [3]
    assert [one.first for one in OPENER.open(SUBJECT, "4-4", payload(encoded(3))).faults] == [4]
    events, [fault] = OPENER.open(SUBJECT, "3-5", payload(encoded(3, 4, 6)))
    assert ([one.position for one in events], fault.first) == ([3, 4], 5)


@given(st.binary(max_size=60), st.sampled_from(["1-2", None]))
def test_any_bytes_are_events_or_faults(data: bytes, stated: str | None) -> None:
    opened = OPENER.open(SUBJECT, stated, data)
    assert opened.events or opened.faults
