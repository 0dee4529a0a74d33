"""The experiments that there are, and what each will do, in words, before it does it.

An experiment is a Chaos Toolkit file: one in `experiments/`, whose name without the ending is its id, or one of the
user's own, which is named by its path. The plan is made from that file alone, so that it cannot say anything else than
what will be run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

FOLDER = Path(__file__).parents[1] / "experiments"
_ENDINGS = (".json", ".yaml", ".yml")
"""Those that Chaos Toolkit takes."""
_FAULTS = "chaos.faults."
_REGION_FAULTS = "chaos.faults.region."
_NO_FAULTS = ("chaos.faults.steady_state", "chaos.faults.recovery")
"""Modules of ours that neither inject a fault nor prove one."""


class UnknownExperiment(ValueError):
    """No experiment has this id, and no file this name; names those that there are."""


class BadExperiment(ValueError):
    """A file that holds no experiment; one line that names it."""


TAKES_S = 60.0
"""What an experiment takes on two cores, where its file says nothing else: twice calm, the fault, the audit."""
_EXTENSION = "covenant"
HYPOTHESIS = "steady-state-hypothesis"
"""Where a file says what holds before and after."""


class Info(NamedTuple):
    """`takes_s`: its usual length on two cores. `size`: the only size of system that it can be run on, None for any.
    `distance`: whether its regions have to be apart."""

    id: str
    title: str
    takes_s: float = TAKES_S
    size: str | None = None
    distance: bool = False


def experiments() -> list[Info]:
    """Every experiment of ours that can be read, by id."""
    found = []
    for path in _ours().values():
        try:
            found.append(_info(path.stem, _read(path)))
        except BadExperiment:
            continue  # `problems` names it.
    return found


def problems() -> list[str]:
    """A line for each file of ours that holds no experiment."""
    found = []
    for path in _ours().values():
        try:
            _read(path)
        except BadExperiment as error:
            found.append(str(error))
    return found


def _info(name: str, content: dict[str, Any]) -> Info:
    """What its file says."""
    found = _own(content)
    return Info(
        name, str(content["title"]), float(found.get("takes_s", TAKES_S)), found.get("size"),
        bool(found.get("distance", False)),
    )  # fmt: skip


def path_of(experiment: str) -> Path:
    """The file of an experiment: ours, by its id, or the one that is named. UnknownExperiment."""
    known = _ours()
    if experiment in known:
        return known[experiment]
    own = Path(experiment)
    if own.suffix in _ENDINGS and own.is_file():
        return own.resolve()
    raise UnknownExperiment(
        f"no experiment is called {experiment!r}; there are: {', '.join(known)}; or name a file of your own "
        f"({', '.join(_ENDINGS)})"
    )


def is_ours(experiment: str) -> bool:
    return experiment in _ours()


def id_of(experiment: str) -> str:
    """What an experiment is called in the evidence. Of a file: what its configuration says, else after its name.
    UnknownExperiment, BadExperiment."""
    if is_ours(experiment):
        return experiment
    path = path_of(experiment)
    content = _read(path)
    said = content.get("configuration", {}).get("experiment", path.stem)
    found = re.sub(r"[^a-z0-9]+", "-", str(said).lower()).strip("-") or "experiment"
    if is_ours(found):
        raise BadExperiment(
            f'{path}: {found} is one of ours: give it a name of its own, with "configuration": {{"experiment": NAME}}'
        )
    if _needs_name(content) and content.get("configuration", {}).get("experiment") != found:
        raise BadExperiment(
            f'{path}: activities of ours find their fault by its name: add "configuration": {{"experiment": "{found}"}}'
        )
    return found


def read(experiment: str) -> dict[str, Any]:
    """The experiment as Chaos Toolkit reads it. UnknownExperiment, BadExperiment."""
    return _read(path_of(experiment))


def injects(content: Mapping[str, Any]) -> bool:
    """Whether a step of the method is an action of ours, which notes the instant of its fault."""
    return _has_fault(content, "action")


def declares_proof(content: Mapping[str, Any]) -> bool:
    """Whether a step of the method is a probe of ours, which notes whether it saw the fault bite."""
    return _has_fault(content, "probe")


def loses_region(content: Mapping[str, Any]) -> bool:
    """Whether a step of the method takes a region as a whole."""
    return any(_module(step).startswith(_REGION_FAULTS) for step in content["method"])


def rows_of(content: Mapping[str, Any]) -> list[str]:
    """The rows that the file names as those that it is evidence for, besides what every experiment is."""
    return [str(row) for row in _own(content).get("rows", [])]


def _own(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """The extension `covenant` (Chaos Toolkit's place for what it does not know itself)."""
    found = [each for each in content.get("extensions") or [] if each.get("name") == _EXTENSION]
    return dict(found[0]) if found else {}


def _has_fault(content: Mapping[str, Any], kind: str) -> bool:
    ours = [step for step in content["method"] if _module(step).startswith(_FAULTS) and _module(step) not in _NO_FAULTS]
    return any(step.get("type") == kind for step in ours)


def plan(experiment: str) -> str:
    """What the experiment will do. UnknownExperiment, BadExperiment."""
    content = read(experiment)
    lines = [f"{id_of(experiment)}: {content['title']}", "", str(content["description"]).strip(), ""]
    hypothesis = content.get(HYPOTHESIS)
    if hypothesis:
        lines.append(f"Steady state, checked before and after ({str(hypothesis['title']).lower()}):")
        lines += [f"  - {_name(probe)}" for probe in hypothesis.get("probes", [])]
    else:
        lines.append("Steady state: none declared")
    lines += ["", "Method:", *(f"  {number}. {_step(step)}" for number, step in enumerate(content["method"], 1))]
    if not declares_proof(content):
        lines += ["", "Proof that the fault bites: none declared, so that its recovery is measured and not judged"]
    lines += ["", "Undone in any case:"]
    lines += [f"  - {_step(step)}" for step in content.get("rollbacks", [])] or ["  - nothing: no rollbacks declared"]
    return "\n".join(lines)


def _step(activity: Mapping[str, Any]) -> str:
    if "ref" in activity:
        return f"again: {activity['ref']}"
    provider = activity["provider"]
    verb = "do" if activity["type"] == "action" else "see"
    details = ", ".join({"process": _command, "http": _request}.get(provider["type"], _arguments)(provider))
    return f"{verb}: {activity['name']}" + (f" ({details})" if details else "")


def _arguments(provider: Mapping[str, Any]) -> list[str]:
    arguments = dict(provider.get("arguments", {}))
    arguments.pop("experiment", None)
    within_s = arguments.pop("within_s", None)
    details = [f"{name} {value}" for name, value in arguments.items()]
    return details + ([f"within {within_s} s"] if within_s is not None else [])


def _command(provider: Mapping[str, Any]) -> list[str]:
    """The arguments of a process are one string, a list, or names with values."""
    arguments = provider.get("arguments", [])
    if isinstance(arguments, Mapping):
        arguments = [word for pair in arguments.items() for word in pair]
    words = [arguments] if isinstance(arguments, str) else [str(word) for word in arguments]
    return ["run " + " ".join([str(provider["path"]), *words])]


def _request(provider: Mapping[str, Any]) -> list[str]:
    return [f"{provider.get('method', 'GET')} {provider['url']}"]


def _name(activity: Mapping[str, Any]) -> str:
    return str(activity.get("name") or activity.get("ref"))


def _module(activity: Mapping[str, Any]) -> str:
    return str(activity.get("provider", {}).get("module", ""))


def _needs_name(content: Mapping[str, Any]) -> bool:
    """Whether an activity hands facts to others, which it files under the experiment's name."""
    steps = [*content["method"], *content.get("rollbacks", [])]
    return any(_module(step).startswith(_FAULTS) and _module(step) != "chaos.faults.steady_state" for step in steps)


def _ours() -> dict[str, Path]:
    return {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}


def _read(path: Path) -> dict[str, Any]:
    """The file's content, as far as the plan needs it to be an experiment. BadExperiment."""
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise BadExperiment(f"{_shown(path)}: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise BadExperiment(f"{_shown(path)}: expected a Chaos Toolkit experiment, found {type(content).__name__}")
    if missing := [key for key in ("title", "description", "method") if content.get(key) is None]:
        raise BadExperiment(f"{_shown(path)}: expected a Chaos Toolkit experiment, {', '.join(missing)} is missing")
    lists = [(key, list, "a list of activities") for key in ("method", "rollbacks")]
    for key, kind, what in (*lists, ("configuration", dict, "names with values")):
        if not isinstance(content.get(key, kind()), kind):
            raise BadExperiment(f"{_shown(path)}: {key}: expected {what}, found {type(content[key]).__name__}")
    if any(not isinstance(step, dict) for step in [*content["method"], *content.get("rollbacks", [])]):
        raise BadExperiment(f"{_shown(path)}: expected every step to be an activity, with type, name and provider")
    return content


def _shown(path: Path) -> str:
    return f"chaos/experiments/{path.name}" if path.parent == FOLDER else str(path)


def check_names(names: Iterable[str]) -> list[str]:
    """The ids of these experiments. UnknownExperiment, BadExperiment, also where two files have one id."""
    found: dict[str, Path] = {}
    for name in names:
        path = path_of(name)
        if found.setdefault(id_of(name), path) != path:
            raise BadExperiment(f"{path}: {id_of(name)} is the name of {found[id_of(name)]}, too: give it another")
    return list(found)
