"""Speaks to a running network of regions: what its links are like, and how to change them while it runs.

One request a connection, over a Unix socket in the system's home, so that whoever may read the home may cut
links, and nobody else.
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
    """Give one direction of a link another shape."""

    source: str
    target: str
    shape: Shape


class Ask(msgspec.Struct, frozen=True, tag="links"):
    """What every direction is like now."""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """One direction of a link."""

    source: str
    target: str
    shape: Shape
    counters: Counters


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    links: list[State] = []
    error: str | None = None


Request = Set | Ask


class WanError(Exception):
    """The network of regions does not answer, or refuses; says why."""


def address(home: Path) -> tuple[int, str]:
    """A descriptor to be closed after use, and the socket's address by way of it: paths of sockets end at 107 bytes."""
    folder = os.open(home, os.O_PATH | os.O_DIRECTORY)
    return folder, f"/proc/self/fd/{folder}/{SOCKET}"


def ask(home: Path, request: Request) -> list[State]:
    """Send a request to the network of the system in `home`; every direction's state. WanError."""
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
    return ask(home, Ask())


Way = Literal["both", "to", "from"]


def change(home: Path, one: str, other: str, way: Way = "both", **changes: object) -> None:
    """Change what `changes` name (fields of Shape) of the link between two regions: in both directions, or only
    towards `other` (`to`) or only from it (`from`). WanError, ValueError for what cannot be."""
    now = {(state.source, state.target): state.shape for state in states(home)}
    ways = {"both": [(one, other), (other, one)], "to": [(one, other)], "from": [(other, one)]}[way]
    for source, target in ways:
        if (source, target) not in now:
            raise WanError(f"no link leads from {source} to {target}")
        shape = msgspec.convert({**msgspec.structs.asdict(now[source, target]), **changes}, Shape)
        ask(home, Set(source=source, target=target, shape=shape))
