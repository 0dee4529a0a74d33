"""Measures replication lag during a load: heartbeats are committed on the primary, and looked for on every replica.

A heartbeat carries the primary's clock just before its commit. A loop inside each replica looks for new ones every few
milliseconds with a snapshot of its own each time, and says with the replica's clock when it saw one: no network and no
scheduling of this process is in a figure, and looking costs no round trip. So each figure is an upper bound of the way
from the commit to the reader: it has the primary's flush in it, and at most the time since the look before, which is
recorded beside it. All clocks are of one machine. PostgreSQL's own columns for lag say nothing while it is idle.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import NamedTuple

import msgspec
import psycopg
from psycopg.errors import Diagnostic

from infra import target as targets
from infra.machine.spec import EngineError
from infra.machine.waiting import eventually
from loadtests.arrivals.pacer import Pacer
from loadtests.arrivals.schedule import Schedule
from loadtests.engine.process import Control, offer, run_engine
from loadtests.recording.tally import Part
from reports.evidence import Operation, Recorder, percentile_ms
from reports.evidence.folder import write_record
from system.wire.load import BEAT, LAST_BEAT
from system.wire.observer import HEARTBEATS

ROW = "recovery.lag"
RESOLUTION = "recovery.lag_resolution"
"""The time between the look that saw a heartbeat and the one before: by so much at most its lag is less."""
SAMPLES = 1_200
"""At least so many in a load, however short: the row takes 1,000."""
_PER_S_MIN, _PER_S_MAX = 10.0, 50.0
_LOOK_EVERY_S = 0.003
"""A look costs 50 us: all of it takes less than a tenth of a core with three replicas."""
_WRITERS = 4
_LATE = 16
"""Several writers' heartbeats may become visible out of order: so far behind the newest one is still looked for."""
_REMEMBERED = 2 * _LATE
"""Heartbeats that a replica's loop has said and remembers: all that are still looked for, and those among them that
came late and pushed others out. One that is forgotten too early is said again, and so is every one behind it."""
_WITHIN_S = 10.0
_LONGER_S = 600.0
"""A replica looks for so much longer than the load, which begins and ends when all its engines do."""
_MARK = "heartbeat"


class HeartbeatSpec(msgspec.Struct, frozen=True, kw_only=True):
    target: str
    part: str
    warmup_s: float
    duration_s: float


class Seen(NamedTuple):
    """A heartbeat on a replica; instants in us since 1970, of the servers' clocks."""

    beat: int
    written_us: int
    seen_us: int
    looked_us: int
    """The look before, which did not see it yet."""


def rate(duration_s: float) -> float:
    """Heartbeats a second: few in a long load, in a short one enough for the row."""
    return min(_PER_S_MAX, max(_PER_S_MIN, SAMPLES / duration_s))


def looking(for_s: float) -> str:
    """The statement with which a replica looks for heartbeats and says a NOTICE for each, for so long at most.

    Each look commits, so that its snapshot is gone at once: one that is kept would hold up the replay.
    """
    return f"""do $$
declare
    one record;
    seen bigint[] := array(select beat from {HEARTBEATS} order by beat desc limit {_REMEMBERED});
    newest bigint := seen[1];
    looked_at timestamptz := clock_timestamp();
    earlier timestamptz;
    ends_at timestamptz := clock_timestamp() + interval '{for_s} s';
begin
    raise notice '{_MARK}';
    while looked_at < ends_at loop
        earlier := looked_at;
        looked_at := clock_timestamp();
        for one in
            select beat, written_at from {HEARTBEATS}
            where beat > newest - {_LATE} and beat <> all (seen) order by beat
        loop
            raise notice '{_MARK} % % % %', one.beat, (extract(epoch from one.written_at) * 1000000)::bigint,
                (extract(epoch from clock_timestamp()) * 1000000)::bigint,
                (extract(epoch from earlier) * 1000000)::bigint;
            seen := one.beat || seen[1:{_REMEMBERED - 1}];
            newest := greatest(newest, one.beat);
        end loop;
        commit;
        perform pg_sleep({_LOOK_EVERY_S});
    end loop;
end $$"""


def parse(notice: str) -> Seen | None:
    """What a NOTICE of that statement says of a heartbeat; None if it says something else."""
    mark, *numbers = notice.split()
    return Seen(*map(int, numbers)) if mark == _MARK and len(numbers) == len(Seen._fields) else None


class Replica:
    """The lag of one region's replica, and the statement that looks for heartbeats there."""

    def __init__(self, region: str, url: str) -> None:
        self.region = region
        self.looks = asyncio.Event()
        self.seen = 0
        """Measured heartbeats that it has seen."""
        self._first: int | None = None
        self._lag, self._resolution = Recorder(), Recorder()
        self._url = url

    def measure(self, first: int) -> None:
        """Measure from this heartbeat on."""
        self._first = first

    def noted(self, found: Seen) -> None:
        """One is said once, so that nothing has to be remembered of it."""
        if self._first is None or found.beat < self._first:
            return
        self.seen += 1
        self._lag.record_us(found.seen_us - found.written_us)
        self._resolution.record_us(found.seen_us - found.looked_us)

    def operations(self, written: int) -> list[Operation]:
        """Lag and resolution of so many heartbeats; one that was never seen ranks above all others."""
        self._lag.unknown = max(0, written - self.seen)
        return [
            Operation(name=ROW, region=self.region, latencies=self._lag.close()),
            Operation(name=RESOLUTION, region=self.region, latencies=self._resolution.close()),
        ]

    async def watch(self, for_s: float) -> None:
        """Look for so long, or until cancelled. psycopg.Error."""
        # The server gives up the statement soon after this connection has ended. To plan each look would double its
        # cost.
        options = (
            "-c statement_timeout=0 -c client_connection_check_interval=1000 -c plan_cache_mode=force_generic_plan"
        )
        async with await psycopg.AsyncConnection.connect(self._url, autocommit=True, options=options) as link:
            link.add_notice_handler(self._said)
            try:
                await link.execute(looking(for_s))
            except asyncio.CancelledError:
                link.pgconn.finish()
                raise

    def _said(self, notice: Diagnostic) -> None:
        self.looks.set()
        if (found := parse(notice.message_primary or "")) is not None:
            self.noted(found)


class Writers:
    """Connections to the primary over which heartbeats are written; a heartbeat for which none is free is left out."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._free: list[psycopg.AsyncConnection] = []
        self._writing: set[asyncio.Task[None]] = set()
        self._first = 0
        self.problems: dict[str, int] = {}

    async def open(self) -> None:
        """EngineError if PostgreSQL takes no connection."""
        try:
            for _ in range(_WRITERS):
                options = f"-c statement_timeout={_WITHIN_S:.0f}s"
                self._free.append(await psycopg.AsyncConnection.connect(self._url, autocommit=True, options=options))
            last = await (await self._free[0].execute(LAST_BEAT)).fetchone()
        except psycopg.Error as error:
            raise EngineError(f"PostgreSQL takes no heartbeats: {error}") from None
        self._first = 1 + (last[0] if last else 0)

    def number(self, operation: int) -> int:
        """The heartbeat of an operation of the schedule."""
        return self._first + operation

    def release(self, first: int, end: int, now_ns: int) -> None:
        for operation in range(first, end):
            if not self._free:
                self._missed(f"all {_WRITERS} connections waited for their commit")
                continue
            task = asyncio.get_running_loop().create_task(self._write(self._free.pop(0), self.number(operation)))
            self._writing.add(task)
            task.add_done_callback(self._writing.discard)

    async def close(self) -> None:
        if self._writing:
            await asyncio.wait(self._writing, timeout=_WITHIN_S)
        for link in self._free:
            await link.close()

    async def _write(self, link: psycopg.AsyncConnection, beat: int) -> None:
        try:
            await link.execute(BEAT, {"beat": beat})
        except psycopg.Error as error:
            self._missed(str(error).partition("\n")[0] or type(error).__name__)
        if not link.closed:
            self._free.append(link)

    def _missed(self, why: str) -> None:
        self.problems[why] = self.problems.get(why, 0) + 1


async def work(spec: HeartbeatSpec, control: Control) -> None:
    target = targets.read(Path(spec.target))
    if not target.outbox_dsn or not target.replica_dsn:
        await _untimed(spec, control)
        return
    writers = Writers(target.outbox_dsn)
    await writers.open()
    replicas = [Replica(region, target.replica_dsn[region]) for region in target.regions]
    for_s = spec.warmup_s + spec.duration_s + _LONGER_S
    watching = {each.region: asyncio.ensure_future(each.watch(for_s)) for each in replicas}
    try:
        for each in replicas:
            if not await eventually(each.looks.is_set, _WITHIN_S):
                why = _end(watching[each.region])
                raise EngineError(f"the replica of {each.region} was not watched: {why}; see ./covenant status")
        begin_ns = await control.begin()
        if begin_ns is None:
            return
        timing = Schedule(begin_ns, rate(spec.duration_s), spec.warmup_s, spec.duration_s)
        for each in replicas:
            each.measure(writers.number(timing.first_measured))
        pacer = Pacer(timing, writers.release)
        await offer(pacer, control, lambda: None)
        await writers.close()
        written = max(0, pacer.released - timing.first_measured)
        await eventually(lambda: all(each.seen >= written for each in replicas), _WITHIN_S)
        problems = [f"{count:,} heartbeats could not be written: {why}" for why, count in writers.problems.items()]
        gone = {region: _end(task) for region, task in watching.items() if task.done()}
        gone |= {each.region: f"it saw {each.seen:,} of {written:,}" for each in replicas if each.seen > written}
        problems += [f"the replica of {region} was not watched as it has to be: {why}" for region, why in gone.items()]
    finally:
        for task in watching.values():
            task.cancel()
        await asyncio.gather(*watching.values(), return_exceptions=True)
    watched = [each for each in replicas if each.region not in gone]
    write_record(Path(spec.part), _part(timing, written, watched, problems))


def _end(task: asyncio.Task[None]) -> str:
    if not task.done():
        return f"it said nothing within {_WITHIN_S:.0f} s"
    error = None if task.cancelled() else task.exception()
    return str(error).partition("\n")[0] if error else "it ended before the load"


async def _untimed(spec: HeartbeatSpec, control: Control) -> None:
    """Leave a part that says why nothing is measured."""
    if (begin_ns := await control.begin()) is None:
        return
    await control.finish.wait()
    why = "this system has no role that may write heartbeats, or no replica that may be read"
    write_record(Path(spec.part), Part(measured_ns=begin_ns, end_ns=begin_ns, operations=[], untimed={ROW: why}))


def _part(timing: Schedule, written: int, replicas: list[Replica], problems: list[str]) -> Part:
    operations = [operation for each in replicas for operation in each.operations(written)]
    found = [percentile_ms(each.latencies, 99) for each in operations if each.name == RESOLUTION]
    worst = max((each for each in found if each is not None), default=0.0)
    return Part(
        measured_ns=timing.measured_ns,
        end_ns=timing.end_ns,
        operations=operations,
        settings={
            "heartbeats": f"{timing.rate:g} a second, looked for every {_LOOK_EVERY_S * 1000:g} ms in each replica; "
            f"a figure is too high by at most that and the primary's flush (p99 between two looks {worst:.1f} ms)"
        },
        problems=problems,
    )


if __name__ == "__main__":
    run_engine(HeartbeatSpec, work)
