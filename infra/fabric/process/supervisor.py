"""What a kubelet and a watchdog do for a system on this machine: `python -m infra.fabric.process.supervisor HOME`.

It waits for the end of every part's process (a pidfd each: instant, and idle it costs nothing). What died and is meant
to run is started again: at once, and with growing pauses if it keeps dying. What was killed to stay dead
(`PartProcesses.kill`: a node that is lost) stays dead.

Either way the node is fenced first: whatever the part has left is killed, above all a PostgreSQL without its Patroni,
which would go on taking writes after another member was promoted. Once no process of a PostgreSQL node is left, and
only then, its lease in etcd is given back, as a cloud does that knows an instance to be terminated. A node that is
merely out of reach is none of that: its processes live, and its lease decides.

PostgreSQL alone is Patroni's affair, and so is the way back of an old primary (pg_rewind).
"""

from __future__ import annotations

import logging
import os
import select
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from infra.fabric.process import deaths, leader_key
from infra.fabric.process.parts import PartProcesses
from infra.fabric.protocol import Death, StartError
from infra.machine import processes
from infra.parts.postgres import Postgres

_LOOK_EVERY_S = 1.0
"""How soon a part that another process started is watched."""
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0
_STEADY_AFTER_S = 60.0
"""A part that has run for so long has come back: its next death is a first one."""
_RELEASE_WITHIN_S = 20.0
"""After this the lease has run out by itself."""

log = logging.getLogger("supervisor")


class Restarts:
    """When each part that died is to be started again; instants are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._due: dict[str, float] = {}
        self._pause_s: dict[str, float] = {}

    def died(self, part: str, now: float, lived_s: float) -> None:
        """It is due at once the first time, then 1 s after its death, 2 s, 4 s ... 30 s."""
        last_s = self._pause_s.get(part)
        if last_s is None or lived_s >= _STEADY_AFTER_S:
            pause_s = 0.0
        else:
            pause_s = min(max(_FIRST_PAUSE_S, 2 * last_s), _LONGEST_PAUSE_S)
        self._pause_s[part] = pause_s
        self._due[part] = now + pause_s

    def forget(self, part: str) -> None:
        """Drop a part that is to stay dead, or that another process has started."""
        self._due.pop(part, None)

    def take_due(self, now: float) -> list[str]:
        """The parts that are to be started now, each once."""
        due = [part for part, at in self._due.items() if at <= now]
        for part in due:
            del self._due[part]
        return due

    def next_due(self) -> float | None:
        return min(self._due.values(), default=None)


class _Watched(NamedTuple):
    record: processes.Record
    since: float
    end: int
    """A pidfd: readable from the process's end on."""


class Supervisor:
    def __init__(self, system: PartProcesses, clock: Callable[[], float] = time.monotonic) -> None:
        self._system = system
        self._clock = clock
        self._restarts = Restarts()
        self._watched: dict[str, _Watched] = {}
        self._buried: dict[str, processes.Record] = {}
        self._ends = select.poll()
        self._unreleased: dict[str, float] = {}
        """PostgreSQL member that is dead -> until when to try to give its lease back."""

    def run(self) -> None:
        while True:
            self.turn(_LOOK_EVERY_S)

    def turn(self, at_most_s: float) -> None:
        """Wait until something has ended or is due, at most so long, and do what is to be done."""
        now = self._clock()
        dead = self._look(now)
        due = self._restarts.next_due()
        wait_s = 0.0 if dead else at_most_s if due is None else max(0.0, min(at_most_s, due - now))
        ended = {end for end, _ in self._ends.poll(wait_s * 1000)}
        dead += [name for name, watched in self._watched.items() if watched.end in ended]
        # Databases first: what is left of one may be taking writes.
        for name in sorted(dead, key=lambda name: self._system.parts[name].kind != Postgres.kind):
            self._bury(name)
        for name in list(self._unreleased):
            self._release(name)
        for name in self._restarts.take_due(self._clock()):
            self._restart(name)

    def _look(self, now: float) -> list[str]:
        """Watch the parts that were started since the last look; returns those that have died meanwhile."""
        dead = []
        for name in self._system.parts:
            record = self._system.table.record(name)
            known = self._watched[name].record if name in self._watched else self._buried.get(name)
            if record is None or (known is not None and _same(known, record)):
                continue
            if name in self._watched:
                self._unwatch(name)
            self._restarts.forget(name)
            self._watched[name] = _Watched(record, now, _end_of(record))
            if self._watched[name].end < 0:
                dead.append(name)
            else:
                self._ends.register(self._watched[name].end, select.POLLIN)
        return dead

    def _unwatch(self, name: str) -> None:
        watched = self._watched.pop(name)
        if watched.end >= 0:
            self._ends.unregister(watched.end)
            os.close(watched.end)

    def _bury(self, name: str) -> None:
        """A part's process has ended: fence what it left, give its lease back, note it, plan its restart."""
        noticed_ns = time.monotonic_ns()
        watched = self._watched[name]
        processes.reap(watched.record.pid)
        self._unwatch(name)
        self._buried[name] = watched.record
        with self._system.locked(name):
            record = self._system.table.record(name)
            if record is None or not _same(record, watched.record):
                return  # Another process has started it again already; what lives now is not to be fenced.
            left = self._system.kill_rest(name)
            released = self._try_release(name)
        planned = record.crashed or not record.wanted
        deaths.add(self._system.site.path, Death(
            part=name, created=record.created, at_ns=noticed_ns, planned=planned, supervised=True,
            fenced=len(left), lease_released=released,
        ))  # fmt: skip
        now = self._clock()
        if record.wanted:
            self._restarts.died(name, now, now - watched.since)
        lines = [
            f"{name} has ended{' as planned' if planned else ''}",
            f"{len(left)} processes that it left were killed",
        ]
        lines += ["its lease was given back"] if released else []
        lines += [] if record.wanted else ["it is to stay dead"]
        log.warning("%s", "; ".join(lines))

    def _try_release(self, name: str) -> bool:
        """Give a dead PostgreSQL node's lease back if it has it; its lock is held. If etcd does not answer it is tried
        again."""
        if self._system.parts[name].kind != Postgres.kind:
            return False
        try:
            return leader_key.release(self._system.place, name, lambda: self._system.is_gone(name))
        except leader_key.NoAnswer as error:
            log.warning("%s: its lease could not be given back: %s", name, error)
            self._unreleased.setdefault(name, self._clock() + _RELEASE_WITHIN_S)
            return False

    def _release(self, name: str) -> None:
        if self._clock() > self._unreleased[name]:
            del self._unreleased[name]
            return
        with self._system.locked(name):
            until = self._unreleased.pop(name)
            if self._system.is_gone(name) and self._try_release(name):
                log.warning("%s: gave its lease back", name)
        if name in self._unreleased:
            self._unreleased[name] = until

    def _restart(self, name: str) -> None:
        try:
            if self._system.revive(name):
                log.warning("%s is started again", name)
        except (OSError, StartError, psutil.Error) as error:
            log.error("%s could not be started again: %r", name, error)
            self._restarts.died(name, self._clock(), 0.0)


def _same(one: processes.Record, other: processes.Record) -> bool:
    """Whether two records are of one process, whatever else they say of it."""
    return (one.pid, one.created) == (other.pid, other.created)


def _end_of(record: processes.Record) -> int:
    """A descriptor that becomes readable when the process ends; -1 if it has ended."""
    with suppress(ProcessLookupError):
        end = os.pidfd_open(record.pid)
        # Checked after opening: the pid may have been given to another process in between.
        if processes.find(record) is not None:
            return end
        os.close(end)
    return -1


def main(home: Path) -> None:
    """Run until ended."""
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO, stream=sys.stderr)
    Supervisor(PartProcesses.attach(home)).run()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
