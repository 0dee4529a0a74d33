"""Clients that write while everything around them is killed: each operation is tried again, with the same
Idempotency-Key, until it is known what became of it, and everything is in a ledger.

"""

from __future__ import annotations

import asyncio
import random
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from typing import NamedTuple

import msgspec

from infra.machine.spec import EngineError
from infra.target import Target
from ledger.contents import key_of, says
from loadtests.clients.http import RequestError, Response
from loadtests.clients.projects import encode, new_project
from loadtests.clients.sign_in import ApiClient
from reports.evidence import Outcome, Write
from reports.evidence.folder import Appender
from reports.evidence.write_names import DELETED, WriteName
from system.wire import IDEMPOTENCY_KEY, PROJECTS, Region

CLIENTS_A_REGION = 2
_PAUSE_S = (0.05, 0.2)
_TRY_WITHIN_S = 3.0
_AGAIN_AFTER_S = 0.2
_KNOWN_WITHIN_S = 150.0
"""Longer than a failover and everything that may come on top of it."""
_CHANGES_MAX = 4
_DELETED_SHARE = 0.5


class _Change(NamedTuple):
    """What a write leads to: the project's version, and what it says then."""

    project: str
    version: int
    says: str


class Writers:
    """What the clients did so far. `problems`: answers that no operation may have, in words."""

    def __init__(self, target: Target, ledger: Appender[Write], seed: int) -> None:
        self._target = target
        self._ledger = ledger
        self._seed = seed
        self._key = key_of(target)
        self._stop = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self.acked = 0
        self.retried = 0
        self.problems: list[str] = []
        self.versions: dict[str, int | None] = {}
        """Project -> its version by the last acknowledged write, None once it is deleted."""

    def run(self) -> None:
        """Write until `end`; what keeps the clients from it becomes a problem."""
        try:
            self._loop.run_until_complete(self._run())
        except (EngineError, OSError) as error:
            self.problems.append(str(error))

    def end(self) -> None:
        """Let every client finish what it is at."""
        self._loop.call_soon_threadsafe(self._stop.set)

    def close(self) -> None:
        """After `run` has returned."""
        self._loop.close()

    async def _run(self) -> None:
        regions = self._target.regions
        clients = {region: ApiClient(self._target.api[region], self._target.clients[f"steward-{region}"])
                   for region in regions}  # fmt: skip
        await asyncio.gather(*(client.sign_in() for client in clients.values()))
        places = [(region, number) for region in regions for number in range(CLIENTS_A_REGION)]
        dice = [random.Random(f"{self._seed}/{region}/{number}") for region, number in places]
        ends = await asyncio.gather(
            *(self._client(clients[region], region, own) for (region, _), own in zip(places, dice, strict=True)),
            return_exceptions=True,
        )
        self.problems += [f"a client ended: {end!r}" for end in ends if end is not None]
        for client in clients.values():
            await client.close()

    async def _client(self, client: ApiClient, region: str, dice: random.Random) -> None:
        while not self._stop.is_set():
            await self._life(client, region, dice)

    async def _life(self, client: ApiClient, region: str, dice: random.Random) -> None:
        """A project from its creation on: some changes, and often its deletion."""
        project = new_project("Fifty kills", msgspec.convert(region, Region), "USA")
        name, version = str(project.id), 1
        etag = await self._write(client, b"POST", PROJECTS, _Change(name, 1, says(project, self._key)), region,
                                 encode(project), None)  # fmt: skip
        place = f"{PROJECTS}/{name}"
        for _ in range(dice.randrange(_CHANGES_MAX)):
            if etag is None:
                return
            self.versions[name] = version
            await asyncio.sleep(dice.uniform(*_PAUSE_S))
            amount = Decimal(dice.randrange(100_000)) / 100
            project, version = msgspec.structs.replace(project, funding_usd_millions=amount), version + 1
            change = _Change(name, version, says(project, self._key))
            body = encode({"funding_usd_millions": amount})
            etag = await self._write(client, b"PATCH", place, change, region, body, etag)
        if etag is None:
            return
        self.versions[name] = version
        await asyncio.sleep(dice.uniform(*_PAUSE_S))
        if dice.random() < _DELETED_SHARE:
            deletion = _Change(name, version + 1, DELETED)
            if await self._write(client, b"DELETE", place, deletion, region, None, etag) is not None:
                self.versions[name] = None

    async def _write(
        self, client: ApiClient, method: bytes, path: str, change: _Change, region: str, body: bytes | None,
        etag: str | None,
    ) -> str | None:  # fmt: skip
        """One operation to its end; the ETag that it was answered with (empty after a deletion), None if it was not
        done."""
        headers = {IDEMPOTENCY_KEY: str(uuid.uuid4())} | ({"If-Match": etag} if etag is not None else {})
        name = str(WriteName(change.project, change.version, life=1))
        self._ledger.add(Write(name, time.monotonic_ns(), None, region, change.says))
        found = await self._until_known(client, method, path, headers, body)
        done = isinstance(found, Response) and 200 <= found.status < 300
        outcome: Outcome = "ok" if done else "fail" if isinstance(found, Response) else "unknown"
        tag = found.headers.get("etag", "") if isinstance(found, Response) and done else ""
        self._ledger.add(Write(name, time.monotonic_ns(), outcome, region, change.says, tag.strip('"')))
        self.acked += done
        if not done:
            told = found if isinstance(found, str) else f"status {found.status} {found.body[:300]!r}"
            self.problems.append(f"{method.decode()} {name} in {region}: {told}")
        return tag if done else None

    async def _until_known(
        self, client: ApiClient, method: bytes, path: str, headers: dict[str, str], body: bytes | None
    ) -> Response | str:
        """The answer that says what became of it, or what the last attempt said when there was none in time."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + _KNOWN_WITHIN_S
        said = "never tried"
        while loop.time() < give_up:
            try:
                deadline = loop.time() + _TRY_WITHIN_S
                answer = await client.request(method, path, deadline=deadline, body=body, headers=headers)
                if answer.status < 500 and answer.status not in (408, 429):
                    return answer
                said = f"status {answer.status} {answer.body[:200]!r}"
            except RequestError as error:
                said = error.detail
            self.retried += 1
            await asyncio.sleep(_AGAIN_AFTER_S)
        return f"unknown after {_KNOWN_WITHIN_S:.0f} s: {said}"


@contextmanager
def writing(target: Target, ledger: Appender[Write], seed: int) -> Iterator[Writers]:
    """Clients at work in a thread of their own; at the end every operation is brought to its end."""
    writers = Writers(target, ledger, seed)
    thread = threading.Thread(target=writers.run, name="writers", daemon=True)
    thread.start()
    try:
        yield writers
    finally:
        writers.end()
        thread.join(_KNOWN_WITHIN_S + 30)
        assert not thread.is_alive(), "a client did not come to an end"
        writers.close()


def remove(target: Target, versions: Mapping[str, int | None]) -> None:
    """Delete the projects that are left, so that a shared system is as it was."""

    async def run() -> None:
        client = ApiClient(target.api[target.regions[0]], target.clients["admin"], connections=8)
        await client.sign_in()
        deadline = asyncio.get_running_loop().time() + _KNOWN_WITHIN_S
        answers = await asyncio.gather(
            *(
                client.request(b"DELETE", f"{PROJECTS}/{project}", deadline=deadline, headers={"If-Match": "*"})
                for project, version in versions.items()
                if version is not None
            )
        )
        await client.close()
        assert {answer.status for answer in answers} <= {204}

    asyncio.run(run())
