"""The experiments that there are, and what each will do, in words, before it does it.

An experiment is a Chaos Toolkit file in `experiments/`; its name without the ending is its id. The plan is
made from that file alone, so that it cannot say anything else than what will be run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import yaml

FOLDER = Path(__file__).parents[1] / "experiments"


class UnknownExperiment(ValueError):
    """No experiment has this id; names those that there are."""


TAKES_S = 60.0
"""What an experiment takes on two cores, where its file says nothing else: twice calm, the fault, the audit."""
_EXTENSION = "covenant"


class Info(NamedTuple):
    """`takes_s`: its usual length on two cores. `size`: the only size of system that it can be run on, None for any.
    `distance`: whether its regions have to be apart."""

    id: str
    title: str
    takes_s: float = TAKES_S
    size: str | None = None
    distance: bool = False


def experiments() -> list[Info]:
    """Every experiment, by id."""
    return [_info(path.stem, _read(path)) for path in sorted(FOLDER.glob("*.yaml"))]


def _info(name: str, content: dict[str, Any]) -> Info:
    """What its file says, and in the extension `covenant` (Chaos Toolkit's place for what it does not know itself)."""
    found: dict[str, Any] = next((each for each in content.get("extensions", []) if each.get("name") == _EXTENSION), {})
    return Info(
        name, str(content["title"]), float(found.get("takes_s", TAKES_S)), found.get("size"),
        bool(found.get("distance", False)),
    )  # fmt: skip


def path_of(experiment: str) -> Path:
    """The experiment's file. UnknownExperiment."""
    known = {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}
    if experiment not in known:
        raise UnknownExperiment(f"no experiment is called {experiment!r}; there are: {', '.join(known)}")
    return known[experiment]


def read(experiment: str) -> dict[str, Any]:
    """The experiment as Chaos Toolkit reads it. UnknownExperiment."""
    return _read(path_of(experiment))


def plan(experiment: str) -> str:
    """What the experiment will do. UnknownExperiment."""
    content = read(experiment)
    hypothesis = content["steady-state-hypothesis"]
    lines = [
        f"{experiment}: {content['title']}",
        "",
        content["description"].strip(),
        "",
        f"Steady state, checked before and after ({hypothesis['title'].lower()}):",
        *(f"  - {probe['name']}" for probe in hypothesis["probes"]),
        "",
        "Method:",
        *(f"  {number}. {_step(step)}" for number, step in enumerate(content["method"], 1)),
        "",
        "Undone in any case:",
        *(f"  - {_step(step)}" for step in content["rollbacks"]),
    ]
    return "\n".join(lines)


def _step(activity: dict[str, Any]) -> str:
    arguments = dict(activity["provider"].get("arguments", {}))
    arguments.pop("experiment", None)
    within_s = arguments.pop("within_s", None)
    details = [f"{name} {value}" for name, value in arguments.items()]
    if within_s is not None:
        details.append(f"within {within_s} s")
    verb = "do" if activity["type"] == "action" else "see"
    return f"{verb}: {activity['name']}" + (f" ({', '.join(details)})" if details else "")


def _read(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text()))
