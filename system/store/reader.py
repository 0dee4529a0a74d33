"""Reads: from the region's own member, or any other while that one is away."""

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
    """No member answered; says what each of them did."""


class Reader:
    """A member that fails is left alone until a probe in the background finds that it answers, so that
    requests do not pay for finding out."""

    def __init__(self, settings: Settings, dependencies: DependencyState) -> None:
        others = [address for address in addresses(settings.database_hosts) if address != settings.replica]
        self._members = [Member(address, settings, "api-read", _CONNECTIONS) for address in (settings.replica, *others)]
        self._dependencies = dependencies
        self._probes: dict[str, asyncio.Task[None]] = {}
        self.near_losses = 0
        """How often the region's own member was found to be away."""

    async def fetch(self, query: str, *args: object) -> list[Record]:
        """The rows of one reading statement. NothingToRead if every member is away."""
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
                self._leave_alone(member, error)
        raise NothingToRead("; ".join(failures) or "every member is away")

    async def fetch_near(self, query: str, *args: object) -> list[Record]:
        """The same from the region's own member alone. NothingToRead if it is away."""
        near = self._members[0]
        if near.address in self._probes:
            raise NothingToRead(f"{near.address} is away")
        try:
            return await self._ask(near, query, args)
        except Busy as error:
            raise NothingToRead(str(error)) from None
        except (NotSent, NoAnswer) as error:
            self._leave_alone(near, error)
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
            # The statement's own time limit, or a conflict of the standby with recovery.
            raise NoAnswer(f"{member.address}: {error}") from None

    def _leave_alone(self, member: Member, error: Exception) -> None:
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
