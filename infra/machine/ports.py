"""Ports of one system: a block of consecutive ports that no other system on this machine has.

A block is claimed by listening on its first port for as long as the system lives, which is atomic and
needs no lock file. Blocks lie below the range from which the kernel takes ports for outgoing connections,
so that a killed server's port is still free when it comes back. SeaweedFS puts its gRPC 10,000 above its
port, so the blocks stop 10,000 below that range, too.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable

_FIRST, _LAST, _SIZE = 12_000, 21_900, 300


class NoPorts(Exception):
    """No block is free; says what to do."""


class PortBlock:
    """A claimed block; `names` become ports in their order. `close` gives the block back."""

    def __init__(self, base: int, guard: socket.socket) -> None:
        self.base = base
        self._guard = guard

    def assign(self, names: Iterable[str]) -> dict[str, int]:
        ports = {name: self.base + 1 + index for index, name in enumerate(names)}
        if len(ports) >= _SIZE:
            raise NoPorts(f"a system may have {_SIZE - 1} ports, this one wants {len(ports)}")
        return ports

    def close(self) -> None:
        self._guard.close()


def claim() -> PortBlock:
    """Claim a block whose ports are all free now. NoPorts after every block was tried."""
    bases = list(range(_FIRST, _LAST, _SIZE))
    random.shuffle(bases)
    for base in bases:
        guard = _listen(base)
        if guard is None:
            continue
        if all(_is_free(port) for port in range(base + 1, base + _SIZE)):
            return PortBlock(base, guard)
        guard.close()
    raise NoPorts(f"no block of {_SIZE} free ports between {_FIRST} and {_LAST}: stop other systems first")


def free_port(address: str = "127.0.0.1") -> int:
    """A port of `address` on which nothing listens now, for a server that claims no block. OSError."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def _listen(port: int) -> socket.socket | None:
    listener = socket.socket()
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen(1)
    except OSError:
        listener.close()
        return None
    return listener


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: a connection of an earlier server in TIME_WAIT does not make a port taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
