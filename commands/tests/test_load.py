"""The commands of a load: what they say of their options, and how they refuse. No system runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import covenant
from commands.parameters import DURATION
from loadtests.request import Request, describe


def _said(arguments: list[str]) -> tuple[int, str]:
    """(exit code, everything that was printed, in one line)"""
    result = CliRunner().invoke(covenant.main, arguments)
    return result.exit_code, re.sub(r"\s+", " ", result.output)


def test_help_says_of_each_option_what_the_request_says_of_its_field() -> None:
    code, said = _said(["load", "run", "--help"])
    assert code == 0
    options = [field for field in Request.__struct_fields__ if field != "scenario"]
    assert [field for field in options if describe(field) not in said] == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["load", "run", "no-such"], "covenant: scenario: expected one of api-browse, "),
        (["load", "run", "bus-ingest", "--mode", "frames"], "covenant: mode: expected one of singles, atomic, fast"),
        (["load", "run", "api-browse", "--arrival", "sometimes"], "covenant: arrival: expected constant, poisson"),
        (["load", "run", "api-browse", "--duration", "2x"], "expected seconds, or a length with units (d, h,"),
        (["load", "knee", "api-browse", "--duration", "soon"], "as in 90, 60s, 2m or 1h30m; found 'soon'"),
        (["load", "run", "api-browse", "--duration", "8d"], "covenant: duration: expected seconds above 0"),
        (["load", "run", "no-such.py"], "no-such.py: expected a locustfile, found no such file"),
        (
            ["load", "run", __file__, "--rate", "5"],
            "--rate: a locustfile takes --users, --duration, --slo and",
        ),
        (
            ["load", "run", __file__, "--seed", "1"],
            "--seed: a locustfile takes --users, --duration, --slo and",
        ),
        (["load", "run", __file__, "--colour", "red"], "No such option"),
        (["load", "run", __file__, "--users", "0"], "users: expected 1 to 10,000 (users of Locust), found 0"),
        (["load", "run", __file__], "test_load.py: expected a class that is a Locust user"),
        (["load", "knee", "api-browse", "--from", "10", "--to", "5"], "covenant: rate: expected the first one to be"),
        (["load", "knee", "api-browse", "--users", "17"], "covenant: users: expected 1 to 16"),
        (["plant", "api-stall-120ms", "--", "load", "run", "no-such"], "covenant: scenario: expected one of"),
        (["plant", "api-stall-120ms", "--", "load", "run", "soak", "--no"], "(see load run --help)"),
        (["plant", "api-stall-120ms", "--", "chaos", "run", "no-such"], "covenant: no experiment is called 'no-such'"),
        (["plant", "api-stall-120ms", "--", "e2e"], "covenant: plant takes `load run ...` or `chaos run ...`"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(arguments: list[str], expected: str) -> None:
    code, said = _said(arguments)
    assert code == 2
    assert expected in said


def test_wherever_a_command_takes_seconds_it_takes_units() -> None:
    """Whatever is added later, too: an option whose parameter ends in `_s` is a length of time."""
    found = {
        (context, option.name): option.type
        for context, command in _commands("", covenant.main)
        for option in command.params
        if option.name and option.name.endswith("_s")
    }
    assert {(" load run", "duration_s"), (" load run", "warmup_s"), (" load knee", "duration_s")} <= found.keys()
    assert {place: kind for place, kind in found.items() if kind is not DURATION} == {}
    assert DURATION.convert("1h30m", None, None) == 5400.0


def _commands(where: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield where, command
    for name, below in command.commands.items() if isinstance(command, click.Group) else ():
        yield from _commands(f"{where} {name}", below)


@pytest.mark.parametrize("command", [["load", "run", "api-browse"], ["nightly"]])
def test_objectives_that_cannot_be_judged_are_refused_with_their_line(tmp_path: Path, command: list[str]) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("apiVersion: openslo/v1\nkind: SLO\nmetadata:\n  name: errors\n")
    code, said = _said([*command, "--slo", str(file)])
    assert code == 2
    assert said.startswith("covenant: --slo: mine.yaml:3: metadata.annotations.covenant/row: a query cannot be asked")
