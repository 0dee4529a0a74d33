"""What `nightly` does, by profile: its loads, and how much time each kind of phase has on two cores."""

from __future__ import annotations

from typing import NamedTuple

from commands.run.pace import REPEATS_S
from loadtests.request import Request


class PlannedLoad(NamedTuple):
    """A load of a profile. A `filler` is as long as the budget of loads leaves."""

    request: Request
    beside_s: float = 15.0
    """What it takes besides what it measures: warm-up, drain, the look for its writes at every hop."""
    filler: bool = False
    rehearsed: bool = False
    """Whether it is tried for some seconds before all loads: those whose schedule may be late by the least, at a rate
    that a machine may be too small for."""


class Budgets(NamedTuple):
    """Seconds of a night by kind of phase; an hour in all."""

    start_s: float = 300.0
    """With the checks, and the end."""
    load_s: float = 1020.0
    chaos_s: float = 1080.0
    browser_s: float = 300.0
    bugs_s: float = 480.0
    report_s: float = 120.0
    repeats_s: float = REPEATS_S
    """A reserve for repeats, and for what takes longer than planned."""

    def for_hours(self, hours: float) -> Budgets:
        """The same for a longer night: start and report take no longer."""
        fixed_s = self.start_s + self.report_s
        factor = (hours * 3600 - fixed_s) / (sum(self) - fixed_s)
        longer = {name: factor * value for name, value in self._asdict().items() if name not in ("start_s", "report_s")}
        return self._replace(**longer)


class Profile(NamedTuple):
    """What a run of a profile does, in order: loads, then experiments, then the browser."""

    loads: tuple[PlannedLoad, ...]
    experiments: tuple[str, ...] = ()
    """Those that run every time."""
    browser: tuple[str, ...] | None = None
    """Arguments of pytest for the browser suites; None: none are run."""
    budgets: Budgets | None = None
    """Where there are some, all experiments, suites and planted bugs take turns within them."""
    repeats_s: float = 0.0
    """Without budgets, the time that repeats may take."""


NEVER_ROTATE = ("pg-primary-kill", "bus-leader-kill")
_AVAILABLE = PlannedLoad(Request(scenario="api-browse", rate=600, duration_s=56), rehearsed=True)
"""600 requests/s for 56 s are the 30,000 that 99.99% needs, with some to spare."""

PROFILES = {
    "smoke": Profile(
        loads=(_AVAILABLE, PlannedLoad(Request(scenario="bus-ingest", rate=1000, duration_s=25), rehearsed=True)),
        experiments=(*NEVER_ROTATE, "analytics-kill"),
        browser=("-m", "smoke"),
        repeats_s=150,
    ),
    "nightly": Profile(
        loads=(
            _AVAILABLE,
            # 20 a second in each of three regions: its p99 takes a thousand.
            PlannedLoad(Request(scenario="api-write", rate=60, duration_s=60), beside_s=30),
            PlannedLoad(Request(scenario="realtime-watchers", rate=9, duration_s=45), beside_s=30),
            PlannedLoad(Request(scenario="bus-ingest", rate=1000, duration_s=30), beside_s=20, rehearsed=True),
            PlannedLoad(Request(scenario="bus-fanout", duration_s=30), beside_s=35),
            PlannedLoad(Request(scenario="payload-sweep"), beside_s=25),
            PlannedLoad(Request(scenario="connection-storm", duration_s=60), beside_s=30),
            PlannedLoad(Request(scenario="mixed-nightly"), beside_s=40, filler=True),
            # The last one, since it leaves no core to anything else; millions of messages are read when it is over, and
            # the calibrations before and after it take up to a minute each.
            PlannedLoad(Request(scenario="bus-throughput"), beside_s=235),
        ),
        experiments=NEVER_ROTATE,
        browser=(),
        budgets=Budgets(),
    ),
    "soak": Profile(loads=(PlannedLoad(Request(scenario="soak"), beside_s=150, rehearsed=True),)),
}
