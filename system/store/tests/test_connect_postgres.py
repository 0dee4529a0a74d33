"""The connection pool of one member: its size, its timeouts, and broken connections."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from system.settings import Settings
from system.store import connect
from system.store.connect import Busy, Member, NoAnswer, NotSent

SLEEP = "select pg_sleep($1)::text"
PIDS = "select pid from pg_stat_activity where application_name = 'covenant-test-member'"
WRITE = "insert into watch_seen select 'late', pg_sleep($1)::text"
SIZE = 3


async def ask(
    member: Member, query: str, *args: object, wait_s: float = 30.0, answer_s: float = 30.0, drop: bool = True
) -> Sequence[Any]:
    return await member.fetch(query, args, connect_within_s=wait_s, answer_within_s=answer_s, drop=drop)


def run(settings: Settings, scenario: Callable[[Member, Member], Awaitable[None]]) -> None:
    """Run `scenario` with a member, and with an observer's connection that is not in its pool."""

    async def within_the_loop() -> None:
        member = Member(settings.replica, settings, "test-member", SIZE)
        observer = Member(settings.replica, settings, "observer", 1)
        try:
            async with asyncio.timeout(60):
                await scenario(member, observer)
        finally:
            member.close()
            observer.close()
            await asyncio.sleep(0)  # Their transports close in the next turn.

    asyncio.run(within_the_loop())


def test_more_queries_than_connections_take_turns(database: Settings) -> None:
    async def scenario(member: Member, observer: Member) -> None:
        answers = await asyncio.gather(*(ask(member, "select $1::int", number) for number in range(100)))
        assert [rows[0][0] for rows in answers] == list(range(100))
        assert len(await ask(member, PIDS)) == SIZE

    run(database, scenario)


def test_kept_connections_are_made_before_a_query_needs_them(database: Settings) -> None:
    async def scenario(_: Member, observer: Member) -> None:
        kept = Member(database.replica, database, "test-kept", SIZE, kept=2)
        known = PIDS.replace("test-member", "test-kept")
        try:
            while len(before := await ask(observer, known)) < 2:
                await asyncio.sleep(0)
            await asyncio.gather(*(ask(kept, "select 1") for _ in range(2)))
            assert await ask(observer, known) == before
            await ask(observer, "select pg_terminate_backend($1)", before[0][0])
            while len(await ask(observer, known)) != 1:
                await asyncio.sleep(0)
            await asyncio.gather(*(ask(kept, SLEEP, 0.01) for _ in range(2)), return_exceptions=True)
            while len(await ask(observer, known)) < 2:
                await asyncio.sleep(0)
        finally:
            kept.close()

    run(database, scenario)


def test_a_query_that_waits_too_long_for_a_connection_fails_and_is_not_sent(database: Settings) -> None:
    async def scenario(member: Member, observer: Member) -> None:
        asleep = [asyncio.create_task(ask(member, SLEEP, 60)) for _ in range(SIZE)]
        while len(await ask(observer, f"{PIDS} and wait_event = 'PgSleep'")) < SIZE:
            await asyncio.sleep(0)
        with pytest.raises(Busy, match="all 3 connections were in use"):
            await ask(member, "select 1", wait_s=0.01)
        for task in asleep:
            task.cancel()
        await asyncio.gather(*asleep, return_exceptions=True)
        assert (await ask(member, "select 1"))[0][0] == 1

    run(database, scenario)


def test_a_read_without_an_answer_closes_its_connection(database: Settings) -> None:
    async def scenario(member: Member, observer: Member) -> None:
        [(before,)] = await ask(member, "select pg_backend_pid()")
        with pytest.raises(NoAnswer, match="did not answer within"):
            await ask(member, SLEEP, 60, answer_s=0.01)
        [(after,)] = await ask(member, "select pg_backend_pid()")
        assert after != before

    run(database, scenario)


def test_a_write_without_an_answer_goes_on(database: Settings) -> None:
    """It is not cancelled: it may be waiting for its standby."""

    async def scenario(member: Member, observer: Member) -> None:
        with pytest.raises(NoAnswer, match="did not answer within"):
            await ask(member, WRITE, 0.3, answer_s=0.01, drop=False)
        while not await ask(member, "select from watch_seen where name = 'late'"):
            await asyncio.sleep(0)

    run(database, scenario)


def test_a_connection_that_ended_while_idle_is_replaced(database: Settings) -> None:
    async def scenario(member: Member, observer: Member) -> None:
        [(pid,)] = await ask(member, "select pg_backend_pid()")
        await ask(observer, "select pg_terminate_backend($1)", pid)
        while await ask(observer, f"{PIDS} and pid = $1", pid):
            await asyncio.sleep(0)
        for _ in range(10):
            try:
                assert (await ask(member, "select 1"))[0][0] == 1
                return
            except NotSent:
                continue  # The end of the connection had not been read yet.
        raise AssertionError("expected a new connection")

    run(database, scenario)


def test_a_wait_that_is_cancelled_loses_no_connection(database: Settings) -> None:
    async def scenario(member: Member, observer: Member) -> None:
        for turns in range(30):
            tasks = [asyncio.create_task(ask(member, "select 1")) for _ in range(4 * SIZE)]
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        answers = await asyncio.gather(*(ask(member, "select 1") for _ in range(50)))
        assert len(answers) == 50

    run(database, scenario)


def test_a_member_that_is_not_used_any_more_says_so(database: Settings) -> None:
    async def scenario(member: Member, observer: Member) -> None:
        asleep = asyncio.create_task(ask(member, SLEEP, 60, drop=False))
        while not await ask(observer, f"{PIDS} and wait_event = 'PgSleep'"):
            await asyncio.sleep(0)
        member.close()
        with pytest.raises(NoAnswer):
            await asleep
        with pytest.raises(NotSent, match="not used any more"):
            await ask(member, "select 1")

    run(database, scenario)


def test_a_connection_that_takes_longer_than_its_query_waits_serves_the_next_one(
    database: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As over a long link."""
    near, made = connect.connect, []

    async def scenario(member: Member, observer: Member) -> None:
        arrives = asyncio.Event()

        async def far(*args: Any) -> Any:
            made.append(args)
            await arrives.wait()
            return await near(*args)

        monkeypatch.setattr(connect, "connect", far)
        with pytest.raises(NotSent, match=r"took no connection within 0\.01 s"):
            await ask(member, "select 1", wait_s=0.01)
        arrives.set()
        assert (await ask(member, "select 1"))[0][0] == 1
        assert len(made) == 1

    run(database, scenario)
