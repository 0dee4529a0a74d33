"""How much more our API does with a second of CPU than a plain FastAPI + uvicorn + asyncpg service (`fastapi_peer`),
one worker each, on the same PostgreSQL member, taking turns.

    ./covenant up --detach && .venv/bin/python -m loadtests.benchmarks.api_speed

Both are asked as fast as they answer over the same number of connections; what counts is how many requests a second
of CPU of the server's process makes, so that the generator's own share does not matter. Rounds alternate, so that a
noisy minute meets both.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
import psutil

from infra import target as targets
from infra.machine import ports
from infra.site import clients
from infra.target import Target
from loadtests.clients.http import HttpClient, RequestError
from system import event_loop, wire

_CONNECTIONS = 32
_WITHIN_S = 10.0
_START_WITHIN_S = 30.0
_AT_LEAST_TIMES = 2.0
_RSS_MIB_MAX = 150
_MIB = 1024 * 1024
_FILTERS = (
    "", "&region=ams", "&region=syd&sector=Energy", "&sector=Health", "&status=Active", "&region=iad&status=Pending",
)  # fmt: skip
_CASES = ("region summary", "project list", "one project")


class Failed(Exception):
    """A server did not do what the comparison needs; says what."""


class Server(NamedTuple):
    """One side: where it is, what it is sent with each request, the paths of each case, its CPU seconds so far."""

    name: str
    client: HttpClient
    headers: dict[str, str]
    paths: dict[str, list[str]]
    cpu_s: Callable[[], Awaitable[float]]


class _Page(msgspec.Struct):
    items: list[dict[str, object]]
    next: str | None


async def _get(client: HttpClient, path: str, headers: dict[str, str]) -> bytes:
    deadline = asyncio.get_running_loop().time() + _WITHIN_S
    answer = await client.request(b"GET", path, deadline=deadline, headers=headers)
    if answer.status != 200:
        raise Failed(f"{path}: expected 200, found {answer.status}: {answer.body[:200]!r}")
    return answer.body


async def _paths(client: HttpClient, root: str, headers: dict[str, str]) -> dict[str, list[str]]:
    """Lists with every filter and up to three of its pages; one project by its id."""
    lists, ones = [], []
    for filters in _FILTERS:
        cursor: str | None = ""
        for _ in range(3):
            if cursor is None:
                break
            lists.append(f"{root}/projects?limit=20{filters}{cursor and '&after='}{cursor}")
            page = msgspec.json.decode(await _get(client, lists[-1], headers), type=_Page)
            ones += [f"{root}/projects/{item['id']}" for item in page.items[:3]]
            cursor = page.next
    return {"region summary": [f"{root}/regions"], "project list": lists, "one project": ones}


async def _measure(server: Server, case: str, seconds: float) -> float:
    """Requests that a second of the server's CPU makes."""
    paths = itertools.cycle(server.paths[case])
    done = 0
    end = time.perf_counter() + seconds

    async def ask() -> None:
        nonlocal done
        while time.perf_counter() < end:
            await _get(server.client, next(paths), server.headers)
            done += 1

    before = await server.cpu_s()
    await asyncio.gather(*(ask() for _ in range(_CONNECTIONS)))
    return done / (await server.cpu_s() - before)


async def compare(ours: Server, peer: Server, seconds: float, rounds: int) -> dict[str, list[float]]:
    """Print each round and the medians; the ratios of each case."""
    ratios: dict[str, list[float]] = {case: [] for case in _CASES}
    results: dict[tuple[str, str], list[float]] = {}
    for server, case in itertools.product((ours, peer), _CASES):
        await _measure(server, case, seconds / 3)  # Connections and statements are made before anything counts.
    for _, case in itertools.product(range(rounds), _CASES):
        pair = [await _measure(server, case, seconds) for server in (ours, peer)]
        ratios[case].append(pair[0] / pair[1])
        for server, result in zip((ours, peer), pair, strict=True):
            results.setdefault((server.name, case), []).append(result)
    print(f"{'requests a CPU second':<24}{ours.name:>12}{peer.name:>12}{'ratio':>9}   of {rounds} rounds")
    for case in _CASES:
        ours_median, peer_median = (statistics.median(results[one.name, case]) for one in (ours, peer))
        ratio, low, high = statistics.median(ratios[case]), min(ratios[case]), max(ratios[case])
        print(f"{case:<24}{ours_median:>12,.0f}{peer_median:>12,.0f}{ratio:>9.2f}   {low:.2f} to {high:.2f}")
    return ratios


async def run(target: Target, seconds: float, rounds: int) -> bool:
    """Whether the API holds what it should: twice the peer's requests for the summary and for the list, and less
    than 150 MiB of memory."""
    region = target.regions[0]
    bearer = {"Authorization": f"Bearer {clients.token(target, 'reader', region)}"}
    block = ports.claim()
    port = block.assign(["peer"])["peer"]
    process = _start_peer(target.replica_dsn[region], port)
    own = HttpClient(target.api[region], connections=_CONNECTIONS)
    other = HttpClient(f"http://127.0.0.1:{port}", connections=_CONNECTIONS)

    async def own_cpu_s() -> float:
        return (await _metrics(own))["process_cpu_seconds_total"]

    async def other_cpu_s() -> float:
        return sum(psutil.Process(process.pid).cpu_times()[:2])

    try:
        await _until_it_answers(other, process)
        ours = Server("covenant", own, bearer, await _paths(own, "/api/v1", bearer), own_cpu_s)
        peer = Server("fastapi", other, {}, await _paths(other, "", {}), other_cpu_s)
        print(
            "the peer asks for no token, has no limits, no ETags and no metrics; it asks the database for each summary"
        )
        ratios = await compare(ours, peer, seconds, rounds)
        rss_mib = (await _metrics(own))["process_resident_memory_bytes"] / _MIB
        peer_mib = psutil.Process(process.pid).memory_info().rss / _MIB
    finally:
        process.kill()
        process.wait()
        block.close()
        await own.close()
        await other.close()
    print(f"{'resident memory, MiB':<24}{rss_mib:>12,.0f}{peer_mib:>12,.0f}")
    return rss_mib < _RSS_MIB_MAX and all(
        statistics.median(ratios[case]) >= _AT_LEAST_TIMES for case in ("region summary", "project list")
    )


def _start_peer(dsn: str, port: int) -> subprocess.Popen[bytes]:
    # asyncpg would hand libpq's own options to the server.
    environment = {**os.environ, "DSN": dsn.partition("?")[0], "PORT": str(port)}
    return subprocess.Popen([sys.executable, "-m", "loadtests.benchmarks.fastapi_peer"], env=environment)


async def _metrics(client: HttpClient) -> dict[str, float]:
    text = (await _get(client, wire.METRICS, {})).decode()
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}


async def _until_it_answers(client: HttpClient, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_WITHIN_S
    while True:
        try:
            await _get(client, "/regions", {})
            return
        except RequestError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"the peer does not answer within {_START_WITHIN_S} s: {error.detail}") from None
        await asyncio.sleep(0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--target", type=Path, help="a target.json; default: this checkout's running system")
    parser.add_argument("--seconds", type=float, default=3.0, help="a round, server and case")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    try:
        held = event_loop.run(run(targets.read(options.target), options.seconds, options.rounds))
    except (Failed, RequestError, clients.NoToken, targets.NoTarget) as error:
        sys.exit(str(error))
    if not held:
        sys.exit(f"expected {_AT_LEAST_TIMES} times the peer for summary and list, and less than {_RSS_MIB_MAX} MiB")


if __name__ == "__main__":
    main()
