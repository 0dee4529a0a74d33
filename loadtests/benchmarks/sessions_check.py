"""How fast the check of what sessions saw is, and what it takes of memory.

    .venv/bin/python -m loadtests.benchmarks.sessions_check [--operations 10000000] [--items 50000] [--sessions 400]

A correct history is made up in pieces, which are held against one another: reads of single items (every fifth session
on the primary, the others on replicas), a sixth of updates under If-Match, some deletes with creates anew, and pages of
twenty. Only the check is timed; the memory is that of the whole process, with the piece at hand.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import time
from collections.abc import Iterator

from ledger.sessions import Findings, Initial, Page, Read, Record, SessionChecker, Shown, Write
from ledger.sessions.checker import collector_off

_PIECE = 2_000
"""So few that they are still in the processor's cache when they are checked, as they are when a file is read."""
_LAG_NS = 80_000_000
_SOURCES = {"primary": 0, "replica": 200_000_000}
_TAKES_NS = 3_000_000
_EVERY_NS = 100_000
"""10,000 operations a second."""
_SECONDS_MAX = 60.0
_MIB_MAX = 1024.0


class _Item:
    """What is there, and what was before; `changed_ns` is when that changed."""

    __slots__ = ("before", "changed_ns", "incarnation", "key", "now")

    def __init__(self, key: str) -> None:
        self.key = key
        self.incarnation = 1
        self.now = self.before = (1, 1, f"{hash(key) & 0xFFFFFFFFFFFFFFFF:016x}")
        self.changed_ns = -_LAG_NS


def initial(items: list[_Item]) -> Iterator[Initial]:
    for item in items:
        incarnation, version, digest = item.now
        yield Initial(id=item.key, incarnation=incarnation, version=version, digest=digest, lists=("all",))


def history(items: list[_Item], sessions: int, operations: int) -> Iterator[list[Record]]:
    """The pieces; each item is written by one session at a time, and replicas lag by the same everywhere."""
    dice, piece = random.Random(1), []
    names = [f"session-{number}" for number in range(sessions)]
    ordered = sorted(items, key=lambda item: item.key)
    at_ns = 0
    for number in range(operations):
        at_ns += _EVERY_NS
        done_ns = at_ns + _TAKES_NS
        roll = dice.random()
        who = dice.randrange(sessions)
        session, source = names[who], "replica" if who % 5 else "primary"
        region = ("iad", "ams", "syd")[who % 3]
        if roll < 0.17:
            item = items[dice.randrange(len(items))]
            if at_ns - item.changed_ns > 2 * _LAG_NS:
                piece += _write(item, session, at_ns, done_ns, dice, roll < 0.005)
                continue
        if roll < 0.98:
            item = items[dice.randrange(len(items))]
            shown = item.now if _sees(item, source, at_ns) else item.before
            piece.append(Read(
                session=session, id=item.key, source=source, region=region, invoked_ns=at_ns, completed_ns=done_ns,
                incarnation=shown[0], version=shown[1], digest=shown[2],
            ))  # fmt: skip
        else:
            shown_items = tuple(
                Shown(id=item.key, incarnation=shown[0], version=shown[1], digest=shown[2])
                for item in ordered[:20]
                for shown in (item.now if _sees(item, source, at_ns) else item.before,)
            )
            piece.append(Page(
                session=session, walk=str(number), number=1, collection="all", source=source, region=region,
                invoked_ns=at_ns, completed_ns=done_ns, items=shown_items, last=False,
            ))  # fmt: skip
        if len(piece) >= _PIECE:
            yield piece
            piece = []
    yield piece


def _sees(item: _Item, source: str, at_ns: int) -> bool:
    return at_ns - item.changed_ns >= (_LAG_NS if source == "replica" else 0)


def _write(
    item: _Item, session: str, at_ns: int, done_ns: int, dice: random.Random, anew: bool
) -> list[Record]:  # fmt: skip
    incarnation, version, _ = item.now
    digest = f"{dice.getrandbits(64):016x}"
    item.before, item.changed_ns = item.now, at_ns
    if not anew:
        item.now = (incarnation, version + 1, digest)
        return [Write(
            session=session, id=item.key, kind="update", outcome="ok", invoked_ns=at_ns, completed_ns=done_ns,
            incarnation=incarnation, base=version, version=version + 1, digest=digest,
        )]  # fmt: skip
    item.now = (incarnation + 1, 1, digest)
    return [
        Write(
            session=session, id=item.key, kind="delete", outcome="ok", invoked_ns=at_ns, completed_ns=done_ns,
            incarnation=incarnation, base=version,
        ),
        Write(
            session=session, id=item.key, kind="create", outcome="ok", invoked_ns=at_ns, completed_ns=done_ns,
            incarnation=incarnation + 1, version=1, digest=digest, lists=("all",),
        ),
    ]  # fmt: skip


class Clocks:
    """Adds up how long blocks take, in seconds on the wall and of the processor: other programs slow the first down."""

    def __init__(self) -> None:
        self.wall_s = self.cpu_s = 0.0

    def __enter__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        self.wall_s += time.perf_counter() - self._began[0]
        self.cpu_s += time.process_time() - self._began[1]


def timed(items: list[_Item], sessions: int, operations: int) -> tuple[int, Clocks, Findings]:
    """How many operations were checked, how long it took, and the result."""
    clocks, count = Clocks(), 0
    with clocks:
        checker = SessionChecker(_SOURCES, initial(items))
    for piece in history(items, sessions, operations):
        with clocks:
            for record in piece:
                checker.add(record)
        count += len(piece)
    with clocks:
        findings = checker.finish()
    return count, clocks, findings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--operations", type=int, default=10_000_000)
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--sessions", type=int, default=400)
    options = parser.parse_args()
    dice = random.Random(2)
    items = [_Item(f"{dice.getrandbits(128):032x}") for _ in range(options.items)]
    with collector_off():
        count, clocks, findings = timed(items, options.sessions, options.operations)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{count:,} operations, {findings.shown:,} items on pages, {findings.contents:,} contents compared")
    took = f"{clocks.cpu_s:.1f} s of a processor, {clocks.wall_s:.1f} s in all"
    print(f"{count / clocks.cpu_s:,.0f} operations/s: {took}; {peak_mib:,.0f} MiB at most")
    if not findings.sound:
        sys.exit(f"expected a correct history to be called so, found {findings.totals}: {findings.anomalies[:3]}")
    if clocks.cpu_s > _SECONDS_MAX * count / 10_000_000 or peak_mib > _MIB_MAX:
        sys.exit(f"expected {_SECONDS_MAX:g} s for 10,000,000 operations and {_MIB_MAX:g} MiB at most")


if __name__ == "__main__":
    main()
