"""Open-loop reads of the API: each region gets its share of the arrivals.

The mix is what a visitor of the web app reads, signed in as a reader. A request that is not answered with 200
within the timeout did not succeed, and its latency counts from the instant at which it was meant to be sent.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import msgspec

from infra import target as targets
from infra.machine.spec import EngineError
from loadtests.clients.http import Answer, RequestError, Response, answered
from loadtests.clients.nearest import Nearest
from loadtests.engine.open_loop import Kind, OnEnd, RequestsSpec, api_client, run_requests, settings_of
from loadtests.engine.process import Control, run_engine
from reports.evidence import Outcome
from system.wire import COUNTRIES, PROJECTS, REGIONS

ROW = "api.read_p99"
_SETUP_TIMEOUT_S = 10.0
_PROJECTS_KNOWN = 100


class _Id(msgspec.Struct):
    id: str


class _Page(msgspec.Struct):
    items: list[_Id]


class _Region:
    """A region's API, and the kinds of what is read there."""

    def __init__(self, name: str, client: Nearest) -> None:
        self.client = client
        self.one = Kind(name, "GET", f"{PROJECTS}/{{id}}")
        self.page = Kind(name, "GET", PROJECTS)
        self.regions = Kind(name, "GET", REGIONS)
        self.countries = Kind(name, "GET", COUNTRIES)


class _Reads:
    def __init__(self, seed: int, clients: Mapping[str, Nearest], projects: list[str]) -> None:
        self._regions = [_Region(name, client) for name, client in clients.items()]
        self._projects = [f"{PROJECTS}/{project}" for project in projects]
        self._random = random.Random(seed)

    def send(self, n: int, deadline: float, on_end: OnEnd) -> None:
        region = self._regions[n % len(self._regions)]
        path, kind = self._choose(region)
        region.client.start_get(path, deadline, partial(self._end, kind, on_end))

    def _end(self, kind: Kind, on_end: OnEnd, answer: Answer) -> None:
        if isinstance(answer, RequestError):
            on_end(kind, answer.outcome, answer.detail)
        else:
            on_end(kind, *judge(answer))

    def _choose(self, region: _Region) -> tuple[str, Kind]:
        """4 of 10 one project, 3 a page of projects, 2 the regions, 1 a page of countries."""
        dice = self._random.random()
        if dice < 0.4 and self._projects:
            return self._projects[int(self._random.random() * len(self._projects))], region.one
        if dice < 0.7:
            return f"{PROJECTS}?limit=20", region.page
        if dice < 0.9:
            return REGIONS, region.regions
        return f"{COUNTRIES}?limit=20", region.countries


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
        response = await answered(partial(client.start_get, path, deadline))
        if response.status != 200:
            raise EngineError(f"GET {path}: expected 200, found {response.status}: {response.body[:200]!r}")
        return [item.id for item in response.json(_Page).items]
    except (RequestError, msgspec.MsgspecError) as error:
        raise EngineError(f"GET {path}: {error}; is the system up? ./covenant status") from None


async def work(spec: RequestsSpec, control: Control) -> None:
    target = targets.read(Path(spec.target))
    order = {region: target.nearest.get(region, [region]) for region in spec.regions}
    reached = dict.fromkeys(other for others in order.values() for other in others)
    clients = {region: api_client(target, region, "reader", spec.connections) for region in reached}
    await asyncio.gather(*(client.sign_in() for client in clients.values()))
    nearest = {region: Nearest([clients[other] for other in others]) for region, others in order.items()}
    reads = _Reads(spec.seed, nearest, await _known_projects(next(iter(nearest.values()))))

    def settings() -> dict[str, str]:
        moved = sum(client.moved for client in nearest.values())
        return settings_of(spec, target) | {"failover": f"to the next-nearest region, {moved} requests"}

    await run_requests(spec, control, reads, ROW, settings)
    for client in clients.values():
        await client.close()


if __name__ == "__main__":
    run_engine(RequestsSpec, work)
