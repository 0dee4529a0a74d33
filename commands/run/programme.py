"""Tonight's programme: which loads, experiments, suites and planted bugs, in which order, and what has no turn.

Pure: what there is, where it runs, and the date are given.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from typing import NamedTuple

from msgspec import structs

from chaos.plants import Plant
from chaos.run.catalog import Info
from commands.run.pace import Leg, Pace
from commands.run.profiles import Budgets, PlannedLoad, Profile
from commands.run.rotation import Item, Turns, turns
from loadtests.request import CheckedRequest, check
from reports.evidence import Kind, LeftOut

SUITE_TAKES_S = 60.0
"""The usual length of a browser suite."""
_SYSTEM_S, _CHECK_S, _SUITES_S = 60.0, 10.0, 30.0
CHECKS = ("data", "access", "security")
SECRETS, BROWSER = "secrets", "browser"
REHEARSAL = "rehearsal"
"""The phase in which loads are tried before they are made."""
REHEARSAL_S = 10.0
"""Of one load, with the start of its generator."""


class Stock(NamedTuple):
    """All that there is."""

    experiments: Sequence[Info]
    suites: Sequence[str]
    bugs: Sequence[Plant]


class Asked(NamedTuple):
    """What a user asked of the night."""

    only: str | None = None
    """load, chaos or e2e; None: everything."""
    hours: float | None = None
    duration_s: float | None = None
    """Of the load of a soak."""
    seed: int = 1


class Place(NamedTuple):
    """The system that it runs on."""

    size: str
    apart: bool
    """Whether there is distance between its regions."""


class Load(NamedTuple):
    """`calibrated`: whether the machine's ceiling is found around it. Of several loads that measure the same rate, the
    highest one is judged, and it alone is worth a calibration."""

    request: CheckedRequest
    seconds: float
    calibrated: bool = True
    rehearsed: bool = False


class Programme(NamedTuple):
    """What is run, in this order; lengths in seconds."""

    loads: tuple[Load, ...]
    experiments: tuple[Item, ...]
    rounds: int
    """How often the experiments are run, one after the other."""
    suites: tuple[str, ...]
    browser: tuple[str, ...] | None
    bugs: tuple[Item, ...]
    left_out: tuple[LeftOut, ...]
    budgets: Budgets | None
    repeats_s: float
    """Without budgets, the time that repeats may take."""

    def phases(self) -> list[str]:
        """The phases of a run of this programme that leave something, unless they are skipped."""
        found = [*CHECKS, *(load.request.scenario.name for load in self.loads)]
        found += [in_round(each.name, number) for number in range(1, self.rounds + 1) for each in self.experiments]
        found += [BROWSER] if self.browser is not None else []
        return [*found, SECRETS, *(planted(each.name) for each in self.bugs)]

    def pace(self) -> Pace:
        """The pace of a run of this programme, whose phases have the names that the run gives them."""
        legs = [Leg("system", "start", _SYSTEM_S), *(Leg(name, "start", _CHECK_S) for name in CHECKS)]
        if tried := sum(load.rehearsed for load in self.loads):
            legs.append(Leg(REHEARSAL, "load", tried * REHEARSAL_S))
        legs += [Leg(load.request.scenario.name, "load", load.seconds) for load in self.loads]
        legs += [
            Leg(in_round(each.name, number), "chaos", each.seconds)
            for number in range(1, self.rounds + 1)
            for each in self.experiments
        ]
        if self.browser is not None:
            legs.append(Leg(BROWSER, "browser", max(_SUITES_S, SUITE_TAKES_S * len(self.suites))))
        legs.append(Leg(SECRETS, "start", _CHECK_S))
        legs += [Leg(planted(each.name), "bugs", each.seconds) for each in self.bugs]
        if self.budgets is None:
            return Pace(legs, reserve_s=self.repeats_s)
        found = self.budgets
        kinds = {"load": found.load_s, "chaos": found.chaos_s, "browser": found.browser_s, "bugs": found.bugs_s}
        return Pace(legs, kinds, found.repeats_s)


def in_round(experiment: str, number: int) -> str:
    """The name of a phase: the experiment's, with the number of its round after the first."""
    return experiment if number == 1 else f"{experiment} ({number})"


def planted(bug: str) -> str:
    """The name of a phase that runs a planted bug."""
    return f"planted {bug}"


def rotations(stock: Stock, budgets: Budgets, always: Sequence[str], place: Place) -> dict[Kind, Turns]:
    """Kind -> which night runs which of it; experiments that this system cannot do take no turns."""
    possible = [Item(each.id, each.takes_s) for each in stock.experiments if _impossible(each, place) is None]
    return {
        "experiment": turns(possible, budgets.chaos_s, always),
        "suite": turns([Item(name, SUITE_TAKES_S) for name in stock.suites], budgets.browser_s),
        "planted bug": turns([Item(bug.name, bug.takes_s) for bug in stock.bugs], budgets.bugs_s),
    }


def tonight(profile: Profile, stock: Stock, place: Place, day: date, asked: Asked) -> Programme:
    """The programme of one night. UsageError if a load cannot be what was asked of it."""
    budgets = profile.budgets
    if budgets is not None and asked.hours is not None:
        budgets = budgets.for_hours(asked.hours)
    shared = {} if budgets is None else rotations(stock, budgets, profile.experiments, place)
    chosen = {kind: each.tonight(day) for kind, each in shared.items()}
    parts = {"experiment": "chaos", "suite": "e2e", "planted bug": None}
    mine = {kind: names for kind, names in chosen.items() if asked.only in (None, parts[kind])}
    takes = {each.id: Item(each.id, each.takes_s) for each in stock.experiments}
    experiments = tuple(takes[name] for name in chosen.get("experiment", profile.experiments))
    return Programme(
        loads=_loads(profile.loads, budgets, asked) if asked.only in (None, "load") else (),
        experiments=experiments if asked.only in (None, "chaos") else (),
        rounds=1 if budgets is None else _rounds(experiments, budgets.chaos_s),
        suites=mine.get("suite", ()),
        browser=profile.browser if asked.only in (None, "e2e") else None,
        bugs=tuple(Item(bug.name, bug.takes_s) for bug in stock.bugs if bug.name in mine.get("planted bug", ())),
        left_out=tuple(
            left for kind, names in mine.items() for left in _left_out(kind, stock, names, shared[kind], place)
        ),
        budgets=budgets,
        repeats_s=profile.repeats_s,
    )


def _impossible(experiment: Info, place: Place) -> str | None:
    """Why an experiment cannot be done on this system."""
    if experiment.size not in (None, place.size):
        return f"it needs the size {experiment.size}, and this run is of size {place.size}"
    if experiment.distance and not place.apart:
        return "it needs distance between regions, and there is none here"
    return None


def _left_out(
    kind: Kind, stock: Stock, chosen: Sequence[str], shared: Turns, place: Place
) -> Iterator[LeftOut]:  # fmt: skip
    """All of a kind that does not run tonight."""
    reasons = dict.fromkeys(shared.never, "it fits into no night")
    match kind:
        case "experiment":
            names = [each.id for each in stock.experiments]
            reasons |= {each.id: why for each in stock.experiments if (why := _impossible(each, place))}
        case "suite":
            names = list(stock.suites)
        case "planted bug":
            names = [bug.name for bug in stock.bugs]
    for name in names:
        if name not in chosen:
            yield LeftOut(kind=kind, name=name, why=reasons.get(name, "its turn is another night"))


def _rounds(experiments: Iterable[Item], budget_s: float) -> int:
    """How many whole rounds the time is enough for: in a longer night, recoveries are seen more often."""
    round_s = sum(each.seconds for each in experiments)
    return max(1, int(budget_s // round_s)) if round_s else 1


def _loads(planned: Sequence[PlannedLoad], budgets: Budgets | None, asked: Asked) -> tuple[Load, ...]:
    """The loads with their seeds and lengths. UsageError."""
    found: list[Load] = []
    fixed_s = sum(check(each.request).arrival.duration_s + each.beside_s for each in planned if not each.filler)
    fixed_s += REHEARSAL_S * sum(each.rehearsed for each in planned)
    for each in planned:
        request = structs.replace(each.request, seed=asked.seed)
        if asked.duration_s is not None:
            request = structs.replace(request, duration_s=asked.duration_s)
        if each.filler and budgets is not None:
            request = structs.replace(request, duration_s=budgets.load_s - fixed_s - each.beside_s)
        checked = check(request)
        found.append(Load(checked, checked.arrival.duration_s + each.beside_s, rehearsed=each.rehearsed))
    return tuple(load._replace(calibrated=_is_highest(load, found)) for load in found)


def _is_highest(load: Load, loads: Sequence[Load]) -> bool:
    same = [each for each in loads if each.request.scenario.calibrates == load.request.scenario.calibrates]
    return load.request.arrival.mean_rate == max(each.request.arrival.mean_rate for each in same)
