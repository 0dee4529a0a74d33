"""Two real members of PostgreSQL under Patroni, and a supervisor: whatever dies right after bootstrap, no acknowledged
write is lost, nobody writes beside the new primary, and the old one comes back by itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import psycopg
import pytest

from chaos.faults.process import old_primary
from infra.fabric.process import deaths, leader_key
from infra.fabric.process.supervisor import Supervisor
from infra.fabric.process.system import System
from infra.parts import postgres
from infra.tests.small_cluster import running
from infra.topology.options import parse

pytestmark = pytest.mark.timeout(240)

T = TypeVar("T")


def until(look: Callable[[], T | None], within_s: float, what: str) -> T:
    deadline = time.monotonic() + within_s
    while (found := look()) is None:
        assert time.monotonic() < deadline, f"waited {within_s:.0f} s in vain for {what}"
        time.sleep(0.02)
    return found


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    """etcd and the two members of the primary's region, right after bootstrap; nothing else."""
    names = ["etcd-iad", "postgres-iad-a", "postgres-iad-b"]
    with running(tmp_path / "fenced", names, parse(["distance=off"])) as made:
        postgres.checkpoint_all(made.place)
        yield made


@contextmanager
def supervised(system: System) -> Iterator[None]:
    over = threading.Event()
    supervisor = Supervisor(system.processes)

    def watch() -> None:
        while not over.is_set():
            supervisor.turn(0.1)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(20)


class Writer(threading.Thread):
    """Inserts numbers one after the other, wherever the primary is; `acked` are those that were acknowledged."""

    def __init__(self, system: System) -> None:
        super().__init__(daemon=True)
        self.acked: dict[int, float] = {}
        self._url = postgres.dsn(system.place, "postgres", system.site.secrets["postgres"], database="postgres")
        self._over = threading.Event()
        with psycopg.connect(self._url, autocommit=True) as link:
            link.execute("create table written (number int primary key)")

    def run(self) -> None:
        number = 0
        while not self._over.is_set():
            try:
                with psycopg.connect(self._url, autocommit=True) as link:
                    while not self._over.is_set():
                        number += 1
                        link.execute("insert into written values (%s)", [number])
                        self.acked[number] = time.monotonic()
            except psycopg.Error:
                self._over.wait(0.02)

    def __enter__(self) -> Writer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join(20)

    def found(self) -> set[int]:
        """What is there of what it wrote."""
        with psycopg.connect(self._url, autocommit=True) as link:
            return {row[0] for row in link.execute("select number from written")}


@pytest.mark.parametrize("crash", [True, False], ids=["Patroni alone", "the whole node"])
def test_primary_lost_right_after_bootstrap(system: System, crash: bool) -> None:
    old = postgres.primary(system.place)
    assert old is not None
    with supervised(system), Writer(system) as writer:
        until(lambda: len(writer.acked) > 20 or None, 20, "acknowledged writes")
        assert old_primary.try_write(system.place, old) is None, "as long as it leads it takes writes"
        killed = time.monotonic()
        assert system.crash(old.name) if crash else system.kill(old.name)

        def another_leads() -> str | None:
            leader = postgres.primary(system.place)
            return leader.name if leader and leader != old else None

        tally = old_primary.watch(another_leads, lambda: old_primary.try_write(system.place, old), 15, 3)
        assert tally is not None, "the lease was not given back: nobody leads within 15 s, and its time is 20 s"
        assert tally.accepted == 0
        assert tally.tries > 10
        after = [at for at in writer.acked.values() if at > killed + 0.2]
        assert after
        assert system.alive(old.name) == crash, "what crashed is started again, what is lost is not"
        if not crash:
            system.start_part(old.name)
        until(lambda: postgres.missing_redundancy(system.place) is None or None, 90, "the old primary to rejoin")
    assert writer.acked.keys() <= writer.found()
    (death,) = deaths.read(system.site.path)
    assert (death.part, death.planned, death.lease_released) == (old.name, True, True)
    assert system.deaths() == []
    held = leader_key.holder(system.place)
    assert held is not None
    assert held.member != old.name
