"""An open loop of requests: each is a task of its own from the instant at which it is due, whatever the others do.

What the engines that send requests to the API share; each says what its requests are (`Requests.send`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from infra.target import Target
from loadtests.engine import arrival
from loadtests.engine.arrival import Arrival
from loadtests.engine.pacer import Pacer
from loadtests.engine.process import Control, offer
from loadtests.engine.schedule import Schedule
from loadtests.engine.sign_in import ApiClient
from loadtests.engine.tally import Tally
from reports.evidence import Outcome, RunFolder
from reports.evidence.folder import write_record


class RequestsSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One of the processes that offer the requests of a load."""

    scenario: str
    folder: str
    target: str
    part: str
    arrival: Arrival
    user: int = 0
    users: int = 1
    """This process is generator `user`, from 0, of so many that share the arrivals."""
    warmup_s: float
    seed: int = 1
    timeout_s: float = 2.0
    connections: int = 32
    """At most, to each region."""
    regions: list[str]
    """Whose APIs it asks."""


class Ended(msgspec.Struct, frozen=True):
    """How a request ended, and what it is listed under."""

    region: str
    method: str
    name: str
    outcome: Outcome
    detail: str = ""


class Requests(Protocol):
    async def send(self, n: int, deadline: float) -> Ended:
        """Make request `n` of the schedule, until `deadline` on the loop's clock."""


def api_client(target: Target, region: str, who: str, connections: int) -> ApiClient:
    """A client of a region's API, not yet signed in: over TLS where the system has it, as the region's clients are."""
    secured = bool(target.api_tls)
    return ApiClient(
        (target.api_tls if secured else target.api)[region], target.clients[who], connections=connections,
        tls=target.context() if secured else None,
    )  # fmt: skip


class _Loop:
    """Sends what the pacer releases, and tallies how it ends."""

    def __init__(self, spec: RequestsSpec, requests: Requests, schedule: Schedule, tally: Tally) -> None:
        self._requests = requests
        self._timeout_s = spec.timeout_s
        self._schedule = schedule
        self._tally = tally
        self._pending: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    def release(self, first: int, end: int, now_ns: int) -> None:
        for n in range(first, end):
            intended_ns = self._schedule.intended_ns(n)
            self._tally.ready(intended_ns, now_ns)
            task = self._loop.create_task(self._send(n, intended_ns, now_ns))
            self._pending.add(task)
            task.add_done_callback(self._pending.discard)

    async def _send(self, n: int, intended_ns: int, now_ns: int) -> None:
        # The timeout counts from the intended instant, too: what was late has less time left.
        late_s = (now_ns - intended_ns) / 1e9
        ended = await self._requests.send(n, self._loop.time() + self._timeout_s - late_s)
        self._tally.ended(
            intended_ns, time.monotonic_ns(), ended.outcome, region=ended.region, method=ended.method,
            name=f"{ended.region} {ended.name}", detail=ended.detail,
        )  # fmt: skip

    async def drain(self) -> None:
        """Wait for what is under way; each request has its own deadline."""
        if self._pending:
            await asyncio.wait(self._pending, timeout=self._timeout_s + 1)


async def run_requests(
    spec: RequestsSpec, control: Control, requests: Requests, row: str, settings: Callable[[], dict[str, str]]
) -> None:
    """Offer the requests from the word to begin until the schedule or the control ends, and leave the part. `settings`
    is asked at the end."""
    begin_ns = await control.begin()
    if begin_ns is None:
        return
    schedule = arrival.schedule(
        spec.arrival, begin_ns=begin_ns, warmup_s=spec.warmup_s, user=spec.user, users=spec.users, seed=spec.seed
    )
    tally = Tally(schedule, row)
    loop = _Loop(spec, requests, schedule, tally)
    pacer = Pacer(schedule, loop.release)
    with RunFolder(Path(spec.folder)).failures(spec.scenario) as failures:

        def report() -> None:
            failures.add(*tally.take_failures())
            control.say_all(tally.live.take())

        await offer(pacer, control, report)
        await loop.drain()
        report()
    write_record(Path(spec.part), tally.close(pacer.released, settings()))


def settings_of(spec: RequestsSpec, target: Target) -> dict[str, str]:
    """What stands beside every figure of such a load."""
    return {
        "mode": "open loop, keep-alive",
        "connections": f"at most {spec.connections} a region",
        "timeout_s": f"{spec.timeout_s:g}",
        "protocol": "HTTP/1.1, TLS 1.3" if target.api_tls else "HTTP/1.1, no TLS",
    }
