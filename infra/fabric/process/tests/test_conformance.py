"""The process fabric does what every fabric has to do."""

from __future__ import annotations

import pytest

from infra.fabric.process.system import System
from infra.fabric.tests import conformance
from infra.machine.waiting import until

pytestmark = pytest.mark.running


@pytest.mark.parametrize("name", conformance.checks())
def test_process_fabric(system: System, name: str) -> None:
    conformance.checks()[name](system, "cache-invalidator-syd")
    assert until(lambda: not system.missing() or None, 60), system.missing()
