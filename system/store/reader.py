"""Reads go to the region's own replica, or to any other member while that one is unavailable."""

from __future__ import annotations

import asyncio

import asyncpg

from system.process import DependencyState
from system.settings import Settings
from system.store.connect import Busy, Member, NoAnswer, NotSent, Record, addresses

_CONNECTIONS = 6
_CONNECT_WITHIN_S = 1.0
_ANSWER_WITHIN_S = 1.0
_PROBE_EVERY_S = 0.5


class NothingToRead(Exception):
    """No member answered. The message says how each of them failed."""


class Reader:
    """Reads from one member at a time, the region's own first. A member that fails is not used until a background probe
    gets an answer from it, so that requests do not wait to find out."""

    def __init__(self, settings: Settings, dependencies: DependencyState) -> None:
        others = [address for address in addresses(settings.database_hosts) if address != settings.replica]
        self._members = [Member(address, settings, "api-read", _CONNECTIONS) for address in (settings.replica, *others)]
        self._dependencies = dependencies
        self._probes: dict[str, asyncio.Task[None]] = {}
        self.near_losses = 0
        """How often the region's own member has failed."""

    async def fetch(self, query: str, *args: object) -> list[Record]:
        """The rows of one reading statement. NothingToRead if no member answers."""
        failures: list[str] = []
        for member in self._members:
            if member.address in self._probes:
                continue
            try:
                return await self._ask(member, query, args)
            except Busy as error:
                failures.append(str(error))
            except (NotSent, NoAnswer) as error:
                failures.append(str(error))
                self._stop_using(member, error)
        raise NothingToRead("; ".join(failures) or "every member is away")

    async def fetch_near(self, query: str, *args: object) -> list[Record]:
        """The rows of one reading statement, from the region's own member only. NothingToRead if it is unavailable."""
        near = self._members[0]
        if near.address in self._probes:
            raise NothingToRead(f"{near.address} is away")
        try:
            return await self._ask(near, query, args)
        except Busy as error:
            raise NothingToRead(str(error)) from None
        except (NotSent, NoAnswer) as error:
            self._stop_using(near, error)
            raise NothingToRead(str(error)) from None

    def close(self) -> None:
        for probe in self._probes.values():
            probe.cancel()
        for member in self._members:
            member.close()

    async def _ask(self, member: Member, query: str, args: tuple[object, ...]) -> list[Record]:
        try:
            return await member.fetch(
                query, args,
                connect_within_s=_CONNECT_WITHIN_S, answer_within_s=_ANSWER_WITHIN_S, drop=True,
            )  # fmt: skip
        except (asyncpg.QueryCanceledError, asyncpg.SerializationError) as error:
            # The statement's timeout, or a conflict with recovery on the standby.
            raise NoAnswer(f"{member.address}: {error}") from None

    def _stop_using(self, member: Member, error: Exception) -> None:
        self._dependencies.away(f"database member {member.address}", error)
        if member.address not in self._probes:
            self.near_losses += member is self._members[0]
            self._probes[member.address] = asyncio.create_task(self._probe(member))

    async def _probe(self, member: Member) -> None:
        while True:
            await asyncio.sleep(_PROBE_EVERY_S)
            try:
                await self._ask(member, "select 1", ())
            except (NotSent, NoAnswer):
                continue
            self._dependencies.back(f"database member {member.address}")
            del self._probes[member.address]
            return
