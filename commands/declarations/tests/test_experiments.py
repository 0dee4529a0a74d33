"""Each step that an experiment lacks is named, with the file and what to add."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from chaoslib.exceptions import ChaosException

from chaos.run import catalog
from commands.declarations import experiments
from commands.declarations.experiments import problems_of

WHOLE = catalog.read("bus-leader-kill")


def without(spoil: Callable[[dict[str, Any]], object]) -> list[str]:
    content = deepcopy(WHOLE)
    spoil(content)
    return problems_of("bus-leader-kill", content, lambda name: None)


def test_the_project_is_whole() -> None:
    assert experiments.problems() == []


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda content: content.pop("description"), "expected description, found none"),
        (lambda content: content.pop("configuration"), "add `configuration: {experiment: bus-leader-kill}`"),
        (lambda content: content.update(configuration={"experiment": "relay-kill"}), "add `configuration:"),
        (lambda content: content.pop("rollbacks"), "add undo_fault of chaos.faults.recovery to rollbacks"),
        (lambda content: content["method"].pop(), "the method ends with undo_fault and wait_for_redundancy"),
        (lambda content: content["method"].pop(-2), "the method ends with undo_fault and wait_for_redundancy"),
        (lambda content: content.update(method=[content["method"][0], *content["method"][-2:]]), "proves nothing"),
        (lambda content: content["method"][1]["provider"].update(func="port"), "add 'port' to __all__ of chaos/"),
        (lambda content: content["method"][1]["provider"].update(module="chaos.no"), "expected a module chaos.no"),
    ],
)  # fmt: skip
def test_what_is_left_out_is_named(spoil: Callable[[dict[str, Any]], object], named: str) -> None:
    (problem,) = without(spoil)
    assert problem.startswith("chaos/experiments/bus-leader-kill.yaml: ")
    assert named in problem


def test_what_chaos_toolkit_refuses_is_passed_on() -> None:
    def refuse(name: str) -> None:
        raise ChaosException(f"{name} has an argument that no function takes")

    (problem,) = problems_of("bus-leader-kill", WHOLE, refuse)
    assert problem.endswith("refuses it: bus-leader-kill has an argument that no function takes")
