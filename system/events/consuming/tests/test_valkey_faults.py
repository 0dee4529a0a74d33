"""A script fails: an event at fault becomes a dead letter; an error of Valkey's state is waited out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import ClassVar, cast

import pytest
import redis

from system.domain.frames import Fault
from system.events.consuming.dead_letters import DeadLetterOffice
from system.events.consuming.effect import Batch, Delivery
from system.events.consuming.guard import Admission
from system.events.consuming.persist import Persister
from system.events.consuming.valkey import ValkeyEffect
from system.process import DependencyState
from system.settings import Settings
from system.store.valkey.consumer_state import keys_of
from system.tests.servers import wait_until
from system.wire import PROJECTS_STREAM, Event, ProjectEvent

DEADLINE_S = 60.0
LOG = logging.getLogger("test")
PARTITION = "projects.0"
KEYS = keys_of("failing")
WRONG_TYPE = "redis.call('LPUSH', KEYS[2], 'x')"
NO_LUA = "local nothing = nil .. ARGV[3]"


class Failing(ValkeyEffect):
    """Fails for the event at position 3."""

    consumer: ClassVar[str] = "failing"
    own_keys: ClassVar[tuple[str, ...]] = ("text",)
    tries_alone = 0

    def arguments(self, events: Sequence[Event]) -> list[bytes | str]:
        return [str(event.position) for event in events]

    async def apply(self, batch: Batch) -> Mapping[str, Admission[Delivery]]:
        [arrived] = batch.values()
        self.tries_alone += [one.position for one in arrived] == [3]
        return await super().apply(batch)

    async def origins(self, partitions: Sequence[str]) -> dict[str, int]:
        return dict.fromkeys(partitions, 0)


class Office:
    """Records dead letters."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []

    async def put_aside(self, fault: Fault, _: int) -> None:
        self.faults.append(fault)


class Noticing(DependencyState):
    """Records why a dependency is away."""

    def __init__(self) -> None:
        super().__init__(LOG)
        self.reasons: asyncio.Queue[str] = asyncio.Queue()

    def away(self, name: str, error: BaseException | str) -> None:
        self.reasons.put_nowait(str(error))


@pytest.fixture
def valkey(valkey_server: subprocess.Popen[bytes], settings: Settings) -> Iterator[redis.Redis]:
    host, _, port = settings.valkey.partition(":")
    with redis.Redis(host, int(port), password=settings.valkey_password, decode_responses=True) as client:
        client.flushall()
        client.set("text", "not a list")
        yield client


def batch(*positions: int) -> Batch:
    return {PARTITION: [Delivery(event(position), None, b"{}") for position in positions]}


def event(position: int) -> ProjectEvent:
    return ProjectEvent(
        id=str(position), type="updated", aggregate="projects", aggregate_id="p", partition=PARTITION,
        position=position, region="ams", occurred_at="2026-01-01T00:00:00Z", before=None, after=None,
    )  # fmt: skip


def persister(effect: Failing, office: Office, dependencies: DependencyState) -> Persister:
    return Persister("failing", PROJECTS_STREAM.name, effect, cast(DeadLetterOffice, office), dependencies, LOG)


@pytest.mark.parametrize(("command", "said"), [(WRONG_TYPE, "WRONGTYPE"), (NO_LUA, "attempt to concatenate a nil")])
def test_an_event_whose_script_fails_is_a_dead_letter(
    command: str, said: str, valkey: redis.Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = f"for i = 3, #ARGV do if ARGV[i] == '3' then {command} end end"
    monkeypatch.setattr(Failing, "commands", commands, raising=False)

    async def run() -> None:
        effect, office = Failing(settings, PROJECTS_STREAM), Office()
        async with asyncio.timeout(DEADLINE_S):
            settled = await persister(effect, office, DependencyState(LOG)).apply(batch(1, 2, 3, 4, 5), {})
        await effect.close()
        [fault] = office.faults
        assert (fault.partition, fault.first, fault.last) == (PARTITION, 3, 3)
        assert said in fault.reason
        assert settled[PARTITION].next_position == 6
        assert effect.tries_alone == 3

    asyncio.run(run())
    assert valkey.hget(KEYS.positions, PARTITION) == "5"
    assert valkey.hget(KEYS.effects, PARTITION) == "4"
    assert valkey.smembers(f"{KEYS.skipped}{PARTITION}") == {"3"}


@contextlib.contextmanager
def full(valkey: redis.Redis) -> Iterator[None]:
    valkey.config_set("maxmemory", 1)
    yield
    valkey.config_set("maxmemory", 0)


@contextlib.contextmanager
def read_only(valkey: redis.Redis) -> Iterator[None]:
    valkey.config_set("replica-serve-stale-data", "yes")
    valkey.replicaof("127.0.0.1", 1)
    yield
    valkey.replicaof("NO", "ONE")


@contextlib.contextmanager
def without_enough_replicas(valkey: redis.Redis) -> Iterator[None]:
    valkey.config_set("min-replicas-to-write", 1)
    yield
    valkey.config_set("min-replicas-to-write", 0)


@contextlib.contextmanager
def busy(valkey: redis.Redis) -> Iterator[None]:
    def client(timeout_s: float) -> redis.Redis:
        known = valkey.get_connection_kwargs()
        return redis.Redis(known["host"], known["port"], password=known["password"], socket_timeout=timeout_s)

    def spin() -> None:
        with client(DEADLINE_S) as spinning, contextlib.suppress(redis.ResponseError):
            spinning.eval("while true do end", 0)

    def is_spinning() -> bool:
        with client(0.5) as asking:
            try:
                asking.ping()
            except redis.TimeoutError:  # The command came while the script was running.
                return False
            except redis.ResponseError as error:
                return str(error).startswith("BUSY")
        return False

    valkey.config_set("busy-reply-threshold", 1)
    thread = threading.Thread(target=spin)
    thread.start()
    wait_until(is_spinning, "a script to spin")
    yield
    with client(DEADLINE_S) as killing:
        killing.script_kill()
    thread.join(DEADLINE_S)
    valkey.config_set("busy-reply-threshold", 5_000)


@pytest.mark.parametrize(
    ("state", "said"),
    [(full, "command not allowed when used memory"), (read_only, "read only replica"),
     (without_enough_replicas, "NOREPLICAS"), (busy, "BUSY")],
)  # fmt: skip
def test_an_error_of_valkeys_state_is_waited_out(
    state: Callable[[redis.Redis], contextlib.AbstractContextManager[None]], said: str, valkey: redis.Redis,
    settings: Settings, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(Failing, "commands", "", raising=False)

    async def run() -> None:
        effect, office, dependencies = Failing(settings, PROJECTS_STREAM), Office(), Noticing()
        async with asyncio.timeout(DEADLINE_S):
            with state(valkey):
                applying = asyncio.create_task(persister(effect, office, dependencies).apply(batch(1, 2, 3), {}))
                while said not in await dependencies.reasons.get():
                    pass
            await applying
        await effect.close()
        assert office.faults == []

    asyncio.run(run())
    assert valkey.hget(KEYS.positions, PARTITION) == "3"
    assert valkey.hget(KEYS.effects, PARTITION) == "3"
