"""Connections to the members of the PostgreSQL cluster. Every wait has a timeout.

A frozen host still accepts TCP connections, so all members are tried at once rather than one after the other. A query
that gets no answer in time is never cancelled: PostgreSQL turns a cancelled wait for the synchronous standby into a
local commit, which others would read and a failover could lose.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import asyncpg

from system.settings import Settings

CONNECT_WITHIN_S = 3.0
"""Seven round trips of the longest link (TCP, TLS, authentication), with a margin."""
_GRACE_S = 0.01
_STATEMENT_WITHIN_MS = "2000"
_LOCK_WITHIN_MS = "1500"

Record = Any
"""asyncpg.Record: values by name or index; the library ships no types."""

BROKEN = (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""Errors after which a connection is unusable."""


class NotSent(Exception):
    """There was no connection to send the query on: certainly nothing happened."""


class Busy(NotSent):
    """Nothing was sent because every connection was in use: too many queries, or slow answers."""


class NoAnswer(Exception):
    """The query was sent and no answer came: it may have taken effect."""


def addresses(hosts: str) -> list[str]:
    """`a:1,b:2` as a list."""
    return [address.strip() for address in hosts.split(",")]


async def connect(
    address: str, settings: Settings, name: str, target: str = "any", **options: Any
) -> asyncpg.Connection:
    """A connection to one member. NotSent says why there is none. `target` is libpq's `target_session_attrs`."""
    host, _, port = address.rpartition(":")
    try:
        return await asyncpg.connect(
            host=host,
            port=int(port),
            user=settings.database_user,
            password=settings.database_password,
            database=settings.database,
            ssl=_tls(settings.database_ca) if settings.database_ca else False,
            direct_tls=settings.database_ca is not None,
            timeout=CONNECT_WITHIN_S,
            target_session_attrs=target,
            server_settings=_session(name),
            **options,
        )
    except TimeoutError:
        raise NotSent(f"{address} took no connection within {CONNECT_WITHIN_S} s") from None
    except asyncpg.TargetServerAttributeNotMatched:
        raise NotSent(f"{address} is not {target}") from None
    except (asyncpg.PostgresError, *BROKEN) as error:
        raise NotSent(f"{address}: {error or type(error).__name__}") from None


async def connect_primary(settings: Settings, name: str) -> tuple[str, asyncpg.Connection]:
    """The primary's address and a connection to it. NotSent with every member's answer if there is no primary."""
    pending = {
        asyncio.ensure_future(_to_primary(address, settings, name)) for address in addresses(settings.database_hosts)
    }
    found: list[tuple[str, asyncpg.Connection]] = []
    failures: list[str] = []
    try:
        while pending and not found:
            finished, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in finished:
                error = task.exception()
                if error is None:
                    found.append(task.result())
                else:
                    failures.append(str(error))
    finally:
        for task in pending:
            task.cancel()
            task.add_done_callback(_close_late)
    if not found:
        raise NotSent("no primary: " + "; ".join(failures))
    for _, surplus in found[1:]:
        surplus.terminate()
    return found[0]


async def _to_primary(address: str, settings: Settings, name: str) -> tuple[str, asyncpg.Connection]:
    return address, await connect(address, settings, name, "primary")


def _close_late(task: asyncio.Future[tuple[str, asyncpg.Connection]]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result()[1].terminate()


@lru_cache(maxsize=4)
def _tls(ca_file: str) -> ssl.SSLContext:
    """Verifies the member's certificate and name, and requires TLS 1.3. ALPN saves the round trip that asks for TLS."""
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["postgresql"])
    return context


def _session(name: str) -> dict[str, str]:
    return {
        "application_name": f"covenant-{name}",
        "statement_timeout": _STATEMENT_WITHIN_MS,
        "lock_timeout": _LOCK_WITHIN_MS,
        "idle_in_transaction_session_timeout": "5000",
    }


class Member:
    """A pool of connections to one member.

    asyncpg's own pool resets a connection after each query, which costs a round trip, and acquiring one from it costs
    as much as a query. Nothing is set on these connections, so nothing has to be reset.

    Over a long link, connecting takes longer than a query may wait. So connections are made in the background: if the
    query that asked for one has given up, the next one gets it. `first` is a connection that exists already; `kept` is
    how many to make before they are asked for (0 outside a running loop).
    """

    def __init__(
        self, address: str, settings: Settings, name: str, size: int, first: asyncpg.Connection | None = None,
        kept: int = 0,
    ) -> None:  # fmt: skip
        self.address = address
        self._settings = settings
        self._name = name
        self._size = size
        self._open: set[asyncpg.Connection] = {first} if first else set()
        self._connecting: set[asyncio.Task[asyncpg.Connection]] = set()
        self._idle: list[asyncpg.Connection] = list(self._open)
        self._waiting: deque[asyncio.Future[asyncpg.Connection]] = deque()
        self._closed = False
        self._kept = kept
        self._connect_more()

    async def fetch(
        self, query: str, args: Sequence[object], *, connect_within_s: float, answer_within_s: float, drop: bool
    ) -> list[Record]:
        """The rows of one query. NotSent, NoAnswer, or the PostgresError that the server answered with.

        A query without an answer keeps its connection until it ends, so that at most `size` queries are running on the
        member. With `drop` the connection is closed instead: only for queries that change nothing.
        """
        connection = self._take() or await self._acquire(connect_within_s)
        ask = self._read if drop else self._write
        try:
            return await ask(connection, query, args, answer_within_s)
        except (asyncpg.AdminShutdownError, asyncpg.CrashShutdownError, *BROKEN) as error:
            reason = f"{self.address}: {error or type(error).__name__}"
            raise (NotSent if _was_dead(error) else NoAnswer)(reason) from None

    def close(self) -> None:
        """Close all connections at once. Running queries end in NoAnswer."""
        self._closed = True
        for connection in self._open:
            connection.terminate()
        self._idle.clear()
        for task in self._connecting:
            task.cancel()
        while (turn := self._next()) is not None:
            turn.set_exception(self._unused())

    async def _read(
        self, connection: asyncpg.Connection, query: str, args: Sequence[object], within_s: float
    ) -> list[Record]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        # A grace period after the deadline: if this process was stalled, the answer may be waiting to be read.
        timers: list[asyncio.TimerHandle] = []
        timers.append(loop.call_at(deadline, lambda: timers.append(loop.call_later(_GRACE_S, connection.terminate))))
        try:
            rows: list[Record] = await connection.fetch(query, *args)
            return rows
        except BROKEN:
            if loop.time() < deadline:
                raise
            raise self._late(within_s) from None
        finally:
            for timer in timers:
                timer.cancel()
            self._give_back(connection)

    async def _write(
        self, connection: asyncpg.Connection, query: str, args: Sequence[object], within_s: float
    ) -> list[Record]:
        task = asyncio.ensure_future(connection.fetch(query, *args))
        task.add_done_callback(lambda done: self._give_back(connection, done))
        finished, _ = await asyncio.wait({task}, timeout=within_s)
        if not finished:
            raise self._late(within_s)
        return list(task.result())

    def _late(self, within_s: float) -> NoAnswer:
        return NoAnswer(f"{self.address} did not answer within {within_s} s")

    def _take(self) -> asyncpg.Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
            self._open.discard(connection)
        return None

    async def _acquire(self, within_s: float) -> asyncpg.Connection:
        """The next connection that is made or becomes free. NotSent or Busy after `within_s`."""
        if self._closed:
            raise self._unused()
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[asyncpg.Connection] = loop.create_future()
        self._waiting.append(turn)
        self._connect_more()
        timer = loop.call_later(within_s, self._give_up, turn, within_s)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._give_back(turn.result())
            raise
        finally:
            timer.cancel()

    def _give_up(self, turn: asyncio.Future[asyncpg.Connection], after_s: float) -> None:
        if turn.done():
            return
        if self._open:
            turn.set_exception(Busy(f"{self.address}: all {self._size} connections were in use for {after_s} s"))
        else:
            turn.set_exception(NotSent(f"{self.address} took no connection within {after_s} s"))

    def _unused(self) -> NotSent:
        return NotSent(f"{self.address} is not used any more")

    def _connect_more(self) -> None:
        """Make a connection for each waiting query, and `kept` ones in any case, up to `size`."""
        wanted = max(sum(not turn.done() for turn in self._waiting), self._kept - len(self._open))
        while len(self._connecting) < min(wanted, self._size - len(self._open)):
            task = asyncio.ensure_future(connect(self.address, self._settings, self._name))
            self._connecting.add(task)
            task.add_done_callback(self._connected)

    def _connected(self, task: asyncio.Task[asyncpg.Connection]) -> None:
        self._connecting.discard(task)
        if task.cancelled():
            return
        if (error := task.exception()) is None:
            self._open.add(task.result())
            self._give_back(task.result())
        elif (turn := self._next()) is not None:
            turn.set_exception(error)
            self._connect_more()

    def _give_back(self, connection: asyncpg.Connection, done: asyncio.Future[Any] | None = None) -> None:
        broken = done is not None and not done.cancelled() and isinstance(done.exception(), BROKEN)
        if broken or self._closed:
            connection.terminate()
        if connection.is_closed():
            self._open.discard(connection)
            if not self._closed:
                self._connect_more()
        elif (turn := self._next()) is not None:
            turn.set_result(connection)
        else:
            self._idle.append(connection)

    def _next(self) -> asyncio.Future[asyncpg.Connection] | None:
        """The query that has waited longest, if any still waits."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                return turn
        return None


def _was_dead(error: BaseException) -> bool:
    """Whether asyncpg did not send the query, because the server had closed the connection while it was idle."""
    return isinstance(error, asyncpg.InternalClientError) and "cannot switch to state" in str(error)
