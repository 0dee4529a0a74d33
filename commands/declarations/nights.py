"""Whether a night has time for its loads, and three of them for everything that takes turns."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from commands.nightly import stock
from commands.run.profiles import PROFILES, Profile
from commands.run.programme import Asked, Place, Stock, rotations, tonight
from loadtests.request import UsageError

_WHERE = "commands/run/profiles.py"
_HOW = {
    "experiment": "set `takes_s` in the extension `covenant` of chaos/experiments/{name}.yaml",
    "suite": "make e2e/{name} shorter",
    "planted bug": "set `takes_s` of {name} in chaos/plants/__init__.py",
}


def problems() -> list[str]:
    """Every omission of the project's own profiles, in a line each."""
    return [line for name, profile in PROFILES.items() for line in problems_of(name, profile, stock())]


def problems_of(name: str, profile: Profile, there: Stock) -> Iterator[str]:
    """What a profile has no time for, on a system of any size with distance."""
    known = [each.id for each in there.experiments]
    yield from (
        f"profile {name} always runs {each!r}, and no experiment is called so; see {_WHERE}"
        for each in profile.experiments
        if each not in known
    )
    budgets = profile.budgets
    if budgets is None:
        return
    try:
        tonight(profile, there, Place("core", apart=True), date.min, Asked())
    except UsageError as error:
        yield f"profile {name}: its loads do not fit into {budgets.load_s:.0f} s: {error}; see {_WHERE}"
    for place in (Place("core", apart=True), Place("full", apart=True)):
        for kind, shared in rotations(there, budgets, profile.experiments, place).items():
            if shared.room_s < 0:
                yield f"profile {name}: {', '.join(shared.always)} take longer than a night has; see {_WHERE}"
            yield from (
                f"profile {name}: {kind} {each} fits into none of three nights on a system of size {place.size}: raise "
                f"its budget in {_WHERE}, or {_HOW[kind].format(name=each)}"
                for each in shared.never
            )
