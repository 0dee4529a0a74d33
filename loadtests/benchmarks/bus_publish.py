"""How much faster the bulk publisher is than nats-py, on the same stream of the running system, taking turns.

    ./covenant up --detach && .venv/bin/python -m loadtests.benchmarks.bus_publish

Both publish as fast as they can with the same window of unacknowledged messages, and every message counts when
it was acknowledged: nats-py's one by one, the bulk publisher's as its mode says. Rounds alternate, so that a noisy
minute meets both. The rate has the servers' share in it; the client's CPU a message is what the publisher is
responsible for.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import nats

from infra import target as targets
from infra.machine.spec import EngineError
from infra.target import Target
from loadtests.arrivals.arrival_process import even
from loadtests.arrivals.schedule import MAX_RATE_PER_S, Schedule
from loadtests.clients import payload as numbered
from loadtests.clients.publish_modes import SUBJECTS, ModeName
from loadtests.engine import load_stream
from loadtests.engine.bus_publisher import BusPublisherSpec, Publisher
from loadtests.recording.tally import Tally
from reports.evidence import RunFolder
from system import event_loop

_SUBJECT = "load.benchmark"
_PAYLOAD_BYTES = 128
_WINDOW = 4096
_CHUNK = 2000
_BURST = 250
"""Messages that are due at once: in `fast`, a batch."""
_DRAIN_S = 30.0


class Result(NamedTuple):
    per_s: float
    cpu_us: float
    """Of this process, a message."""


async def nats_py(target: Target, seconds: float) -> Result:
    async with asyncio.timeout(seconds + _DRAIN_S):
        client = await nats.connect(**target.nats_options(target.nats_load))
        jetstream = client.jetstream(publish_async_max_pending=_WINDOW)
        payload = numbered.head(1, 0, 0).ljust(_PAYLOAD_BYTES, b".")
        sent, begin, cpu = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - begin < seconds:
            await jetstream.publish_async(f"{_SUBJECT}.{sent % SUBJECTS}", payload)
            sent += 1
        await jetstream.publish_async_completed()
        result = _result(sent, begin, cpu)
        await client.close()
        first, last = await load_stream.bounds(target)
    if last - first + 1 != sent:
        raise EngineError(f"nats-py: expected {sent:,} messages in the stream, found {last - first + 1:,}")
    return result


async def _bulk(target: Target, seconds: float, folder: Path, mode: ModeName) -> Result:
    spec = BusPublisherSpec(
        scenario="benchmark", folder=str(folder), target="", part="", subject=_SUBJECT, publisher=1,
        arrival=even(1.0, 1.0), warmup_s=0.0, mode=mode, payload_bytes=_PAYLOAD_BYTES, window=_WINDOW,
    )  # fmt: skip
    with RunFolder(folder).spans("benchmark") as ledger:
        publisher = Publisher(spec, ledger, target)
        await publisher.client.wait_connected()
        # Everything is due at once: the window alone paces it.
        schedule = Schedule(time.monotonic_ns(), MAX_RATE_PER_S, 0.0, 3600.0, _BURST)
        tally = Tally(schedule, "benchmark")
        publisher.begin(schedule, tally)
        sent, begin, cpu = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - begin < seconds:
            if publisher.backlog < _CHUNK:
                publisher.release(sent, sent + _CHUNK, time.monotonic_ns())
                sent += _CHUNK
            await asyncio.sleep(0)
        deadline = begin + seconds + _DRAIN_S
        while not publisher.idle and time.perf_counter() < deadline:
            await asyncio.sleep(0.001)
        result = _result(sent, begin, cpu)
        await publisher.client.close()
    if not publisher.idle or tally.failed:
        raise EngineError(f"expected every message to be acknowledged, {tally.failed:,} were not")
    return result


def _result(sent: int, begin: float, cpu: float) -> Result:
    return Result(sent / (time.perf_counter() - begin), (time.process_time() - cpu) / sent * 1e6)


async def compare(target: Target, seconds: float, rounds: int, mode: ModeName) -> None:
    """Print each round and the medians."""
    print(f"R{target.stream_replicas}, file, {_PAYLOAD_BYTES} B, window {_WINDOW}, {mode}; {target.durability}")
    ratios, results = [], []
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(1, rounds + 1):
            await load_stream.prepare(target)
            library = await nats_py(target, seconds)
            await load_stream.prepare(target)
            bulk = await _bulk(target, seconds, Path(scratch), mode)
            results.append((library, bulk))
            ratios.append(bulk.per_s / library.per_s)
            print(f"round {number}: nats-py {_text(library)}; bulk {_text(bulk)}; {ratios[-1]:.1f} times", flush=True)
    await load_stream.delete(target)
    for index, name in enumerate(("nats-py", "bulk")):
        rates = [pair[index].per_s for pair in results]
        print(f"{name:<8} median {statistics.median(rates):,.0f} msg/s ({min(rates):,.0f} to {max(rates):,.0f})")
    print(f"ratio    median {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f}), {rounds} rounds")


def _text(result: Result) -> str:
    return f"{result.per_s:,.0f} msg/s, {result.cpu_us:.0f} us of client CPU a message"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--target", type=Path, help="a target.json; default: this checkout's running system")
    parser.add_argument("--seconds", type=float, default=3.0, help="a round and publisher")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mode", choices=["singles", "fast"], default="fast")
    options = parser.parse_args()
    try:
        event_loop.run(compare(targets.read(options.target), options.seconds, options.rounds, options.mode))
    except (EngineError, targets.NoTarget) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
