"""How far apart regions really are: the time that a TCP handshake takes between them, measured from inside.

Run in a region by an interpreter without site-packages, it depends on nothing. A port at which nobody listens
answers as fast as one at which somebody does, so no part needs to run.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

_WITHIN_S = 2.0
_PORT = 9
"""Nobody listens here."""


def start(inside: Sequence[str], addresses: Mapping[str, str], rounds: int = 3) -> subprocess.Popen[str]:
    """Begin to measure from inside a region (`inside` is what leads there) to others, region -> address."""
    command = [*inside, sys.executable, "-I", "-S", __file__, json.dumps([rounds, dict(addresses)])]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)


def result(started: subprocess.Popen[str], rounds: int = 3) -> dict[str, float | None]:
    """Region -> the shortest round trip in ms; None where no answer came."""
    try:
        out, _ = started.communicate(timeout=_WITHIN_S * (rounds + 1) * 6)
    except subprocess.TimeoutExpired:
        started.kill()
        out, _ = started.communicate()
    return dict(json.loads(out)) if out else {}


def _round_trip_ms(address: str) -> float | None:
    with socket.socket() as dialling:
        dialling.settimeout(_WITHIN_S)
        began = time.perf_counter()
        try:
            dialling.connect((address, _PORT))
        except ConnectionRefusedError:
            pass  # An answer like any other.
        except OSError:
            return None
        return (time.perf_counter() - began) * 1e3


def _main(rounds: int, addresses: dict[str, str]) -> None:
    found: dict[str, float | None] = {}
    for region, address in addresses.items():
        tries: list[float] = []
        for _ in range(rounds):
            took = _round_trip_ms(address)
            if took is None:
                break  # A link that is cut would take the full wait each time.
            tries.append(took)
        found[region] = round(min(tries), 2) if tries else None
    print(json.dumps(found))


if __name__ == "__main__":
    _main(*json.loads(sys.argv[1]))
