"""Connections to PostgreSQL's members, each wait with a deadline.

A frozen host still accepts TCP, so members are tried all at once rather than one after the other. A query
that was sent and not answered in time is never cancelled: PostgreSQL turns a cancelled wait for the
synchronous standby into a local commit, which others would then read and which a failover may lose.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import asyncpg

from system.settings import Settings

CONNECT_WITHIN_S = 1.0
_STATEMENT_WITHIN_MS = "2000"
_LOCK_WITHIN_MS = "1500"

Record = Any
"""asyncpg.Record: values by name or index; the library ships no types."""

BROKEN = (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""Errors after which a connection is of no more use."""


class NotSent(Exception):
    """No connection was there to send anything on: certainly nothing happened."""


class Busy(NotSent):
    """Nothing was sent because every connection was in use: too much is asked, or answers take too long."""


class NoAnswer(Exception):
    """It was sent and no answer came: whatever it asked for may have happened."""


def addresses(hosts: str) -> list[str]:
    """`a:1,b:2` as a list."""
    return [address.strip() for address in hosts.split(",")]


async def connect(
    address: str, settings: Settings, name: str, target: str = "any", **options: Any
) -> asyncpg.Connection:
    """One connection to one member; NotSent says why there is none. `target` as in libpq."""
    host, _, port = address.rpartition(":")
    try:
        return await asyncpg.connect(
            host=host,
            port=int(port),
            user=settings.database_user,
            password=settings.database_password,
            database=settings.database,
            ssl=False,
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
    """The primary's address and a connection to it; NotSent with every member's answer if there is none."""
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


def _session(name: str) -> dict[str, str]:
    return {
        "application_name": f"covenant-{name}",
        "statement_timeout": _STATEMENT_WITHIN_MS,
        "lock_timeout": _LOCK_WITHIN_MS,
        "idle_in_transaction_session_timeout": "5000",
    }


class Member:
    """A few connections to one member. The connections stay: nothing is set on them, so nothing is reset,
    which would cost a round trip a query."""

    def __init__(self, address: str, settings: Settings, name: str, size: int) -> None:
        self.address = address
        self._size = size
        host, _, port = address.rpartition(":")
        self._pool = asyncpg.create_pool(
            host=host,
            port=int(port),
            user=settings.database_user,
            password=settings.database_password,
            database=settings.database,
            ssl=False,
            timeout=CONNECT_WITHIN_S,
            min_size=0,
            max_size=size,
            max_queries=10**9,
            max_inactive_connection_lifetime=0,
            reset=_leave_as_is,
            server_settings=_session(name),
        )
        self._opened = False
        self._releases: set[asyncio.Future[None]] = set()

    async def fetch(
        self, query: str, args: Sequence[object], *, connect_within_s: float, answer_within_s: float, drop: bool
    ) -> list[Record]:
        """The rows of one query. NotSent, NoAnswer, or the PostgresError that the server answered with.

        A query without an answer keeps its connection until it ends, so that at most `size` of them are
        ever under way; `drop` ends the connection instead, for queries that change nothing.
        """
        connection = await self._acquire(connect_within_s)
        task = asyncio.ensure_future(connection.fetch(query, *args))
        task.add_done_callback(lambda done: self._give_back(connection, done))
        finished, _ = await asyncio.wait({task}, timeout=answer_within_s)
        if not finished:
            if drop:
                _end(connection)
            raise NoAnswer(f"{self.address} did not answer within {answer_within_s} s")
        try:
            return list(task.result())
        except (asyncpg.AdminShutdownError, asyncpg.CrashShutdownError, *BROKEN) as error:
            reason = f"{self.address}: {error or type(error).__name__}"
            raise (NotSent if _was_dead(error) else NoAnswer)(reason) from None

    async def _acquire(self, within_s: float) -> Any:
        try:
            if not self._opened:
                await self._pool
                self._opened = True
            return await self._pool.acquire(timeout=within_s)
        except TimeoutError:
            if self._pool.get_size() >= self._size:
                raise Busy(f"{self.address}: all {self._size} connections were in use for {within_s} s") from None
            raise NotSent(f"{self.address} took no connection within {within_s} s") from None
        except (asyncpg.PostgresError, *BROKEN) as error:
            raise NotSent(f"{self.address}: {error or type(error).__name__}") from None

    def _give_back(self, connection: Any, done: asyncio.Future[Any]) -> None:
        if not done.cancelled() and isinstance(done.exception(), BROKEN):
            _end(connection)
        release = asyncio.ensure_future(self._pool.release(connection))
        self._releases.add(release)
        release.add_done_callback(self._given_back)

    def _given_back(self, release: asyncio.Future[None]) -> None:
        self._releases.discard(release)
        if not release.cancelled():
            release.exception()  # Only marked as seen: a connection that fails here is gone, and replaced.

    def close(self) -> None:
        """End all connections at once; queries under way end in NoAnswer."""
        if self._opened:
            self._pool.terminate()


def _end(connection: Any) -> None:
    with contextlib.suppress(asyncpg.InterfaceError):  # It has ended by itself and left the pool.
        connection.terminate()


def _was_dead(error: BaseException) -> bool:
    """Whether asyncpg refused to send, because the server had said goodbye while the connection was idle."""
    return isinstance(error, asyncpg.InternalClientError) and "cannot switch to state" in str(error)


async def _leave_as_is(connection: asyncpg.Connection) -> None:
    """What asyncpg calls in place of its own reset."""
