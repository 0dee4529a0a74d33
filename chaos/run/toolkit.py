"""Running Chaos Toolkit, in a process of its own, and reading its journal.

It runs apart because an experiment must be killable at any point: what it leaves behind is in the undo journal.
Nothing is asked of the network, and no settings of the user are read.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from chaos import running
from chaos.run.catalog import path_of, read
from infra.machine import processes

_SETTINGS = Path(__file__).with_name("settings.yaml")
_END_WITHIN_S = 8.0


class Verdict(NamedTuple):
    """What Chaos Toolkit's own journal says of a run."""

    status: str
    """completed, failed, interrupted, aborted; empty if it left no journal."""
    steady_before: bool | None
    steady_after: bool | None
    problems: list[str]
    """Activities that failed, in words: Chaos Toolkit calls a run with them completed all the same."""


def validate(experiment: str) -> None:
    """Raises chaoslib.exceptions.ChaosException, or UnknownExperiment."""
    from chaoslib.experiment import ensure_experiment_is_valid  # slow to import, and rarely needed

    ensure_experiment_is_valid(read(experiment))


class Toolkit:
    """One `chaos run`; leaves `journal.json` and `chaos.log` in `folder`."""

    def __init__(self, experiment: str, folder: Path, home: Path) -> None:
        self._journal = folder / "journal.json"
        options = ["--no-version-check", "--no-log-file", "--settings", str(_SETTINGS)]
        run = ["run", "--rollback-strategy", "always", "--journal-path", str(self._journal), str(path_of(experiment))]
        self._log = folder / "chaos.log"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "chaostoolkit", *options, *run],
                # By the last it is ended with the system, should it outlive us.
                env={
                    **os.environ, running.HOME: str(home), running.PARENT: str(os.getpid()), processes.HOME: str(home),
                },
                cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def ended(self) -> bool:
        return self._process.poll() is not None

    def end(self) -> None:
        """End it if it runs: ask first, so that it rolls back; kill it after 8 s.

        By SIGUSR1, which it turns into SystemExit: what SIGTERM raises is taken for an activity that failed, and
        the method goes on.
        """
        if self.ended():
            return
        self._process.send_signal(signal.SIGUSR1)
        try:
            self._process.wait(_END_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(_END_WITHIN_S)

    def verdict(self) -> Verdict:
        """What came of it, once it has ended."""
        try:
            journal = json.loads(self._journal.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            code = self._process.returncode
            return Verdict(
                "", None, None, [f"chaos run ended with exit code {code} and left no journal: see {self._log.name}"]
            )
        return verdict_of(journal)


def verdict_of(journal: dict[str, Any]) -> Verdict:
    """What Chaos Toolkit's own journal says."""
    states = journal["steady_states"]
    activities = [*_probes(states["before"]), *journal["run"], *_probes(states["after"]), *journal["rollbacks"]]
    return Verdict(
        status=journal["status"],
        steady_before=_met(states["before"]),
        steady_after=_met(states["after"]),
        # An activity that was interrupted has no status.
        problems=[_problem(activity) for activity in activities if activity.get("status") == "failed"],
    )


def _probes(state: dict[str, Any] | None) -> list[dict[str, Any]]:
    return list(state["probes"]) if state else []


def _met(state: dict[str, Any] | None) -> bool | None:
    return bool(state["steady_state_met"]) if state else None


def _problem(activity: dict[str, Any]) -> str:
    exception = activity.get("exception") or ["no reason given"]
    return f"{activity['activity']['name']}: {exception[-1].strip()}"
