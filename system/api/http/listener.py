"""Connections whose clients take nothing: the kernel ends them.

A server that streams writes into buffers; where a client stops reading, these fill up and the connection stays for
as long as the client likes, after whoever wrote to it has long given up. TCP_USER_TIMEOUT bounds how long data may
lie there unsent or unacknowledged, a closed window included; accepted connections inherit it from the listener. The
server opens its listener by itself, so it is looked for among the open files of this process.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

UNTAKEN_MAX_S = 20.0


def end_untaken(port: int, within_s: float = UNTAKEN_MAX_S) -> int:
    """Have connections to this port ended whose data is not taken for so long; of how many listeners."""
    found = 0
    for listener in _listeners(port):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(within_s * 1000))
        found += 1
    return found


def _listeners(port: int) -> Iterator[socket.socket]:
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # It was closed meanwhile, or is no socket of TCP.
            if not stat.S_ISSOCK(entry.stat().st_mode):
                continue
            with socket.socket(fileno=os.dup(int(entry.name))) as opened:
                if (
                    opened.family in (socket.AF_INET, socket.AF_INET6)
                    and opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                    and opened.getsockname()[1] == port
                ):
                    yield opened
