"""Open-loop writes through the API, each region's by its own steward, every acknowledged one accounted for.

Half create a project under an id of their own: these are in the ledger before they are sent, and are looked for at
every hop after the load. Half change a project of this load that no other request is changing, on the condition that it
is as it was last acknowledged (If-Match): an acknowledged change that was lost shows as a 412 on the next one.
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
from loadtests.clients.http import Answer, HttpClient, RequestError
from loadtests.clients.projects import encode, judge_write, new_project
from loadtests.engine.open_loop import Kind, OnEnd, RequestsSpec, api_client, run_requests, settings_of
from loadtests.engine.process import Control, run_engine
from reports.evidence import Outcome, RunFolder, Write
from reports.evidence.folder import Appender
from system.wire import IDEMPOTENCY_KEY, PROJECTS, NewProject, Region

ROW = "api.write_p99"
_KNOWN_MAX = 500
"""Projects of a region that are kept to be changed later."""
_COUNTRY = "USA"


class _Known(NamedTuple):
    """A project of this load that no request is changing, and its version as it was last acknowledged."""

    id: str
    etag: str


class _Region:
    """A region's API, the kinds of what is written there, and what this load knows to be there."""

    def __init__(self, name: str, client: HttpClient) -> None:
        self.client = client
        self.name = msgspec.convert(name, Region)
        self.create = Kind(name, "POST", PROJECTS)
        self.change = Kind(name, "PATCH", f"{PROJECTS}/{{id}}")
        self.known: deque[_Known] = deque(maxlen=_KNOWN_MAX)


class _Writes:
    def __init__(self, clients: Mapping[str, HttpClient], ledger: Appender[Write]) -> None:
        self._regions = [_Region(name, client) for name, client in clients.items()]
        self._ledger = ledger

    def send(self, n: int, deadline: float, on_end: OnEnd) -> None:
        turn, at = divmod(n, len(self._regions))
        region = self._regions[at]
        if turn % 2 and region.known:
            self._change(region, region.known.popleft(), n, deadline, on_end)
        else:
            self._create(region, deadline, on_end)

    def _create(self, region: _Region, deadline: float, on_end: OnEnd) -> None:
        project = new_project("Load", region.name, _COUNTRY)
        self._record(project, None)
        headers = {IDEMPOTENCY_KEY: str(project.id)}

        def end(answer: Answer) -> None:
            outcome, detail, etag = _judged(answer, 201)
            self._record(project, outcome)
            if etag:
                region.known.append(_Known(str(project.id), etag))
            on_end(region.create, outcome, detail)

        region.client.start(region.client.format(b"POST", PROJECTS, encode(project), headers), deadline, end)

    def _change(self, region: _Region, known: _Known, n: int, deadline: float, on_end: OnEnd) -> None:
        """Change a project that is as `known`. After anything but an acknowledgement its version is not known."""
        change = encode({"funding_usd_millions": Decimal(n % 10_000 + 1) / 100})
        headers = {"If-Match": known.etag, IDEMPOTENCY_KEY: f"{known.id}.{known.etag.strip(chr(34))}"}

        def end(answer: Answer) -> None:
            outcome, detail, etag = _judged(answer, 200)
            if etag:
                region.known.append(_Known(known.id, etag))
            on_end(region.change, outcome, detail)

        path = f"{PROJECTS}/{known.id}"
        region.client.start(region.client.format(b"PATCH", path, change, headers), deadline, end)

    def _record(self, project: NewProject, outcome: Outcome | None) -> None:
        self._ledger.add(Write(str(project.id), time.monotonic_ns(), outcome, project.region))


def _judged(answer: Answer, expected: int) -> tuple[Outcome, str, str]:
    """(outcome, detail, the ETag that was acknowledged or nothing)"""
    if isinstance(answer, RequestError):
        return answer.outcome, answer.detail, ""
    outcome, detail = judge_write(answer, expected=answer.status == expected)
    return outcome, detail, answer.headers.get("etag", "") if outcome == "ok" else ""


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
