"""Carries packets between the regions' namespaces: one thread, one loop, one queue of the packets under way.

It reads whole frames with their offload header, so that a segment of 64 KB costs one read and one write. It waits with
`select.select` and not with epoll, whose timeouts are whole milliseconds.
"""

from __future__ import annotations

import heapq
import ipaddress
import os
import select
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from infra.wan.links import Direction

_HEADER_BYTES = 10 + 14
"""virtio_net_hdr and Ethernet, before the IP header."""
_DESTINATION = slice(_HEADER_BYTES + 16, _HEADER_BYTES + 20)
_FRAME_BYTES = 65_700
_BURST = 64
"""How many packets are read from one region before the next region has its turn."""
_UNDER_WAY_BYTES_MAX = 256 * 1024**2


class Emulator:
    """`sockets[i]` belongs to region i, `addresses[i]` are its own and its zones'; `directions[i, j]` leads from region
    i to region j."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        addresses: Sequence[Sequence[str]],
        directions: Mapping[tuple[int, int], Direction],
    ) -> None:
        self._files = [each.fileno() for each in sockets]
        self._sockets = sockets
        self._directions = directions
        self._region_of = {
            ipaddress.IPv4Address(address).packed: index for index, region in enumerate(addresses) for address in region
        }
        self._queue: list[tuple[float, int, int, Direction, bytes]] = []
        self._number = 0
        self.under_way_bytes = 0

    def run(self, others: Callable[[], Sequence[int]], serve: Callable[[int], None]) -> None:
        """Carry packets until `serve` raises. `others` returns further descriptors to wait for; `serve` is called with
        each of them that can be read."""
        index_of = {file: index for index, file in enumerate(self._files)}
        now, queue = time.monotonic, self._queue
        while True:
            timeout = max(0.0, queue[0][0] - now()) if queue else None
            readable, _, _ = select.select([*self._files, *others()], [], [], timeout)
            for file in readable:
                source = index_of.get(file)
                if source is None:
                    serve(file)
                else:
                    self._take(source, file, now)
            self._deliver(now())

    def _take(self, source: int, file: int, now: Callable[[], float]) -> None:
        read, write, region_of, directions = os.read, os.write, self._region_of, self._directions
        for _ in range(_BURST):
            try:
                frame = read(file, _FRAME_BYTES)
            except BlockingIOError:
                return
            target = region_of.get(frame[_DESTINATION])
            if target is None or target == source:
                continue
            direction = directions[source, target]
            size = len(frame) - _HEADER_BYTES
            if direction.immediate:
                direction.delivers(size)
                with suppress(OSError):  # A full queue drops the packet, as a router would.
                    write(self._files[target], frame)
                continue
            at = direction.arrival(now(), size)
            if at is None:
                continue
            if self.under_way_bytes + size > _UNDER_WAY_BYTES_MAX:
                direction.counters.overflowed += 1
                continue
            self.under_way_bytes += size
            self._number += 1
            heapq.heappush(self._queue, (at, self._number, self._files[target], direction, frame))

    def _deliver(self, now: float) -> None:
        queue, write = self._queue, os.write
        while queue and queue[0][0] <= now:
            _, _, file, direction, frame = heapq.heappop(queue)
            size = len(frame) - _HEADER_BYTES
            self.under_way_bytes -= size
            if direction.delivers(size):
                with suppress(OSError):
                    write(file, frame)
