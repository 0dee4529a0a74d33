"""The loop that is chosen: the fastest that is not known to corrupt its memory."""

from __future__ import annotations

import asyncio
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from system import event_loop

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("version", "sound"),
    [("0.21.0", True), ("0.19.0", True), ("0.22.0", False), ("0.22.1", False), ("0.23.0", False), ("0.24.0b1", False)],
)
def test_versions_that_corrupt_their_memory_are_known(version: str, sound: bool) -> None:
    assert event_loop.is_sound(version) is sound


async def _loop() -> str:
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]


def test_a_sound_uvloop_is_taken_where_speed_matters() -> None:
    pytest.importorskip("uvloop")
    assert event_loop.run(_loop()) == "uvloop"


@pytest.mark.parametrize("installed", ["0.23.0", None])
def test_without_a_sound_uvloop_asyncios_own_loop_is_taken(
    installed: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str) -> str:
        if installed is None:
            raise metadata.PackageNotFoundError(name)
        return installed

    monkeypatch.setattr(metadata, "version", version)
    assert event_loop.run(_loop()) == "asyncio"


def test_many_tls_timeouts_get_asyncios_own_loop() -> None:
    assert event_loop.run(_loop(), tls_timeouts=True) == "asyncio"


def test_a_package_whose_module_is_missing_is_no_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: "0.21.0")
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert event_loop.fastest() is None


def test_no_corrupting_version_is_locked_for_any_python() -> None:
    for name in ("requirements.lock", "requirements-test.lock"):
        locked = re.findall(r"^uvloop==(\S+)", (CHECKOUT / name).read_text(), re.MULTILINE)
        assert locked, name
        assert [version for version in locked if not event_loop.is_sound(version)] == [], name


def test_no_package_brings_a_uvloop_of_its_own_choice() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    assert [each for each in asked if each.startswith(("uvicorn[", "granian[uvloop"))] == []


def test_only_one_place_chooses_the_loop() -> None:
    """Of what runs: comparisons of speed and tests may name uvloop."""
    named = [
        str(path.relative_to(CHECKOUT))
        for room in ("system", "infra", "ledger", "checks", "loadtests", "chaos", "commands", "e2e")
        for path in (CHECKOUT / room).rglob("*.py")
        if "tests" not in path.parts and "benchmarks" not in path.parts
        if re.search(r"^\s*(import|from) uvloop", path.read_text(), re.MULTILINE)
    ]
    assert named == ["system/event_loop.py"]
