"""Kills at random, one fault at a time in everything that has copies: what is killed, how, and when it is whole."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psutil

from infra.fabric.process.system import System
from infra.machine import processes
from infra.machine.waiting import until
from infra.parts import nats, postgres
from infra.topology.model import Node
from system.wire import observer

KINDS = ("relay", *observer.once(), *observer.per_region(), "nats", "patroni", "postgres", "api")
_DEAD_S = (0.0, 2.0)
"""How long it stays dead: a supervisor takes its time."""
_WHOLE_WITHIN_S = 150.0
_PRIMARY_SHARE = 0.5
"""Of the kills of PostgreSQL or Patroni, those that hit the primary; the others hit anyone."""


class Victim(NamedTuple):
    """`kind` of KINDS, and the part that is hit."""

    kind: str
    part: str

    def __str__(self) -> str:
        alone = {"patroni": "Patroni alone on ", "postgres": "PostgreSQL alone on "}
        return f"{alone.get(self.kind, '')}{self.part}"


def plan(dice: random.Random, count: int) -> list[str]:
    """So many kinds in random order, each about as often as any other."""
    kinds = [*KINDS * (count // len(KINDS)), *dice.sample(KINDS, count % len(KINDS))]
    dice.shuffle(kinds)
    return kinds


def choose(system: System, kind: str, dice: random.Random) -> Victim:
    """One part of the kind; of PostgreSQL's members as often as not the primary."""
    place = "postgres" if kind == "patroni" else kind
    names = sorted(name for name, part in system.parts.items() if part.kind == place)
    if place == "postgres" and dice.random() < _PRIMARY_SHARE:
        leader: Node | None = until(lambda: postgres.primary(system.place), _WHOLE_WITHIN_S)
        assert leader is not None, f"expected a primary within {_WHOLE_WITHIN_S:.0f} s, found none"
        return Victim(kind, leader.name)
    return Victim(kind, dice.choice(names))


def wait_whole(system: System, victim: Victim) -> None:
    """Until what a victim is one of is whole, so that no second copy is hit while one is missing."""
    lacks: Callable[[], str | None] = {
        "nats": lambda: nats.missing_redundancy(system.place),
        "patroni": lambda: postgres.missing_redundancy(system.place),
        "postgres": lambda: postgres.missing_redundancy(system.place),
    }.get(victim.kind, system.parts[victim.part].waiting_for)
    found = until(lambda: lacks() is None or None, _WHOLE_WITHIN_S)
    assert found, f"{victim.part} is not whole after {_WHOLE_WITHIN_S:.0f} s: it lacks {lacks()}"


def strike(system: System, victim: Victim, dice: random.Random) -> float:
    """kill -9, and start it again as a supervisor would; for how many seconds it was left dead.

    Patroni alone is started at once: a PostgreSQL without it goes on writing after its lease has run out. PostgreSQL
    alone is Patroni's to start."""
    if victim.kind == "postgres":
        _kill_all(_postmaster(system.parts[victim.part].folder))
        return 0.0
    if victim.kind == "patroni":
        pid = system.pid(victim.part)
        assert pid is not None, f"expected Patroni of {victim.part} to run"
        _kill_all([psutil.Process(pid)])
        system.start_part(victim.part)
        return 0.0
    assert system.kill(victim.part), f"expected {victim.part} to run"
    dead_s = dice.uniform(*_DEAD_S)
    time.sleep(dead_s)
    system.start_part(victim.part)
    return dead_s


def _postmaster(folder: Path) -> list[psutil.Process]:
    """PostgreSQL's postmaster and its children."""
    file = folder / "data" / "postmaster.pid"
    return processes.tree(psutil.Process(int(file.read_text().splitlines()[0])))


def _kill_all(found: list[psutil.Process]) -> None:
    for process in found:
        process.kill()
    left = processes.wait_gone(found, 10)
    assert not left, f"still alive after SIGKILL: {left}"
