"""Open-loop writes through the API, each region's by its own steward, every acknowledged one accounted for.

Half create a project under an id of their own: these are in the ledger before they are sent, and are looked for at
every hop after the load. Half change a project of this load that nobody else changes, on the condition that it is as
it was last acknowledged (If-Match): an acknowledged change that was lost shows as a 412 on the next one.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import msgspec

from infra import target as targets
from loadtests.engine.creation import encode, judge_write, new_project
from loadtests.engine.http_client import HttpClient, RequestError
from loadtests.engine.process import Control, run_engine
from loadtests.engine.requests import Ended, RequestsSpec, api_client, run_requests, settings_of
from reports.evidence import Outcome, RunFolder, Write
from reports.evidence.folder import Appender
from system.wire import IDEMPOTENCY_KEY, PROJECTS, NewProject, Region

ROW = "api.write_p99"
_KNOWN_MAX = 500
"""Projects of a region that are kept to be changed later."""
_COUNTRY = "USA"


class _Known(NamedTuple):
    """A project of this load that nobody is changing, and its version as it was last acknowledged."""

    id: str
    etag: str


class _Writes:
    def __init__(self, clients: Mapping[str, HttpClient], ledger: Appender[Write]) -> None:
        self._clients = list(clients.items())
        self._ledger = ledger
        self._known: dict[str, deque[_Known]] = {region: deque(maxlen=_KNOWN_MAX) for region in clients}

    async def send(self, n: int, deadline: float) -> Ended:
        turn, at = divmod(n, len(self._clients))
        region, client = self._clients[at]
        if turn % 2 and self._known[region]:
            return await self._change(region, client, self._known[region].popleft(), n, deadline)
        return await self._create(region, client, deadline)

    async def _create(self, region: str, client: HttpClient, deadline: float) -> Ended:
        project = new_project("Load", msgspec.convert(region, Region), _COUNTRY)
        self._record(project, None)
        headers = {IDEMPOTENCY_KEY: str(project.id)}
        outcome, detail, etag = await _write(client, b"POST", PROJECTS, encode(project), headers, 201, deadline)
        self._record(project, outcome)
        if etag:
            self._known[region].append(_Known(str(project.id), etag))
        return Ended(region, "POST", PROJECTS, outcome, detail)

    async def _change(self, region: str, client: HttpClient, known: _Known, n: int, deadline: float) -> Ended:
        """Change a project that is as `known`. After anything but an acknowledgement its version is not known."""
        change = encode({"funding_usd_millions": Decimal(n % 10_000 + 1) / 100})
        headers = {"If-Match": known.etag, IDEMPOTENCY_KEY: f"{known.id}.{known.etag.strip(chr(34))}"}
        path = f"{PROJECTS}/{known.id}"
        outcome, detail, etag = await _write(client, b"PATCH", path, change, headers, 200, deadline)
        if etag:
            self._known[region].append(_Known(known.id, etag))
        return Ended(region, "PATCH", f"{PROJECTS}/{{id}}", outcome, detail)

    def _record(self, project: NewProject, outcome: Outcome | None) -> None:
        self._ledger.add(Write(str(project.id), time.monotonic_ns(), outcome, project.region))


async def _write(
    client: HttpClient, method: bytes, path: str, body: bytes, headers: dict[str, str], expected: int, deadline: float
) -> tuple[Outcome, str, str]:
    """(outcome, detail, the ETag that was acknowledged or nothing)"""
    try:
        response = await client.request(method, path, deadline=deadline, body=body, headers=headers)
    except RequestError as error:
        return error.outcome, error.detail, ""
    outcome, detail = judge_write(response, expected=response.status == expected)
    return outcome, detail, response.headers.get("etag", "") if outcome == "ok" else ""


async def work(spec: RequestsSpec, control: Control) -> None:
    target = targets.read(Path(spec.target))
    clients = {region: api_client(target, region, f"steward-{region}", spec.connections) for region in spec.regions}
    await asyncio.gather(*(client.sign_in() for client in clients.values()))
    with RunFolder(Path(spec.folder)).writes(spec.scenario) as ledger:
        mix = {"writes": "half create a project, half change one with If-Match"}
        await run_requests(spec, control, _Writes(clients, ledger), ROW, lambda: settings_of(spec, target) | mix)
    for client in clients.values():
        await client.close()


if __name__ == "__main__":
    run_engine(RequestsSpec, work)
