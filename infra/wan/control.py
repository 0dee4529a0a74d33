"""Requests to a running network of regions: what its links are like, and changes of them.

Each request has a connection of its own, over a Unix socket in the system's home: the access rights of the home decide
who may cut links.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Literal

import msgspec

from infra.wan.links import Counters, Shape

SOCKET = "wan.sock"
MESSAGE_BYTES_MAX = 65_536
_WITHIN_S = 5.0


class Set(msgspec.Struct, frozen=True, tag="set", kw_only=True):
    """A request to give one direction of a link another shape."""

    source: str
    target: str
    shape: Shape


class Ask(msgspec.Struct, frozen=True, tag="links"):
    """A request for the state of every direction of every link."""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """One direction of a link."""

    source: str
    target: str
    shape: Shape
    counters: Counters


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The states that were asked for, or why the request was refused."""

    links: list[State] = []
    error: str | None = None


Request = Set | Ask


class WanError(Exception):
    """The network of regions does not answer, or refuses; says why."""


def address(home: Path) -> tuple[int, str]:
    """(a descriptor of the home, the socket's path by way of it). A socket's path may have 107 bytes at most, which the
    home's own path may exceed. Close the descriptor after use."""
    folder = os.open(home, os.O_PATH | os.O_DIRECTORY)
    return folder, f"/proc/self/fd/{folder}/{SOCKET}"


def ask(home: Path, request: Request) -> list[State]:
    """Send a request to the network of the system in `home`; the states that it answers with. WanError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
        link.settimeout(_WITHIN_S)
        try:
            folder, path = address(home)
            try:
                link.connect(path)
            finally:
                os.close(folder)
            link.send(msgspec.json.encode(request))
            answer = msgspec.json.decode(link.recv(MESSAGE_BYTES_MAX), type=Answer)
        except (OSError, msgspec.MsgspecError) as error:
            raise WanError(f"the network between the regions does not answer: {error}") from error
    if answer.error is not None:
        raise WanError(answer.error)
    return answer.links


def states(home: Path) -> list[State]:
    """The state of every direction of every link. WanError."""
    return ask(home, Ask())


Way = Literal["both", "to", "from"]
"""Which directions of a link between `one` and `other`: both, towards `other`, or from `other`."""


def change(home: Path, one: str, other: str, way: Way = "both", **changes: object) -> None:
    """Change the link between two regions, in the directions of `way`. `changes` are fields of Shape with new values.
    WanError, or ValueError for a value that is out of range."""
    now = {(state.source, state.target): state.shape for state in states(home)}
    ways = {"both": [(one, other), (other, one)], "to": [(one, other)], "from": [(other, one)]}[way]
    for source, target in ways:
        if (source, target) not in now:
            raise WanError(f"no link leads from {source} to {target}")
        shape = msgspec.convert({**msgspec.structs.asdict(now[source, target]), **changes}, Shape)
        ask(home, Set(source=source, target=target, shape=shape))
