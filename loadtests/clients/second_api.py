"""One more process of a region's API during a load: started by the command that the target names, and counted."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

import msgspec

from infra import target as targets
from infra.machine import processes
from infra.machine.spec import EngineError
from infra.parts.base import http_get
from system import wire

_COUNTED = "covenant_http_requests_total{"
_END_WITHIN_S = 15.0


class SecondApi:
    """`start` once; `stop` in any case."""

    def __init__(self, command: Sequence[str]) -> None:
        """Lay it out; nothing runs yet. EngineError if that cannot be."""
        self._process = subprocess.Popen(
            list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        try:
            self._urls = msgspec.json.decode(line, type=targets.SecondApi)
        except msgspec.MsgspecError:
            raise EngineError(f"a second API could not be laid out: {self.ended() or 'it said nothing'}") from None

    def start(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"start\n")
        self._process.stdin.flush()

    def ready(self) -> bool:
        """Whether it says itself that it is ready to serve."""
        return http_get(f"{self._urls.second}{wire.READY}")[0] == 200

    def ended(self) -> str | None:
        """Why it ended, if it did by itself."""
        if self._process.poll() is None:
            return None
        assert self._process.stderr is not None
        return self._process.stderr.read().decode("utf-8", "replace").strip()

    def answered(self) -> tuple[int, int]:
        """Reads of projects and regions that the first and the second process have answered so far; 0 for one that does
        not say."""
        return _counted(self._urls.first), _counted(self._urls.second)

    def stop(self) -> None:
        """End it, by force if need be."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(_END_WITHIN_S)
        except subprocess.TimeoutExpired:
            processes.end(self._process, _END_WITHIN_S)


def _counted(url: str) -> int:
    status, body = http_get(f"{url}{wire.METRICS}")
    return requests_in(body.decode()) if status == 200 else 0


def requests_in(metrics: str) -> int:
    """How many reads of what visitors ask for an API's metrics count."""
    asked = tuple(f'route="{path}"' for path in (wire.PROJECTS, wire.REGIONS))
    return sum(
        round(float(line.rpartition(" ")[2]))
        for line in metrics.splitlines()
        if line.startswith(_COUNTED) and any(route in line for route in asked)
    )
