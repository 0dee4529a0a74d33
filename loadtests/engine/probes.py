"""The four operations that a prober tries: each says how one attempt ended, and never why it could not try.

A probe keeps its own connections and mends them by itself, beside the schedule: whatever is dead, an attempt
ends by its deadline. Fail means that nothing can have happened; unknown, that it may have.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, NamedTuple, Protocol

import msgspec
import psycopg

from infra.target import Target
from ledger.contents import says
from loadtests.clients.http import HttpClient, RequestError
from loadtests.clients.jetstream import ack_outcome
from loadtests.clients.nats import NatsClient, inbox
from loadtests.clients.nats_wire import publish, subscribe
from loadtests.clients.projects import encode, judge_write, new_project
from reports.evidence import Outcome, Write
from reports.evidence.folder import Appender
from system.wire import IDEMPOTENCY_KEY, PROJECTS, PROJECTS_STREAM, NewProject, Region, observer

CONNECTIONS = 64
"""A region's probes that can be under way at once, with some to spare: 20 a second for 2 s are 40."""
_FROZEN_AFTER_S = 1.0
"""A NATS node on which nothing is heard for so long is left for the next one."""
_DETAIL_CHARS = 200
_RECONNECT_S = 0.1
_ANSWER_WITHIN_S = 2.0
"""A query that takes longer is given up, and its connection with it."""

_Link = psycopg.AsyncConnection[tuple[Any, ...]]


class Result(NamedTuple):
    outcome: Outcome
    detail: str = ""
    latency_us: int | None = None
    """Where the probe measures something else than the time from its intended instant to its end."""


class ProbeOperation(Protocol):
    async def attempt(self, intended_ns: int, deadline: float) -> Result:
        """Try once, until `deadline` on the loop's clock."""

    async def close(self) -> None: ...


class Read:
    """A read at the API of `client`, which it closes. Anything but 200 is a failure to read."""

    def __init__(self, client: HttpClient) -> None:
        self._client = client

    async def attempt(self, intended_ns: int, deadline: float) -> Result:
        try:
            response = await self._client.get(f"{PROJECTS}?limit=1", deadline=deadline)
        except RequestError as error:
            return Result(error.outcome, error.detail)
        if response.status == 200:
            return Result("ok")
        return Result("fail", response.summary)

    async def close(self) -> None:
        await self._client.close()


class CreateProject:
    """A write at the API of `client`, which it closes; in the ledger before it is sent and again when it has ended."""

    def __init__(
        self, client: HttpClient, region: str, country_code: str, ledger: Appender[Write], key: bytes
    ) -> None:  # fmt: skip
        """`key`: that of the digests in the ledger."""
        self._client = client
        self._region: Region = msgspec.convert(region, Region)
        self._country_code = country_code
        self._ledger = ledger
        self._key = key

    async def attempt(self, intended_ns: int, deadline: float) -> Result:
        project = new_project("Probe", self._region, self._country_code)
        said = says(project, self._key)
        self._record(project, None, said)
        result = await self._create(project, deadline)
        self._record(project, result.outcome, said)
        return result

    async def _create(self, project: NewProject, deadline: float) -> Result:
        try:
            response = await self._client.request(
                b"POST", PROJECTS, deadline=deadline, body=encode(project),
                headers={IDEMPOTENCY_KEY: str(project.id)},
            )  # fmt: skip
        except RequestError as error:
            return Result(error.outcome, error.detail)
        return Result(*judge_write(response, expected=200 <= response.status < 300))

    def _record(self, project: NewProject, outcome: Outcome | None, said: str) -> None:
        self._ledger.add(Write(str(project.id), time.monotonic_ns(), outcome, self._region, said))

    async def close(self) -> None:
        await self._client.close()


class Publish:
    """A publish with acknowledgement to the project stream's health subject, over whichever node answers."""

    def __init__(self, target: Target) -> None:
        self._inbox = inbox(target.nats_load)
        self._waiting: dict[bytes, asyncio.Future[Result]] = {}
        self._count = 0
        self._connected = asyncio.Event()
        self._client = NatsClient(target, self, name="prober", stale_after_s=_FROZEN_AFTER_S)

    async def attempt(self, intended_ns: int, deadline: float) -> Result:
        try:
            async with asyncio.timeout_at(deadline):
                await self._connected.wait()
        except TimeoutError:
            return Result("fail", f"never sent, no server: {self._client.last_problem}")
        self._count += 1
        reply = b"%b.%d" % (self._inbox, self._count)
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting[reply] = answer
        self._client.write(publish(PROJECTS_STREAM.health_subject.encode(), b"probe", reply))
        try:
            async with asyncio.timeout_at(deadline):
                return await answer
        except TimeoutError:
            return Result("unknown", "timeout: no PubAck in time")
        finally:
            del self._waiting[reply]

    async def close(self) -> None:
        await self._client.close()

    def on_connected(self) -> None:
        self._client.write(subscribe(self._inbox + b".*", 1))
        self._connected.set()

    def on_lost(self, reason: str) -> None:
        self._connected.clear()
        self._answer_all(Result("unknown", f"connection lost before the PubAck: {reason}"))

    def on_refused(self, what: str) -> None:
        self._answer_all(Result("fail", what))

    def on_batch(self) -> None:
        """Nothing: a probe's end is when its answer has been read."""

    def on_message(self, subject: bytes, reply: bytes, headers: bytes, payload: bytes) -> None:
        answer = self._waiting.get(subject)
        if answer is not None and not answer.done():
            answer.set_result(Result(*ack_outcome(headers, payload)))

    def _answer_all(self, result: Result) -> None:
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_result(result)


_OLDEST_NOT_APPLIED = f"""
select coalesce(extract(epoch from clock_timestamp() - min(created_at)), 0)::float8 from (
    select e.created_at from (select min(id) as id from {observer.WAITING_EVENTS} group by aggregate) oldest
    join {observer.EVENTS} e using (id)
    union all
    select next.created_at from {observer.CONSUMER_POSITIONS} c cross join lateral (
        select created_at from {observer.EVENTS} where partition = c.partition and position > c.position
        order by position limit 1
    ) next where c.consumer = 'analytics'
) waiting
"""


class Effect:
    """How old the oldest event is that analytics has not applied: 0 if it has applied all.

    Read from the primary as the observer. The attempt is ok if that can be read; its latency is that age. Attempts that
    wait at the same time share the next query: one each would still be queued when the database is back, and each have
    its turn just when its time is up.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._waiting: list[asyncio.Future[float]] = []
        self._asked = asyncio.Event()
        self._problem = "not connected yet"
        self._keeper = asyncio.get_running_loop().create_task(self._keep_answering())

    async def attempt(self, intended_ns: int, deadline: float) -> Result:
        answer: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        self._asked.set()
        try:
            async with asyncio.timeout_at(deadline):
                return Result("ok", latency_us=max(0, round(await answer * 1e6)))
        except (TimeoutError, psycopg.Error, OSError):
            return Result("unknown", f"the database could not be read: {self._problem}"[:_DETAIL_CHARS])
        finally:
            if answer in self._waiting:
                self._waiting.remove(answer)

    async def _keep_answering(self) -> None:
        while True:
            try:
                link = await psycopg.AsyncConnection.connect(
                    self._dsn, autocommit=True, connect_timeout=2, application_name="prober"
                )
            except (psycopg.Error, OSError) as error:
                self._problem = str(error).strip() or type(error).__name__
                await asyncio.sleep(_RECONNECT_S)
                continue
            await self._answer_from(link)
            await link.close()

    async def _answer_from(self, link: _Link) -> None:
        """Answer whoever waits, one query for all, until the connection breaks or an answer fails to come."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            asking, self._waiting = self._waiting, []
            # Not cancelled when it takes too long: psycopg answers that by asking the server to cancel, and waits for
            # that in turn, which a frozen server would turn into a wait without an end.
            query = asyncio.ensure_future(_oldest_not_applied_s(link))
            query.add_done_callback(_heed)
            await asyncio.wait({query}, timeout=_ANSWER_WITHIN_S)
            error = query.exception() if query.done() else TimeoutError("no answer in time")
            if error is not None:
                self._problem = str(error).strip() or type(error).__name__
            for answer in asking:
                if answer.done():  # Its time was up.
                    continue
                if error is None:
                    answer.set_result(query.result())
                elif isinstance(error, (psycopg.Error, OSError)):
                    answer.set_exception(error)
            if error is not None:
                return

    async def close(self) -> None:
        self._keeper.cancel()
        await asyncio.wait([self._keeper], timeout=1.0)


async def _oldest_not_applied_s(link: _Link) -> float:
    row = await (await link.execute(_OLDEST_NOT_APPLIED)).fetchone()
    assert row is not None, "an aggregate always answers with a row"
    return float(row[0])


def _heed(query: asyncio.Future[float]) -> None:
    """Take note of how an abandoned query ended, so that asyncio does not report it as forgotten."""
    if not query.cancelled():
        query.exception()
