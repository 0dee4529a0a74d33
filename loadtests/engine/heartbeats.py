"""Measures replication lag during a load: heartbeats are committed on the primary, and looked for on every replica.

A heartbeat carries the primary's clock just before its commit. A loop inside each replica looks for new ones every few
milliseconds with a snapshot of its own each time, and says with the replica's clock when it saw one: no network and no
scheduling of this process is in a figure, and looking costs no round trip. So each figure is an upper bound of the way
from the commit to the reader: it has the primary's flush in it, and at most the time since the look before, which is
recorded beside it. All clocks are of one machine. PostgreSQL's own columns for lag say nothing while it is idle.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
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
from reports.evidence import Latencies, Operation, Recorder, percentile_ms
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
_REMEMBERED = 16
"""Heartbeats that a replica's loop remembers: those of several writers may become visible out of order."""
_WITHIN_S = 10.0
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
            where beat > newest - {_REMEMBERED} and beat <> all (seen) order by beat
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
    """What one region's replica has seen, and the statement that looks."""

    def __init__(self, region: str, url: str) -> None:
        self.region = region
        self.seen: dict[int, Seen] = {}
        self.looks = asyncio.Event()
        self._url = url

    async def watch(self, for_s: float) -> None:
        """Look for so long, or until cancelled. psycopg.Error."""
        # The server gives up the statement soon after this connection has ended. To plan each look would double its
        # cost.
        options = (
            "-c statement_timeout=0 -c client_connection_check_interval=1000 -c plan_cache_mode=force_generic_plan"
        )
        async with await psycopg.AsyncConnection.connect(self._url, autocommit=True, options=options) as link:
            link.add_notice_handler(self._noted)
            try:
                await link.execute(looking(for_s))
            except asyncio.CancelledError:
                link.pgconn.finish()
                raise

    def _noted(self, said: Diagnostic) -> None:
        self.looks.set()
        if (found := parse(said.message_primary or "")) is not None:
            self.seen.setdefault(found.beat, found)


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


def lags(seen: Iterable[Seen | None]) -> tuple[Latencies, Latencies]:
    """(lag, resolution) of heartbeats; one that was never seen ranks above all others."""
    lag, resolution = Recorder(), Recorder()
    for one in seen:
        if one is None:
            lag.unknown += 1
        else:
            lag.record_us(one.seen_us - one.written_us)
            resolution.record_us(one.seen_us - one.looked_us)
    return lag.close(), resolution.close()


async def work(spec: HeartbeatSpec, control: Control) -> None:
    target = targets.read(Path(spec.target))
    if not target.outbox_dsn or not target.replica_dsn:
        await _untimed(spec, control)
        return
    writers = Writers(target.outbox_dsn)
    await writers.open()
    replicas = [Replica(region, target.replica_dsn[region]) for region in target.regions]
    for_s = spec.warmup_s + spec.duration_s + 60 * _WITHIN_S
    watching = {asyncio.ensure_future(each.watch(for_s)): each.region for each in replicas}
    try:
        for each in replicas:
            if not await eventually(each.looks.is_set, _WITHIN_S):
                raise EngineError(f"the replica of {each.region} takes nobody who looks for heartbeats")
        begin_ns = await control.begin()
        if begin_ns is None:
            return
        timing = Schedule(begin_ns, rate(spec.duration_s), spec.warmup_s, spec.duration_s)
        pacer = Pacer(timing, writers.release)
        await offer(pacer, control, lambda: None)
        await writers.close()
        beats = [writers.number(each) for each in range(timing.first_measured, pacer.released)]
        await eventually(lambda: all(beats[-1] in each.seen for each in replicas) if beats else True, _WITHIN_S)
        problems = [f"{count:,} heartbeats could not be written: {why}" for why, count in writers.problems.items()]
        gone = {region: _end(task) for task, region in watching.items() if task.done()}
        problems += [f"the replica of {region} was not watched to the end: {why}" for region, why in gone.items()]
    finally:
        for task in watching:
            task.cancel()
        await asyncio.wait(watching, timeout=_WITHIN_S)
    write_record(
        Path(spec.part), _part(timing, beats, [each for each in replicas if each.region not in gone], problems)
    )


def _end(task: asyncio.Task[None]) -> str:
    error = None if task.cancelled() else task.exception()
    return str(error).partition("\n")[0] if error else "it ended before the load"


async def _untimed(spec: HeartbeatSpec, control: Control) -> None:
    """Leave a part that says why nothing is measured."""
    if (begin_ns := await control.begin()) is None:
        return
    await control.finish.wait()
    why = "this system has no role that may write heartbeats, or no replica that may be read"
    write_record(Path(spec.part), Part(measured_ns=begin_ns, end_ns=begin_ns, operations=[], untimed={ROW: why}))


def _part(timing: Schedule, beats: list[int], replicas: list[Replica], problems: list[str]) -> Part:
    operations: list[Operation] = []
    for each in replicas:
        lag, resolution = lags(each.seen.get(beat) for beat in beats)
        operations.append(Operation(name=ROW, region=each.region, latencies=lag))
        operations.append(Operation(name=RESOLUTION, region=each.region, latencies=resolution))
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
