"""The load scenarios: one file each, found by being here.

A scenario says which engine processes offer its load and which observe it; `loadtests/locustfile.py` makes a
Locust user of it. A scenario's file has one `SCENARIO` and imports no Locust, so that listing them is quick and
patches nothing. To add one: copy the file that is most like it.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from loadtests.plan import Scenario


@cache
def scenarios() -> dict[str, Scenario]:
    """Every scenario by name, in the order of their names. ValueError if one is not called after its file."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    found = [called_after(name, importlib.import_module(f"{__name__}.{name}").SCENARIO) for name in names]
    return {scenario.name: scenario for scenario in found}


def called_after(module: str, scenario: Scenario) -> Scenario:
    """The scenario of that module; ValueError if its name is another: copied from another file, it would take that
    one's place."""
    expected = module.replace("_", "-")
    if scenario.name != expected:
        raise ValueError(f'loadtests/scenarios/{module}.py: expected name="{expected}", found "{scenario.name}"')
    return scenario
