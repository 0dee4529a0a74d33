"""The commands of chaos: what is refused before anything starts, and what is listed. No system runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import covenant
from chaos.run import catalog

OWN = {"title": "t", "description": "d", "method": []}
MISSING = {"type": "action", "name": "x", "provider": {"type": "python", "module": "chaosk8s.pod", "func": "kill"}}


@pytest.mark.parametrize("command", [["plan"], ["run"], ["run", "--dry"]])
def test_a_missing_extension_is_named_before_anything_starts(tmp_path: Path, command: list[str]) -> None:
    own = tmp_path / "mine.json"
    own.write_text(json.dumps({**OWN, "method": [MISSING]}))
    result = CliRunner().invoke(covenant.main, ["chaos", *command, str(own)])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"covenant: {own}: Chaos Toolkit refuses it: could not find Python module")
    assert result.stderr.count("\n") == 1


def test_a_file_of_ones_own_is_planned(tmp_path: Path) -> None:
    own = tmp_path / "mine.json"
    own.write_text(json.dumps(OWN))
    result = CliRunner().invoke(covenant.main, ["chaos", "plan", str(own)])
    assert (result.exit_code, result.stdout.splitlines()[0]) == (0, "mine: t")
    assert "Proof that the fault bites: none declared" in result.stdout


def test_a_file_that_is_not_there_is_refused_with_what_there_is() -> None:
    result = CliRunner().invoke(covenant.main, ["chaos", "run", "no-such.json"])
    assert result.exit_code == 2
    assert "no experiment is called 'no-such.json'; there are: analytics-kill, " in result.stderr
    assert "or name a file of your own (.json, .yaml, .yml)" in result.stderr


def test_a_bad_file_among_ours_is_named_beside_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link-cut.yaml").write_text((catalog.FOLDER / "link-cut.yaml").read_text())
    (tmp_path / "bad.yaml").write_text("- 1\n")
    monkeypatch.setattr(catalog, "FOLDER", tmp_path)
    result = CliRunner().invoke(covenant.main, ["chaos", "list"])
    assert (result.exit_code, result.stdout.split()[0], result.stdout.count("\n")) == (0, "link-cut", 1)
    assert "not listed: chaos/experiments/bad.yaml: expected a Chaos Toolkit experiment, found list" in result.stderr
