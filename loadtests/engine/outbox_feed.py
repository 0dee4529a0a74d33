"""Appends events to the outbox, as many writes would, in an open loop: more of them than come in through the API.

A statement appends a batch (`system.wire.load`); PostgreSQL makes the rows, so that this process costs next to nothing.
An event's number stands in the id of its project; with it every one is looked for afterwards. Waiting for a connection
or for PostgreSQL is latency; beyond a bounded backlog a batch is given up and counts as failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

import msgspec
import psycopg

from infra import target as targets
from infra.machine.spec import EngineError
from infra.target import Target
from ledger.numbered import NUMBER_MAX, sender_prefix
from loadtests.arrivals.pacer import Pacer
from loadtests.arrivals.schedule import Schedule
from loadtests.engine.process import Control, offer, run_engine
from loadtests.recording.tally import Tally
from reports.evidence import Outcome, RunFolder, Span
from reports.evidence.folder import Appender, write_record
from system.wire.load import APPEND

ROW = "outbox.append_p99"
BATCH_S = 0.02
"""What gathers in this time is appended by one statement."""
BATCH_MAX = 5_000
_CONNECTIONS = 4
_WAITING_MAX = 64
_APPENDED_WITHIN_S = 10.0
_CONNECT_AGAIN_S = 0.2
_ENDED = ("57", "08", "40")
"""Classes of errors after which a statement may have been committed."""


class FeedSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One of the processes that append the events of a load."""

    scenario: str
    folder: str
    target: str
    part: str
    publisher: int
    """From 1."""
    rate: float
    warmup_s: float
    duration_s: float


def schedule(rate: float, begin_ns: int, warmup_s: float, duration_s: float) -> Schedule:
    """Of one process, whose share is `rate`. Batches are even, so that each leaves the totals as they were."""
    pairs = min(BATCH_MAX // 2, max(1, round(rate * BATCH_S / 2)))
    return Schedule(begin_ns, rate, warmup_s, duration_s, burst=2 * pairs)


def prefix(folder: str) -> str:
    """What the ids of a load's events begin with, in this run alone."""
    return str(uuid5(NAMESPACE_URL, folder))[:19]


def database(target: Target) -> str:
    """EngineError where this system lets nobody in."""
    if not target.outbox_dsn:
        raise EngineError("this system has no role that may append to its outbox: use relay-path, which writes by API")
    return target.outbox_dsn


class Outbox:
    """Connections over which batches are appended."""

    def __init__(self, url: str, prefix: str) -> None:
        self._url = url
        self._prefix = prefix
        self._free: asyncio.Queue[psycopg.AsyncConnection | None] = asyncio.Queue()
        self.waiting = 0
        """Batches that wait for a connection or for PostgreSQL."""

    async def open(self) -> None:
        """EngineError if PostgreSQL takes no connection."""
        for _ in range(_CONNECTIONS):
            try:
                self._free.put_nowait(await self._connect())
            except (psycopg.Error, TimeoutError) as error:
                raise EngineError(f"PostgreSQL takes no connection of the load: {error}") from None

    async def append(self, first: int, last: int) -> tuple[Outcome, str]:
        """Append the events with these numbers, in one transaction; whether that is known to have gone well."""
        self.waiting += 1
        try:
            async with asyncio.timeout(_APPENDED_WITHIN_S):
                link = await self._free.get()
        except TimeoutError:
            self.waiting -= 1
            return "fail", f"no connection was free within {_APPENDED_WITHIN_S:.0f} s"
        outcome: Outcome = "unknown"
        detail, sent = "", False
        try:
            async with asyncio.timeout(_APPENDED_WITHIN_S):
                if link is None:
                    link = await self._connect()
                sent = True
                await link.execute(APPEND, {"prefix": self._prefix, "first": first, "last": last})
            outcome = "ok"
        except (psycopg.Error, TimeoutError, OSError) as error:
            if not sent or _refused(error):
                outcome = "fail"
            detail = str(error).partition("\n")[0] or type(error).__name__
            await _gone(link)
            link = None
        finally:
            self._free.put_nowait(link)
            self.waiting -= 1
        return outcome, detail

    async def close(self) -> None:
        while not self._free.empty():
            if (link := self._free.get_nowait()) is not None:
                await link.close()

    async def _connect(self) -> psycopg.AsyncConnection:
        return await psycopg.AsyncConnection.connect(
            self._url, autocommit=True, options=f"-c statement_timeout={_APPENDED_WITHIN_S:.0f}s"
        )


def _refused(error: Exception) -> bool:
    """Whether PostgreSQL certainly did nothing: it said why, and neither the connection nor the server ended."""
    state = error.sqlstate if isinstance(error, psycopg.Error) else None
    return state is not None and not state.startswith(_ENDED)


async def _gone(link: psycopg.AsyncConnection | None) -> None:
    if link is not None:
        with contextlib.suppress(psycopg.Error, OSError):
            await link.close()
    await asyncio.sleep(_CONNECT_AGAIN_S)


class _Feed:
    """Appends what the pacer releases, and tallies how that ends."""

    def __init__(self, spec: FeedSpec, outbox: Outbox, tally: Tally, timing: Schedule, ledger: Appender[Span]) -> None:
        self._publisher = spec.publisher
        self._outbox = outbox
        self._tally = tally
        self._timing = timing
        self._ledger = ledger
        self._pending: set[asyncio.Task[None]] = set()

    def release(self, first: int, end: int, now_ns: int) -> None:
        for begin, after in batches(first, end, self._timing.burst):
            intended_ns = self._timing.intended_ns(begin)
            for one, other, instant_ns in self._timing.runs(begin, after):
                due_ns = self._timing.released_ns(one)
                self._tally.ready(instant_ns, now_ns, other - one, due_ns=due_ns)
            record(self._ledger, self._publisher, begin, after - 1, None)
            if self._outbox.waiting >= _WAITING_MAX:
                self._ended(begin, after, intended_ns, "fail", f"{_WAITING_MAX} batches were waiting")
                continue
            task = asyncio.get_running_loop().create_task(self._append(begin, after, intended_ns))
            self._pending.add(task)
            task.add_done_callback(self._pending.discard)

    async def drained(self) -> None:
        if self._pending:
            await asyncio.wait(self._pending, timeout=2 * _APPENDED_WITHIN_S + 1)

    async def _append(self, begin: int, after: int, intended_ns: int) -> None:
        outcome, detail = await self._outbox.append(begin, after - 1)
        self._ended(begin, after, intended_ns, outcome, detail)

    def _ended(self, begin: int, after: int, intended_ns: int, outcome: Outcome, detail: str) -> None:
        record(self._ledger, self._publisher, begin, after - 1, outcome)
        self._tally.ended(
            intended_ns, time.monotonic_ns(), outcome, method="SQL", name="append to the outbox", detail=detail,
            count=after - begin,
        )  # fmt: skip


def batches(first: int, end: int, size: int) -> Iterator[tuple[int, int]]:
    """`first` ... `end` - 1 as (begin, end) of each batch, which begins at a multiple of its size."""
    while first < end:
        after = min(end, (first // size + 1) * size)
        yield first, after
        first = after


def record(ledger: Appender[Span], publisher: int, first: int, last: int, outcome: Outcome | None) -> None:
    ledger.add(Span(publisher, first, last, outcome, time.monotonic_ns()))


async def work(spec: FeedSpec, control: Control) -> None:
    target = targets.read(Path(spec.target))
    probe = schedule(spec.rate, 0, spec.warmup_s, spec.duration_s)
    if probe.total > NUMBER_MAX:
        raise EngineError(f"expected at most {NUMBER_MAX:,} events a process, found {probe.total:,}: less --duration")
    outbox = Outbox(database(target), sender_prefix(prefix(spec.folder), spec.publisher))
    await outbox.open()
    begin_ns = await control.begin()
    if begin_ns is None:
        await outbox.close()
        return
    timing = schedule(spec.rate, begin_ns, spec.warmup_s, spec.duration_s)
    tally = Tally(timing, ROW)
    folder = RunFolder(Path(spec.folder))
    with folder.spans(spec.scenario) as ledger, folder.failures(spec.scenario) as failures:
        feed = _Feed(spec, outbox, tally, timing, ledger)
        pacer = Pacer(timing, feed.release)

        def report() -> None:
            failures.add(*tally.take_failures())
            control.say_all(tally.live.take())

        await offer(pacer, control, report)
        await feed.drained()
        report()
    await outbox.close()
    settings = {
        "path": "appended to the outbox by SQL, not through the API",
        "mode": f"open loop, a statement every {BATCH_S * 1000:g} ms, {timing.burst} events in it",
    }
    write_record(Path(spec.part), tally.close(pacer.released, settings))


if __name__ == "__main__":
    run_engine(FeedSpec, work)
