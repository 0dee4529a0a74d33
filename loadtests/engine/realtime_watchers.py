"""Watches a region's live feed (server-sent events) over many connections, as browsers do.

Every watcher has a connection and positions of its own. An event that it never got, or got twice, is found by its
position in the partition, which has no gaps; at the end by other watchers, which got it. A latency is from the
transaction's own time (`occurred_at`, just before its commit) to the receipt, both on this host's clock. An event that
was never received ranks above all that were.

A watcher whose stream or connection ends comes back with its last id, as a browser does, and what it missed counts with
its whole wait. The API ends a stream in order when its token expires, and leaves the connection open.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, cast

import httptools
import msgspec

from infra import target as targets
from infra.machine.spec import EngineError
from loadtests.clients.http import HttpClient
from loadtests.engine.open_loop import api_client
from loadtests.engine.process import Control, run_engine
from loadtests.recording.tally import BySecond, Part, PartObserved
from reports.evidence import Operation, Recorder, percentile_ms
from reports.evidence.folder import write_record
from system.wire import EVENTS

ROW = "realtime.p99"
WATCHERS_MAX = 5_000
_CONNECT_AT_ONCE = 20
_READY_WITHIN_S = 45.0
_RETRY_S = 3.0
"""Until the server has said how long: about what browsers wait."""
_QUIET_S = 0.5
_DRAIN_S = 10.0
_BUFFER_BYTES_MAX = 4 * 1024 * 1024
_NS = 1_000_000_000


class WatchersSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The watchers of one region."""

    target: str
    part: str
    region: str
    watchers: int
    warmup_s: float
    duration_s: float


class _Head(msgspec.Struct):
    partition: str
    position: int
    occurred_at: str


class Seen(NamedTuple):
    partition: str
    position: int
    occurred_ns: int
    """Nanoseconds since 1970."""


_decode = msgspec.json.Decoder(_Head).decode


@lru_cache(maxsize=4096)
def read_event(data: bytes) -> Seen:
    """What counts of an event's JSON. All watchers are sent the same bytes, so it is decoded once."""
    head = _decode(data)
    occurred = datetime.fromisoformat(head.occurred_at)
    return Seen(head.partition, head.position, round(occurred.timestamp() * 1_000_000) * 1000)


class Feed:
    """The events in the bytes of one stream, and which of them are missing or double. Pure."""

    def __init__(self) -> None:
        self.last_id = b""
        self.retry_s = _RETRY_S
        """How long to wait before coming back, as the server said it last."""
        self.lost = 0
        self.doubled = 0
        self._rest = b""
        self._positions: dict[str, int] = {}

    def begin(self) -> None:
        """Of a new connection: what was cut off is sent again."""
        self._rest = b""

    def take(self, data: bytes) -> list[Seen]:
        """The events that these bytes complete, without those that were seen before. ValueError for what is too much
        for one event."""
        *blocks, self._rest = (self._rest + data).split(b"\n\n")
        if len(self._rest) > _BUFFER_BYTES_MAX:
            raise ValueError(f"expected an event of at most {_BUFFER_BYTES_MAX:,} bytes")
        found = []
        for block in blocks:
            for line in block.split(b"\n"):
                if line.startswith(b"data: "):
                    if self._is_next(seen := read_event(line[6:])):
                        found.append(seen)
                elif line.startswith(b"id: "):
                    self.last_id = line[4:]
                elif line.startswith(b"retry: ") and line[7:].isdigit():
                    self.retry_s = int(line[7:]) / 1000
        return found

    @property
    def heads(self) -> Mapping[str, int]:
        """Partition -> the last position that came."""
        return self._positions

    def lacks(self, heads: Mapping[str, int]) -> int:
        """How many events up to these positions have not come; of a partition of which none came, one."""
        return sum(max(0, head - self._positions.get(partition, head - 1)) for partition, head in heads.items())

    def _is_next(self, seen: Seen) -> bool:
        last = self._positions.get(seen.partition)
        if last is not None and seen.position <= last:
            self.doubled += 1
            return False
        if last is not None:
            self.lost += seen.position - last - 1
        self._positions[seen.partition] = seen.position
        return True


class _Receipts:
    """What all watchers of the region have received in the measured window."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.by_second = BySecond(0)
        self.events = 0
        self.slowest_ns = (0, 0)
        """The highest latency, and when its event was committed, after the window's begin."""
        self.last_s = time.monotonic()
        self._window: tuple[int, int] = (0, 0)

    def measure(self, begin_ns: int, end_ns: int) -> None:
        self._window = (begin_ns, end_ns)
        self.by_second = BySecond(begin_ns)

    def add(self, seen: list[Seen]) -> None:
        wall_ns, mono_ns = time.time_ns(), time.monotonic_ns()
        self.last_s = mono_ns / _NS
        for each in seen:
            latency_ns = wall_ns - each.occurred_ns
            committed_ns = mono_ns - latency_ns
            if self._window[0] <= committed_ns < self._window[1]:
                self.events += 1
                self.slowest_ns = max(self.slowest_ns, (latency_ns, committed_ns - self._window[0]))
                for recorder in (self.recorder, self.by_second.of(committed_ns)):
                    recorder.record_us(latency_ns // 1000)


class _Watcher(asyncio.Protocol):
    """One connection that is kept until it is closed, again and again."""

    def __init__(self, client: HttpClient, receipts: _Receipts) -> None:
        self._client = client
        self._receipts = receipts
        self.feed = Feed()
        self.connects = 0
        self.ended_in_order = 0
        self.problem = ""
        self.watching = asyncio.Event()

    async def keep(self, gate: asyncio.Semaphore) -> None:
        while True:
            try:
                async with gate:
                    await self._connect()
                await self._ended.wait()
            except OSError as error:
                self.problem = str(error)
            self.watching.clear()
            await asyncio.sleep(self.feed.retry_s)

    async def _connect(self) -> None:
        self.connects += 1
        self._ended = asyncio.Event()
        self._parser = httptools.HttpResponseParser(self)
        self.feed.begin()
        headers = {"Accept": "text/event-stream"}
        if self.feed.last_id:
            headers["Last-Event-ID"] = self.feed.last_id.decode("ascii")
        client = self._client
        async with asyncio.timeout(_READY_WITHIN_S):
            await asyncio.get_running_loop().create_connection(lambda: self, client.host, client.port, ssl=client.tls)
            self._transport.write(client.format(b"GET", f"{EVENTS}?aggregates=projects", None, headers))

    def close(self) -> None:
        if self.connects:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserCallbackError, ValueError) as error:
            self.problem = str(error)
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._ended.set()

    def on_headers_complete(self) -> None:
        if (status := self._parser.get_status_code()) != 200:
            self.problem = f"GET {EVENTS}: expected 200, found {status}"
            self._transport.abort()

    def on_message_complete(self) -> None:
        self.ended_in_order += self._parser.get_status_code() == 200
        self._transport.abort()

    def on_body(self, body: bytes) -> None:
        # The first thing sent is where the stream begins: from then on nothing can be missed.
        seen = self.feed.take(body)
        if self.feed.last_id or seen:
            self.watching.set()
        if seen:
            self._receipts.add(seen)


async def work(spec: WatchersSpec, control: Control) -> None:
    if not 1 <= spec.watchers <= WATCHERS_MAX:
        raise EngineError(f"watchers: expected 1 to {WATCHERS_MAX:,} a region, found {spec.watchers}")
    client = api_client(targets.read(Path(spec.target)), spec.region, "reader", 1)
    await client.sign_in()
    receipts = _Receipts()
    watchers = [_Watcher(client, receipts) for _ in range(spec.watchers)]
    gate = asyncio.Semaphore(_CONNECT_AT_ONCE)
    keeping = [asyncio.ensure_future(watcher.keep(gate)) for watcher in watchers]
    try:
        await _all_watching(watchers)
        begin_ns = await control.begin()
        if begin_ns is not None:
            measured_ns = begin_ns + round(spec.warmup_s * _NS)
            end_ns = measured_ns + round(spec.duration_s * _NS)
            receipts.measure(measured_ns, end_ns)
            await control.finish.wait()
            await _drained(receipts, watchers)
            write_record(Path(spec.part), _part(spec, watchers, receipts, measured_ns, end_ns))
    finally:
        for each in keeping:
            each.cancel()
        await asyncio.wait(keeping, timeout=1.0)
        for watcher in watchers:
            watcher.close()
        await client.close()


async def _all_watching(watchers: list[_Watcher]) -> None:
    try:
        async with asyncio.timeout(_READY_WITHIN_S):
            for watcher in watchers:
                await watcher.watching.wait()
    except TimeoutError:
        there = sum(watcher.watching.is_set() for watcher in watchers)
        why = next((watcher.problem for watcher in watchers if watcher.problem), "no answer")
        raise EngineError(
            f"expected {len(watchers)} watchers within {_READY_WITHIN_S:.0f} s, found {there}: {why}"
        ) from None


async def _drained(receipts: _Receipts, watchers: list[_Watcher]) -> None:
    """Until every watcher has what any has, and nothing has come for a while: what is late is late and not lost."""
    deadline = time.monotonic() + _DRAIN_S
    while (now := time.monotonic()) < deadline:
        if now >= max(receipts.last_s, deadline - _DRAIN_S) + _QUIET_S:
            heads = _heads(watchers)
            if not any(watcher.feed.lacks(heads) for watcher in watchers):
                return
        await asyncio.sleep(_QUIET_S / 5)


def _heads(watchers: list[_Watcher]) -> dict[str, int]:
    """Partition -> the last position that any watcher has received."""
    heads: dict[str, int] = {}
    for watcher in watchers:
        for partition, position in watcher.feed.heads.items():
            heads[partition] = max(position, heads.get(partition, 0))
    return heads


def _part(spec: WatchersSpec, watchers: list[_Watcher], receipts: _Receipts, begin_ns: int, end_ns: int) -> Part:
    heads = _heads(watchers)
    lost = sum(each.feed.lost + each.feed.lacks(heads) for each in watchers)
    doubled = sum(each.feed.doubled for each in watchers)
    in_order = sum(each.ended_in_order for each in watchers)
    broken = sum(each.connects - 1 - each.ended_in_order for each in watchers)
    receipts.recorder.failed = lost
    latencies = receipts.recorder.close()
    p99_ms = percentile_ms(latencies, 99)
    told = "none received" if p99_ms is None else f"{receipts.events:,} events received, p99 {p99_ms:.1f} ms"
    if receipts.events:
        slowest_ns, at_ns = receipts.slowest_ns
        told += f", the slowest {slowest_ns / 1e6:,.0f} ms, of an event at {at_ns / _NS:+,.0f} s"
    if in_order:
        told += f"; {in_order:,} streams ended with their token and were opened again"
    found = [(lost, "events never received"), (doubled, "received twice"), (broken, "connections that ended")]
    return Part(
        measured_ns=begin_ns,
        end_ns=end_ns,
        operations=[Operation(name=ROW, latencies=latencies)],
        observed=[PartObserved(name=ROW, region=spec.region, seconds=receipts.by_second.close())],
        settings={f"watchers.{spec.region}": f"{spec.watchers}, {told}"},
        problems=[f"watchers in {spec.region}: {count:,} {what}" for count, what in found if count],
    )


if __name__ == "__main__":
    run_engine(WatchersSpec, work)
