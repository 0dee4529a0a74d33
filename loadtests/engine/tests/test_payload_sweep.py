"""A sweep of sizes: what messages say of themselves, when they are due, and a whole one over a real server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.js.api import StreamConfig

from loadtests import run as runner
from loadtests.engine import bus_limits
from loadtests.engine.bus_subscriber import BusSubscriberSpec
from loadtests.engine.payload_sweep import joined
from loadtests.engine.sized_subscriber import SizedSubscriber
from loadtests.recording import sized
from loadtests.recording.sized import MIB, SIZES, Message
from loadtests.recording.tally import Part, PartSecond
from loadtests.request import Request, check
from loadtests.tests.load_servers import NatsServer
from reports.evidence import Count, Latencies, Recorder, RunFolder

SPEC = BusSubscriberSpec(
    scenario="payload-sweep", folder="", target="", part="", subject="load.r1", warmup_s=0, duration_s=1
)
messages = st.builds(
    Message, st.integers(1, 16), st.integers(0, 10**9), st.integers(0, 2**63), st.integers(1, 8 * MIB)
)  # fmt: skip


@given(messages)
def test_a_subject_tells_what_the_message_is(message: Message) -> None:
    assert sized.read(b"load.r1.", sized.subject("load.r1", message)) == message


@pytest.mark.parametrize("subject", [b"load.r2.1.2.3.4", b"load.r1.1.2.3", b"load.r1.1.2.3.x", b"load.r1.limits"])
def test_other_subjects_are_foreign(subject: bytes) -> None:
    assert sized.read(b"load.r1.", subject) is None


@given(st.integers(2, 100_000), st.data())
def test_a_payload_that_lost_a_byte_is_not_that_of_its_size(size: int, data: st.DataObject) -> None:
    whole, at = sized.payload(size), data.draw(st.integers(0, size - 2))
    assert len(whole) == size
    assert whole[:at] + whole[at + 1 :] != sized.payload(size - 1)


@given(
    st.floats(1, 500), st.floats(1000, 64 * MIB), st.floats(1, 600),
)  # fmt: skip
def test_sizes_follow_one_another_and_number_every_message(rate: float, bytes_per_s: float, seconds: float) -> None:
    found = sized.steps(SIZES, rate=rate, bytes_per_s=bytes_per_s, seconds=seconds)
    assert [step.size for step in found] == list(SIZES)
    assert [step.first for step in found] == [sum(step.messages for step in found[:at]) for at in range(len(found))]
    assert all(step.rate <= rate and step.rate * step.size <= bytes_per_s * 1.000001 for step in found)
    assert found[-1].begin_s + found[-1].seconds == pytest.approx(seconds)


def _latencies(count: int) -> Latencies:
    recorder = Recorder()
    recorder.record_us(1000, count)
    return recorder.close()


def test_parts_of_one_time_after_another_are_one() -> None:
    parts = [
        Part(
            measured_ns=begin * 10**9, end_ns=(begin + 10) * 10**9, offered_per_s=rate, offered=rate * 10,
            sent=rate * 10, ok=rate * 10, schedule_lag=_latencies(rate * 10), operations=[],
            seconds=[PartSecond(index=0, latencies=_latencies(rate))],
        )
        for begin, rate in ((100, 200), (110, 2))
    ]  # fmt: skip
    whole = joined(parts, {}, ["a problem"])
    assert (whole.measured_ns, whole.end_ns) == (100 * 10**9, 120 * 10**9)
    assert (whole.offered, whole.sent, whole.ok, whole.offered_per_s) == (2020, 2020, 2020, 101.0)
    assert [second.index for second in whole.seconds] == [0, 10]
    assert whole.schedule_lag is not None
    assert whole.schedule_lag.samples == 2020


def test_a_damaged_payload_is_no_arrival() -> None:
    subscriber = SizedSubscriber(SPEC)
    subscriber.begin(0, 2**62)
    for number, payload in enumerate((sized.payload(16), sized.payload(16)[:-1] + b"!", sized.payload(17))):
        subject = sized.subject("load.r1", Message(1, number, 5, 16))
        subscriber.on_delivery(subject, payload, number + 1, 0, 10**6, 10**6)
    assert subscriber.received.spans == [(1, 0, 0)]
    assert subscriber.received.foreign == 2
    assert {operation.name for operation in subscriber.operations()} == {"delivery of 16 B", "end to end of 16 B"}


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({}, []),
        ({"max_msgs": 999_999}, ["COVENANT_PROJECTS keeps 1,000,000 messages"]),
        ({"max_age": 0}, ["COVENANT_PROJECTS keeps 2,592,000 seconds"]),
        ({"num_replicas": 1}, ["COVENANT_PROJECTS keeps 3 replicas"]),
        ({"max_msg_size": 4096}, ["COVENANT_PROJECTS takes messages of 8,388,608 bytes"]),
    ],
)
def test_a_stream_that_is_not_as_it_is_said_to_be_shows(changes: dict[str, int], wrong: list[str]) -> None:
    right = {"max_msgs": 1_000_000, "max_age": 30 * 86_400, "num_replicas": 3, "max_msg_size": -1}
    config = StreamConfig(name="COVENANT_PROJECTS", **{**right, **changes})  # type: ignore[arg-type]
    found = list(bus_limits.of_stream("COVENANT_PROJECTS", config, 3))
    assert [count.how for count in found if not count.ok] == wrong


def test_every_size_is_acknowledged_read_and_accounted_for(
    nats_server: NatsServer, make_target: Callable[..., Path], tmp_path: Path
) -> None:
    """The server takes 1 MiB, so that what is larger is refused: an outcome that is not ok, and a row that says so."""
    folder = RunFolder.create(tmp_path / "run")
    asked = check(Request(scenario="payload-sweep", rate=40, duration_s=4.5, warmup_s=0.5))
    target = make_target(nats=nats_server.url)
    runner.run(asked, folder=folder, target_path=target)
    (load,), (hop,) = folder.loads(), folder.hops()
    small = {f"publish of {sized.words(size)}" for size in SIZES if size <= MIB}
    answered = {op.name: op.latencies for op in load.operations if op.name.startswith("publish of ")}
    assert all(answered[name].samples and not answered[name].unknown for name in small)
    assert answered["publish of 8 MiB"].samples == 0
    assert answered["publish of 8 MiB"].unknown + answered["publish of 8 MiB"].failed > 0
    spans = folder.span_history("payload-sweep")
    told = {n for span in spans if span.outcome == "ok" for n in range(span.first, span.last + 1)}
    there = {n for _, first, last in hop.spans for n in range(first, last + 1)}
    assert told
    assert told <= there
    assert load.offered == load.sent == load.ok + load.failed + load.unknown
    assert "1 B: median" in load.settings["by size"]
    assert "in the subject" in load.settings["numbers"]
    wrong = {count.how for count in folder.counts() if not count.ok}
    assert "8,388,608 bytes are acknowledged" in wrong
    assert "8,388,609 bytes are refused with Maximum Payload Violation" not in wrong


def test_limits_are_judged_as_cells() -> None:
    right = bus_limits.accepted(20, 20)
    assert right.ok
    assert not bus_limits.accepted(19, 20).ok
    assert not bus_limits.accepted(0, 0).ok
    assert isinstance(right, Count)
