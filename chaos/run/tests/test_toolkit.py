"""What Chaos Toolkit's journal is taken to say."""

from __future__ import annotations

from typing import Any

from chaos.run.toolkit import verdict_of


def activity(name: str, **fields: Any) -> dict[str, Any]:
    return {"activity": {"name": name}, **fields}


def journal(**fields: Any) -> dict[str, Any]:
    return {
        "status": "completed",
        "steady_states": {"before": None, "after": None},
        "run": [],
        "rollbacks": [],
        **fields,
    }


def test_states_before_and_after_are_told_apart() -> None:
    met = {"steady_state_met": True, "probes": []}
    missed = {"steady_state_met": False, "probes": [activity("ready", status="failed", exception=["", "no answer\n"])]}
    verdict = verdict_of(journal(steady_states={"before": met, "after": missed}))
    assert (verdict.steady_before, verdict.steady_after) == (True, False)
    assert verdict.problems == ["ready: no answer"]


def test_state_that_was_not_looked_at_is_unknown() -> None:
    assert verdict_of(journal()).steady_before is None


def test_interrupted_activity_is_no_problem_and_no_error() -> None:
    verdict = verdict_of(journal(status="interrupted", run=[activity("kill", status="succeeded"), activity("wait")]))
    assert (verdict.status, verdict.problems) == ("interrupted", [])


def test_failed_activity_without_an_exception_is_named() -> None:
    assert verdict_of(journal(run=[activity("kill", status="failed")])).problems == ["kill: no reason given"]


def test_process_that_ended_with_an_error_is_named_unless_a_tolerance_judges_it() -> None:
    provider = {"type": "process", "path": "kill"}
    output = {"status": 1, "stdout": "", "stderr": "kill: no such process\n"}
    run = {"activity": {"name": "kill", "provider": provider}, "status": "succeeded", "output": output}
    assert verdict_of(journal(run=[run])).problems == ["kill: ended with exit code 1: kill: no such process"]
    tolerated = {**run, "activity": {"name": "kill", "provider": provider, "tolerance": 1}}
    assert verdict_of(journal(run=[tolerated, {**run, "output": {**output, "status": 0}}])).problems == []
