"""One client of a region that reads what it and others write, beside a load, and keeps a history of all of it.

It creates projects, changes them on the condition that they are as it knows them, deletes some, and makes some of those
anew under their id. After each write it reads the project back with the token that the API gave for it; between writes
it reads projects of the other regions' clients, and walks page by page through a list that shows all that its region's
client has made. Nothing is judged here: `ledger.sessions` reads the history after the load, and the audit looks for
each write at every hop. It sends one request after the other, at a fixed pace as far as answers allow.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import deque
from decimal import Decimal
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from infra import target as targets
from infra.machine.spec import EngineError
from ledger.contents import key_of, says
from ledger.session_audit import SOURCE
from ledger.sessions.history import Initial, Page, Read, Record, Shown, Write
from loadtests.clients.http import RequestError, Response
from loadtests.clients.projects import encode, judge_write
from loadtests.clients.sign_in import ApiClient
from loadtests.engine.open_loop import api_client
from loadtests.engine.process import Control, run_engine, sleep_until
from loadtests.plan import Engine, Plan
from loadtests.recording.tally import Part
from reports import evidence
from reports.evidence import RunFolder
from reports.evidence.expected import sessions_path, writes_path
from reports.evidence.folder import Appender, write_record
from reports.evidence.write_names import DELETED, WriteName
from system.wire import IDEMPOTENCY_KEY, PROJECTS, READ_AFTER, REGIONS, WRITTEN, NewProject, Project, Region

READS = 1_200
"""At least so many in a load, however short: the row takes 1,000."""
_READ_SHARE = 0.85
_PER_S_MIN, _PER_S_MAX = 4.0, 12.0
_TIMEOUT_S = 2.0
_TURNS = 20
"""Requests until the client creates the next project."""
_PAGE = 20
_KNOWN_MAX = 20
"""Projects that a client keeps; those beyond are deleted, so that the list that is walked stays short."""
_COUNTRY = "USA"


class SessionSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The client of one region."""

    scenario: str
    folder: str
    target: str
    part: str
    region: str
    regions: list[str]
    load: str
    """Names this load, so that another one of the same run makes other projects."""
    warmup_s: float
    duration_s: float
    rate: float


class _Known(NamedTuple):
    """A project of this client as it was last acknowledged."""

    project: NewProject
    incarnation: int
    version: int
    life: int

    @property
    def etag(self) -> str:
        return f'"{self.incarnation}-{self.version}"'


class _Made(msgspec.Struct):
    items: list[Project]
    next: str | None


def planned(plan: Plan) -> list[Engine]:
    """A client in each of the load's regions."""
    return [
        Engine(
            name=f"session-{region}",
            module="loadtests.engine.sessions",
            spec=SessionSpec(
                scenario=plan.scenario,
                folder=plan.folder,
                target=plan.target,
                part=plan.part(f"session-{region}"),
                region=region,
                regions=plan.regions,
                load=f"{plan.run_id}/{Path(plan.work).name}",
                warmup_s=plan.warmup_s,
                duration_s=plan.duration_s,
                rate=rate(plan.duration_s, len(plan.regions)),
            ),
            region=region,
            part=plan.part(f"session-{region}"),
            keeps=[writes_path(plan.scenario), sessions_path(plan.scenario)],
        )
        for region in plan.regions
    ]


def rate(duration_s: float, regions: int) -> float:
    """Requests a second of each region's client: few in a long load, in a short one enough for the row."""
    return min(_PER_S_MAX, max(_PER_S_MIN, READS / _READ_SHARE / regions / duration_s))


def project_id(load: str, region: str, number: int) -> str:
    """The id of the project `number`, from 0, of a region's client: the other clients can name it, too."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{load}/{region}/{number}"))


def collection_of(region: str) -> str:
    """The list that shows all projects of a region's client, and few others."""
    return f"{PROJECTS}?limit={_PAGE}&region={region}&sector=Minerals&status=Completed"


class _Client:
    """The client, its history and its ledger."""

    def __init__(
        self, spec: SessionSpec, client: ApiClient, history: Appender[Record | Initial],
        ledger: Appender[evidence.Write], key: bytes,
    ) -> None:  # fmt: skip
        self._spec = spec
        self._client = client
        self._history = history
        self._ledger = ledger
        self._key = key
        self._region = msgspec.convert(spec.region, Region)
        self._session = spec.region
        self._collection = collection_of(spec.region)
        self._known: deque[_Known] = deque()
        self._gone: deque[_Known] = deque()
        self._written = ""
        """What the API gave for the last write: a read with it shows that write."""
        self._last = ""
        """The project of that write."""
        self._created = 0
        self._turn = 0
        self._walks = self._pages = 0
        self._cursor: str | None = None
        self._next_other = 0

    async def begin(self) -> None:
        """Record what the list shows before the first write. EngineError."""
        after, seen = None, 0
        while True:
            answer = await self._request(b"GET", self._page_path(after))
            if not isinstance(answer, Response) or answer.status != 200:
                raise EngineError(f"GET {self._collection}: expected 200, found {answer}; is the system up?")
            page = answer.json(_Made)
            for item in page.items:
                self._history.add(Initial(id=item.id, incarnation=item.incarnation, version=item.version,
                                          digest=says(item, self._key), lists=(self._collection,)))  # fmt: skip
            seen += len(page.items)
            if page.next is None:
                return
            after = page.next

    async def act(self) -> None:
        """Make the next request."""
        turn = self._turn % _TURNS
        self._turn += 1
        if turn == 0:
            await self._create()
        elif turn == 7 and self._known:
            await self._change(self._known.popleft())
        elif turn == 13 and len(self._known) > 1 and self._created % 2:
            await self._delete(self._known.popleft())
        elif turn == 17:
            await self._request(b"GET", REGIONS)  # As visitors do: totals that are read are cached, and must follow.
        elif turn in (1, 8, 14) and self._last:
            await self._read(self._last, fresh=True)
        elif turn % 2:
            await self._read_other()
        else:
            await self._walk()

    async def _create(self) -> None:
        if self._gone and self._created % 4 == 3:
            old = self._gone.popleft()
            project, life = old.project, old.life + 1
        else:
            number = project_id(self._spec.load, self._region, self._created)
            project, life = self._new(number), 1
        self._created += 1
        await self._write("create", project, None, life)
        if len(self._known) > _KNOWN_MAX:
            await self._delete(self._known.popleft())

    def _new(self, number: str) -> NewProject:
        return NewProject(
            id=number, name="Session", region=self._region, country_code=_COUNTRY, sector="Minerals",
            status="Completed", funding_usd_millions=Decimal("0.01"),
        )  # fmt: skip

    async def _change(self, known: _Known) -> None:
        amount = Decimal(self._turn % 10_000 + 1) / 100
        await self._write(
            "update", msgspec.structs.replace(known.project, funding_usd_millions=amount), known, known.life
        )

    async def _delete(self, known: _Known) -> None:
        await self._write("delete", known.project, known, known.life)

    async def _write(
        self, kind: Literal["create", "update", "delete"], project: NewProject, known: _Known | None, life: int
    ) -> None:  # fmt: skip
        """A write that leads to this project, or deletes it; unless it is acknowledged its state is not known, and the
        project is left alone from then on."""
        said = DELETED if kind == "delete" else says(project, self._key)
        name = str(WriteName(str(project.id), 1 if known is None else known.version + 1, life))
        method, path, expected = {
            "create": (b"POST", PROJECTS, 201),
            "update": (b"PATCH", f"{PROJECTS}/{project.id}", 200),
            "delete": (b"DELETE", f"{PROJECTS}/{project.id}", 204),
        }[kind]
        headers = {IDEMPOTENCY_KEY: str(uuid.uuid4())} | ({} if known is None else {"If-Match": known.etag})
        bodies: dict[str, object] = {
            "create": project,
            "update": {"funding_usd_millions": project.funding_usd_millions},
        }
        body = encode(bodies[kind]) if kind in bodies else None
        invoked_ns = time.monotonic_ns()
        self._ledger.add(evidence.Write(name, invoked_ns, None, self._region, said))
        answer = await self._request(method, path, headers, body)
        outcome = answer.outcome if isinstance(answer, RequestError) else judge_write(
            answer, expected=answer.status == expected)[0]  # fmt: skip
        made = answer.json(Project) if isinstance(answer, Response) and outcome == "ok" and kind != "delete" else None
        state = "" if made is None else f"{made.incarnation}-{made.version}"
        self._ledger.add(evidence.Write(name, time.monotonic_ns(), outcome, self._region, said, state))
        self._history.add(
            Write(
                session=self._session, id=str(project.id), kind=kind, outcome=outcome, invoked_ns=invoked_ns,
                completed_ns=time.monotonic_ns(),
                incarnation=made.incarnation if made else known.incarnation if known else None,
                base=None if known is None else known.version, version=made.version if made else None,
                digest=None if kind == "delete" else said, lists=(self._collection,),
                conflict=isinstance(answer, Response) and outcome == "fail" and answer.status in (404, 412),
            )
        )  # fmt: skip
        if isinstance(answer, Response) and outcome == "ok":
            self._written, self._last = answer.headers.get(WRITTEN.lower(), ""), str(project.id)
            if made is not None:
                self._known.append(_Known(project, made.incarnation, made.version, life))
            elif known is not None:
                self._gone.append(known)

    async def _read(self, item_id: str, *, fresh: bool) -> None:
        headers = {READ_AFTER: self._written} if fresh and self._written else {}
        invoked_ns = time.monotonic_ns()
        answer = await self._request(b"GET", f"{PROJECTS}/{item_id}", headers)
        if not isinstance(answer, Response) or answer.status not in (200, 404):
            return
        item = answer.json(Project) if answer.status == 200 else None
        self._history.add(
            Read(
                session=self._session, id=item_id, source=SOURCE, region=self._region, invoked_ns=invoked_ns,
                completed_ns=time.monotonic_ns(), incarnation=item.incarnation if item else None,
                version=item.version if item else 0, digest=says(item, self._key) if item else None, fresh=fresh,
            )
        )  # fmt: skip

    async def _read_other(self) -> None:
        """A project that another region's client has made by now, if it is as far as this one."""
        regions = [region for region in self._spec.regions if region != self._region] or [self._region]
        self._next_other += 1
        region = regions[self._next_other % len(regions)]
        number = max(0, self._created - 1 - self._next_other // len(regions) % 3)
        await self._read(project_id(self._spec.load, region, number), fresh=False)

    async def _walk(self) -> None:
        """The next page of the list, from its begin after its end. It has to show what this client has written."""
        if self._cursor is None:
            self._walks, self._pages = self._walks + 1, 0
        headers = {READ_AFTER: self._written} if self._written else {}
        invoked_ns = time.monotonic_ns()
        answer = await self._request(b"GET", self._page_path(self._cursor), headers)
        if not isinstance(answer, Response) or answer.status != 200:
            self._cursor = None
            return
        self._pages += 1
        page = answer.json(_Made)
        self._history.add(
            Page(
                session=self._session, walk=f"{self._session}/{self._walks}", number=self._pages,
                collection=self._collection,
                source=SOURCE, region=self._region, invoked_ns=invoked_ns, completed_ns=time.monotonic_ns(),
                items=tuple(
                    Shown(id=item.id, incarnation=item.incarnation, version=item.version, digest=says(item, self._key))
                    for item in page.items
                ),
                last=page.next is None, fresh=bool(self._written),
            )
        )  # fmt: skip
        self._cursor = page.next

    def _page_path(self, after: str | None) -> str:
        return self._collection if after is None else f"{self._collection}&after={after}"

    async def _request(
        self, method: bytes, path: str, headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> Response | RequestError:
        deadline = asyncio.get_running_loop().time() + _TIMEOUT_S
        try:
            return await self._client.request(method, path, deadline=deadline, body=body, headers=headers or {})
        except RequestError as error:
            return error


async def work(spec: SessionSpec, control: Control) -> None:
    target = targets.read(Path(spec.target))
    api = api_client(target, spec.region, f"steward-{spec.region}", 2)
    await api.sign_in()
    folder = RunFolder(Path(spec.folder))
    with folder.writes(spec.scenario) as ledger, folder.sessions(spec.scenario) as history:
        client = _Client(spec, api, history, ledger, key_of(target))
        await client.begin()
        begin_ns = await control.begin()
        if begin_ns is not None:
            requests = round((spec.warmup_s + spec.duration_s) * spec.rate)
            for number in range(requests):
                await sleep_until(begin_ns + round(number / spec.rate * 1e9))
                if control.finish.is_set():
                    break
                await client.act()
            measured_ns = begin_ns + round(spec.warmup_s * 1e9)
            write_record(Path(spec.part), Part(measured_ns=measured_ns, end_ns=time.monotonic_ns(), operations=[]))
    await api.close()


if __name__ == "__main__":
    run_engine(SessionSpec, work)
