"""Open-loop reads of the API: each region gets its share of a fixed arrival rate.

The mix is what a visitor of the web app reads, signed in as a reader. A request that is not answered with 200
within the timeout did not succeed, and its latency counts from the instant at which it was meant to be sent.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from infra import target as targets
from loadtests.engine import arrival
from loadtests.engine.arrival import Arrival
from loadtests.engine.failover import Nearest
from loadtests.engine.http_client import RequestError, Response
from loadtests.engine.pacer import Pacer
from loadtests.engine.process import Control, EngineError, offer, run_engine
from loadtests.engine.schedule import Schedule
from loadtests.engine.sign_in import ApiClient
from loadtests.engine.tally import Tally
from reports.evidence import Outcome, RunFolder
from reports.evidence.folder import write_record
from system.wire import COUNTRIES, PROJECTS, REGIONS

ROW = "api.read_p99"
_SETUP_TIMEOUT_S = 10.0
_PROJECTS_KNOWN = 100


class ApiLoadSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One of the processes that offer the requests."""

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
    """Whose APIs it reads from."""


class _Id(msgspec.Struct):
    id: str


class _Page(msgspec.Struct):
    items: list[_Id]


class _Reader:
    """Sends what the pacer releases, and tallies how it ends."""

    def __init__(self, spec: ApiLoadSpec, clients: Mapping[str, Nearest], projects: list[str]) -> None:
        self._spec = spec
        self._clients = list(clients.items())
        self._projects = projects
        self._random = random.Random(spec.seed)
        self._pending: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    def begin(self, schedule: Schedule) -> Tally:
        self._schedule = schedule
        self._tally = Tally(schedule, ROW)
        return self._tally

    def release(self, first: int, end: int, now_ns: int) -> None:
        for n in range(first, end):
            intended_ns = self._schedule.intended_ns(n)
            self._tally.ready(intended_ns, now_ns)
            region, client = self._clients[n % len(self._clients)]
            task = self._loop.create_task(self._read(region, client, intended_ns, now_ns))
            self._pending.add(task)
            task.add_done_callback(self._pending.discard)

    async def _read(self, region: str, client: Nearest, intended_ns: int, now_ns: int) -> None:
        path, name = self._choose()
        # The timeout counts from the intended instant, too: what was late has less time left.
        late_s = (now_ns - intended_ns) / 1e9
        outcome: Outcome
        try:
            response = await client.get(path, deadline=self._loop.time() + self._spec.timeout_s - late_s)
            outcome, detail = judge(response)
        except RequestError as error:
            outcome, detail = error.outcome, error.detail
        self._tally.ended(
            intended_ns,
            time.monotonic_ns(),
            outcome,
            region=region,
            method="GET",
            name=f"{region} {name}",
            detail=detail,
        )

    def _choose(self) -> tuple[str, str]:
        """(path, name): 4 of 10 one project, 3 a page of projects, 2 the regions, 1 a page of countries."""
        dice = self._random.random()
        if dice < 0.4 and self._projects:
            return f"{PROJECTS}/{self._random.choice(self._projects)}", f"{PROJECTS}/{{id}}"
        if dice < 0.7:
            return f"{PROJECTS}?limit=20", PROJECTS
        if dice < 0.9:
            return REGIONS, REGIONS
        return f"{COUNTRIES}?limit=20", COUNTRIES

    async def drain(self) -> None:
        """Wait for what is under way; each request has its own deadline."""
        if self._pending:
            await asyncio.wait(self._pending, timeout=self._spec.timeout_s + 1)


def judge(response: Response) -> tuple[Outcome, str]:
    """A read succeeds with 200 alone."""
    if response.status == 200:
        return "ok", ""
    why = " (the bearer token was refused)" if response.status == 401 else ""
    return "fail", f"status {response.status}{why}"


async def _known_projects(client: Nearest) -> list[str]:
    """Ids to read one by one, as the system has them; a read that is refused here ends the load early."""
    deadline = asyncio.get_running_loop().time() + _SETUP_TIMEOUT_S
    path = f"{PROJECTS}?limit={_PROJECTS_KNOWN}"
    try:
        response = await client.get(path, deadline=deadline)
        if response.status != 200:
            raise EngineError(f"GET {path}: expected 200, found {response.status}: {response.body[:200]!r}")
        return [item.id for item in response.json(_Page).items]
    except (RequestError, msgspec.MsgspecError) as error:
        raise EngineError(f"GET {path}: {error}; is the system up? ./covenant status") from None


async def work(spec: ApiLoadSpec, control: Control) -> None:
    target = targets.read(Path(spec.target))
    login = target.clients["reader"]
    order = {region: target.nearest.get(region, [region]) for region in spec.regions}
    reached = dict.fromkeys(other for others in order.values() for other in others)
    addresses, tls = (target.api_tls, target.context()) if target.api_tls else (target.api, None)
    clients = {region: ApiClient(addresses[region], login, connections=spec.connections, tls=tls) for region in reached}
    await asyncio.gather(*(client.sign_in() for client in clients.values()))
    nearest = {region: Nearest([clients[other] for other in others]) for region, others in order.items()}
    reader = _Reader(spec, nearest, await _known_projects(next(iter(nearest.values()))))
    begin_ns = await control.begin()
    if begin_ns is None:
        return
    schedule = arrival.schedule(
        spec.arrival, begin_ns=begin_ns, warmup_s=spec.warmup_s, user=spec.user, users=spec.users, seed=spec.seed
    )
    tally = reader.begin(schedule)
    pacer = Pacer(schedule, reader.release)
    with RunFolder(Path(spec.folder)).failures(spec.scenario) as failures:

        def report() -> None:
            failures.add(*tally.take_failures())
            control.say_all(tally.live.take())

        await offer(pacer, control, report)
        await reader.drain()
        report()
    write_record(Path(spec.part), tally.close(pacer.released, _settings(spec, nearest.values(), tls is not None)))
    for client in clients.values():
        await client.close()


def _settings(spec: ApiLoadSpec, clients: Iterable[Nearest], secured: bool) -> dict[str, str]:
    return {
        "mode": "open loop, keep-alive",
        "connections": f"at most {spec.connections} a region",
        "timeout_s": f"{spec.timeout_s:g}",
        "protocol": "HTTP/1.1, TLS 1.3" if secured else "HTTP/1.1, no TLS",
        "failover": f"to the next-nearest region, {sum(client.moved for client in clients)} requests",
    }


if __name__ == "__main__":
    run_engine(ApiLoadSpec, work)
