"""A clean run's evidence. Property tests run on busy machines: no example has to be quick."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, settings

from reports.findings.loaded import Evidence, load
from reports.tests.synthetic_run import Story, write_run

settings.register_profile("busy-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy-machine")


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A clean smoke run, encoded: a test decodes its own copy and spoils it."""
    path: Path = tmp_path_factory.mktemp("verdict") / "run"
    return msgspec.msgpack.encode(load(write_run(path, Story(requests=36_000, seconds=36))))


@pytest.fixture
def evidence(whole: bytes) -> Evidence:
    return msgspec.msgpack.decode(whole, type=Evidence)
