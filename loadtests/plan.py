"""What a scenario is, and one run of it as it was asked for: plain data, read by whatever starts engines.

It imports no Locust and no engine, so that listing scenarios is quick and patches nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from loadtests.arrivals.arrival_process import ArrivalProcess, even
from loadtests.recording.early import Gate
from reports.evidence import ExpectedHop

PLAN = "COVENANT_LOAD_PLAN"
"""The environment variable that names the file of a `Plan` for the Locust process."""
MAX_USERS = 16
"""Generator processes of one run."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a scenario, as it was asked for."""

    scenario: str
    folder: str
    """The run folder."""
    work: str
    """Where engines find their specifications and leave their parts."""
    target: str
    """The file of an `infra.target.Target`, as it is from where the engines run."""
    run_id: str
    regions: list[str]
    enter: dict[str, list[str]] = {}
    """Region -> what leads a command into it; empty where regions are not apart."""
    rate: float
    """On average."""
    arrival: ArrivalProcess
    duration_s: float
    warmup_s: float
    users: int
    seed: int = 1
    """Of everything random in it."""
    mode: str | None = None
    """How messages are published, where a user chose it."""
    gates: list[Gate] = []
    """The load is ended as soon as one of these can no longer hold."""

    def part(self, name: str) -> str:
        return str(Path(self.work) / f"{name}.part.json")

    def beside(self, name: str, rate: float) -> Plan:
        """A load of another kind at the same time, at `rate` on average, with a record and a ledger of its own:
        `<scenario>-<name>`, which `Scenario.beside` has to name."""
        return msgspec.structs.replace(
            self,
            scenario=f"{self.scenario}-{name}",
            work=str(Path(self.work) / name),
            rate=rate,
            arrival=even(rate, self.duration_s),
        )

    def share(self, user: int) -> list[str]:
        """The regions that user `user` is for: one, if it can be started inside it; else all."""
        return [self.regions[user % len(self.regions)]] if self.enter else self.regions


class LocustfileSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A locustfile of the user's own, to be run (or only looked at) by `loadtests.locust_users`."""

    file: str
    check: bool = False
    host: str = ""
    ca_file: str = ""
    """The authority that signed the host's certificate; empty where it has none."""
    part: str = ""
    """Where it leaves what it measured."""
    users: int | None = None
    """None: its load shape says how many."""
    at_most_s: float = 0.0


class LocustfileFound(msgspec.Struct, frozen=True, kw_only=True):
    """What a locustfile has: the names of its users, and whether there is a load shape."""

    users: list[str]
    shape: bool


class Engine(msgspec.Struct, frozen=True, kw_only=True):
    """A process: `python -m <module> <spec as JSON>`."""

    name: str
    module: str
    spec: msgspec.Struct
    region: str
    """Where it runs."""
    part: str
    """Where it leaves what it measured: `Plan.part` of its name."""
    offers: float = 0.0
    """Operations that it is to offer in the measured window; 0 if it offers none, or their number is not known."""
    keeps: list[str] = []
    """Lists and records of evidence that it writes, relative to `evidence/`."""
    finds: list[ExpectedHop] = []
    """Where it looks for what was written."""
    sure: bool = True
    """Whether it will be part of the load; False if what the machine has to spare decides that."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    name: str
    help: str
    """One line."""
    unit: str
    """What `rate` counts."""
    rate: float
    duration_s: float
    warmup_s: float
    generator: Callable[[Plan, int], Engine] = field(repr=False)
    """The engine of user 0, 1, ...: each offers its share of the rate."""
    observers: Callable[[Plan], list[Engine]] = field(repr=False, default=lambda plan: [])
    """Engines that are ready before the load begins, and finish after it has ended."""
    per_region: bool = False
    """Whether users are in every region, in equal numbers; else all are where the bus is, in the first one."""
    follows_arrival: bool = False
    """Whether its generators follow `Plan.arrival`; else one even rate is all that can be asked for."""
    modes: tuple[str, ...] = ()
    """How its messages can be published; where the request names none, the scenario chooses."""
    calibrates: str | None = None
    """The row whose ceiling the bus is calibrated for, right before and right after."""
    requests: bool = False
    """Whether these are requests to the API, which count for availability."""
    beside: tuple[str, ...] = ()
    """Loads of other kinds that run at the same time, each with a record of its own; none of them are requests."""
    audited: bool = False
    """Whether its ledger is one of projects, which are to be looked for at every hop afterwards."""
