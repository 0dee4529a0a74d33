"""Starts a second process of a region's API in the middle of a load, and tells how long it took to serve.

It runs inside the region beside the visitors. The second process lives as long as the load and no longer.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec

from infra import target as targets
from infra.machine.spec import EngineError
from loadtests.clients.second_api import SecondApi
from loadtests.engine.process import Control, run_engine
from loadtests.recording.tally import Part
from reports.evidence.folder import write_record

_LOOK_S = 0.05
_SERVES_WITHIN_S = 60.0


class ScalerSpec(msgspec.Struct, frozen=True, kw_only=True):
    target: str
    part: str
    region: str
    after_s: float
    """From the beginning, warm-up included, until it is started."""
    warmup_s: float
    duration_s: float


class Served(msgspec.Struct, kw_only=True):
    """Seconds after the start; None while it has not come to that."""

    ready_s: float | None = None
    answered_s: float | None = None
    before: tuple[int, int] = (0, 0)
    """What both had answered when the second one had its first request."""

    @property
    def whole(self) -> bool:
        """Both have come; it may answer what needs little before it is ready for everything."""
        return self.ready_s is not None and self.answered_s is not None


async def work(spec: ScalerSpec, control: Control) -> None:
    command = targets.read(Path(spec.target)).second_api
    if not command:
        raise EngineError("expected a system that can run a second API in a region, found one whose fabric cannot")
    second = await asyncio.to_thread(SecondApi, [*command, spec.region])
    try:
        begin_ns = await control.begin()
        if begin_ns is None:
            return
        if await _finished(control, spec.after_s - (time.monotonic_ns() - begin_ns) / 1e9):
            return
        began = time.monotonic()
        second.start()
        served = Served()
        while not await _finished(control, _LOOK_S):
            await asyncio.to_thread(_look, second, served, began)
            if (why := second.ended()) is not None:
                raise EngineError(f"the second API ended: {why}")
            if served.whole:
                await control.finish.wait()
            elif time.monotonic() - began > _SERVES_WITHIN_S:
                raise EngineError(f"expected the second API to serve within {_SERVES_WITHIN_S:.0f} s: {served}")
        first, other = await asyncio.to_thread(second.answered)
    finally:
        await asyncio.to_thread(second.stop)
    measured_ns = begin_ns + round(spec.warmup_s * 1e9)
    settings = {"second process": words(served, first - served.before[0], other - served.before[1])}
    end_ns = measured_ns + round(spec.duration_s * 1e9)
    write_record(Path(spec.part), Part(measured_ns=measured_ns, end_ns=end_ns, operations=[], settings=settings))


def _look(second: SecondApi, served: Served, began: float) -> None:
    if served.ready_s is None and second.ready():
        served.ready_s = time.monotonic() - began
    counted = second.answered()
    if served.answered_s is None and counted[1]:
        served.answered_s = time.monotonic() - began
        served.before = counted


def words(served: Served, first: int, second: int) -> str:
    """What became of it; `first` and `second` are what each answered from then on."""
    if served.answered_s is None:
        return "it was started, and answered nothing before the load ended"
    ready = "not ready yet" if served.ready_s is None else f"ready {served.ready_s:.1f} s after its start"
    share = second / (first + second) if first + second else 0.0
    return (
        f"{ready}, first answer after {served.answered_s:.1f} s; from then on it answered {share:.0%} of "
        f"{first + second:,} requests"
    )


async def _finished(control: Control, within_s: float) -> bool:
    """Whether the load is over, after waiting for that at most so long."""
    try:
        async with asyncio.timeout(max(0.0, within_s)):
            await control.finish.wait()
    except TimeoutError:
        return False
    return True


if __name__ == "__main__":
    run_engine(ScalerSpec, work)
