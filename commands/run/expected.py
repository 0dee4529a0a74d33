"""What each phase of a run will leave, for the session to write down before the phase begins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from commands.run.programme import BROWSER
from infra.target import Target
from loadtests.expected import expected_of
from loadtests.request import CheckedRequest
from reports.evidence import SESSION, Expected, ExpectedFile, ExpectedLoad, ExpectedRun, Run, RunFolder
from reports.policy.policy import load_policy

_FACTS = "facts.jsonl"
_OF_EVERY_RUN = ("run.json", "timeline.jsonl", "host.jsonl")
_OF_SOME = ("preflight.json", "slo.yaml", "repeated-before.json", "left-out.json")
"""Written before the run begins, where there is something to write."""


def of_run(folder: RunFolder, run: Run, phases: Iterable[str] = ()) -> Expected:
    """The run as a whole; `phases` are those that will begin and leave something, as far as they are known."""
    there = [name for name in _OF_SOME if (folder.evidence / name).exists()]
    return Expected(
        phase=SESSION,
        kind="session",
        files=[ExpectedFile(path=name) for name in (*_OF_EVERY_RUN, *there)],
        run=ExpectedRun(record=run, phases=list(phases)),
    )


def of_load(asked: CheckedRequest, folder: RunFolder, target: Target, target_path: Path) -> Expected:
    """A load of a scenario. UsageError if its processes cannot be shared out."""
    plan = asked.plan(folder=folder.path, work=Path("work"), target=target, target_path=target_path)
    return expected_of(asked.scenario, plan, _rows(asked.scenario.name))


def of_locustfile(name: str) -> Expected:
    """A locustfile of the user's own, whose users are one process and a closed loop."""
    return Expected(
        phase=name,
        kind="load",
        rows=_rows(name),
        files=[ExpectedFile(path=f"load/{name}.json")],
        loads=[ExpectedLoad(name=name, requests=True, closed_loop=True)],
    )


def _rows(scenario: str) -> list[str]:
    return list(load_policy().profiles[f"load.{scenario}"])


def of_check(phase: str, facts: Mapping[str, int]) -> Expected:
    """A phase that only adds facts."""
    return Expected(phase=phase, kind="check", rows=list(facts), files=[ExpectedFile(path=_FACTS)], facts=dict(facts))


def of_browser(tests: Sequence[str] | None) -> Expected:
    """The browser suites; `tests` were collected, None if they could not be."""
    return Expected(
        phase=BROWSER,
        kind="browser",
        rows=["web.*"],
        files=[ExpectedFile(path="e2e/session.json"), ExpectedFile(path="e2e/tests.jsonl")],
        tests=None if tests is None else list(tests),
    )


def of_planted(phase: str, bug: str) -> Expected:
    """A planted bug on a system of its own."""
    return Expected(
        phase=phase, kind="planted", rows=["harness.alarms"], files=[ExpectedFile(path=f"planted/{bug}.json")]
    )
