"""Probes a system at fixed instants while faults are injected: what its clients see, on one clock.

`python -m loadtests.engine.prober SPEC.json` tries every operation from every region 20 times a second, whatever
the answers do, until SIGTERM; then it waits for what is under way and ends with exit code 0. Each probe is a
line of `evidence/chaos/<experiment>/probes.jsonl` as it ends, each write is in the ledger of the same name.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
import time
from pathlib import Path
from typing import Literal

import msgspec

from infra import target as targets
from infra.machine.lifetime import end_with_parent
from infra.machine.spec import EngineError, read_spec
from infra.target import Target
from ledger.contents import key_of
from loadtests.arrivals.pacer import Pacer
from loadtests.arrivals.schedule import Schedule
from loadtests.arrivals.short_slices import ask_for_short_slices
from loadtests.clients.sign_in import ApiClient
from loadtests.engine.probes import CONNECTIONS, CreateProject, Effect, ProbeOperation, Publish, Read, Result
from reports.evidence import Probe, RunFolder, Write
from reports.evidence.folder import Appender
from system import event_loop

BUS = "bus"
"""The region of the operations that do not go through a region's API."""
_DRAIN_MARGIN_S = 1.0


class ProberSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What to probe. A number that is not given has the value that experiments are judged by."""

    folder: str
    """The run folder."""
    experiment: str
    """Name of the folder under `evidence/chaos/`, and of the ledger."""
    target: str
    """The file of an `infra.target.Target`."""
    operations: list[Literal["read", "write", "publish", "effect"]]
    regions: list[str] | None = None
    """Those of the target if not given."""
    rate_hz: float = 20.0
    """Of each operation from each region."""
    timeout_s: float = 2.0
    country_code: str = "USA"
    """Of the projects that writes create."""
    at_most_s: float = 1800.0
    """Probing ends after this even without a SIGTERM."""
    parent: int | None = None
    """The process with which probing ends, however that ends; None: it goes on until a SIGTERM."""


Place = tuple[str, str]
"""(region, operation)"""


class Prober:
    """Lets every place be tried when it is due, and writes down how that ended."""

    def __init__(self, spec: ProberSpec, places: dict[Place, ProbeOperation], probes: Appender[Probe]) -> None:
        self._spec = spec
        self._places = list(places.items())
        self._probes = probes
        self.failure: BaseException | None = None
        """Why no more evidence can be kept (a full disk)."""
        self.failed = asyncio.Event()
        self._pending: set[asyncio.Task[None]] = set()
        # The places take turns, so that they do not meet at the same instant.
        self.schedule = Schedule(time.monotonic_ns(), spec.rate_hz * len(places), 0.0, spec.at_most_s)

    def release(self, first: int, end: int, now_ns: int) -> None:
        loop = asyncio.get_running_loop()
        for n in range(first, end):
            place, operation = self._places[n % len(self._places)]
            task = loop.create_task(self._attempt(place, operation, self.schedule.intended_ns(n), now_ns))
            self._pending.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._pending.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            self.failure = failure
            self.failed.set()

    async def _attempt(self, place: Place, operation: ProbeOperation, intended_ns: int, now_ns: int) -> None:
        late_us = (now_ns - intended_ns) // 1000
        deadline = asyncio.get_running_loop().time() + self._spec.timeout_s - late_us / 1e6
        try:
            result = await operation.attempt(intended_ns, deadline)
        except Exception as error:  # noqa: BLE001
            # An error that was not foreseen is evidence as well, and must not cost the other probes.
            result = Result("unknown", f"{type(error).__name__}: {error}")
        latency_us = result.latency_us
        if latency_us is None:
            latency_us = (time.monotonic_ns() - intended_ns) // 1000
        region, name = place
        self._probes.add(Probe(intended_ns, region, name, latency_us, result.outcome, result.detail, late_us))

    async def drain(self) -> None:
        if self._pending:
            await asyncio.wait(self._pending, timeout=self._spec.timeout_s + _DRAIN_MARGIN_S)


async def _places(spec: ProberSpec, target: Target, ledger: Appender[Write]) -> dict[Place, ProbeOperation]:
    """Every place with its operation, signed in: reads as a reader, writes as the region's steward. SignInError."""
    regions = spec.regions or target.regions
    clients = {
        (region, operation): ApiClient(target.api[region], target.clients[who], connections=CONNECTIONS)
        for region in regions
        for operation, who in (("read", "reader"), ("write", f"steward-{region}"))
        if operation in spec.operations
    }
    await asyncio.gather(*(client.sign_in() for client in clients.values()))
    key = key_of(target)
    places: dict[Place, ProbeOperation] = {}
    for operation in spec.operations:
        if operation == "publish":
            places[BUS, operation] = Publish(target)
        elif operation == "effect":
            places[BUS, operation] = Effect(target.observer_dsn)
        else:
            for region in regions:
                client = clients[region, operation]
                if operation == "read":
                    places[region, operation] = Read(client)
                else:
                    places[region, operation] = CreateProject(client, region, spec.country_code, ledger, key)
    return places


async def _probe(spec: ProberSpec) -> BaseException | None:
    """Probe until the end; None, or what made it end early."""
    ask_for_short_slices()
    gc.freeze()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    target = targets.read(Path(spec.target))
    folder = RunFolder(Path(spec.folder))
    with folder.probes(spec.experiment) as probes, folder.writes(spec.experiment) as ledger:
        places = await _places(spec, target, ledger)
        prober = Prober(spec, places, probes)
        pacer = Pacer(prober.schedule, prober.release)
        ends = [asyncio.ensure_future(each.wait()) for each in (stop, pacer.done, prober.failed)]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        pacer.stop()
        for end in ends:
            end.cancel()
        await prober.drain()
        for operation in places.values():
            await operation.close()
    return prober.failure


def main() -> None:
    spec = read_spec(ProberSpec)
    if not spec.operations:
        sys.exit("operations: expected at least one of read, write, publish, effect; found none")
    if spec.parent is not None:
        end_with_parent(spec.parent)
    # nats-py's streams do over TLS what asyncio warns of each time a connection ends; nothing comes of it.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    try:
        failure = event_loop.run(_probe(spec), tls_timeouts=True)
    except (targets.NoTarget, EngineError, OSError) as error:
        failure = error
    sys.exit(None if failure is None else str(failure))


if __name__ == "__main__":
    main()
