"""Connections that are opened, held and proven, against real servers with TLS and a limit for the crowd."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec import structs

from infra import target as targets
from infra.fabric.process import bus_alone
from infra.machine.waiting import eventually
from infra.parts import nats
from infra.target import Target
from infra.topology.options import DEFAULTS
from loadtests import run as runner
from loadtests.engine.connection_holder import Holder, servers_say
from loadtests.request import Request, check
from loadtests.tests.load_servers import DEADLINE_S, NatsServer
from reports.evidence import RunFolder

CROWD_MAX = 120 * len(os.sched_getaffinity(0))


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """Three nodes with TLS, on which the crowd may have few connections."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nats, "CROWD_MAX", CROWD_MAX)
        with bus_alone.running(tmp_path_factory.mktemp("bus") / "home", DEFAULTS) as (_, target):
            yield target


async def _until(condition: Callable[[], bool], holder: Holder) -> None:
    def looked() -> bool:
        holder.look()
        return condition()

    assert await eventually(looked, DEADLINE_S), f"in {DEADLINE_S:.0f} s: {holder.opened} opened, {holder.reasons}"


async def _opened(target: Target, count: int) -> Holder:
    holder = Holder(target)
    await holder.find_servers(target)
    for number in range(count):
        holder.open(number, time.monotonic_ns())
    return holder


def test_a_whole_storm(bus: Target, tmp_path: Path) -> None:
    """As a user runs it: as many as can be opened in three seconds, which are all that the crowd may have."""
    folder, path = RunFolder.create(tmp_path / "run"), tmp_path / "target.json"
    targets.write(bus, path)
    asked = check(Request(scenario="connection-storm", rate=100, duration_s=4.5, warmup_s=0))
    runner.run(asked, folder=folder, target_path=path)
    (load,), (held,) = folder.loads(), folder.connections()
    assert load.ok == load.offered == 450
    assert (held.wanted, held.held, held.lost, held.own_problem) == (CROWD_MAX, CROWD_MAX, 0, None)
    assert held.counted is not None
    assert held.counted >= held.held
    assert held.taking.samples == held.opened
    assert "longer --duration" in str(held.limited_by)
    assert load.settings["holder-1"].startswith(f"{CROWD_MAX:,} of {CROWD_MAX:,} connections")


def test_the_crowd_leaves_room_for_the_components(bus: Target) -> None:
    """The limit is one over all nodes. They tell each other how many there are: what was too much for a moment is
    closed again. So some are refused, or some are lost."""
    full = "maximum account active connections exceeded"

    def refused(holder: Holder) -> int:
        return sum(count for reason, count in holder.reasons.items() if full in reason)

    async def run() -> tuple[int, tuple[int, int] | None, int]:
        holder = await _opened(bus, CROWD_MAX + 30)
        try:
            await _until(lambda: holder.opened - holder.lost <= CROWD_MAX and refused(holder) > 0, holder)
            said = await servers_say(bus)
            component = Holder(structs.replace(bus, nats_crowd=None))
            await component.find_servers(bus)
            return await holder.prove(), said, len(component.addresses)
        finally:
            holder.close()

    held, said, nodes = asyncio.run(run())
    assert CROWD_MAX // 2 < held <= CROWD_MAX
    assert said is not None
    assert said[0] >= held
    assert nodes == 3, "a component still gets in, at every node"


def test_what_a_dead_server_held_is_lost_and_not_opened_again(
    nats_server: NatsServer, make_target: Callable[..., Path]
) -> None:
    target = targets.read(make_target(nats=nats_server.url))

    async def run() -> tuple[Holder, int]:
        holder = await _opened(target, 20)
        await _until(lambda: holder.opened == 20, holder)
        nats_server.kill()
        await _until(lambda: holder.lost == 20, holder)
        nats_server.start()
        held = await holder.prove()
        holder.close()
        return holder, held

    holder, held = asyncio.run(run())
    assert (held, holder.lost, holder.retried) == (0, 20, 0)


def test_a_server_that_is_away_is_tried_again(nats_server: NatsServer, make_target: Callable[..., Path]) -> None:
    target = targets.read(make_target(nats=nats_server.url))

    async def run() -> Holder:
        holder = Holder(target)
        await holder.find_servers(target)
        nats_server.kill()
        holder.open(0, time.monotonic_ns())
        await _until(lambda: bool(holder.reasons), holder)
        nats_server.start()
        await _until(lambda: holder.opened == 1, holder)
        assert holder.settled
        assert await holder.prove() == 1
        holder.close()
        return holder

    holder = asyncio.run(run())
    assert holder.retried >= 1
    assert holder.taking.close().samples == 1


def test_no_count_is_taken_for_whole_if_a_server_is_silent(bus: Target) -> None:
    silent = structs.replace(bus, nats_monitor=[*bus.nats_monitor, "http://127.0.0.1:1"])
    assert asyncio.run(servers_say(silent)) is None
