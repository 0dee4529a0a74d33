"""Which events count as stored when only some messages of a batch were acknowledged."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st
from nats.js.api import PubAck

from system.domain.frames import EncodedEvent
from system.events.publish import headers_of, stored_prefix


def frame(partition: int, *positions: int) -> list[EncodedEvent]:
    return [EncodedEvent(f"projects.{partition}", one, f"{partition}-{one}", b"{}") for one in positions]


def answered(kinds: list[tuple[list[EncodedEvent], str]]) -> tuple[dict[str, int], str | None]:
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
    kinds = [(frame(0, 5), "ack"), (frame(1, 2), "ack"), (frame(0, 6, 7, 8), "ack")]
    assert answered(kinds) == ({"projects.0": 8, "projects.1": 2}, None)


def test_after_a_failed_message_nothing_of_its_partition_counts() -> None:
    kinds = [(frame(0, 4, 5), "ack"), (frame(0, 6), "refused"), (frame(0, 7), "ack"), (frame(1, 2), "ack")]
    assert answered(kinds) == ({"projects.0": 5, "projects.1": 2}, "no leader")


def test_a_message_without_an_answer_counts_as_failed() -> None:
    assert answered([(frame(0, 5), "none"), (frame(0, 6), "ack")]) == ({}, None)


@given(st.lists(st.tuples(st.integers(0, 1), st.sampled_from(["ack", "refused", "none"])), max_size=20))
def test_what_counts_is_the_acknowledged_prefix_of_each_partition(kinds: list[tuple[int, str]]) -> None:
    sent: dict[int, list[str]] = {0: [], 1: []}
    batch = []
    for partition, kind in kinds:
        sent[partition].append(kind)
        batch.append((frame(partition, len(sent[partition])), kind))
    stored, _ = answered(batch)
    for partition, of_partition in sent.items():
        bad = [index for index, kind in enumerate(of_partition) if kind != "ack"]
        prefix = bad[0] if bad else len(of_partition)
        assert stored.get(f"projects.{partition}", 0) == prefix


def test_the_headers_identify_the_events_of_a_message() -> None:
    expected = {"Nats-Msg-Id": "projects.0:3-5:0-3", "Covenant-Positions": "3-5"}
    assert headers_of(frame(0, 3, 4, 5)) == expected
