"""A harness that is killed with -9 in the middle of an experiment leaves no process of it behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from infra.fabric.process.system import System
from infra.machine.waiting import until
from infra.target import Target

pytestmark = pytest.mark.running

RUNS_AN_EXPERIMENT = """
import sys
from pathlib import Path
from chaos.run.trial import run
from infra.fabric.process.system import System
from reports.evidence import RunFolder
system = System.attach(Path(sys.argv[1]))
run("relay-kill", folder=RunFolder.create(Path(sys.argv[2])), system=system, progress=lambda fraction, text: None)
"""


def test_neither_prober_nor_chaos_toolkit_goes_on(system: System, target: Target, tmp_path: Path) -> None:
    command = [sys.executable, "-c", RUNS_AN_EXPERIMENT, str(system.site.path), str(tmp_path / "run")]
    with subprocess.Popen(command) as harness:
        log = tmp_path / "run" / "evidence" / "chaos" / "relay-kill" / "chaos.log"
        assert until(lambda: (log.exists() and "Running experiment" in log.read_text()) or None, 60)
        left = psutil.Process(harness.pid).children(recursive=True)
        assert {"loadtests.engine.prober", "chaostoolkit"} <= {word for one in left for word in one.cmdline()}
        harness.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(left, timeout=10)
    assert alive == []
