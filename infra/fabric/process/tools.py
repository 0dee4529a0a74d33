"""Modules of the system that run once and end: migrations, streams, mirrors, and the operators' command lines."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType

from infra.fabric.process.logs import log_tail
from infra.fabric.process.network import RegionNetwork
from infra.fabric.process.table import ProcessTable
from infra.fabric.protocol import StartError
from infra.parts import covenant, mirror
from infra.site import bus_layout, bus_users
from infra.site.site import Place
from system.settings import variable

_RUN_ONCE_WITHIN_S = 60.0


class Tools:
    """Runs modules of `system` inside the regions of one system."""

    def __init__(self, place: Place, table: ProcessTable, network: RegionNetwork) -> None:
        self._place = place
        self._table = table
        self._network = network

    def run_once(
        self, module: str, *, role: str, region: str | None = None, bus_user: str = bus_users.STREAMS_ADMIN,
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        """Run a one-shot module of the system in a region, the active one if none is named, with `more` in its
        environment. StartError with the end of its log."""
        region = region or bus_layout.active_region(self._place)
        environment = {
            **self._table.environment(module),
            **covenant.tool_settings(self._place, region, role, bus_user),
            **more,
        }
        log = self._table.home / f"{module}.log"
        with log.open("ab") as file:
            try:
                done = subprocess.run(
                    [*self._network.inside(region), sys.executable, "-m", module], env=environment,
                    cwd=self._table.home, timeout=_RUN_ONCE_WITHIN_S, check=False,
                    stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                raise StartError(f"{module} did not end within {_RUN_ONCE_WITHIN_S:.0f} s\n{log_tail(log)}") from None
        if done.returncode != 0:
            raise StartError(f"{module} ended with exit code {done.returncode}\n{log_tail(log)}")

    def run_tool(
        self, module: str, arguments: Sequence[str], *, more: Mapping[str, str] = MappingProxyType({}),
        quiet: bool = False,
    ) -> int:  # fmt: skip
        """Run a command of the system in the active region, with `more` in its environment; its exit code. Its output
        is passed through; with `quiet` it goes to its log."""
        region = bus_layout.active_region(self._place)
        environment = {
            **self._table.environment(module),
            **covenant.tool_settings(self._place, region, bus_user=bus_users.LETTERS_ADMIN),
            **covenant.s3_settings(self._place),
            **more,
        }
        command = [*self._network.inside(region), sys.executable, "-m", module, *arguments]
        run = partial(subprocess.run, command, env=environment, cwd=self._table.home, check=False)
        if not quiet:
            return int(run().returncode)
        with (self._table.home / f"{module}.log").open("ab") as log:
            return int(run(stdin=subprocess.DEVNULL, stdout=log, stderr=log).returncode)

    def make_mirrors(self, regions: Sequence[str]) -> None:
        """Have regions keep a mirror of each stream of the bus. StartError."""
        what = {
            **mirror.settings(self._place, regions),
            # As many as its region has servers for, whatever the bus has.
            "stream_replicas": str(covenant.STREAM_REPLICAS),
        }
        self.run_once("system.events.mirrors", role="app", more={variable(name): value for name, value in what.items()})
