"""Experiments of the user's own, in the forms that are met with elsewhere: what is read, planned and refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from chaoslib.exceptions import InvalidActivity

from chaos.run import catalog, toolkit
from chaos.run.catalog import BadExperiment, check_names, id_of, plan, read
from infra.machine import processes, surroundings

# A process whose arguments are one string, an HTTP probe with a list as its tolerance, no rollbacks.
LAB: dict[str, Any] = {
    "version": "1.0.0",
    "title": "What if we lose a process?",
    "description": "If it is killed, something starts it again.",
    "tags": ["lab"],
    "steady-state-hypothesis": {
        "title": "The service answers",
        "probes": [
            {
                "type": "probe",
                "name": "it-answers",
                "tolerance": [200, 503],
                "provider": {"type": "http", "timeout": 2, "url": "http://127.0.0.1:9/"},
            }
        ],
    },
    "method": [
        {
            "type": "action",
            "name": "kill-it",
            "provider": {"type": "process", "path": "true", "arguments": "-9 nothing --now"},
            "pauses": {"after": 1},
        },
        {"ref": "it-answers"},
    ],
}


def write(folder: Path, content: object, name: str = "Lab 1.json") -> str:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content, indent="\t"))
    return str(path)


def test_it_is_read_validated_and_called_after_its_file(tmp_path: Path) -> None:
    own = write(tmp_path, LAB)
    assert read(own) == LAB
    assert check_names([own, "link-cut", own]) == ["lab-1", "link-cut"]
    toolkit.validate(own)


def test_it_finds_the_variables_and_the_home_folder_of_its_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a program that it runs needs them: kubectl, a cloud's own."""
    monkeypatch.setattr(surroundings, "_CALLER", {"HOME": "/home/me", "KUBECONFIG": "/home/me/kube"})
    own = toolkit._environment(write(tmp_path, LAB), tmp_path)
    assert (own["HOME"], own["KUBECONFIG"], own[processes.HOME]) == ("/home/me", "/home/me/kube", str(tmp_path))
    ours = toolkit._environment("link-cut", tmp_path)
    assert ours["HOME"] != "/home/me"
    assert "KUBECONFIG" not in ours


def test_its_plan_tells_each_step_and_what_it_does_not_declare(tmp_path: Path) -> None:
    assert plan(write(tmp_path, LAB)).split("\n", 4)[4] == (
        "Steady state, checked before and after (the service answers):\n"
        "  - it-answers\n"
        "\n"
        "Method:\n"
        "  1. do: kill-it (run true -9 nothing --now)\n"
        "  2. again: it-answers\n"
        "\n"
        "Proof that the fault bites: none declared, so that its recovery is measured and not judged\n"
        "\n"
        "Undone in any case:\n"
        "  - nothing: no rollbacks declared"
    )


def test_a_plan_shows_processes_and_requests_in_every_form(tmp_path: Path) -> None:
    steps = [
        {"type": "action", "name": "a", "provider": {"type": "process", "path": "true", "arguments": ["-x", 1]}},
        {"type": "action", "name": "b", "provider": {"type": "process", "path": "true", "arguments": {"--n": 2}}},
        {"type": "probe", "name": "c", "provider": {"type": "http", "url": "http://h/", "method": "POST"}},
    ]
    content = {"title": "t", "description": "d", "method": steps}
    said = plan(write(tmp_path, content))
    assert "Steady state: none declared\n" in said
    assert "1. do: a (run true -x 1)\n  2. do: b (run true --n 2)\n  3. see: c (POST http://h/)\n" in said


def test_proof_of_ours_is_proof(tmp_path: Path) -> None:
    content = {**read("link-cut"), "configuration": {"experiment": "mine"}}
    own = write(tmp_path, content)
    assert (id_of(own), catalog.injects(content), catalog.declares_proof(content)) == ("mine", True, True)
    assert "none declared" not in plan(own)
    assert (catalog.injects(LAB), catalog.declares_proof(LAB)) == (False, False)


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        ('{"title": ', "a.json", "a.json: Expecting value"),
        ("title: [", "a.yaml", "a.yaml: while parsing a flow"),
        ([1], "a.json", "expected a Chaos Toolkit experiment, found list"),
        ({"title": "t"}, "a.json", "expected a Chaos Toolkit experiment, description, method is missing"),
        ({**LAB, "method": {}}, "a.json", "method: expected a list of activities, found dict"),
        ({**LAB, "method": ["kill"]}, "a.json", "expected every step to be an activity"),
        (LAB, "link-cut.json", "link-cut is one of ours: give it a name of its own"),
        (
            {**read("link-cut"), "configuration": {}},
            "mine.json",
            'find their fault by its name: add "configuration": {"experiment": "mine"}',
        ),
    ],
)
def test_what_is_no_experiment_is_refused_in_one_line(tmp_path: Path, content: object, name: str, said: str) -> None:
    with pytest.raises(BadExperiment) as caught:
        check_names([write(tmp_path, content, name)])
    assert said in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_files_of_one_name_are_told_apart_before_they_run(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    one, other = write(tmp_path, LAB), write(tmp_path / "other", LAB)
    with pytest.raises(BadExperiment, match="lab-1 is the name of"):
        check_names([one, other])


def test_extensions_and_programs_that_are_not_there_are_found_by_looking(tmp_path: Path) -> None:
    action = {"type": "action", "name": "x", "provider": {"type": "python", "module": "chaosk8s.pod", "func": "kill"}}
    with pytest.raises(InvalidActivity, match=r"chaosk8s\.pod"):
        toolkit.validate(write(tmp_path, {**LAB, "method": [action]}))
    action = {"type": "action", "name": "x", "provider": {"type": "process", "path": "no-such-program"}}
    with pytest.raises(InvalidActivity, match="no-such-program"):
        toolkit.validate(write(tmp_path, {**LAB, "method": [action]}))


def test_one_bad_file_among_ours_is_named_and_breaks_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = (catalog.FOLDER / "link-cut.yaml").read_text()
    (tmp_path / "link-cut.yaml").write_text(good)
    (tmp_path / "bad.yaml").write_text("title: [\n")
    (tmp_path / "empty.yaml").write_text("")
    monkeypatch.setattr(catalog, "FOLDER", tmp_path)
    assert [info.id for info in catalog.experiments()] == ["link-cut"]
    assert plan("link-cut").startswith("link-cut: ")
    bad, empty = catalog.problems()
    assert bad.startswith("chaos/experiments/bad.yaml: while parsing")
    assert empty == "chaos/experiments/empty.yaml: expected a Chaos Toolkit experiment, found NoneType"
    with pytest.raises(BadExperiment, match=r"chaos/experiments/bad\.yaml"):
        plan("bad")
