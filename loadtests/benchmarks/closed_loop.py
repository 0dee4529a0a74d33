"""The load's own HTTP client against one address, as fast as it answers, until a number of requests is done.

python -m loadtests.benchmarks.closed_loop URL PATH REQUESTS CONNECTIONS [CA_FILE]
"""

from __future__ import annotations

import asyncio
import ssl
import sys

import uvloop

from loadtests.engine.http_client import HttpClient

_WITHIN_S = 10.0


async def run(url: str, path: str, requests: int, connections: int, ca_file: str | None) -> None:
    tls = ssl.create_default_context(cafile=ca_file) if ca_file else None
    client = HttpClient(url, connections=connections, tls=tls)
    loop = asyncio.get_running_loop()
    left = requests

    async def ask() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            answer = await client.get(path, deadline=loop.time() + _WITHIN_S)
            if answer.status != 200:
                raise SystemExit(f"{path}: expected 200, found {answer.status}")

    await asyncio.gather(*(ask() for _ in range(connections)))
    await client.close()


if __name__ == "__main__":
    url, path, requests, connections, *rest = sys.argv[1:]
    uvloop.run(run(url, path, int(requests), int(connections), rest[0] if rest else None))
