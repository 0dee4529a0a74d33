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
    """Every scenario by name, in the order of their names."""
    modules = (importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__))
    found: list[Scenario] = [module.SCENARIO for module in modules]
    return {scenario.name: scenario for scenario in sorted(found, key=lambda each: each.name)}
