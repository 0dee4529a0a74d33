"""Whether each planted bug has its patch, and says rows, parts and a command that there are."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from chaos import plants
from chaos.plants import Plant
from chaos.run import catalog
from infra.machine.checkout import CHECKOUT
from infra.parts import PARTS
from loadtests.scenarios import scenarios
from reports.policy.claims import ClaimError, load_claims
from reports.policy.policy import matches

_FOLDER = "chaos/plants"
_DECLARATION = f"{_FOLDER}/__init__.py"
_NO_PATCHES = ("__init__", "patching")


def problems() -> list[str]:
    """What is missing, a line each that names the file and what to add."""
    modules = [path.stem for path in (CHECKOUT / _FOLDER).glob("*.py") if path.stem not in _NO_PATCHES]
    try:
        rows = [claim.row for claim in load_claims()]
    except ClaimError as error:
        return [str(error)]
    runs = [("load", "run", name) for name in scenarios()] + [
        ("chaos", "run", experiment.id) for experiment in catalog.experiments()
    ]
    return [
        *missing_modules(plants.PLANTS.values(), modules),
        *unknown_names(plants.PLANTS.values(), rows, PARTS, runs),
    ]


def missing_modules(declared: Iterable[Plant], modules: Collection[str]) -> list[str]:
    """Bugs without a module, and modules (by their names without `.py`) that are no declared bug's."""
    expected = {plant.module.rpartition(".")[2]: plant.name for plant in declared}
    found = [
        f"{_FOLDER}/{module}.py is missing: {_DECLARATION} declares the bug {name!r}, whose patch it is"
        for module, name in expected.items()
        if module not in modules
    ]
    return found + [
        f"{_DECLARATION}: PLANTS lacks {_FOLDER}/{module}.py: add Plant(name={module.replace('_', '-')!r}, ...)"
        for module in sorted(set(modules) - expected.keys())
    ]


def unknown_names(
    declared: Iterable[Plant], rows: Collection[str], kinds: Collection[str], runs: Collection[tuple[str, ...]]
) -> list[str]:
    """Rows, kinds of part and commands that a bug names and that do not exist."""
    found = []
    for plant in declared:
        where = f"{_DECLARATION}: {plant.name}"
        found += [f"{where}: no part is of kind {kind!r}" for kind in plant.kinds if kind not in kinds]
        found += [
            f"{where}: reports/slo.yaml has no row {row!r}"
            for row in (*plant.red, *plant.may)
            if not any(matches(known, [row]) for known in rows)
        ]
        if plant.command[:3] not in runs:
            found.append(f"{where}: no scenario and no experiment is run by `{' '.join(plant.command)}`")
    return found
