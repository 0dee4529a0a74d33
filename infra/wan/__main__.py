"""The network between a system's regions, as a process: `python -m infra.wan HOME`.

It opens the ports of this machine, then enters the namespaces. This process carries packets, and a second one forwards
connections from the ports. When either ends, both do.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from contextlib import suppress
from itertools import permutations
from pathlib import Path

import msgspec

from infra.machine.lifetime import end_with_parent
from infra.site import site
from infra.topology.model import ZONES, kept_in
from infra.wan import control, forwarder, namespaces, process
from infra.wan.emulator import Emulator
from infra.wan.links import Direction, planned

_BACKLOG = 1024


def main(home: Path) -> None:
    """Run until ended. OSError where the machine does not allow it (`infra.wan.probe`)."""
    place = site.Place(site.read(home), kept_in(home))
    topology = place.topology
    names = list(topology.regions)
    listeners = _listeners(place)
    # On a busy machine packets would wait for the CPU, which is delay that no link has. Only root may raise the
    # priority.
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -10)
    namespaces.enter_user_namespace()
    regions = [
        namespaces.Region(
            name,
            [topology.zone_address(name), *(topology.zone_address(name, zone) for zone in ZONES)],
            topology.regions[name].cidr,
        )
        for name in names
    ]
    _, networks = namespaces.lay_out(regions)
    for index, network in enumerate(networks):
        os.dup2(network, process.FIRST_NETWORK + index, inheritable=False)
    child = _fork_forwarder(
        [forwarder.Forward(listener, networks[names.index(region)], address) for listener, region, address in listeners]
    )
    for listener, _, _ in listeners:
        listener.close()
    sockets = [namespaces.packet_socket(index) for index in range(len(names))]
    directions = {
        (names.index(one), names.index(other)): Direction(planned(topology.distance_ms(one, other)))
        for one, other in permutations(names, 2)
    }
    emulator = Emulator(sockets, [region.addresses for region in regions], directions)
    with _Control(home, names, directions, watched=os.pidfd_open(child)) as served:
        emulator.run(served.files, served.serve)


def _listeners(place: site.Place) -> list[tuple[socket.socket, str, tuple[str, int]]]:
    """(listening socket of this machine, region, address in the region) for every port of every node."""
    found = []
    for node in place.all_nodes():
        for port in place.site.ports_of(node):
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setblocking(False)
            listener.bind(("127.0.0.1", port))
            listener.listen(_BACKLOG)
            found.append((listener, node.region, (place.address(node), port)))
    return found


def _fork_forwarder(forwards: list[forwarder.Forward]) -> int:
    """Start the process that forwards connections; its pid."""
    parent = os.getpid()
    child = os.fork()
    if child:
        return child
    try:
        end_with_parent(parent)
        forwarder.run(forwards)
    finally:
        os._exit(1)


class _Control:
    """Answers requests on the control socket, one a connection."""

    def __init__(
        self, home: Path, names: list[str], directions: dict[tuple[int, int], Direction], watched: int
    ) -> None:
        self._home = home
        self._watched = watched
        self._names = names
        self._directions = directions
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._clients: dict[int, socket.socket] = {}

    def __enter__(self) -> _Control:
        (self._home / control.SOCKET).unlink(missing_ok=True)
        folder, path = control.address(self._home)
        self._listener.bind(path)
        os.close(folder)
        self._listener.listen(16)
        self._listener.setblocking(False)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def files(self) -> list[int]:
        return [self._listener.fileno(), self._watched, *self._clients]

    def serve(self, file: int) -> None:
        if file == self._watched:
            raise SystemExit("the forwarder has ended")
        if file == self._listener.fileno():
            with suppress(BlockingIOError):
                client, _ = self._listener.accept()
                client.setblocking(False)
                self._clients[client.fileno()] = client
            return
        with self._clients.pop(file) as client, suppress(OSError):
            message = client.recv(control.MESSAGE_BYTES_MAX)
            if message:
                client.send(msgspec.json.encode(self._answer(message)))

    def _answer(self, message: bytes) -> control.Answer:
        try:
            request = msgspec.json.decode(message, type=control.Request)
        except msgspec.MsgspecError as error:
            return control.Answer(error=str(error))
        if isinstance(request, control.Set):
            try:
                way = self._names.index(request.source), self._names.index(request.target)
                self._directions[way].set(request.shape)
            except (ValueError, KeyError):
                return control.Answer(error=f"no link leads from {request.source} to {request.target}")
            return control.Answer()
        return control.Answer(
            links=[
                control.State(
                    source=self._names[source], target=self._names[target], shape=direction.shape,
                    counters=direction.counters,
                )
                for (source, target), direction in self._directions.items()
            ]
        )  # fmt: skip


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    main(Path(sys.argv[1]))
