"""The load's own HTTP client against one address, as fast as it answers, until a number of requests is done.

python -m loadtests.benchmarks.closed_loop URL PATH REQUESTS CONNECTIONS [CA_FILE]
"""

from __future__ import annotations

import asyncio
import ssl
import sys

from loadtests.clients.http import Answer, HttpClient, RequestError
from system import event_loop

_WITHIN_S = 10.0


class _Loop:
    """Asks again when it is answered, over every connection, as the load's engines do: called back, without tasks."""

    def __init__(self, client: HttpClient, path: str, requests: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._client = client
        self._path = path
        self._left = self._unanswered = requests
        self.ended: asyncio.Future[None] = self._loop.create_future()

    def ask(self) -> None:
        if self._left > 0:
            self._left -= 1
            self._client.start_get(self._path, self._loop.time() + _WITHIN_S, self._answered)

    def _answered(self, answer: Answer) -> None:
        self._unanswered -= 1
        if isinstance(answer, RequestError) or answer.status != 200:
            found = answer.detail if isinstance(answer, RequestError) else answer.summary
            self._end(SystemExit(f"{self._path}: expected 200, found {found}"))
        elif self._unanswered == 0:
            self._end(None)
        else:
            self.ask()

    def _end(self, why: SystemExit | None) -> None:
        if not self.ended.done():
            self._left = 0
            self.ended.set_result(None) if why is None else self.ended.set_exception(why)


async def run(url: str, path: str, requests: int, connections: int, ca_file: str | None) -> None:
    tls = ssl.create_default_context(cafile=ca_file) if ca_file else None
    client = HttpClient(url, connections=connections, tls=tls)
    asking = _Loop(client, path, requests)
    for _ in range(connections):
        asking.ask()
    await asking.ended
    await client.close()


if __name__ == "__main__":
    url, path, requests, connections, *rest = sys.argv[1:]
    event_loop.run(run(url, path, int(requests), int(connections), rest[0] if rest else None))
