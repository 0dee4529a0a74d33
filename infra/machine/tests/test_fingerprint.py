"""The commit of a run, or git's own reason why it is unknown; the cores that a limit leaves."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from infra.machine import cgroup
from infra.machine.fingerprint import fingerprint


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    identity = ["-c", "user.name=tests", "-c", "user.email=tests@example.org", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "-q"], [*identity, "commit", "-q", "--allow-empty", "-m", "first"]):
        folder.mkdir(exist_ok=True)
        subprocess.run(["git", "-C", str(folder), *arguments], check=True, timeout=30)
    return folder


def test_a_commit_that_is_known_has_no_reason(checkout: Path) -> None:
    found = fingerprint(checkout, {}, "")
    assert len(found.commit) == 40
    assert found.commit_unknown is None


def test_variables_of_another_repositorys_hook_change_nothing(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = fingerprint(checkout, {}, "").commit
    monkeypatch.setattr("infra.machine.surroundings._CALLER", {**os.environ, "GIT_DIR": "/no/such/repository"})
    assert fingerprint(checkout, {}, "").commit == commit


def test_outside_a_repository_git_says_why(tmp_path: Path) -> None:
    found = fingerprint(tmp_path, {}, "")
    assert found.commit == "unknown"
    assert "not a git repository" in (found.commit_unknown or "")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_another_owner_is_named_as_the_reason(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that has the checkout mounted."""
    monkeypatch.setattr("infra.machine.surroundings._CALLER", {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null"})
    for path in (checkout, checkout / ".git"):
        os.chown(path, 12345, 12345)
    found = fingerprint(checkout, {}, "")
    assert found.commit == "unknown"
    assert "dubious ownership" in (found.commit_unknown or "")


def test_cores_are_those_that_a_limit_leaves(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpu.max").write_text("50000 100000")
    monkeypatch.setattr(cgroup, "folders", lambda controller: [tmp_path])
    found = fingerprint(checkout, {}, "")
    assert (found.cores, found.cpu_limit) == (1, 0.5)
