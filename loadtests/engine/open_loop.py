"""An open loop of requests: each is sent at the instant at which it is due, whatever the others do.

What the engines that send requests to the API share; each says what its requests are (`Requests.send`). A request is
sent from the pacer's wake-up and ends in a callback. Profiled at 2,000 requests a second, a task for each of them with
its coroutines, three values put into histograms one by one, and a timer specification converted by ctypes at each
wake-up took more than half of a request's CPU; `python -m loadtests.benchmarks.http_client` shows what is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec

from infra.target import Target
from loadtests.arrivals.arrival_process import ArrivalProcess
from loadtests.arrivals.pacer import Pacer
from loadtests.arrivals.schedule import Schedule
from loadtests.clients.sign_in import ApiClient
from loadtests.engine.process import Control, offer
from loadtests.plan import MAX_USERS, Engine, Plan
from loadtests.recording.early import Planned
from loadtests.recording.tally import Tally
from reports.evidence import Outcome, RunFolder
from reports.evidence.expected import failures_path, writes_path
from reports.evidence.folder import write_record


class RequestsSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One of the processes that offer the requests of a load."""

    scenario: str
    folder: str
    target: str
    part: str
    arrival: ArrivalProcess
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


def planned(plan: Plan, user: int, name: str, module: str, *, ledger: bool = False) -> Engine:
    """The engine that makes user `user`'s share of a plan's requests by `module`, from inside its region; `ledger`:
    whether it keeps one of what it writes."""
    spec = RequestsSpec(
        scenario=plan.scenario,
        folder=plan.folder,
        target=plan.target,
        part=plan.part(name),
        arrival=plan.arrival,
        user=user,
        users=plan.users,
        warmup_s=plan.warmup_s,
        seed=plan.seed * MAX_USERS + user,
        regions=plan.share(user),
    )
    return Engine(
        name=name, module=module, spec=spec, region=plan.share(user)[0], part=spec.part,
        offers=plan.arrival.mean_rate * plan.duration_s / plan.users,
        keeps=[failures_path(plan.scenario), *([writes_path(plan.scenario)] if ledger else [])],
    )  # fmt: skip


class Kind:
    """What requests are listed under. One for all of a kind, so that nothing is put together for each request."""

    __slots__ = ("listed", "method", "region")

    def __init__(self, region: str, method: str, name: str) -> None:
        self.region = region
        self.method = method
        self.listed = f"{region} {name}"


OnEnd = Callable[[Kind, Outcome, str], None]
"""Called once when a request has ended: its kind, the outcome, and in words why it was no success."""


class Requests(Protocol):
    def send(self, n: int, deadline: float, on_end: OnEnd) -> None:
        """Make request `n` of the schedule, until `deadline` on the loop's clock. It must not block."""


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
        self._pending = 0
        self._drained = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def release(self, first: int, end: int, now_ns: int) -> None:
        clock_s, send = self._loop.time(), self._requests.send
        self._pending += end - first
        for n in range(first, end):
            intended_ns = self._schedule.intended_ns(n)
            self._tally.ready(intended_ns, now_ns)
            # The timeout counts from the intended instant, too: what was late has less time left.
            deadline = clock_s + self._timeout_s - (now_ns - intended_ns) / 1e9
            send(n, deadline, partial(self._ended, intended_ns))

    def _ended(self, intended_ns: int, kind: Kind, outcome: Outcome, detail: str) -> None:
        self._tally.ended(
            intended_ns, time.monotonic_ns(), outcome, region=kind.region, method=kind.method, name=kind.listed,
            detail=detail,
        )  # fmt: skip
        self._pending -= 1
        if not self._pending:
            self._drained.set()

    async def drain(self) -> None:
        """Wait for what is under way; each request has its own deadline."""
        if self._pending:
            self._drained.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._timeout_s + 1):
                    await self._drained.wait()


async def run_requests(
    spec: RequestsSpec, control: Control, requests: Requests, row: str, settings: Callable[[], dict[str, str]]
) -> None:
    """Offer the requests from the word to begin until the schedule or the control ends, and leave the part. `settings`
    is asked at the end."""
    scheduled = partial(spec.arrival.schedule, warmup_s=spec.warmup_s, user=spec.user, users=spec.users, seed=spec.seed)
    # Regions take turns.
    each = -(-scheduled(begin_ns=0).measured // len(spec.regions))
    begin_ns = await control.begin([Planned(row=row, region=region, operations=each) for region in spec.regions])
    if begin_ns is None:
        return
    schedule = scheduled(begin_ns=begin_ns)
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
