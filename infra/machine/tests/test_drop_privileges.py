"""Running parts without root: the ways in their order, and a refusal that says what was tried."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.machine import drop_privileges

ROOT = os.geteuid() == 0


def shadow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *programs: str) -> None:
    """Put programs with these names first on PATH; they refuse, as in a container without the privilege."""
    for name in programs:
        program = tmp_path / name
        program.write_text("#!/bin/sh\necho Operation not permitted >&2\nexit 1\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


@pytest.mark.skipif(ROOT, reason="only an ordinary user has nothing to leave")
def test_ordinary_user_starts_parts_as_itself(tmp_path: Path) -> None:
    assert drop_privileges.find(tmp_path) == drop_privileges.Unprivileged()


@pytest.mark.skipif(not ROOT, reason="only root has something to leave")
def test_found_way_really_leaves_root_and_reads_a_sealed_folder(tmp_path: Path) -> None:
    found = drop_privileges.find(tmp_path)
    inside = "import os, sys; print(os.geteuid()); os.listdir(sys.argv[1])"
    done = subprocess.run(
        [*found.prefix, sys.executable, "-c", inside, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) != 0


@pytest.mark.skipif(not ROOT, reason="only root has something to leave")
def test_refusal_names_both_ways_and_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shadow(tmp_path, monkeypatch, "unshare", "setpriv")
    with pytest.raises(drop_privileges.CannotDropPrivileges) as refusal:
        drop_privileges.find(tmp_path)
    said = str(refusal.value)
    assert "a user namespace: Operation not permitted; the user nobody: Operation not permitted" in said
    assert "run as an ordinary user" in said
