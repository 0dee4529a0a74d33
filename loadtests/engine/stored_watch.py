"""Reads, after a load of writes through the API, what of it is in the stream, and since when.

The stream keeps with every message the instant at which its leader stored it, and every event tells its transaction's:
so nothing has to listen while the load runs, and no reader's delay is in a figure. Both are clocks of servers on one
machine.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error

from infra import target as targets
from infra.machine.spec import EngineError
from loadtests.arrivals.arrival_process import ArrivalProcess
from loadtests.clients.nats_py import connected
from loadtests.engine.process import Control, run_engine
from loadtests.recording.tally import Part
from reports.evidence import Operation, Rate, Recorder, RunFolder, percentile_ms
from reports.evidence.folder import write_record
from system import wire

ROW = "bus.relayed"
_STREAM = wire.PROJECTS_STREAM
_AT_ONCE = 64
_ANSWER_WITHIN_S = 5.0
_SETTLE_WITHIN_S = 30.0
_SETTLE_LOOK_S = 0.2
_QUIET_LOOKS = 5
_COMPLETED_WITHIN_NS = 250_000_000
_NS = 1_000_000_000
_NO_MESSAGE = "404"


class StoredWatchSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The arrivals are those of the generators, as `RequestsSpec` has them; `seeds` has one for each."""

    scenario: str
    folder: str
    target: str
    part: str
    arrival: ArrivalProcess
    warmup_s: float
    seeds: list[int]


class _Event(msgspec.Struct):
    id: str
    aggregate_id: str
    occurred_at: str


class Stored(NamedTuple):
    """An event in the stream; instants in ns since 1970."""

    id: str
    about: str
    occurred_ns: int
    stored_ns: int


_decode_one = msgspec.json.Decoder(_Event).decode
_decode_many = msgspec.json.Decoder(list[_Event]).decode


def events_in(data: bytes, stored_at: str) -> list[Stored]:
    """The events of a message, one or many. msgspec.MsgspecError for what is none."""
    found = _decode_many(data) if data.startswith(b"[") else [_decode_one(data)]
    stored_ns = instant_ns(stored_at)
    return [Stored(one.id, one.aggregate_id, instant_ns(one.occurred_at), stored_ns) for one in found]


def instant_ns(text: str) -> int:
    """Of RFC 3339 in UTC with up to nine digits of a second."""
    whole, _, rest = text.removesuffix("Z").removesuffix("+00:00").partition(".")
    seconds = round(datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp())
    return seconds * _NS + int(rest.ljust(9, "0")[:9] or 0)


class _Reader:
    """Messages of the stream one by one, many at a time."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.found: list[Stored] = []
        self.unreadable = 0

    async def last(self) -> int:
        """The last sequence. EngineError."""
        try:
            info = await self._client.jetstream(timeout=_ANSWER_WITHIN_S).stream_info(_STREAM.name)
        except Error as error:
            raise EngineError(f"{_STREAM.name} tells nothing of itself: {error!r}; ./covenant status") from None
        return info.state.last_seq

    async def read(self, first: int, last: int) -> None:
        """EngineError if a message is not given."""
        left = iter(range(first, last + 1))

        async def work_off() -> None:
            for sequence in left:
                self._take(await self._message(sequence))

        await asyncio.gather(*(work_off() for _ in range(_AT_ONCE)))

    async def _message(self, sequence: int) -> Msg:
        question = msgspec.json.encode({"seq": sequence})
        try:
            return await self._client.request(f"$JS.API.DIRECT.GET.{_STREAM.name}", question, timeout=_ANSWER_WITHIN_S)
        except Error as error:
            raise EngineError(f"message {sequence:,} of {_STREAM.name} cannot be read: {error!r}") from None

    def _take(self, message: Msg) -> None:
        headers = message.headers or {}
        if headers.get("Status") == _NO_MESSAGE or headers.get("Nats-Subject") == _STREAM.health_subject:
            return  # Removed by its limits, or one that probes publishing.
        try:
            self.found += events_in(message.data, headers["Nats-Time-Stamp"])
        except (msgspec.MsgspecError, KeyError, ValueError):
            self.unreadable += 1


async def work(spec: StoredWatchSpec, control: Control) -> None:
    target = targets.read(Path(spec.target))
    async with connected(target, target.nats_observer, name="load-stored", reconnects=True) as client:
        reader = _Reader(client)
        first = await reader.last() + 1
        begin_ns = await control.begin()
        if begin_ns is None:
            return
        since_1970_ns = time.time_ns() - time.monotonic_ns()
        await control.finish.wait()
        await reader.read(first, await _settled(reader))
    written = {write.id for write in RunFolder(Path(spec.folder)).write_history(spec.scenario)}
    mine = [event for event in reader.found if event.about in written]
    write_record(Path(spec.part), _part(spec, mine, begin_ns, since_1970_ns, reader.unreadable))


async def _settled(reader: _Reader) -> int:
    """The last sequence, once it has stayed the same for a while."""
    deadline = time.monotonic() + _SETTLE_WITHIN_S
    last, quiet = await reader.last(), 0
    while quiet < _QUIET_LOOKS and time.monotonic() < deadline:
        await asyncio.sleep(_SETTLE_LOOK_S)
        now = await reader.last()
        last, quiet = now, quiet + 1 if now == last else 0
    return last


def offered_in_window(spec: StoredWatchSpec) -> int:
    """Writes that the generators' schedules ask for in the measured window."""
    users = len(spec.seeds)
    schedules = [
        spec.arrival.schedule(begin_ns=0, warmup_s=spec.warmup_s, user=user, users=users, seed=seed)
        for user, seed in enumerate(spec.seeds)
    ]
    return sum(each.total - each.first_measured for each in schedules)


def _part(spec: StoredWatchSpec, events: list[Stored], begin_ns: int, since_1970_ns: int, unreadable: int) -> Part:
    """Each event once, as it was stored first."""
    measured_ns = begin_ns + round(spec.warmup_s * _NS)
    end_ns = measured_ns + round(spec.arrival.duration_s * _NS)
    window = measured_ns + since_1970_ns, end_ns + since_1970_ns
    firsts: dict[str, Stored] = {}
    for event in sorted(events, key=lambda one: one.stored_ns):
        firsts.setdefault(event.id, event)
    recorder, completed = Recorder(), 0
    for event in firsts.values():
        if window[0] <= event.occurred_ns < window[1]:
            recorder.record_us((event.stored_ns - event.occurred_ns) // 1000)
            completed += event.stored_ns <= window[1] + _COMPLETED_WITHIN_NS
    latencies = recorder.close()
    p99_ms = percentile_ms(latencies, 99)
    told = "unknown" if p99_ms is None else f"{p99_ms:,.1f} ms"
    again = len(events) - len(firsts)
    problems = [f"{again:,} events stand in the stream more than once: consumers drop them"] if again else []
    problems += [f"{unreadable:,} messages of the stream could not be read"] if unreadable else []
    return Part(
        measured_ns=measured_ns,
        end_ns=end_ns,
        operations=[Operation(name=ROW, latencies=latencies)],
        rates=[Rate(name=ROW, offered=offered_in_window(spec), completed=completed)],
        settings={
            "path": "API write, outbox, relay, stream",
            ROW: f"{len(firsts):,} events stored, commit to stored p99 {told}",
        },
        problems=problems,
    )


if __name__ == "__main__":
    run_engine(StoredWatchSpec, work)
