"""Where a client finds the target of the system."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra import target


def test_without_a_name_it_is_the_system_that_up_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(target.VARIABLE, raising=False)
    monkeypatch.setattr(target, "UP", tmp_path / "up")
    with pytest.raises(target.NoTarget, match=r"up/target\.json is missing.*\./covenant up --detach"):
        target.read()


def test_named_file_comes_before_the_running_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(target.VARIABLE, str(tmp_path / "other.json"))
    with pytest.raises(target.NoTarget, match=r"other\.json is missing"):
        target.read()
