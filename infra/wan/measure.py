"""How far apart regions really are: the time of a TCP handshake between them, measured from inside a region.

This file runs in a region, in an interpreter without site-packages, so it imports nothing of the project. A port
without a listener answers as fast as one with a listener, so no part needs to run.
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
"""A port without a listener."""


def start(inside: Sequence[str], addresses: Mapping[str, str], rounds: int = 3) -> subprocess.Popen[str]:
    """Start to measure from inside a region to others. `inside` is put before the command; `addresses`: region ->
    IP."""
    command = [*inside, sys.executable, "-I", "-S", __file__, json.dumps([rounds, dict(addresses)])]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)


def result(started: subprocess.Popen[str], rounds: int = 3) -> dict[str, float | None]:
    """Region -> the shortest round trip in ms, None if there was no answer. Waits for the measurement to end."""
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
            pass  # A refusal is an answer, too.
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
                break  # Behind a cut link, each further try would take the whole timeout.
            tries.append(took)
        found[region] = round(min(tries), 2) if tries else None
    print(json.dumps(found))


if __name__ == "__main__":
    _main(*json.loads(sys.argv[1]))
