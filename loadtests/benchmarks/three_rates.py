"""The three rates of events side by side, on one system: what the broker stores, what the relay brings from the outbox
into the stream, and what all six consumers have applied in every region. They are never one figure.

    .venv/bin/python -m loadtests.benchmarks.three_rates

Each is offered more than two cores give, so that what comes out is what the machine has; the broker's rate is that of a
stream of its own, whose messages only a checking subscriber reads. The relay is measured twice: behind the API,
which is then what bounds it, and from an outbox that is appended to by SQL. The system is started for this and removed
afterwards.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from infra.fabric.process.create import CannotStart
from infra.fabric.process.system import System
from infra.fabric.protocol import StartError
from infra.machine.progress import step
from loadtests import run as runner
from loadtests.benchmarks import own_system
from loadtests.locust_process import LoadError
from loadtests.request import Request, check
from reports.evidence import Load, RunFolder, percentile_ms


class Offer(NamedTuple):
    """A scenario and how much of it, and which of its rates are shown."""

    scenario: str
    rate: float
    seconds: float
    shown: tuple[tuple[str, str], ...]
    """Rate -> its name here."""


OFFERS = (
    Offer("bus-ingest", 40_000.0, 15.0, (("bus.throughput", "broker: stored in the stream, 128 B"),)),
    Offer("relay-path", 300.0, 20.0, (("bus.relayed", "relay: API, outbox, stream"),)),
    Offer(
        "bus-fanout", 5_000.0, 20.0,
        (("bus.relayed", "relay: outbox, stream"), ("bus.applied", "applied by all six, everywhere")),
    ),
    Offer(
        "catch-up", 1_000.0, 60.0,
        (("bus.relayed", "relay: a backlog, worked off"), ("bus.applied", "all six: a backlog, worked off")),
    ),
)  # fmt: skip


def table(loads: dict[str, Load]) -> str:
    """One line a rate, with what its path was."""
    lines = [f"{'what':<38} {'offered/s':>10} {'reached/s':>10} {'p99 ms':>9}  scenario, path"]
    for offer in OFFERS:
        load = loads[offer.scenario]
        for name, words in offer.shown:
            [rate] = [each for each in load.rates if each.name == name]
            times = [
                percentile_ms(one.latencies, 99) for one in load.operations if one.name in (name, _TIMED.get(name))
            ]
            p99_ms = next((f"{each:,.1f}" for each in times if each is not None), "-")
            path = load.settings.get("path", load.settings.get("mode", ""))
            reached = load.offered_per_s * rate.completed / rate.offered if rate.offered else 0.0
            lines.append(
                f"{words:<38} {load.offered_per_s:>10,.0f} {reached:>10,.0f} {p99_ms:>9}  {offer.scenario}: {path}"
            )
    settings = next(iter(loads.values())).settings
    return "\n".join([*lines, settings["durability"], settings["security"]])


_TIMED = {"bus.throughput": "bus.publish_p99"}
"""Rate -> the operation that is timed with it, where that has another name."""


def measure(system: System, folder: RunFolder) -> dict[str, Load]:
    """Offer each in turn. LoadError."""
    for offer in OFFERS:
        with step(offer.scenario) as progress:
            asked = check(Request(scenario=offer.scenario, rate=offer.rate, duration_s=offer.seconds))
            runner.run(asked, folder=folder, target_path=system.target_path, progress=progress)
    return {load.scenario: load for load in folder.loads()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--size", choices=("core", "full"), default="core")
    options = parser.parse_args()
    try:
        with (
            own_system.started("three-rates", options.size) as system,
            tempfile.TemporaryDirectory(prefix="covenant-rates-") as scratch,
        ):
            print(table(measure(system, RunFolder.create(Path(scratch) / "run"))))
    except (CannotStart, StartError, LoadError) as error:
        sys.exit(str(error) or type(error).__name__)


if __name__ == "__main__":
    main()
