"""One running system for all integration and browser tests.

`./covenant test` starts it and names it in the environment, so that parallel workers share it; plain pytest
starts one of its own when the first test asks for it.
"""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra import target as targets
from infra.fabric.process.homes import clean_up
from infra.fabric.process.system import System
from infra.machine import surroundings
from infra.target import Target

surroundings.enter()
# A hang-up that is ignored, as under nohup, would be ignored by the tests of what it does as well.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
CHECKOUT = Path(__file__).resolve().parent


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What uses a browser comes last: Playwright leaves an event loop marked as running in its process, and no other
    can be started after it."""
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)


@pytest.fixture(scope="session")
def system() -> Iterator[System]:
    """The shared running system. Who breaks it must leave it whole."""
    named = os.environ.get(targets.VARIABLE)
    if named:
        yield System.attach(Path(named).parent)
        return
    clean_up(CHECKOUT)
    name = f"pytest-{secrets.token_hex(3)}"
    own = System.create(CHECKOUT / ".covenant" / name, run_id=name, size="core", plant={})
    try:
        own.start(lambda fraction, text: None)
        yield own
    finally:
        own.stop()
        own.remove()


@pytest.fixture(scope="session")
def target(system: System) -> Target:
    """What a client of the shared system needs to know."""
    return system.target()
