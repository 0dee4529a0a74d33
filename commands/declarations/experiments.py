"""Whether each experiment can be run, proves its fault, and undoes it whatever happens."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import yaml
from chaoslib.exceptions import ChaosException

from chaos.run import catalog, toolkit

_FOLDER = "chaos/experiments"
_UNDO = "undo_fault"
_WHOLE = "wait_for_redundancy"


def problems() -> list[str]:
    """What is missing, a line each that names the file and what to add."""
    found: list[str] = []
    for path in sorted(catalog.FOLDER.glob("*.yaml")):
        try:
            content = dict(yaml.safe_load(path.read_text()))
        except (yaml.YAMLError, TypeError, ValueError) as error:
            found.append(f"{_FOLDER}/{path.name}: expected a Chaos Toolkit experiment: {error}")
            continue
        found += problems_of(path.stem, content, toolkit.validate)
    return found


def problems_of(name: str, content: Mapping[str, Any], validate: Callable[[str], None]) -> list[str]:
    """What one experiment lacks. `validate` is Chaos Toolkit's own check, which raises ChaosException."""
    file = f"{_FOLDER}/{name}.yaml"
    if missing := [key for key in ("title", "description", "steady-state-hypothesis", "method") if key not in content]:
        return [f"{file}: expected {', '.join(missing)}, found none: copy the file that is most like it"]
    found = []
    if content.get("configuration") != {"experiment": name}:
        found.append(f"{file}: activities find their fault by its name: add `configuration: {{experiment: {name}}}`")
    method = [_function(activity) for activity in content["method"]]
    if _UNDO not in method or _WHOLE not in method[method.index(_UNDO) :]:
        found.append(f"{file}: the method ends with {_UNDO} and {_WHOLE} of chaos.faults.recovery: add them")
    elif method.index(_UNDO) < 2:
        found.append(f"{file}: the method proves nothing before {_UNDO}: add a probe that looks at the fault itself")
    if [_function(activity) for activity in content.get("rollbacks", [])] != [_UNDO]:
        found.append(
            f"{file}: the fault has to be undone in any case: add {_UNDO} of chaos.faults.recovery to rollbacks"
        )
    hypothesis = content["steady-state-hypothesis"]["probes"]
    activities = [*hypothesis, *content["method"], *content.get("rollbacks", [])]
    found += [problem for activity in activities if (problem := _unpublished(file, activity))]
    if not found:
        try:
            validate(name)
        except ChaosException as error:
            found.append(f"{file}: Chaos Toolkit refuses it: {error}")
    return list(dict.fromkeys(found))


def _function(activity: Mapping[str, Any]) -> str:
    return str(activity["provider"].get("func", ""))


def _unpublished(file: str, activity: Mapping[str, Any]) -> str | None:
    """Why an activity's function cannot be called."""
    module, function = str(activity["provider"].get("module")), _function(activity)
    try:
        published = importlib.import_module(module).__all__
    except (ImportError, AttributeError) as error:
        return f"{file}: {activity['name']}: expected a module {module} with __all__: {error}"
    if function not in published:
        return f"{file}: {activity['name']}: add {function!r} to __all__ of {module.replace('.', '/')}.py"
    return None
