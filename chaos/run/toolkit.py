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
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from chaos import running
from chaos.run.catalog import id_of, injects, is_ours, path_of, read
from infra.machine import processes, surroundings

_SETTINGS = Path(__file__).with_name("settings.yaml")
_END_WITHIN_S = 8.0
_CUT_SHORT = ("interrupted", "aborted")
"""What Chaos Toolkit calls a method that did not come to its end."""


class Verdict(NamedTuple):
    """What Chaos Toolkit's own journal says of a run."""

    status: str
    """completed, failed, interrupted, aborted; empty if it left no journal."""
    steady_before: bool | None
    steady_after: bool | None
    problems: list[str]
    """Activities that failed, in words: Chaos Toolkit calls a run with them completed all the same."""
    failed_steps: list[str]
    """Those of them that are steps of the method, and why the method did not come to its end. A step that undoes, or
    that looks at the steady state, is none."""


def validate(experiment: str) -> None:
    """Whether Chaos Toolkit takes it: its form, and whether modules and programs that it names are there.

    Raises chaoslib.exceptions.ChaosException, UnknownExperiment, or BadExperiment."""
    from chaoslib.experiment import ensure_experiment_is_valid  # slow to import, and rarely needed

    ensure_experiment_is_valid(read(experiment))


class Toolkit:
    """One `chaos run`; leaves `journal.json` and `chaos.log` in `folder`. An experiment of the user's own runs in the
    user's current folder, as paths in it are meant."""

    def __init__(self, experiment: str, folder: Path, home: Path) -> None:
        self._journal = (folder / "journal.json").resolve()
        options = ["--no-version-check", "--no-log-file", "--settings", str(_SETTINGS)]
        run = ["run", "--rollback-strategy", "always", "--journal-path", str(self._journal), str(path_of(experiment))]
        self._log = folder / "chaos.log"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                # Without -P, modules of the current folder would take the place of ours.
                [sys.executable, "-P", "-m", "chaostoolkit", *options, *run],
                env=_environment(experiment, home),
                cwd=folder if is_ours(experiment) else Path.cwd(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
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
            why = f"chaos run ended with exit code {code} and left no journal: see {self._log.name}"
            return Verdict("", None, None, [why], [why])
        return verdict_of(journal)


def _environment(experiment: str, home: Path) -> dict[str, str]:
    """An experiment of the user's own finds the user's variables and home folder. By processes.HOME the process is
    ended with the system, should it outlive us."""
    around = dict(os.environ) if is_ours(experiment) else surroundings.for_brought()
    ours = {running.HOME: str(home), running.PARENT: str(os.getpid()), processes.HOME: str(home)}
    own = {} if injects(read(experiment)) else {running.EXPERIMENT: id_of(experiment)}
    return around | ours | own


def verdict_of(journal: dict[str, Any]) -> Verdict:
    """What Chaos Toolkit's own journal says."""
    states = journal["steady_states"]
    activities = [*_probes(states["before"]), *journal["run"], *_probes(states["after"]), *journal["rollbacks"]]
    return Verdict(
        status=journal["status"],
        steady_before=_met(states["before"]),
        steady_after=_met(states["after"]),
        problems=[problem for activity in activities if (problem := _problem(activity))],
        failed_steps=[problem for activity in journal["run"] if (problem := _problem(activity))]
        + ([f"the method was {journal['status']}"] if journal["status"] in _CUT_SHORT else []),
    )


def _probes(state: dict[str, Any] | None) -> list[dict[str, Any]]:
    return list(state["probes"]) if state else []


def _met(state: dict[str, Any] | None) -> bool | None:
    return bool(state["steady_state_met"]) if state else None


def _is_our_probe(declared: Mapping[str, Any]) -> bool:
    """One that proves that the fault bit, counts for a row, or waits for something: it does, or raises. To Chaos
    Toolkit its answer means nothing without a tolerance."""
    ours = str(declared.get("provider", {}).get("module", "")).startswith("chaos.faults.")
    return ours and declared.get("type") == "probe" and "tolerance" not in declared


def _problem(activity: dict[str, Any]) -> str | None:
    """Why an activity failed; None if it did not. One that was interrupted has no status."""
    declared = activity["activity"]
    if activity.get("status") == "failed":
        exception = activity.get("exception") or ["no reason given"]
        return f"{declared['name']}: {exception[-1].strip()}"
    if _is_our_probe(declared) and activity.get("output") is False:
        return f"{declared['name']}: it answered no"
    # Chaos Toolkit calls a process that ended with an error a success, unless a tolerance says what is expected.
    if declared.get("provider", {}).get("type") == "process" and "tolerance" not in declared:
        output = activity.get("output") or {}
        if code := output.get("status"):
            said = output.get("stderr", "").strip().splitlines()[-1:]
            return f"{declared['name']}: ended with exit code {code}" + "".join(f": {line}" for line in said)
    return None
