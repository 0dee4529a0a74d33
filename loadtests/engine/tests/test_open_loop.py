"""A server that freezes for a twelfth of a run: the p99 is what arithmetic demands, and it is the server's fault.

Requests that are due during a freeze of F wait for what is left of it: their waits are even from 0 to F. When that is
a twelfth of all, the slowest hundredth of all are the slowest 12% of those, so the p99 is 0.88 F; for any number of
connections, since waiting for one is waiting.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from loadtests.arrivals.arrival_process import ArrivalProcess
from loadtests.arrivals.schedule import Schedule
from loadtests.clients.http import Answer, HttpClient, Response
from loadtests.engine.open_loop import Kind, OnEnd, RequestsSpec, run_requests
from loadtests.engine.process import Control
from loadtests.recording.early import Planned
from loadtests.recording.live import Stat
from loadtests.recording.tally import Tally, merge_parts, read_parts
from reports.evidence import Fingerprint, Load, Outcome, Run, percentile_ms
from reports.findings.loaded import Evidence
from reports.tests.spoilt_run import report_of
from system import event_loop

ROW = "api.read_p99"
MS = 1_000_000
_P99_SHARE = 0.88
_WITNESS_S = 0.005


def _verdict(load: Load) -> tuple[str, float | str | None]:
    """(verdict, measured) of iad's row, on a machine that nobody else used."""
    fingerprint = Fingerprint(
        cpu="c", cores=2, memory_gib=1.0, kernel="k", python="3", components={}, topology_sha256="t", commit="c"
    )
    run = Run(
        run_id="frozen", profile="knee.api-browse", command="", seed=1, started_at="2026-01-01T00:00:00+00:00",
        started_ns=0, state="finished", regions=["iad"], fingerprint=fingerprint,
    )  # fmt: skip
    report = report_of(Evidence(run=run, loads=[load]))
    row = next(row for row in report.slos if row.id == f"{ROW}.iad")
    return row.verdict, row.measured


def _from_trace(connections: int, freeze_ms: tuple[int, int], service_ms: float, timeout_s: float) -> Load:
    """A load of 200 requests a second for 12 s on a server that is known to freeze, worked out request by request."""
    schedule = Schedule(0, 200.0, 0.0, 12.0)
    tally = Tally(schedule, ROW)
    begin, end = (each * MS for each in freeze_ms)
    free = [0] * connections
    for n in range(schedule.total):
        intended = schedule.intended_ns(n)
        tally.ready(intended, intended + MS // 5)
        start = max(intended, heapq.heappop(free))
        done = start + round(service_ms * MS)
        if start < end and done > begin:
            done = end + round(service_ms * MS)  # In the freeze nothing goes on.
        heapq.heappush(free, done)
        outcome: Outcome = "ok" if done - intended <= timeout_s * 1e9 else "unknown"
        tally.ended(intended, done, outcome, region="iad", method="GET", name="/")
    return merge_parts(
        [tally.close(schedule.total, {})], scenario="api-browse", warmup_s=0.0, requests=True, settings={}
    )


@pytest.mark.parametrize("connections", [4, 32])
def test_the_p99_of_a_known_trace_is_what_arithmetic_demands_and_fails(connections: int) -> None:
    load = _from_trace(connections, (5000, 6000), service_ms=1.0, timeout_s=10.0)
    verdict, measured = _verdict(load)
    p99_ms = percentile_ms(load.operations[0].latencies, 99)
    assert p99_ms is not None
    # With few connections what has piled up goes through them one after the other: 200 ms / connections more.
    assert _P99_SHARE * 1000 - 10 <= p99_ms <= _P99_SHARE * 1000 + 10 + 200 / connections
    assert (verdict, measured) == ("FAIL", p99_ms)


def test_a_freeze_beyond_the_timeout_fails_and_is_not_invalid() -> None:
    verdict, measured = _verdict(_from_trace(4, (5000, 6000), service_ms=1.0, timeout_s=0.4))
    assert verdict == "FAIL"
    assert measured in (None, float("inf"))


def test_without_a_freeze_the_same_trace_passes() -> None:
    assert _verdict(_from_trace(4, (0, 0), service_ms=1.0, timeout_s=10.0))[0] == "PASS"


class _Begun(Control):
    """A control that says when to begin by itself."""

    def __init__(self, begin_ns: int) -> None:
        super().__init__()
        self._begin_ns = begin_ns

    async def begin(self, planned: Sequence[Planned] = ()) -> int | None:
        return self._begin_ns

    def say_all(self, stats: object) -> None:
        """Nobody listens."""
        assert all(isinstance(stat, Stat) for stat in stats)  # type: ignore[attr-defined]


_KIND = Kind("iad", "GET", "/")


class _Gets:
    def __init__(self, client: HttpClient) -> None:
        self._client = client

    def send(self, n: int, deadline: float, on_end: OnEnd) -> None:
        def end(answer: Answer) -> None:
            assert isinstance(answer, Response)
            on_end(_KIND, "ok" if answer.status == 200 else "fail", "")

        self._client.start_get("/", deadline, end)


class _Server:
    """Answers each request, but not while it is frozen."""

    def __init__(self) -> None:
        self.going = asyncio.Event()
        self.going.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                await self.going.wait()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


class _Witness:
    """Sleeps over and over, and adds up what it was woken late by: how long this process or its loop was held up."""

    def __init__(self) -> None:
        self.stalled_ms = 0.0
        self._task = asyncio.get_running_loop().create_task(self._sleep())

    async def _sleep(self) -> None:
        while True:
            began_ns = time.monotonic_ns()
            await asyncio.sleep(_WITNESS_S)
            self.stalled_ms += (time.monotonic_ns() - began_ns) / MS - 1000 * _WITNESS_S

    def end(self) -> float:
        self._task.cancel()
        return self.stalled_ms


@pytest.mark.parametrize("connections", [2, 64])
def test_a_real_server_that_freezes_shows_as_latency_and_not_as_lag(connections: int, tmp_path: Path) -> None:
    frozen_ns: list[int] = []
    rate, run_s, freeze_s = 400.0, 3.6, 0.3

    def at(loop: asyncio.AbstractEventLoop, after_s: float, do: Callable[[], None]) -> None:
        def done() -> None:
            do()
            frozen_ns.append(time.monotonic_ns())

        loop.call_later(after_s, done)

    async def run() -> float:
        witness = _Witness()
        server = _Server()
        listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        client = HttpClient(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}", connections=connections)
        spec = RequestsSpec(
            scenario="api-browse", folder=str(tmp_path), target="", part=str(tmp_path / "r.part.json"),
            arrival=ArrivalProcess(text="constant", points=[(0.0, rate), (run_s, rate)]), warmup_s=0.0, timeout_s=20.0,
            regions=["iad"],
        )  # fmt: skip
        loop = asyncio.get_running_loop()
        at(loop, 1.0, server.going.clear)
        at(loop, 1.0 + freeze_s, server.going.set)
        await run_requests(spec, _Begun(time.monotonic_ns()), _Gets(client), ROW, dict)
        await client.close()
        listener.close()
        await listener.wait_closed()
        return witness.end()

    stalled_ms = event_loop.run(run())
    load = merge_parts(
        list(read_parts(tmp_path).values()), scenario="api-browse", warmup_s=0.0, requests=True, settings={}
    )
    assert (load.sent, load.ok) == (load.offered, load.offered)
    frozen_ms = (frozen_ns[1] - frozen_ns[0]) / MS
    p99_ms, lag_ms = percentile_ms(load.operations[0].latencies, 99), percentile_ms(load.schedule_lag, 99)
    assert p99_ms is not None
    assert lag_ms is not None
    share = 1 - 0.01 / (frozen_ms / 1000 / run_s)
    # A machine that is taken away for a while makes both later, by what the witness lost at most.
    assert share * frozen_ms * 0.97 <= p99_ms <= 2 * frozen_ms + stalled_ms
    assert lag_ms < frozen_ms / 4 + stalled_ms
