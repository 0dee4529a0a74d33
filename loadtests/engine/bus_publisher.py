"""A bulk publisher to JetStream: an open-loop schedule of numbered messages, acknowledged as its mode says
(`publish_modes`), and accounted for one by one.

What has been released and not yet acknowledged is bounded by a window; a message that waits for room in it is
late by the bus's fault, so the wait is latency and not schedule lag. A connection that is lost makes what was
in flight unknown, and the load goes on over the next server. The ledger has each number before it is sent.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec

from infra import target as targets
from infra.target import Target
from loadtests.arrivals.arrival_process import ArrivalProcess
from loadtests.arrivals.pacer import Pacer
from loadtests.arrivals.schedule import Schedule
from loadtests.clients import publish_modes
from loadtests.clients.acked_publisher import AckedPublisher
from loadtests.clients.nats import inbox
from loadtests.clients.publish_modes import ModeName
from loadtests.engine import load_stream
from loadtests.engine.process import Control, drain, offer, run_engine
from loadtests.plan import MAX_USERS, Engine, Plan
from loadtests.recording.early import Planned
from loadtests.recording.flights import Run
from loadtests.recording.tally import Tally
from reports.evidence import Outcome, RunFolder, Span
from reports.evidence.expected import failures_path, spans_path
from reports.evidence.folder import Appender, write_record
from reports.evidence.range_set import RangeSet

ROW = "bus.publish_p99"
RATE_ROW = "bus.throughput"
"""Of messages: events in frames are no messages."""
_RESERVE_S = 0.1
"""How much of the schedule one `about to be sent` record covers."""
_IN_FLIGHT_BYTES_MAX = 64 * 1024 * 1024


class BusPublisherSpec(msgspec.Struct, frozen=True, kw_only=True):
    """`arrival` is what all `users` publishers together offer, in messages; this one is `publisher` of them, from 1."""

    scenario: str
    folder: str
    target: str
    part: str
    subject: str
    """`load.<run>`; messages go to `<subject>.<0 to 299>`."""
    publisher: int
    users: int = 1
    arrival: ArrivalProcess
    warmup_s: float
    seed: int = 1
    offset_s: float = 0.0
    burst: int = 1
    """Messages that are flushed together, when the last of them is due."""
    mode: ModeName = "singles"
    batch: int = 500
    """Messages of a batch, or events of a frame, at most."""
    payload_bytes: int = 128
    """Of a message; in frames, of an event."""
    window: int = 4096
    """Unacknowledged messages (in frames, events) at most; fewer if they would be more than 64 MiB."""
    ack_timeout_s: float = 5.0
    drain_s: float = 15.0
    untimed: str | None = None
    """Why its latencies are only shown, and no evidence for a row; None: they are evidence."""


def planned(
    plan: Plan, user: int, *, burst_s: float, mode: ModeName, window: int, batch: int = 500, payload_bytes: int = 128
) -> Engine:
    """The engine that publishes user `user`'s share of a plan's messages, in bursts of what comes due in `burst_s`;
    the others are as in `BusPublisherSpec`."""
    name = f"publisher-{user + 1}"
    spec = BusPublisherSpec(
        scenario=plan.scenario,
        folder=plan.folder,
        target=plan.target,
        part=plan.part(name),
        subject=load_stream.subject(plan.run_id),
        publisher=user + 1,
        users=plan.users,
        arrival=plan.arrival,
        warmup_s=plan.warmup_s,
        seed=plan.seed * MAX_USERS + user,
        offset_s=user * burst_s / plan.users,
        burst=max(1, round(plan.rate / plan.users * burst_s)),
        mode=mode,
        batch=batch,
        payload_bytes=payload_bytes,
        window=window,
    )
    return Engine(
        name=name, module="loadtests.engine.bus_publisher", spec=spec, region=plan.regions[0], part=spec.part,
        offers=plan.arrival.mean_rate * plan.duration_s / plan.users,
        keeps=[failures_path(plan.scenario), spans_path(plan.scenario)],
    )  # fmt: skip


class Publisher(AckedPublisher):
    """Sends what the pacer releases as soon as the window has room, and keeps the ledger."""

    def __init__(self, spec: BusPublisherSpec, ledger: Appender[Span], target: Target) -> None:
        answers = inbox(target.nats_load)
        self._spec = spec
        self._mode = publish_modes.make(
            spec.mode, subject=spec.subject, inbox=answers, publisher=spec.publisher,
            payload_bytes=spec.payload_bytes, batch=spec.batch,
        )  # fmt: skip
        super().__init__(
            target, ledger, self._mode.flights, publisher=spec.publisher, inbox=answers,
            name=f"load-publisher-{spec.publisher}", ack_timeout_s=spec.ack_timeout_s,
        )  # fmt: skip
        self._window = max(1, min(spec.window, _IN_FLIGHT_BYTES_MAX // spec.payload_bytes))
        self._released = 0
        self._next = 0
        self._reserved = 0
        self._ended: dict[Outcome, RangeSet] = {"ok": RangeSet(), "fail": RangeSet(), "unknown": RangeSet()}

    def begin(self, schedule: Schedule, tally: Tally) -> None:
        """To be called before anything is released."""
        self._schedule = schedule
        self._tally = tally
        self._block = max(1, round(schedule.rate * _RESERVE_S))

    @property
    def idle(self) -> bool:
        """Nothing waits to be sent or acknowledged."""
        return self._next == self._released and not self._flights.count

    @property
    def backlog(self) -> int:
        """Released messages that wait for room in the window."""
        return self._released - self._next

    def release(self, first: int, end: int, now_ns: int) -> None:
        for run in self._runs(first, end):
            due_ns = self._schedule.released_ns(run.first)
            self._tally.ready(run.intended_ns, now_ns, run.end - run.first, due_ns=due_ns)
        self._released = end
        self._pump()

    def _runs(self, first: int, end: int) -> Iterator[Run]:
        """Numbers `first` ... `end` - 1 by the instants at which they are intended."""
        return itertools.starmap(Run, self._schedule.runs(first, end))

    def _pump(self) -> None:
        """Send as much of what was released as the window has room for."""
        first = self._next
        end = min(self._released, first + self._window - self._flights.count)
        if end <= first or not self.client.connected:
            return
        self._reserve(end)
        self._next = end
        self.client.write(self._mode.encode(list(self._runs(first, end)), time.monotonic_ns()))

    def _reserve(self, end: int) -> None:
        """Have every number below `end` in the ledger before it can be sent."""
        if end > self._reserved:
            first = self._reserved
            self._reserved = min(max(end, first + self._block), self._schedule.total)
            self._add_span(first, self._reserved - 1, None)

    def _end(self, run: Run, now_ns: int, outcome: Outcome, detail: str) -> None:
        first, end, intended_ns = run
        self._ended[outcome].add_range(first, end - 1)
        self._tally.ended(
            intended_ns, now_ns, outcome, region=None, method="PUB", name="publish", detail=detail, count=end - first
        )

    def sweep(self, now_ns: int) -> None:
        """Give up what was not acknowledged in time, and bring the ledger up to date."""
        self._give_up_overdue(now_ns)
        for outcome, numbers in self._ended.items():
            for first, last in numbers.take():
                self._add_span(first, last, outcome)
        self._pump()

    def close(self, now_ns: int) -> None:
        """End what is left: in flight is unknown, never sent is fail."""
        self._give_up_all(now_ns, "no PubAck before the load ended")
        for run in self._runs(self._next, self._released):
            self._end(run, now_ns, "fail", "never sent: the bus took no more")
        if self._reserved > self._released:
            self._add_span(self._released, self._reserved - 1, "fail")
        self._released = self._next = self._reserved
        self.sweep(now_ns)

    # What the connection tells.

    def on_batch(self) -> None:
        super().on_batch()
        if self._next < self._released:
            # The acknowledgements in this batch make room; they are parsed before the loop gets to it.
            asyncio.get_running_loop().call_soon(self._pump)

    def on_message(self, subject: bytes, reply: bytes, headers: bytes, payload: bytes) -> None:
        for run, outcome, detail in self._mode.answered(subject, headers, payload):
            self._end(run, self._now_ns, outcome, detail)

    @property
    def _arrivals(self) -> str:
        burst, rate = self._spec.burst, self._schedule.rate
        if burst == 1:
            return "each message is sent at its own instant"
        return (
            f"bursts of {burst}, {rate / burst:,.0f} a second and publisher, each flushed when its last message is "
            "due; a message's latency counts from its own instant"
        )

    @property
    def settings(self) -> dict[str, str]:
        """Beside every figure."""
        spec = self._spec
        return {
            "payload_bytes": str(spec.payload_bytes),
            "mode": self._mode.words,
            "arrivals": self._arrivals,
            "window": f"{self._window:,} a publisher",
            "connections": "1 a publisher",
        }


async def work(spec: BusPublisherSpec, control: Control) -> None:
    target = targets.read(Path(spec.target))
    folder = RunFolder(Path(spec.folder))
    with folder.spans(spec.scenario) as ledger, folder.failures(spec.scenario) as failures:
        publisher = Publisher(spec, ledger, target)
        await publisher.client.wait_connected()
        scheduled = partial(
            spec.arrival.schedule, warmup_s=spec.warmup_s, user=spec.publisher - 1, users=spec.users, seed=spec.seed,
            burst=spec.burst,
        )  # fmt: skip
        planned = Planned(row=ROW, region=None, operations=scheduled(begin_ns=0).measured)
        begin_ns = await control.begin([planned])
        if begin_ns is None:
            return
        schedule = scheduled(begin_ns=begin_ns + round(spec.offset_s * 1e9))
        tally = Tally(schedule, ROW)
        publisher.begin(schedule, tally)

        def report() -> None:
            publisher.sweep(time.monotonic_ns())
            failures.add(*tally.take_failures())
            control.say_all(tally.live.take())

        pacer = Pacer(schedule, publisher.release)
        await offer(pacer, control, report)
        await drain(lambda: publisher.idle, spec.drain_s, report)
        publisher.close(time.monotonic_ns())
        report()
        rate = None if spec.mode == "frames" else RATE_ROW
        part = tally.close(pacer.released, publisher.settings, publisher.problems, rate=rate)
        if spec.untimed is not None:
            part = msgspec.structs.replace(part, untimed={ROW: spec.untimed})
        write_record(Path(spec.part), part)
        await publisher.client.close()


if __name__ == "__main__":
    run_engine(BusPublisherSpec, work)
