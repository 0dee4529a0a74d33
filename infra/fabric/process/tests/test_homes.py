"""After its starter was killed, a system's leftovers are found and ended, and nobody else's are touched."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from infra.fabric.process.homes import clean_up
from infra.machine import processes

# Starts what needs no PostgreSQL, says so, and is then killed like any harness may be.
STARTER = """
import sys
from pathlib import Path
from infra.fabric.process.system import System
from infra.topology.options import parse
options = parse(["distance=off", "tls=off"])
system = System.create(Path(sys.argv[1]), run_id=sys.argv[2], size="core", plant={}, options=options)
for name in ("etcd-iad", "valkey-iad", "s3-iad"):
    part = system.parts[name]
    part.folder.mkdir()
    part.prepare()
    system.start_part(name)
print("started", flush=True)
sys.stdin.read()
"""


def start(checkout: Path, name: str) -> subprocess.Popen[bytes]:
    home = checkout / ".covenant" / name
    home.parent.mkdir(exist_ok=True)
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(home), name], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert starter.stdout is not None
    assert starter.stdout.readline() == b"started\n"
    return starter


def end(starter: subprocess.Popen[bytes]) -> None:
    starter.kill()
    starter.wait(10)
    assert starter.stdin is not None
    assert starter.stdout is not None
    starter.stdin.close()
    starter.stdout.close()


@pytest.mark.timeout(120)
def test_leftovers_of_a_killed_starter_are_ended_and_no_others(tmp_path: Path) -> None:
    dead, living = start(tmp_path, "dead"), start(tmp_path, "living")
    homes = {name: tmp_path / ".covenant" / name for name in ("dead", "living")}
    try:
        end(dead)
        assert len(processes.of_home(homes["dead"])) >= 3

        assert clean_up(tmp_path) == ["dead"]

        assert processes.of_home(homes["dead"]) == []
        assert not homes["dead"].exists()
        assert len(processes.of_home(homes["living"])) >= 3
    finally:
        end(living)
        clean_up(tmp_path)
    assert processes.of_home(homes["living"]) == []
