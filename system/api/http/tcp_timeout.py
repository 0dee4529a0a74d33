"""TCP_USER_TIMEOUT on the server's listeners: the kernel closes connections of clients that stop reading.

When a client stops reading a stream, the buffers fill up. The stream's sender gives up, but the connection would stay
open for as long as the client likes. TCP_USER_TIMEOUT limits how long sent data may stay unacknowledged, even with a
closed window. Accepted connections inherit the option from the listener. granian opens the listener itself, so this
module finds it among the process's open files.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

USER_TIMEOUT_S = 20.0


def set_user_timeout(port: int, timeout_s: float = USER_TIMEOUT_S) -> int:
    """Set TCP_USER_TIMEOUT on this process's listeners on a port. Returns how many there are."""
    found = 0
    for listener in _listeners(port):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(timeout_s * 1000))
        found += 1
    return found


def _listeners(port: int) -> Iterator[socket.socket]:
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # The file was closed meanwhile, or is no TCP socket.
            if not stat.S_ISSOCK(entry.stat().st_mode):
                continue
            with socket.socket(fileno=os.dup(int(entry.name))) as opened:
                if (
                    opened.family in (socket.AF_INET, socket.AF_INET6)
                    and opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                    and opened.getsockname()[1] == port
                ):
                    yield opened
