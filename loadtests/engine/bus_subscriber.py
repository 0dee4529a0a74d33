"""A subscriber that reads a whole load while it runs, times each message, and accounts for every number.

It reads through an ordered push consumer (no acknowledgements, in memory, one replica): when a connection, the
consumer, or a message in between is lost, it makes a new consumer behind the last sequence that it has. When
the load is over it reads to the stream's end; what has not come by then is read once more from the stream, so
that a slow subscription is never taken for a loss. Delivery counts from the leader's stored timestamp to the
receipt of the bytes (one host, one clock: the time of day), end to end from the intended send (CLOCK_MONOTONIC).
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from pathlib import Path

import msgspec

from infra import target as targets
from infra.target import Target
from loadtests.engine import load_stream, numbered
from loadtests.engine.arrivals import Arrivals
from loadtests.engine.live import LiveStats
from loadtests.engine.ordered_consumer import OrderedConsumer
from loadtests.engine.process import Control, EngineError, run_engine
from loadtests.engine.ranges import TooManyRanges
from loadtests.engine.tally import Part
from reports.evidence import Hop, Operation, Recorder, RunFolder
from reports.evidence.folder import write_record

DELIVERY_ROW = "bus.delivery_p99"
END_TO_END_ROW = "bus.end_to_end_p99"
_REPORT_INTERVAL_S = 0.25
_POLL_S = 0.02


class BusSubscriberSpec(msgspec.Struct, frozen=True, kw_only=True):
    scenario: str
    folder: str
    target: str
    part: str
    subject: str
    """`load.<run>`: the load's messages are below it."""
    warmup_s: float
    duration_s: float
    catch_up_s: float = 30.0


class Subscriber:
    """Times and counts what the consumer hands it."""

    def __init__(self, spec: BusSubscriberSpec) -> None:
        self._prefix = spec.subject.encode() + b"."
        self._window = (0, 0)
        self.arrivals = Arrivals()
        self.delivery = Recorder()
        self.end_to_end = Recorder()
        self.live = LiveStats()
        self.catching_up = False
        self.problem: str | None = None

    def begin(self, measured_ns: int, end_ns: int) -> None:
        self._window = (measured_ns, end_ns)

    def on_delivery(
        self, subject: bytes, payload: bytes, sequence: int, stored_ns: int, wall_ns: int, mono_ns: int
    ) -> None:
        if self.problem is not None:
            return
        try:
            self._take(subject, payload, sequence, stored_ns, wall_ns, mono_ns)
        except TooManyRanges as error:
            self.problem = f"what arrived is too scattered to account for: {error}"

    def _take(self, subject: bytes, payload: bytes, sequence: int, stored_ns: int, wall_ns: int, mono_ns: int) -> None:
        read = numbered.read(payload) if subject.startswith(self._prefix) else None
        if read is None:
            self.arrivals.add_foreign(sequence)
            return
        publisher, number, intended_ns = read
        if not self.arrivals.add(sequence, publisher, number):
            return
        measured = self._window[0] <= intended_ns < self._window[1]
        if self.catching_up:
            # Found in the stream, but the subscription never brought it.
            self.delivery.failed += measured
            self.end_to_end.failed += measured
            return
        delivery_us = (wall_ns - stored_ns) // 1000
        self.live.add("SUB", "deliver", delivery_us / 1000)
        if measured:
            self.delivery.record_us(delivery_us)
            self.end_to_end.record_us((mono_ns - intended_ns) // 1000)


async def work(spec: BusSubscriberSpec, control: Control) -> None:
    target = targets.read(Path(spec.target))
    first = await load_stream.prepare(target)
    subscriber = Subscriber(spec)
    consumer = OrderedConsumer(
        target, load_stream.NAME, first, subscriber.on_delivery, name=f"load-subscriber-{secrets.token_hex(4)}",
    )  # fmt: skip
    try:
        await consumer.wait_attached()
        begin_ns = await control.begin()
        if begin_ns is not None:
            measured_ns = begin_ns + round(spec.warmup_s * 1e9)
            end_ns = measured_ns + round(spec.duration_s * 1e9)
            subscriber.begin(measured_ns, end_ns)
            await _until_finished(subscriber, control)
            problem = await _catch_up(spec, target, subscriber, consumer, first)
            control.say_all(subscriber.live.take())
            _write(spec, subscriber, consumer, problem, measured_ns, end_ns)
    finally:
        await consumer.close()
        await _clear_away(target)


async def _clear_away(target: Target) -> None:
    try:
        await load_stream.delete(target)
    except EngineError as error:
        # The evidence is whole without it; the next load empties the stream before it begins.
        print(f"the stream stays behind: {error}", file=sys.stderr, flush=True)


async def _until_finished(subscriber: Subscriber, control: Control) -> None:
    stop = asyncio.ensure_future(control.finish.wait())
    while not stop.done():
        await asyncio.wait({stop}, timeout=_REPORT_INTERVAL_S)
        control.say_all(subscriber.live.take())


async def _catch_up(
    spec: BusSubscriberSpec, target: Target, subscriber: Subscriber, consumer: OrderedConsumer, first: int
) -> str | None:
    """Read to the stream's end; None, or why that could not be done."""
    deadline = time.monotonic() + spec.catch_up_s
    try:
        held_first, last = await load_stream.bounds(target)
    except EngineError as error:
        return str(error)
    if held_first > first and held_first <= last:
        consumer.problems.append(f"the stream evicted {held_first - first:,} messages before the load ended")
    sequences = subscriber.arrivals.sequences
    # Live: what is still on its way. Reading again ends all of that, so let it come first.
    while not consumer.reached(last) and time.monotonic() < deadline:
        await asyncio.sleep(_POLL_S)
    missing = next(sequences.missing(max(first, held_first), last), None)
    if missing is not None:
        subscriber.catching_up = True
        consumer.read_from(missing[0])
        deadline = time.monotonic() + spec.catch_up_s
        while not consumer.reached(last) and time.monotonic() < deadline:
            await asyncio.sleep(_POLL_S)
    if subscriber.problem is None and not consumer.reached(last):
        return f"expected to read the stream to sequence {last:,} in time, came to {consumer.last:,}"
    return subscriber.problem


def _write(
    spec: BusSubscriberSpec, subscriber: Subscriber, consumer: OrderedConsumer, problem: str | None,
    measured_ns: int, end_ns: int,
) -> None:  # fmt: skip
    arrivals = subscriber.arrivals
    RunFolder(Path(spec.folder)).write_hop(
        Hop(
            client=spec.scenario, hop="stream", spans=arrivals.spans, doubled_spans=arrivals.doubled_spans,
            problem=problem,
        )
    )  # fmt: skip
    operations = [
        Operation(name=DELIVERY_ROW, latencies=subscriber.delivery.close()),
        Operation(name=END_TO_END_ROW, latencies=subscriber.end_to_end.close()),
    ]
    settings = {
        "subscriber": f"ordered push consumer, attached {consumer.attached} times",
        "reordered": str(arrivals.reordered),
    }
    if arrivals.foreign:
        consumer.problems.append(f"{arrivals.foreign:,} messages in the stream were not of this load")
    part = Part(
        measured_ns=measured_ns, end_ns=end_ns, operations=operations, settings=settings,
        problems=consumer.problems,
    )  # fmt: skip
    write_record(Path(spec.part), part)


if __name__ == "__main__":
    run_engine(BusSubscriberSpec, work)
