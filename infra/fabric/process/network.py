"""The regions as network namespaces, and the links between them (`infra.wan`), as the process fabric runs them."""

from __future__ import annotations

import time

from infra.fabric.process.logs import log_tail
from infra.fabric.process.table import ProcessTable
from infra.fabric.protocol import LinkError, LinkState, StartError
from infra.site.site import Site
from infra.topology.model import Topology
from infra.wan import control, process
from infra.wan.links import Shape

_POLL_S = 0.1


class RegionNetwork:
    """The network between the regions of one system; where they are not apart, everything is on loopback."""

    def __init__(self, site: Site, topology: Topology, table: ProcessTable) -> None:
        self._site = site
        self._topology = topology
        self._table = table

    def start(self) -> None:
        """Set the regions apart. StartError."""
        log = self._table.start_helper(process.NAME, "infra.wan")
        deadline = time.monotonic() + process.READY_WITHIN_S
        while not process.ready(self._site.path):
            if not self._table.alive(process.NAME) or time.monotonic() > deadline:
                raise StartError(f"the network between the regions did not start\n{log_tail(log)}")
            time.sleep(_POLL_S)

    def inside(self, region: str) -> list[str]:
        """What to put before a command, so that it runs inside a region; nothing where regions are not apart.
        The command's pid is that of the process that is started with it."""
        if not self._site.apart:
            return []
        pid = self._table.pid(process.NAME)
        if pid is None:
            raise StartError("the network between the regions has ended: end the system with ./covenant down")
        return process.enter(pid, list(self._topology.regions).index(region))

    def entered(self) -> list[str]:
        """The regions that a program can be started in."""
        return self._topology.running_regions(self._site.size) if self._table.alive(process.NAME) else []

    def links(self) -> list[LinkState]:
        """Every direction of every link. LinkError."""
        try:
            return control.states(self._site.path)
        except control.WanError as error:
            raise LinkError(str(error)) from error

    def shape(self, source: str, target: str, shape: Shape) -> None:
        """Give one direction of a link another shape. LinkError."""
        try:
            control.ask(self._site.path, control.Set(source=source, target=target, shape=shape))
        except control.WanError as error:
            raise LinkError(str(error)) from error
