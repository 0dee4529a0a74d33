"""Exactly once, whatever is killed: clients write in all regions while parts die at random, then every event is looked
for at every consumer in every region. The same after the bus has lost everything, and after a republish that the bus
cannot recognise.

The seed is COVENANT_KILLS_SEED, else a new one; it is printed, and repeats the choices, though not the instants.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import nats as nats_client
import pytest
from nats.aio.client import Client
from nats.js.api import PubAck

from chaos.faults.process import instants
from chaos.faults.process.hunt import hunt
from chaos.faults.tests import everywhere, kills
from chaos.faults.tests.project_writers import Writers, remove, writing
from infra.fabric.process.system import System
from infra.machine.waiting import until
from infra.parts import nats
from infra.site import bus_users
from infra.target import Login, Target
from ledger.observe import bus
from reports.evidence import RunFolder
from system import wire

pytestmark = [pytest.mark.full, pytest.mark.running, pytest.mark.timeout(1500)]

KILLS = 50
_BETWEEN_S = (0.5, 3.0)
_ACKED_BEFORE = 100
"""Writes that are acknowledged before anything is broken, and again afterwards: the fault is amid a load."""
_WITHIN_S = 180.0
_RELAY = "relay-iad"
_BEHIND = ("analytics-iad", "frontend-realtime-ams")
"""Consumers that are down when the bus loses everything: one of each place that effects go to."""
_STREAM = wire.PROJECTS_STREAM

Tell = Callable[[str], None]


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Tell:
    """Progress, past pytest's capturing."""
    begin = time.monotonic()

    def say(text: str) -> None:
        with capsys.disabled():
            print(f"\n{time.monotonic() - begin:6.1f} s  {text}", end="", flush=True)

    return say


@pytest.fixture
def dice(tell: Tell) -> random.Random:
    seed = int(os.environ.get("COVENANT_KILLS_SEED") or secrets.randbelow(10**6))
    tell(f"seed {seed}")
    return random.Random(seed)


@contextmanager
def amid_writes(
    system: System, target: Target, folder: RunFolder, dice: random.Random, tell: Tell
) -> Iterator[Writers]:
    """Break things in the block, while clients write; afterwards everything is whole, and every write where it must
    be, once."""
    _wait(lambda: not system.missing(), "the system to be whole", lambda: "; ".join(system.missing()))
    began_ns = time.monotonic_ns()
    with folder.writes("writers") as ledger:
        with writing(target, ledger, dice.randrange(10**6)) as writers:
            wait_acked(writers, _ACKED_BEFORE)
            yield writers
            wait_acked(writers, writers.acked + _ACKED_BEFORE)
        tell(f"{writers.acked} writes acknowledged, {writers.retried} attempts repeated; waiting until all is whole")
    _wait(lambda: not system.missing(), "the system to be whole", lambda: "; ".join(system.missing()))
    tell("whole; looking for every event at every consumer")
    found = everywhere.look(folder, "writers", target, writers.versions, began_ns)
    tell(f"{found.events} events, {len(found.wrong)} findings")
    assert writers.problems == []
    assert found.wrong == []
    remove(target, writers.versions)


def wait_acked(writers: Writers, count: int) -> None:
    what = f"{count} acknowledged writes"
    _wait(lambda: writers.acked >= count or bool(writers.problems), what, lambda: f"{writers.acked}")
    assert writers.problems == []


def _wait(holds: Callable[[], bool], what: str, found: Callable[[], str]) -> None:
    assert until(lambda: holds() or None, _WITHIN_S), f"waited {_WITHIN_S:.0f} s for {what}, found {found()}"


def test_no_effect_is_lost_or_doubled_over_fifty_kills(
    system: System, target: Target, tmp_path: Path, dice: random.Random, tell: Tell
) -> None:
    done: Counter[str] = Counter()
    with amid_writes(system, target, RunFolder.create(tmp_path / "run"), dice, tell) as writers:
        for number, kind in enumerate(kills.plan(dice, KILLS), 1):
            victim = kills.choose(system, kind, dice)
            kills.wait_whole(system, victim)
            dead_s = kills.strike(system, victim, dice)
            done[kind] += 1
            tell(f"{number:2} of {KILLS}: {victim}, dead for {dead_s:.1f} s; {writers.acked} writes so far")
            time.sleep(dice.uniform(*_BETWEEN_S))
    assert done.total() == KILLS
    assert set(done) == set(kills.KINDS)


def test_no_effect_is_lost_or_doubled_when_the_bus_has_lost_everything(
    system: System, target: Target, tmp_path: Path, dice: random.Random, tell: Tell
) -> None:
    nodes = [name for name, part in system.parts.items() if part.kind == "nats"]
    with amid_writes(system, target, RunFolder.create(tmp_path / "run"), dice, tell) as writers:
        # What these have not read yet is in the stream alone, and goes with it.
        for name in _BEHIND:
            assert system.kill(name), f"expected {name} to run"
        wait_acked(writers, writers.acked + _ACKED_BEFORE)
        for name in nodes:
            assert system.kill(name), f"expected {name} to run"
        for name in nodes:
            shutil.rmtree(system.parts[name].folder / "store")
        tell("all nodes of the bus are dead and their stores are gone")
        for name in (*nodes, *_BEHIND):
            system.start_part(name)
        _wait(
            lambda: nats.missing_redundancy(system.place) is None,
            "the streams to be made anew by the relay",
            lambda: str(nats.missing_redundancy(system.place)),
        )
        tell("the streams are there again")


def test_no_effect_is_doubled_when_events_come_again_after_the_duplicate_window(
    system: System, target: Target, tmp_path: Path, dice: random.Random, tell: Tell
) -> None:
    before = asyncio.run(_set_window(system, target, 1.0))
    try:
        behind_seq = asyncio.run(_last_seq(target))
        with amid_writes(system, target, RunFolder.create(tmp_path / "run"), dice, tell):
            gap = _kill_relay_before_it_confirms(system, target)
            tell(f"the relay is dead, {gap[0]} position {gap[1]} is stored and not confirmed")
            asyncio.run(_window_has_passed(system, target))
            tell("the window has passed")
            system.start_part(_RELAY)
        copies = asyncio.run(_copies(target, behind_seq))
        assert copies[gap] > 1, f"expected {gap[0]} position {gap[1]} twice in the stream, found it {copies[gap]} times"
        tell(f"{sum(count > 1 for count in copies.values())} events are in the stream more than once")
    finally:
        asyncio.run(_set_window(system, target, before))


def _kill_relay_before_it_confirms(system: System, target: Target) -> tuple[str, int]:
    """(partition, position) of an event that is stored, and that the relay has not noted as stored."""

    async def catch() -> tuple[str, int] | None:
        pid = system.pid(_RELAY)
        assert pid is not None, f"expected {_RELAY} to run"
        async with bus.observer(target) as client, await instants.connect(target) as link:
            _, stands = await hunt(system, _RELAY, lambda: instants.relay_stands(client, link), _WITHIN_S)
            return stands.in_gap

    gap = asyncio.run(catch())
    system.kill(_RELAY)
    assert gap is not None, f"the relay was not caught between stored and confirmed within {_WITHIN_S:.0f} s"
    return gap


# What users of the bus do; the harness's others may only look.


async def _as(user: str, system: System, target: Target) -> Client:
    login = Login(user=user, password=system.site.secrets[bus_users.secret_name(user)])
    async with asyncio.timeout(10):
        return await nats_client.connect(**target.nats_options(login))


async def _set_window(system: System, target: Target, seconds: float) -> float:
    """Change the stream's duplicate window; what it was."""
    client = await _as(bus_users.STREAMS_ADMIN, system, target)
    try:
        stream = client.jetstream(timeout=5)
        config = (await stream.stream_info(_STREAM.name)).config
        before = config.duplicate_window
        assert before is not None
        await stream.update_stream(config.evolve(duplicate_window=seconds))
        return before
    finally:
        await client.close()


async def _window_has_passed(system: System, target: Target) -> None:
    """Until the stream takes a message id again that it has just seen: then it knows none of before either."""
    client = await _as("api", system, target)
    try:
        stream = client.jetstream(timeout=5)
        headers = {wire.MESSAGE_ID_HEADER: secrets.token_hex(8), "Nats-Rollup": "sub"}
        async with asyncio.timeout(_WITHIN_S):
            taken: list[PubAck] = []
            while len([ack for ack in taken if not ack.duplicate]) < 2:
                taken.append(await stream.publish(_STREAM.health_subject, b"window", headers=headers))
                await asyncio.sleep(0.1)
    finally:
        await client.close()


async def _last_seq(target: Target) -> int:
    async with bus.observer(target) as client:
        last = await bus.last_frame(client, instants.STREAM, instants.EVENTS)
        return last.seq if last else 0


async def _copies(target: Target, behind_seq: int) -> Counter[tuple[str, int]]:
    """(partition, position) -> how often the stream holds it, behind a sequence."""
    last = await _last_seq(target)
    async with bus.observer(target) as client:
        frames = await bus.frames(
            client, instants.STREAM, instants.EVENTS, behind_seq + 1, last, within_s=_WITHIN_S
        )  # fmt: skip
    return Counter((event.partition, event.position) for frame in frames for event in frame.events)
