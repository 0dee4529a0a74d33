"""The bare publisher that shows what the bus gives: fast-ingest batches of prepared bytes, as fast as a bounded window
takes them. No schedule, no ledger, no clock a message; it takes a tenth of a core where the servers take two.

It publishes for as long as the noise of the machine needs: slice after slice, until they agree or there are too many.
It fills the same stream as a load, under the same settings, and leaves it as it was: gone.
"""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from pathlib import Path

import msgspec

from infra import target as targets
from infra.machine.waiting import eventually
from infra.target import Target
from loadtests.clients import publish_modes
from loadtests.clients.nats import NatsClient, inbox
from loadtests.clients.nats_wire import subscribe
from loadtests.engine import load_stream
from loadtests.engine.process import Control, Slice, run_engine, sleep_until
from loadtests.recording.flights import Run
from reports.evidence import spread
from reports.evidence.folder import write_record

_SUBJECT = f"{load_stream.SUBJECTS.removesuffix('>')}calibration"
_BATCH = 250
_BATCHES_MIN = 8
"""In flight, so that the bus never waits for the next."""


class CalibratorSpec(msgspec.Struct, frozen=True, kw_only=True):
    target: str
    part: str
    warmup_s: float
    slice_s: float
    slices_max: int
    steady_at: float
    """It ends with the slice after which their spread (`reports.evidence.spread`) is at most this."""
    window: int
    """Unacknowledged messages at most."""
    payload_bytes: int = 128
    drain_s: float = 5.0


class CalibratorPart(msgspec.Struct, frozen=True, kw_only=True):
    """What it measured: messages that were acknowledged between the two instants, and those that never were."""

    begin_ns: int
    end_ns: int
    acked: int
    failed: int
    settings: dict[str, str]
    slices: list[int]
    """What was acknowledged in each slice of that time."""


class Calibrator:
    """Keeps the window full from `start` until `stop`."""

    def __init__(self, spec: CalibratorSpec, target: Target) -> None:
        self.acked = 0
        self.failed = 0
        self._window = spec.window
        self._batch = max(1, min(_BATCH, spec.window // _BATCHES_MIN))
        self._inbox = inbox(target.nats_load)
        self.mode = publish_modes.make(
            "fast", subject=_SUBJECT, inbox=self._inbox, publisher=1, payload_bytes=spec.payload_bytes,
            batch=self._batch,
        )  # fmt: skip
        self._sent = 0
        self._running = False
        self.client = NatsClient(target, self, name="load-calibrator")

    def start(self) -> None:
        self._running = True
        self._pump()

    def stop(self) -> None:
        self._running = False

    def _pump(self) -> None:
        batch, flights = self._batch, self.mode.flights
        while self._running and self.client.connected and flights.count + batch <= self._window:
            self.client.write(self.mode.encode([Run(self._sent, self._sent + batch, 0)], 0))
            self._sent += batch

    def close(self) -> None:
        """What is in flight never comes."""
        self.failed += sum(run.end - run.first for run in self.mode.flights.clear())

    # What the connection tells.

    def on_connected(self) -> None:
        self.client.write(subscribe(self._inbox + b".>", 1))
        self._pump()

    def on_lost(self, reason: str) -> None:
        self.close()

    def on_refused(self, what: str) -> None:
        """Its messages then go unacknowledged, and are counted as such."""

    def on_batch(self) -> None:
        # The acknowledgements in this batch make room; they are parsed before the loop gets to it.
        asyncio.get_running_loop().call_soon(self._pump)

    def on_message(self, subject: bytes, reply: bytes, headers: bytes, payload: bytes) -> None:
        for run, outcome, _ in self.mode.answered(subject, headers, payload):
            if outcome == "ok":
                self.acked += run.end - run.first
            else:
                self.failed += run.end - run.first


async def work(spec: CalibratorSpec, control: Control) -> None:
    target = targets.read(Path(spec.target))
    await load_stream.prepare(target)
    calibrator = Calibrator(spec, target)
    try:
        await calibrator.client.wait_connected()
        begin_ns = await control.begin()
        if begin_ns is not None:
            write_record(Path(spec.part), await _measure(spec, calibrator, begin_ns, control))
    finally:
        await calibrator.client.close()
        await load_stream.clear_away(target)


async def _measure(spec: CalibratorSpec, calibrator: Calibrator, begin_ns: int, control: Control) -> CalibratorPart:
    await sleep_until(begin_ns)
    calibrator.start()
    await sleep_until(begin_ns + round(spec.warmup_s * 1e9))
    first_ns = last_ns = time.monotonic_ns()
    acked = [calibrator.acked]
    control.say(Slice())
    slices: list[int] = []
    while len(slices) < spec.slices_max and spread(slices) > spec.steady_at and not control.finish.is_set():
        await sleep_until(first_ns + round((len(slices) + 1) * spec.slice_s * 1e9))
        last_ns = time.monotonic_ns()
        acked.append(calibrator.acked)
        slices = [after - before for before, after in pairwise(acked)]
        control.say(Slice())
    calibrator.stop()
    await eventually(lambda: not calibrator.mode.flights.count, spec.drain_s)
    calibrator.close()
    settings = {
        "payload_bytes": str(spec.payload_bytes),
        "mode": calibrator.mode.words,
        "window": f"{spec.window:,}",
    }
    return CalibratorPart(
        begin_ns=first_ns, end_ns=last_ns, acked=acked[-1] - acked[0], failed=calibrator.failed, settings=settings,
        slices=slices,
    )  # fmt: skip


if __name__ == "__main__":
    run_engine(CalibratorSpec, work)
