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
    assert verdict.failed_steps == ["the method was interrupted"]


def test_only_a_step_of_the_method_that_failed_is_a_failed_step() -> None:
    """As link-cut did on a system in which neither end of its link carried anything."""
    lost = activity("the etcd members do not hear from each other", status="failed", exception=["", "found 1\n"])
    state = {"steady_state_met": False, "probes": [activity("ready", status="failed", exception=["", "no answer\n"])]}
    verdict = verdict_of(
        journal(
            run=[activity("cut the link", status="succeeded"), lost], rollbacks=[activity("undo", status="failed")],
            steady_states={"before": None, "after": state},
        )
    )  # fmt: skip
    assert verdict.status == "completed", "Chaos Toolkit goes on"
    assert verdict.failed_steps == ["the etcd members do not hear from each other: found 1"]
    assert len(verdict.problems) == 3


def test_a_probe_of_ours_that_answers_no_has_failed() -> None:
    provider = {"type": "python", "module": "chaos.faults.network.links", "func": "link_is_back"}
    declared = {"type": "probe", "name": "the link is back", "provider": provider}
    no = {"activity": declared, "status": "succeeded", "output": False}
    assert verdict_of(journal(run=[no])).failed_steps == ["the link is back: it answered no"]
    assert verdict_of(journal(run=[{**no, "output": True}])).failed_steps == []
    own = {**declared, "provider": {**provider, "module": "my.probes"}}
    assert verdict_of(journal(run=[{**no, "activity": own}])).failed_steps == []


def test_failed_activity_without_an_exception_is_named() -> None:
    assert verdict_of(journal(run=[activity("kill", status="failed")])).problems == ["kill: no reason given"]


def test_process_that_ended_with_an_error_is_named_unless_a_tolerance_judges_it() -> None:
    provider = {"type": "process", "path": "kill"}
    output = {"status": 1, "stdout": "", "stderr": "kill: no such process\n"}
    run = {"activity": {"name": "kill", "provider": provider}, "status": "succeeded", "output": output}
    assert verdict_of(journal(run=[run])).problems == ["kill: ended with exit code 1: kill: no such process"]
    tolerated = {**run, "activity": {"name": "kill", "provider": provider, "tolerance": 1}}
    assert verdict_of(journal(run=[tolerated, {**run, "output": {**output, "status": 0}}])).problems == []
