"""What counts as stored when some of a batch was acknowledged and some was not."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st
from nats.js.api import PubAck

from system.events.publish import headers_of, stored_prefix
from system.wire import EVENT_ID_HEADER, Event


def event(partition: int, position: int) -> Event:
    return Event(
        id=f"{partition}-{position}", type="updated", aggregate="projects", aggregate_id="p",
        partition=f"projects.{partition}", position=position, region="ams", occurred_at="2026-01-01T00:00:00Z",
    )  # fmt: skip


def answered(kinds: list[tuple[Event, str]]) -> tuple[dict[str, int], str | None]:
    async def run() -> tuple[dict[str, int], str | None]:
        answers = []
        for one, kind in kinds:
            future: asyncio.Future[PubAck] = asyncio.get_running_loop().create_future()
            if kind == "ack":
                future.set_result(PubAck(stream="S", seq=1))
            elif kind == "refused":
                future.set_exception(RuntimeError("no leader"))
            else:
                future.cancel()
            answers.append((one, future))
        return stored_prefix(answers)

    return asyncio.run(run())


def test_all_acknowledged_is_stored_up_to_the_last_of_each_partition() -> None:
    kinds = [(event(0, 5), "ack"), (event(1, 2), "ack"), (event(0, 6), "ack")]
    assert answered(kinds) == ({"projects.0": 6, "projects.1": 2}, None)


def test_after_a_hole_nothing_of_that_partition_counts() -> None:
    kinds = [(event(0, 5), "ack"), (event(0, 6), "refused"), (event(0, 7), "ack"), (event(1, 2), "ack")]
    assert answered(kinds) == ({"projects.0": 5, "projects.1": 2}, "no leader")


def test_no_answer_is_a_hole_too() -> None:
    assert answered([(event(0, 5), "none"), (event(0, 6), "ack")]) == ({}, None)


@given(st.lists(st.tuples(st.integers(0, 1), st.sampled_from(["ack", "refused", "none"])), max_size=20))
def test_what_counts_is_the_acknowledged_prefix_of_each_partition(kinds: list[tuple[int, str]]) -> None:
    sent: dict[int, list[str]] = {0: [], 1: []}
    batch = []
    for partition, kind in kinds:
        sent[partition].append(kind)
        batch.append((event(partition, len(sent[partition])), kind))
    stored, _ = answered(batch)
    for partition, of_partition in sent.items():
        bad = [index for index, kind in enumerate(of_partition) if kind != "ack"]
        prefix = bad[0] if bad else len(of_partition)
        assert stored.get(f"projects.{partition}", 0) == prefix


def test_the_message_id_is_the_events_own() -> None:
    assert headers_of(event(0, 1)) == {EVENT_ID_HEADER: "0-1"}
