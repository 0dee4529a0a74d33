"""Open-loop writes through the API, each region's by its own steward, every acknowledged one accounted for.

Half create a project under an id of their own. The others change a project of this load that no other request is
changing, or delete it, on the condition that it is as it was last acknowledged (If-Match). Each is in the ledger with
what it says before it is sent, and is looked for at every hop after the load.
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
from ledger.contents import key_of, says
from loadtests.clients.http import Answer, HttpClient, RequestError
from loadtests.clients.projects import encode, judge_write, new_project
from loadtests.engine.open_loop import Kind, OnEnd, RequestsSpec, api_client, run_requests, settings_of
from loadtests.engine.process import Control, run_engine
from reports.evidence import Outcome, RunFolder, Write
from reports.evidence.folder import Appender
from reports.evidence.write_names import DELETED, WriteName
from system.wire import IDEMPOTENCY_KEY, PROJECTS, NewProject, Region

ROW = "api.write_p99"
_KNOWN_MAX = 500
"""Projects of a region that are kept to be changed later."""
_COUNTRY = "USA"
_DELETED_OF = 5
"""One of so many writes to a known project deletes it."""


class _Known(NamedTuple):
    """A project of this load that no request is changing, as it was last acknowledged."""

    project: NewProject
    version: int
    etag: str


class _Write(NamedTuple):
    """A write that leads to `project` in this version; with the status 204 it deletes it."""

    kind: Kind
    data: bytes
    project: NewProject
    version: int
    status: int


class _Region:
    """A region's API, the kinds of what is written there, and what this load knows to be there."""

    def __init__(self, name: str, client: HttpClient) -> None:
        self.client = client
        self.name = msgspec.convert(name, Region)
        self.create = Kind(name, "POST", PROJECTS)
        self.change = Kind(name, "PATCH", f"{PROJECTS}/{{id}}")
        self.delete = Kind(name, "DELETE", f"{PROJECTS}/{{id}}")
        self.known: deque[_Known] = deque(maxlen=_KNOWN_MAX)

    def creation(self) -> _Write:
        project = new_project("Load", self.name, _COUNTRY)
        headers = {IDEMPOTENCY_KEY: str(project.id)}
        return _Write(self.create, self.client.format(b"POST", PROJECTS, encode(project), headers), project, 1, 201)

    def changed(self, known: _Known, amount: Decimal) -> _Write:
        change = {"funding_usd_millions": amount}
        path = f"{PROJECTS}/{known.project.id}"
        data = self.client.format(b"PATCH", path, encode(change), _if_as(known))
        return _Write(self.change, data, msgspec.structs.replace(known.project, **change), known.version + 1, 200)

    def deletion(self, known: _Known) -> _Write:
        data = self.client.format(b"DELETE", f"{PROJECTS}/{known.project.id}", None, _if_as(known))
        return _Write(self.delete, data, known.project, known.version + 1, 204)


class _Writes:
    def __init__(self, clients: Mapping[str, HttpClient], ledger: Appender[Write], key: bytes) -> None:
        self._regions = [_Region(name, client) for name, client in clients.items()]
        self._ledger = ledger
        self._key = key

    def send(self, n: int, deadline: float, on_end: OnEnd) -> None:
        turn, at = divmod(n, len(self._regions))
        region = self._regions[at]
        if not (turn % 2 and region.known):
            write = region.creation()
        elif turn // 2 % _DELETED_OF == _DELETED_OF - 1:
            write = region.deletion(region.known.popleft())
        else:
            write = region.changed(region.known.popleft(), Decimal(n % 10_000 + 1) / 100)
        self._send(region, write, deadline, on_end)

    def _send(self, region: _Region, write: _Write, deadline: float, on_end: OnEnd) -> None:
        said = DELETED if write.status == 204 else says(write.project, self._key)
        name = str(WriteName(str(write.project.id), write.version, life=1))
        self._ledger.add(Write(name, time.monotonic_ns(), None, region.name, said))

        def end(answer: Answer) -> None:
            outcome, detail, etag = _judged(answer, write.status)
            self._ledger.add(Write(name, time.monotonic_ns(), outcome, region.name, said, etag.strip('"')))
            # After anything but an acknowledgement the project's state is not known.
            if etag:
                region.known.append(_Known(write.project, write.version, etag))
            on_end(write.kind, outcome, detail)

        region.client.start(write.data, deadline, end)


def _if_as(known: _Known) -> dict[str, str]:
    """The headers of a write that is to be made once, and only if the project is as it is known."""
    return {"If-Match": known.etag, IDEMPOTENCY_KEY: f"{known.project.id}.{known.etag.strip(chr(34))}"}


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
        mix = {"writes": "half create a project, four in ten change one and one in ten deletes one, with If-Match"}
        writes = _Writes(clients, ledger, key_of(target))
        await run_requests(spec, control, writes, ROW, lambda: settings_of(spec, target) | mix)
    for client in clients.values():
        await client.close()


if __name__ == "__main__":
    run_engine(RequestsSpec, work)
