"""Where the time goes between the commit of a change and its receipt by watchers of the live feed, hop by hop.

    .venv/bin/python -m loadtests.benchmarks.realtime_hops [--scenario mixed-nightly] [--rate 60] [--seconds 40]

While a load runs on a system that is started for this, a witness inside each region looks at each hop itself: when the
relay is told of the commit, when it was in the region's feed (Valkey), and when a watcher received it (SSE). When the
stream's leader stored it, the stream says. All clocks are this machine's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from statistics import median, quantiles
from typing import IO, Any

import nats
import psycopg
from nats.js.errors import NotFoundError
from redis.asyncio import Redis

from infra import target as targets
from infra.fabric.process.create import CannotStart
from infra.fabric.protocol import StartError
from infra.machine.progress import step
from infra.target import Target
from loadtests import run as runner
from loadtests.benchmarks import own_system
from loadtests.engine.open_loop import api_client
from loadtests.locust_process import LoadError
from loadtests.request import Request, check
from reports.evidence import RunFolder
from system.wire import EVENTS, POSITIONS_HEADER, STREAMS, Aggregate, partitions_of
from system.wire.observer import FEED, feed_key

HOPS = ("told", "stored", "fed", "received")
WORDS = {
    "told": "change -> commit, as the relay is told",
    "stored": "-> stored by the stream's leader",
    "fed": "-> in the region's feed, by bus and consumer",
    "received": "-> received by a watcher",
}
_AGGREGATE: Aggregate = "projects"
_HINT_CHANNEL = "covenant_outbox"
"""On which the API tells the relay of a commit, and of which aggregate."""

Key = tuple[str, int]
"""(partition, position)"""
Seen = dict[str, dict[Key, int]]
"""Hop -> event -> when it was first seen there, in us since 1970."""


def now_us() -> int:
    return time.time_ns() // 1000


async def witness(target: Target, region: str) -> None:
    """Print a JSON line for each hop of each event, until standard input ends."""
    watching = [
        asyncio.ensure_future(watch_feed(target, region)),
        asyncio.ensure_future(watch_events(region, target)),
        asyncio.ensure_future(watch_commits(target)),
    ]
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await asyncio.wait([*watching, ended], return_when=asyncio.FIRST_COMPLETED)
    for each in watching:
        if each.done():
            each.result()
        each.cancel()


async def stored(target: Target, since_us: int) -> dict[Key, int]:
    """Event -> when the stream's leader stored it, in us since 1970, of all that were stored since then."""
    found: dict[Key, int] = {}
    [stream] = [each for each in STREAMS if each.aggregate == _AGGREGATE]
    client = await nats.connect(**target.nats_options(target.nats_observer))
    try:
        js = client.jetstream()
        for sequence in range((await js.stream_info(stream.name)).state.last_seq, 0, -1):
            with suppress(NotFoundError):
                message = await js.get_msg(stream.name, seq=sequence, direct=True)
                first, _, last = (message.headers or {}).get(POSITIONS_HEADER, "").partition("-")
                stored_us = _us(str((message.headers or {})["Nats-Time-Stamp"]))
                if stored_us < since_us:
                    break
                for position in range(int(first), int(last) + 1) if first else ():
                    found[f"{_AGGREGATE}.{str(message.subject).rpartition('.')[2]}", position] = stored_us
    finally:
        await client.close()
    return found


def tell(hop: str, partition: str, position: int, at_us: int) -> None:
    sys.stdout.write(json.dumps([hop, partition, position, at_us]) + "\n")


async def watch_feed(target: Target, region: str) -> None:
    async with Redis.from_url(target.valkey[region]) as cache:
        after: dict[Any, Any] = {feed_key(partition): "$" for partition in partitions_of(_AGGREGATE)}
        while True:
            found: Any = await cache.xread(after, block=1000)
            for name, entries in found:
                for entry, _ in entries:
                    after[name.decode()] = entry
                    tell("fed", name.decode().removeprefix(FEED), int(entry.partition(b"-")[0]), now_us())


async def watch_events(region: str, target: Target) -> None:
    client = api_client(target, region, "reader", 1)
    await client.sign_in()
    reader, writer = await asyncio.open_connection(client.host, client.port, ssl=client.tls)
    writer.write(client.format(b"GET", f"{EVENTS}?aggregates={_AGGREGATE}", None, {"Accept": "text/event-stream"}))
    while line := await reader.readline():
        if line.startswith(b"data: "):
            at_us, event = now_us(), json.loads(line[6:])
            tell("received", event["partition"], event["position"], at_us)
            tell("changed", event["partition"], event["position"], _us(event["occurred_at"]))
    raise ConnectionError("the stream of events ended")


def _us(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1e6)


async def watch_commits(target: Target) -> None:
    async with await psycopg.AsyncConnection.connect(target.observer_dsn, autocommit=True) as link:
        await link.execute(f"listen {_HINT_CHANNEL}")
        async for hint in link.notifies():
            if hint.payload == _AGGREGATE:
                tell("told", "", 0, now_us())


def read_lines(lines: Iterable[str]) -> Seen:
    """What a witness told. A commit is told without the event: it is the first one told after the change was made."""
    seen: Seen = defaultdict(dict)
    told: list[int] = []
    for line in lines:
        hop, partition, position, at_us = json.loads(line)
        if hop == "told":
            told.append(at_us)
        else:
            seen[hop].setdefault((partition, position), at_us)
    for key, changed_us in seen["changed"].items():
        after = [at_us for at_us in told if at_us >= changed_us]
        if after:
            seen["told"][key] = min(after)
    return seen


def table(found: Mapping[str, Seen]) -> str:
    """Region -> hop: median and p99 of the time since the hop before, in ms; last since the change."""
    lines = [f"{'region':<8} {'hop':<42} {'median':>8} {'p99':>8} {'events':>7}"]
    for region, seen in found.items():
        before = "changed"
        for hop in HOPS:
            lines.append(_line(region, WORDS[hop], seen[before], seen[hop]))
            before = hop
        lines.append(_line(region, "change -> receipt", seen["changed"], seen["received"]))
    return "\n".join(lines)


def _line(region: str, words: str, before: Mapping[Key, int], after: Mapping[Key, int]) -> str:
    took = [(after[key] - at_us) / 1000 for key, at_us in before.items() if key in after]
    if len(took) < 2:
        return f"{region:<8} {words:<42} {'-':>8} {'-':>8} {len(took):>7}"
    return f"{region:<8} {words:<42} {median(took):>8.1f} {quantiles(took, n=100)[98]:>8.1f} {len(took):>7}"


def start(target: Target, path: Path, region: str, out: IO[str]) -> subprocess.Popen[str]:
    inside = targets.inside_path(path) if target.enter else path
    command = [*target.enter.get(region, []), sys.executable, "-m", __spec__.name, "--witness", region]
    environment = {**os.environ, targets.VARIABLE: str(inside)}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, text=True, env=environment)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--scenario", default="mixed-nightly")
    parser.add_argument("--rate", type=float, default=None, help="default: the scenario's")
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--size", choices=("core", "full"), default="core")
    parser.add_argument("--witness", metavar="REGION", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.witness:
        with suppress(KeyboardInterrupt):
            asyncio.run(witness(targets.read(), options.witness))
        return
    try:
        with (
            own_system.started("realtime-hops", options.size) as system,
            tempfile.TemporaryDirectory(prefix="covenant-hops-") as scratch,
        ):
            folder = RunFolder.create(Path(scratch) / "run")
            print(measure(system.target(), system.target_path, folder, options))
    except (CannotStart, StartError, LoadError) as error:
        sys.exit(str(error) or type(error).__name__)


def measure(target: Target, path: Path, folder: RunFolder, options: argparse.Namespace) -> str:
    """The table of a load. LoadError."""
    files = {region: folder.path.parent / f"{region}.jsonl" for region in target.regions}
    witnesses = []
    began_us = now_us()
    try:
        for region, file in files.items():
            with file.open("w") as out:
                witnesses.append(start(target, path, region, out))
        with step(options.scenario) as progress:
            asked = check(Request(scenario=options.scenario, rate=options.rate, duration_s=options.seconds))
            runner.run(asked, folder=folder, target_path=path, progress=progress)
    finally:
        for each in witnesses:
            with suppress(subprocess.TimeoutExpired):
                each.communicate(timeout=10)
            each.kill()
    at_us = asyncio.run(stored(target, began_us))
    seen = {region: read_lines(file.read_text().splitlines()) for region, file in files.items()}
    for of_region in seen.values():
        # Told where the primary is: elsewhere the way there would be in it.
        of_region |= {"stored": at_us, "told": seen[target.regions[0]]["told"]}
    load = next(load for load in folder.loads() if load.scenario == options.scenario)
    told = "; ".join(f"{name}: {value}" for name, value in load.settings.items() if name.startswith("watchers"))
    return f"{table(seen)}\n{told}"


if __name__ == "__main__":
    main()
