"""Publishes messages of one size after another, each acknowledged by itself, timed by its size, and accounted for.

Sizes do not mix: a small message behind a large one would be timed as the large one. Each size has a schedule of its
own, one after another; all of them together are one load, whose ledger numbers every message.
"""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import NamedTuple

import msgspec

from infra import target as targets
from infra.target import Target
from loadtests.arrivals.pacer import Pacer
from loadtests.arrivals.schedule import Schedule
from loadtests.clients.acked_publisher import AckedPublisher
from loadtests.clients.jetstream import ack_outcome
from loadtests.clients.nats import inbox
from loadtests.engine import bus_limits
from loadtests.engine.process import Control, drain, offer, run_engine
from loadtests.recording import sized
from loadtests.recording.flights import Flights, Run
from loadtests.recording.sized import Message, Step
from loadtests.recording.tally import Part, PartSecond, Tally
from reports.evidence import Outcome, RunFolder, Span, merge
from reports.evidence.folder import Appender, write_record

_NS = 1_000_000_000
_IN_FLIGHT_BYTES_MAX = 48 * 1024 * 1024
_IN_FLIGHT_MAX = 1024
_ACK_TIMEOUT_S = 10.0
_DRAIN_S = 15.0
_WARMUP_BYTES = 128
NAME = "publish of "
"""What an operation is called, followed by its size: it is no evidence for the row of publishes, whose messages are
small."""


class PayloadSweepSpec(msgspec.Struct, frozen=True, kw_only=True):
    scenario: str
    folder: str
    target: str
    part: str
    subject: str
    """`load.<run>`; messages go below it."""
    publisher: int
    sizes: list[int]
    """Bytes of each payload, in the order in which they are sent."""
    rate: float
    """Messages a second of the small sizes."""
    bytes_per_s: float
    """What the large ones come to."""
    limits: bool
    """Whether to look at the limits of the bus afterwards; the last size is the largest that it takes."""
    warmup_s: float
    duration_s: float


class _Begun(NamedTuple):
    """A step that was begun."""

    step: Step
    tally: Tally
    pacer: Pacer

    def part(self) -> Part:
        return self.tally.close(self.pacer.released, {})


class Sweep(AckedPublisher):
    """Sends what its pacers release as soon as there is room, and keeps the ledger."""

    def __init__(self, spec: PayloadSweepSpec, ledger: Appender[Span], target: Target) -> None:
        super().__init__(
            target, ledger, Flights(), publisher=spec.publisher, inbox=inbox(target.nats_load),
            name=f"load-sweep-{spec.publisher}", ack_timeout_s=_ACK_TIMEOUT_S,
        )  # fmt: skip
        self._spec = spec
        self._sizes: dict[int, int] = {}
        """Number -> bytes, of what is in flight."""
        self._in_flight_bytes = 0
        self._waiting: deque[Message] = deque()
        self.begun: list[_Begun] = []

    @property
    def idle(self) -> bool:
        return not self._waiting and not self._flights.count

    def begin(self, step: Step, begin_ns: int) -> Pacer:
        """Release a step's messages, from `begin_ns` on."""
        schedule = Schedule(begin_ns, step.rate, 0, step.seconds)
        tally = Tally(schedule, NAME + sized.words(step.size))

        def release(first: int, end: int, now_ns: int) -> None:
            for n in range(first, end):
                intended_ns = schedule.intended_ns(n)
                tally.ready(intended_ns, now_ns)
                self._waiting.append(Message(self._spec.publisher, step.first + n, intended_ns, step.size))
            self._add_span(step.first + first, step.first + end - 1, None)
            self._pump()

        pacer = Pacer(schedule, release)
        self.begun.append(_Begun(step, tally, pacer))
        return pacer

    def _pump(self) -> None:
        """Send what there is room for; one message always has."""
        while self._waiting and self.client.connected and self._flights.count < _IN_FLIGHT_MAX:
            message = self._waiting[0]
            if self._in_flight_bytes and self._in_flight_bytes + message.size > _IN_FLIGHT_BYTES_MAX:
                return
            self._waiting.popleft()
            run = Run(message.number, message.number + 1, message.intended_ns)
            self._flights.add(message.number, [run], time.monotonic_ns())
            self._sizes[message.number] = message.size
            self._in_flight_bytes += message.size
            subject = sized.subject(self._spec.subject, message)
            head = b"PUB %b %b.%d %d\r\n" % (subject, self._inbox, message.number, message.size)
            self.client.write(b"".join((head, sized.payload(message.size), b"\r\n")))

    def _end(self, run: Run, now_ns: int, outcome: Outcome, detail: str) -> None:
        size = self._sizes.pop(run.first, 0)
        self._in_flight_bytes -= size
        self._count(run.first, run.intended_ns, size, now_ns, outcome, detail)

    def _count(self, number: int, intended_ns: int, size: int, now_ns: int, outcome: Outcome, detail: str) -> None:
        self._add_span(number, number, outcome)
        tally = next(each.tally for each in reversed(self.begun) if each.step.first <= number)
        tally.ended(intended_ns, now_ns, outcome, method="PUB", name=sized.words(size), detail=detail)

    def sweep(self, now_ns: int) -> None:
        """Give up what was not acknowledged in time."""
        self._give_up_overdue(now_ns)
        self._pump()

    def close(self, now_ns: int) -> None:
        """End what is left: in flight is unknown, never sent is fail."""
        self._give_up_all(now_ns, "no PubAck before the load ended")
        while self._waiting:
            left = self._waiting.popleft()
            self._count(left.number, left.intended_ns, left.size, now_ns, "fail", "never sent: the bus took no more")

    def on_message(self, subject: bytes, reply: bytes, headers: bytes, payload: bytes) -> None:
        outcome, detail = ack_outcome(headers, payload)
        for run in self._flights.land(int(subject.rpartition(b".")[2])):
            self._end(run, self._now_ns, outcome, detail)
        self._pump()


async def work(spec: PayloadSweepSpec, control: Control) -> None:
    target = targets.read(Path(spec.target))
    folder = RunFolder(Path(spec.folder))
    with folder.spans(spec.scenario) as ledger, folder.failures(spec.scenario) as failures:
        sweep = Sweep(spec, ledger, target)
        await sweep.client.wait_connected()
        begin_ns = await control.begin()
        if begin_ns is None:
            return

        def report() -> None:
            sweep.sweep(time.monotonic_ns())
            for each in sweep.begun:
                failures.add(*each.tally.take_failures())
                control.say_all(each.tally.live.take())

        for step, offset_s in _all_steps(spec):
            if not control.finish.is_set():
                await offer(sweep.begin(step, begin_ns + round(offset_s * 1e9)), control, report)
        await drain(lambda: sweep.idle, _DRAIN_S, report)
        sweep.close(time.monotonic_ns())
        report()
        await sweep.client.close()
        measured = [(each.step.size, each.part()) for each in sweep.begun[bool(spec.warmup_s) :]]
    if measured:
        _write(spec, measured, sweep.problems)
    if spec.limits and measured and not control.finish.is_set():
        largest = bus_limits.accepted(measured[-1][1].ok, measured[-1][1].sent)
        await bus_limits.record(target, folder, f"{spec.subject}.limits", largest)


def _write(spec: PayloadSweepSpec, measured: list[tuple[int, Part]], problems: list[str]) -> None:
    by_size = [sized.summary(size, part.operations[0].latencies) for size, part in measured if part.operations]
    settings = {**_SETTINGS, "by size": "; ".join(by_size)}
    write_record(Path(spec.part), joined([part for _, part in measured], settings, problems))


_SETTINGS = {
    "mode": "singles, a PubAck each, one size after another",
    "numbers": "in the subject, which leaves the payload free from 1 byte on",
    "window": f"{_IN_FLIGHT_BYTES_MAX // 2**20} MiB and {_IN_FLIGHT_MAX:,} messages",
    "connections": "1 a publisher",
}


def _all_steps(spec: PayloadSweepSpec) -> list[tuple[Step, float]]:
    """The warm-up and the sizes, each with when it begins: numbers run through all of them."""
    found: list[tuple[Step, float]] = []
    first = 0
    if spec.warmup_s:
        (warmup,) = sized.steps([_WARMUP_BYTES], rate=spec.rate, bytes_per_s=spec.bytes_per_s, seconds=spec.warmup_s)
        found.append((warmup, 0.0))
        first = warmup.messages
    sweep = sized.steps(spec.sizes, rate=spec.rate, bytes_per_s=spec.bytes_per_s, seconds=spec.duration_s)
    return found + [(step._replace(first=step.first + first), spec.warmup_s + step.begin_s) for step in sweep]


def joined(parts: list[Part], settings: dict[str, str], problems: list[str]) -> Part:
    """Parts that were measured one after another, as one."""
    begin_ns, end_ns = parts[0].measured_ns, parts[-1].end_ns
    offered = sum(part.offered for part in parts)
    seconds = [
        PartSecond(index=(part.measured_ns - begin_ns) // _NS + second.index, latencies=second.latencies)
        for part in parts
        for second in part.seconds
    ]
    return Part(
        measured_ns=begin_ns,
        end_ns=end_ns,
        offered_per_s=offered * _NS / max(1, end_ns - begin_ns),
        offered=offered,
        sent=sum(part.sent for part in parts),
        ok=sum(part.ok for part in parts),
        failed=sum(part.failed for part in parts),
        unknown=sum(part.unknown for part in parts),
        schedule_lag=merge(part.schedule_lag for part in parts if part.schedule_lag is not None),
        operations=[operation for part in parts for operation in part.operations],
        seconds=seconds,
        settings=settings,
        problems=problems,
    )


if __name__ == "__main__":
    run_engine(PayloadSweepSpec, work)
