"""A subscriber that reads a whole load while it runs, times each message, and accounts for every number; or reads it
when it is over, and accounts for every number.

It reads through an ordered push consumer (no acknowledgements, in memory, one replica): when a connection, the
consumer, or a message in between is lost, it makes a new consumer behind the last sequence that it has. When
the load is over it reads to the stream's end; what has not come by then is read once more from the stream, so
that a slow subscription is never taken for a loss. Delivery counts from the leader's stored timestamp to the
receipt of the bytes (one host, one clock: the time of day), end to end from the intended send (CLOCK_MONOTONIC).
"""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

import msgspec

from infra import target as targets
from infra.machine.spec import EngineError
from infra.machine.waiting import eventually
from infra.target import Target
from ledger.received import Arrivals
from loadtests.clients import payload as numbered
from loadtests.clients.ordered_consumer import Deliveries, OrderedConsumer, Shape
from loadtests.engine import load_stream
from loadtests.engine.process import Control, run_engine
from loadtests.plan import Engine, Plan
from loadtests.recording.latency_counts import LatencyCounts
from loadtests.recording.live import LiveStats, Stat
from loadtests.recording.tally import Part
from reports.evidence import ExpectedHop, Hop, Operation, RunFolder
from reports.evidence.folder import write_record
from reports.evidence.range_set import TooManyRanges

DELIVERY_ROW = "bus.delivery_p99"
END_TO_END_ROW = "bus.end_to_end_p99"
_REPORT_INTERVAL_S = 0.25
_READ_PER_S_MIN = 80_000.0
"""What a subscriber reads at least of a load that is over."""
_CATCH_UP_S, _CATCH_UP_MOST_S = 30.0, 100.0


class BusSubscriberSpec(msgspec.Struct, frozen=True, kw_only=True):
    scenario: str
    folder: str
    target: str
    part: str
    subject: str
    """`load.<run>`: the load's messages are below it."""
    warmup_s: float
    duration_s: float
    payload_bytes: int = 128
    """Of most messages; others cost more to read."""
    catch_up_s: float = 30.0
    """From the end of the load until all is read, at most; as long again for what the subscription did not bring."""
    late: str | None = None
    """Why it reads when the load is over, and times nothing; None: it reads while the load runs."""
    untimed: str | None = None
    """Why its latencies are only shown, and no evidence for a row; None: they are evidence."""


def planned(
    plan: Plan, *, late: str | None = None, untimed: str | None = None, module: str = "loadtests.engine.bus_subscriber"
) -> Engine:
    """The engine that reads all that a plan publishes, and checks every number; `late` says why it reads when the load
    is over, `untimed` why what it times is only shown."""
    total = plan.rate * (plan.warmup_s + plan.duration_s)
    catch_up_s = min(_CATCH_UP_MOST_S, _CATCH_UP_S + total / _READ_PER_S_MIN) if late else _CATCH_UP_S
    spec = BusSubscriberSpec(
        scenario=plan.scenario,
        folder=plan.folder,
        target=plan.target,
        part=plan.part("subscriber"),
        subject=load_stream.subject(plan.run_id),
        warmup_s=plan.warmup_s,
        duration_s=plan.duration_s,
        catch_up_s=catch_up_s,
        late=late,
        untimed=untimed,
    )
    return Engine(
        name="subscriber", module=module, spec=spec, region=plan.regions[0], part=spec.part,
        finds=[ExpectedHop(plan.scenario, "stream")],
    )  # fmt: skip


class Subscriber:
    """Times and counts what the consumer hands it."""

    def __init__(self, spec: BusSubscriberSpec) -> None:
        self._prefix = spec.subject.encode() + b"."
        self._window = (0, 0)
        self.received = Arrivals()
        self.delivery = LatencyCounts()
        self.end_to_end = LatencyCounts()
        self.live = LiveStats()
        self.catching_up = False
        self.problem: str | None = None

    def begin(self, measured_ns: int, end_ns: int) -> None:
        self._window = (measured_ns, end_ns)

    def shape(self, spec: BusSubscriberSpec) -> Shape | None:
        """What most messages look like, for many to be read at once."""
        return Shape(spec.subject.encode(), spec.payload_bytes, numbered.MIN_PAYLOAD_BYTES, self.on_deliveries)

    def operations(self) -> list[Operation]:
        """What was timed, when all has been read."""
        return [
            Operation(name=DELIVERY_ROW, latencies=self.delivery.close()),
            Operation(name=END_TO_END_ROW, latencies=self.end_to_end.close()),
        ]

    def settle(self) -> list[Stat]:
        """Bring the histograms up to date; what Locust is to show."""
        self.delivery.settle(self.live)
        self.end_to_end.settle()
        return self.live.take()

    def on_delivery(
        self, subject: bytes, payload: bytes, sequence: int, stored_ns: int, wall_ns: int, mono_ns: int
    ) -> None:
        """One message of any shape."""
        if self.problem is not None:
            return
        try:
            self._take(subject, payload, sequence, stored_ns, wall_ns, mono_ns)
        except TooManyRanges as error:
            self._give_up(error)

    def on_deliveries(self, batch: Deliveries) -> None:
        """Many messages of the usual shape."""
        if self.problem is not None:
            return
        publishers, numbers, intended = numbered.read_heads(b"".join(batch.heads))
        sequences, count = batch.sequences, len(batch.sequences)
        try:
            first = 0
            for end in _ends(publishers, numbers, sequences, count):
                self._take_run(batch, publishers[first], numbers, intended, first, end)
                first = end
        except TooManyRanges as error:
            self._give_up(error)

    def _take_run(
        self, batch: Deliveries, publisher: int, numbers: list[int], intended: list[int], first: int, end: int
    ) -> None:
        """Messages `first` ... `end` - 1 of a batch, whose numbers and sequences are without a gap."""
        earliest, latest = intended[first], intended[end - 1]
        plain = publisher >= 0 and not self.catching_up and earliest <= latest
        outside = latest < self._window[0] or earliest >= self._window[1]
        inside = self._window[0] <= earliest and latest < self._window[1]
        if not (plain and (inside or outside)) or not self.received.add_run(
            batch.sequences[first], publisher, numbers[first], end - first
        ):
            for at in range(first, end):
                head, sequence, stored_ns = batch.heads[at], batch.sequences[at], batch.stored_ns[at]
                self._take(self._prefix, head, sequence, stored_ns, batch.wall_ns, batch.mono_ns)
        elif inside:
            wall_ns, mono_ns = batch.wall_ns, batch.mono_ns
            self.delivery.add([(wall_ns - stored) // 1000 for stored in batch.stored_ns[first:end]])
            self.end_to_end.add([(mono_ns - each) // 1000 for each in intended[first:end]])

    def _give_up(self, error: TooManyRanges) -> None:
        self.problem = f"what arrived is too scattered to account for: {error}"

    def _take(self, subject: bytes, payload: bytes, sequence: int, stored_ns: int, wall_ns: int, mono_ns: int) -> None:
        known = subject.startswith(self._prefix)
        one = numbered.read(payload) if known else None
        framed = numbered.read_frame(payload) if known and one is None else None
        if one is not None:
            publisher, number, intended_ns = one
            new, count = self.received.add(sequence, publisher, number), 1
        elif framed is not None:
            publisher, intended_ns, numbers = framed
            new, count = self.received.add_frame(sequence, publisher, numbers), len(numbers)
        else:
            self.received.add_foreign(sequence)
            return
        if not new or not self._window[0] <= intended_ns < self._window[1]:
            return
        if self.catching_up:
            # Found in the stream, but the subscription never brought it.
            self.delivery.recorder.failed += count
            self.end_to_end.recorder.failed += count
            return
        self.delivery.add([(wall_ns - stored_ns) // 1000] * count)
        self.end_to_end.add([(mono_ns - intended_ns) // 1000] * count)


def _ends(publishers: list[int], numbers: list[int], sequences: list[int], count: int) -> list[int]:
    """Where runs of one publisher without a gap end."""
    first, sequence = numbers[0], sequences[0]
    if (
        numbers == list(range(first, first + count))
        and sequences == list(range(sequence, sequence + count))
        and publishers.count(publishers[0]) == count
    ):
        return [count]
    return [
        at
        for at in range(1, count)
        if publishers[at] != publishers[at - 1]
        or numbers[at] != numbers[at - 1] + 1
        or sequences[at] != sequences[at - 1] + 1
    ] + [count]


async def work(spec: BusSubscriberSpec, control: Control, kind: type[Subscriber] = Subscriber) -> None:
    target = targets.read(Path(spec.target))
    first = await load_stream.prepare(target)
    subscriber = kind(spec)
    consumer: OrderedConsumer | None = None

    async def attach() -> OrderedConsumer:
        nonlocal consumer
        consumer = OrderedConsumer(
            target, load_stream.NAME, first, subscriber.on_delivery, name=f"load-subscriber-{secrets.token_hex(4)}",
            shape=subscriber.shape(spec),
        )  # fmt: skip
        await consumer.wait_attached()
        return consumer

    try:
        if not spec.late:
            await attach()
        begin_ns = await control.begin()
        if begin_ns is not None:
            measured_ns = begin_ns + round(spec.warmup_s * 1e9)
            end_ns = measured_ns + round(spec.duration_s * 1e9)
            if not spec.late:
                subscriber.begin(measured_ns, end_ns)
            await _until_finished(subscriber, control)
            reader = consumer or await attach()
            problem = await _catch_up(spec, target, subscriber, reader, first)
            control.say_all(subscriber.settle())
            _write(spec, subscriber, reader, problem, measured_ns, end_ns)
    finally:
        if consumer is not None:
            await consumer.close()
        await load_stream.clear_away(target)


async def _until_finished(subscriber: Subscriber, control: Control) -> None:
    stop = asyncio.ensure_future(control.finish.wait())
    while not stop.done():
        await asyncio.wait({stop}, timeout=_REPORT_INTERVAL_S)
        control.say_all(subscriber.settle())


async def _catch_up(
    spec: BusSubscriberSpec, target: Target, subscriber: Subscriber, consumer: OrderedConsumer, first: int
) -> str | None:
    """Read to the stream's end; None, or why that could not be done."""
    try:
        held_first, last = await load_stream.bounds(target)
    except EngineError as error:
        return str(error)
    if held_first > first and held_first <= last:
        consumer.problems.append(f"the stream evicted {held_first - first:,} messages before the load ended")
    sequences = subscriber.received.sequences
    # Live: what is still on its way. Reading again ends all of that, so let it come first.
    await eventually(lambda: consumer.reached(last), spec.catch_up_s)
    missing = next(sequences.missing(max(first, held_first), last), None)
    if missing is not None:
        subscriber.catching_up = True
        consumer.read_from(missing[0])
        await eventually(lambda: consumer.reached(last), spec.catch_up_s)
    if subscriber.problem is None and not consumer.reached(last):
        return f"expected to read the stream to sequence {last:,} in time, came to {consumer.last:,}"
    return subscriber.problem


def _write(
    spec: BusSubscriberSpec, subscriber: Subscriber, consumer: OrderedConsumer, problem: str | None,
    measured_ns: int, end_ns: int,
) -> None:  # fmt: skip
    received = subscriber.received
    RunFolder(Path(spec.folder)).write_hop(
        Hop(
            client=spec.scenario, hop="stream", spans=received.spans, doubled_spans=received.doubled_spans,
            problem=problem,
        )
    )  # fmt: skip
    settings = {
        "subscriber": f"ordered push consumer, attached {consumer.attached} times"
        + (f"; {spec.late}" if spec.late else ""),
        "reordered": str(received.reordered),
    }
    if received.foreign:
        consumer.problems.append(f"{received.foreign:,} messages in the stream were not of this load")
    untimed = spec.late or spec.untimed
    part = Part(
        measured_ns=measured_ns, end_ns=end_ns, operations=[] if spec.late else subscriber.operations(),
        untimed=dict.fromkeys((DELIVERY_ROW, END_TO_END_ROW), untimed) if untimed else {}, settings=settings,
        problems=consumer.problems,
    )  # fmt: skip
    write_record(Path(spec.part), part)


if __name__ == "__main__":
    run_engine(BusSubscriberSpec, work)
