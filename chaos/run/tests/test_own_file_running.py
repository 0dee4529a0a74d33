"""An experiment of the user's own on a real system: it runs, and our probes measure its recovery."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chaos.run import trial
from infra.fabric.process.system import System
from infra.target import Target
from reports.evidence import RunFolder
from reports.findings import recovery
from system.wire import READY

pytestmark = pytest.mark.running
_PART = "s3-iad"


def test_its_recovery_is_measured_and_its_proof_is_said_to_be_missing(
    system: System, target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "kill.sh"
    script.write_text(f"#!/bin/sh\nexec kill -9 {system.pid(_PART)}\n")
    script.chmod(0o755)
    hypothesis = {
        "title": "it answers",
        "probes": [
            {
                "type": "probe", "name": "ready", "tolerance": [200, 204],
                "provider": {"type": "http", "url": target.api["iad"] + READY, "timeout": 2},
            }
        ],
    }  # fmt: skip
    kill = {"type": "action", "name": "kill the store", "provider": {"type": "process", "path": "./kill.sh",
            "arguments": "--now please"}}  # fmt: skip
    own = tmp_path / "lab.json"
    own.write_text(
        json.dumps({"title": "t", "description": "d", "steady-state-hypothesis": hypothesis, "method": [kill]})
    )
    folder = RunFolder.create(tmp_path / "run")
    trial.run(str(own), folder=folder, system=system, progress=lambda fraction, text: None)
    ((name, record),) = folder.experiments()
    assert (name, record.id, record.chaos_status) == ("lab", "lab", "completed")
    # How calm the system was is the machine's matter.
    assert [each for each in record.problems if "of calm within" not in each] == []
    assert (record.target, record.proof_declared, record.proofs) == ("kill the store", False, [])
    assert (record.steady_before, record.steady_after, record.healed) == (True, True, True)
    measured = recovery.recoveries(record, folder.probe_history("lab"))
    assert {result.region for result in measured} >= set(target.regions)
    assert all(result.state != "no_evidence" for result in measured)
