"""Planted bugs change what the system does, in a process of its own, as the fabric starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from chaos.plants import PLANTS, VARIABLE, environment
from chaos.plants.patching import CannotPlant, replace

REDELIVERED = """
from system.events.consuming import guard
class E:
    def __init__(self, position): self.position = position
found = guard.admit(5, [E(5), E(4), E(6)])
print([e.position for e in found.applicable], [e.position for e in found.duplicates], guard.ranges(found.applicable))
"""
HEADERS = """
from system.events import publish
from system.domain.frames import EncodedEvent
print(publish.headers_of([EncodedEvent(id="e1", partition="projects.0", position=1, data=b"{}")]))
"""
STALL = """
import asyncio
from chaos.plants import api_stall_120ms as plant
from system.api import app
print(app.create_app.__qualname__)
slept = []
async def sleep(seconds): slept.append(seconds)
async def inner(scope, receive, send): slept.append(scope["path"])
plant.asyncio.sleep = sleep
stalled = plant._stalled(lambda services: inner)(None)
for method, path in (("GET", "/api/v1/projects"), ("POST", "/api/v1/projects"), ("GET", "/healthz/ready")):
    asyncio.run(stalled({"type": "http", "method": method, "path": path}, None, None))
print(slept)
"""


def run(code: str, plant: str | None, **more: str) -> subprocess.CompletedProcess[str]:
    planted = environment(plant)[PLANTS[plant].kinds[0]] if plant else {}
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **planted, **more},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_without_the_guard_redelivered_events_are_applied_again() -> None:
    assert run(REDELIVERED, None).stdout == "[6] [4, 5] [(6, 6)]\n"
    assert run(REDELIVERED, "analytics-no-guard").stdout == "[4, 5, 6] [] [(4, 6)]\n"


def test_the_relay_publishes_without_a_message_id() -> None:
    positions = "'Covenant-Positions': '1-1'}\n"
    assert run(HEADERS, None).stdout == "{'Nats-Msg-Id': 'projects.0:1-1:e1', " + positions
    assert run(HEADERS, "relay-no-message-id").stdout == "{" + positions


def test_reads_stall_and_nothing_else_does() -> None:
    assert run(STALL, None).stdout.startswith("create_app\n")
    planted = run(STALL, "api-stall-120ms")
    assert planted.stdout == (
        "_stalled.<locals>.create_stalled_app\n[0.12, '/api/v1/projects', '/api/v1/projects', '/healthz/ready']\n"
    )


@pytest.mark.parametrize("name", PLANTS)
def test_every_bug_can_be_planted(name: str) -> None:
    done = run("print('runs')", name)
    assert (done.stdout, done.stderr, done.returncode) == ("runs\n", "", 0)


def test_a_bug_that_cannot_be_planted_ends_the_process_before_it_does_anything() -> None:
    done = run("print('runs')", "analytics-no-guard", **{VARIABLE: "nonsense"})
    assert done.returncode == 70
    assert done.stdout == ""
    assert "'nonsense' could not be planted" in done.stderr


def test_the_hook_does_nothing_without_a_bug() -> None:
    hook = environment("analytics-no-guard")["analytics"]["PYTHONPATH"]
    done = run("import sys; print([name for name in sys.modules if name.startswith('chaos')])", None, PYTHONPATH=hook)
    assert (done.stdout, done.returncode) == ("[]\n", 0)


def test_the_hook_runs_the_sitecustomize_that_it_stands_before(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.from_the_installation = True")
    hook = environment("analytics-no-guard")["analytics"]["PYTHONPATH"]
    done = run("import sys; print(sys.from_the_installation)", None, PYTHONPATH=f"{hook}{os.pathsep}{tmp_path}")
    assert done.stdout == "True\n"


def test_a_function_that_is_gone_or_has_changed_is_not_patched() -> None:
    with pytest.raises(CannotPlant, match="expected a function"):
        replace("system.events.consuming.guard", "nonsense", (), lambda original: original)
    with pytest.raises(CannotPlant, match=r"expected .*admit\(where\), found \(position, arrived, skipped\)"):
        replace("system.events.consuming.guard", "admit", ("where",), lambda original: original)


def test_a_bug_goes_only_to_the_parts_that_carry_it() -> None:
    for name, plant in PLANTS.items():
        assert set(environment(name)) == set(plant.kinds), name
    assert set(environment("relay-no-message-id")) == {"relay"}
