"""The page on the architecture names every folder that there is, and no other; files that it names exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")


def folders() -> set[str]:
    """Every folder with Python in it, tests apart."""
    command = ["git", "ls-files", "*.py"]
    files = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    found = {str(PurePosixPath(file).parent) for file in files}
    return {folder for folder in found if folder != "." and "tests" not in folder.split("/")}


def test_every_folder_is_named_and_every_folder_that_is_named_exists() -> None:
    named = re.findall(r"^\| `([^`]+)` \| \S", PAGE, re.MULTILINE)
    assert len(named) == len(set(named))
    assert set(named) == folders()


def test_every_file_that_is_named_exists() -> None:
    named = re.findall(r"`((?:[a-z_0-9]+/)+[a-z_0-9.-]+\.(?:py|toml|yaml))`", PAGE)
    assert named
    assert [name for name in named if not (ROOT / name).is_file()] == []
