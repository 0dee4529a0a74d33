"""Writes go to the primary, whichever member that is.

A write has one of three outcomes, and a client must be able to rely on which: done, certainly not done, or unknown.
"""

from __future__ import annotations

import asyncio

import asyncpg

from system.process import DependencyState, retry
from system.settings import Settings
from system.store.connect import Busy, Member, NoAnswer, NotSent, Record, connect_primary

_NAME = "api-write"
_CONNECTIONS = 16
"""The most connections. Each carries one write at a time: five a second at a round trip of 200 ms."""
_KEPT = 4
"""Connections made in advance. Over the longest link one takes 1.5 s, for which the first writes would have to wait."""
_FIND_WITHIN_S = 1.0
_ANSWER_WITHIN_S = 2.0


_UNDONE = (
    asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError, asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError, asyncpg.InsufficientResourcesError,
)  # fmt: skip
"""Errors after which the transaction was rolled back and another try may succeed."""


class NotWritten(Exception):
    """The write certainly did not take effect; it may be sent again."""


class OutcomeUnknown(Exception):
    """The write may have taken effect; look for it before sending it again."""


class Primary:
    """Finds the primary, keeps connections to it, and looks for it again after every failure."""

    def __init__(self, settings: Settings, dependencies: DependencyState) -> None:
        self._settings = settings
        self._dependencies = dependencies
        self._member: Member | None = None
        self._search: asyncio.Task[None] | None = None

    async def fetch(self, query: str, *args: object) -> list[Record]:
        """The rows that one writing statement returns, in a transaction of its own. NotWritten, OutcomeUnknown, or the
        PostgresError that the primary answered with, such as a violated constraint."""
        for last in (False, True):
            member = await self._found()
            try:
                return await member.fetch(
                    query, args,
                    connect_within_s=_FIND_WITHIN_S, answer_within_s=_ANSWER_WITHIN_S, drop=False,
                )  # fmt: skip
            except NoAnswer as error:
                self._look_again(member, lost=False)
                raise OutcomeUnknown(str(error)) from None
            except Busy as error:
                self._look_again(member, lost=False)
                raise NotWritten(str(error)) from None
            except _UNDONE as error:
                raise NotWritten(f"{member.address}: {error}") from None
            except (NotSent, asyncpg.ReadOnlySQLTransactionError) as error:
                self._look_again(member, lost=True)
                if last:
                    raise NotWritten(str(error)) from None
        raise AssertionError("unreachable")

    def close(self) -> None:
        if self._search is not None:
            self._search.cancel()
        if self._member is not None:
            self._member.close()

    async def _found(self) -> Member:
        if self._member is None:
            search = self._searching()
            await asyncio.wait({search}, timeout=_FIND_WITHIN_S)
        if self._member is None:
            raise NotWritten(f"no primary was found within {_FIND_WITHIN_S} s")
        return self._member

    def _look_again(self, member: Member, *, lost: bool) -> None:
        """Search again after a failure. A member that is `lost` is not used any more. One that was only slow stays in
        use until another primary is found: it may be waiting for its standby."""
        if lost and member is self._member:
            self._member = None
            member.close()
        self._searching()

    def _searching(self) -> asyncio.Task[None]:
        if self._search is None or self._search.done():
            self._search = asyncio.create_task(self._find())
        return self._search

    async def _find(self) -> None:
        address, connection = await retry(
            lambda: connect_primary(self._settings, _NAME), NotSent, self._dependencies, "primary database"
        )
        if self._member is not None and self._member.address == address:
            connection.terminate()
            return
        if self._member is not None:
            self._member.close()
        self._member = Member(address, self._settings, _NAME, _CONNECTIONS, connection, _KEPT)
