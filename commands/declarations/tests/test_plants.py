"""A planted bug that is declared by half is named, with the file and what to add."""

from __future__ import annotations

from chaos.plants import Plant
from commands.declarations import plants
from commands.declarations.plants import missing_modules, unknown_names

BUG = Plant(
    name="late-cursor", title="the cursor moves too late", kinds=("relay",), red=("bus.exactly_once",), may=(),
    command=("chaos", "run", "relay-kill"),
)  # fmt: skip
ROWS, KINDS, RUNS = ["bus.exactly_once"], ["relay"], [("chaos", "run", "relay-kill")]


def test_the_project_is_whole() -> None:
    assert plants.problems() == []


def test_a_bug_without_a_patch_is_named() -> None:
    (problem,) = missing_modules([BUG], [])
    assert problem.startswith("chaos/plants/late_cursor.py is missing")


def test_a_patch_that_is_not_declared_is_named_with_the_line_to_add() -> None:
    (problem,) = missing_modules([], ["late_cursor"])
    assert problem.endswith("add Plant(name='late-cursor', ...)")


def test_names_that_there_are_not_are_named() -> None:
    assert unknown_names([BUG], ROWS, KINDS, RUNS) == []
    assert "no row 'bus.exactly_once'" in unknown_names([BUG], [], KINDS, RUNS)[0]
    assert "no part is of kind 'relay'" in unknown_names([BUG], ROWS, [], RUNS)[0]
    assert "is run by `chaos run relay-kill`" in unknown_names([BUG], ROWS, KINDS, [])[0]
