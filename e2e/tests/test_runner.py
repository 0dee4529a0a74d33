"""What pytest makes of a suite, recorded by the runner: every test's outcome, and what goes wrong around them."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from e2e import runner
from e2e.browser import Browser
from e2e.recording import outcome_of
from reports.evidence import BrowserTest, RunFolder
from reports.findings.browser import distrust

BROWSER = Browser("chromium", None)

OUTCOMES = """
    import pytest

    @pytest.fixture
    def asserts_afterwards():
        yield
        assert 1 == 2, "left something behind"

    @pytest.fixture
    def fails_before():
        raise RuntimeError("cannot sign in")

    def test_passes(): pass
    def test_fails(): assert 1 == 2
    def test_fails_in_teardown(asserts_afterwards): pass
    def test_fails_in_setup(fails_before): pass
    def test_fails_twice(asserts_afterwards): assert 3 == 4
    def test_is_skipped(): pytest.skip("no camera")

    @pytest.mark.xfail(reason="known: 42")
    def test_fails_as_expected(): assert 1 == 2

    @pytest.mark.xfail(reason="known: 43")
    def test_passes_against_expectation(): pass

    @pytest.mark.xfail(reason="known: 44", strict=True)
    def test_passes_against_strict_expectation(): pass

    @pytest.mark.xfail(reason="known: 45", run=False)
    def test_is_not_run(): pass
"""


def run(path: Path, code: str, *arguments: str, within_s: float = 60) -> RunFolder:
    suites = path / "suites"
    suites.mkdir()
    (suites / "test_it.py").write_text(dedent(code))
    folder = RunFolder.create(path / "run")
    runner.run([BROWSER], folder, path / "no-target.json", arguments, root=suites, within_s=within_s)
    return folder


def distrusted(folder: RunFolder) -> tuple[str | None, str | None]:
    return distrust(folder.browser_session(), folder.browser_tests())


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, BrowserTest]:
    folder = run(tmp_path_factory.mktemp("outcomes"), OUTCOMES)
    assert distrusted(folder) == (None, None)
    return {test.id.rpartition("::test_")[2]: test for test in folder.browser_tests()}


def test_every_phase_of_a_test_decides_its_outcome(outcomes: dict[str, BrowserTest]) -> None:
    assert {name: (test.outcome, test.expected_to_fail) for name, test in outcomes.items()} == {
        "passes": ("passed", False),
        "fails": ("failed", False),
        "fails_in_teardown": ("failed", False),
        "fails_in_setup": ("failed", False),
        "fails_twice": ("failed", False),
        "is_skipped": ("skipped", False),
        "fails_as_expected": ("skipped", True),
        "passes_against_expectation": ("passed", True),
        "passes_against_strict_expectation": ("failed", False),
        "is_not_run": ("skipped", True),
    }


def test_the_detail_names_each_phase_that_failed_or_why_it_was_skipped(outcomes: dict[str, BrowserTest]) -> None:
    assert outcomes["fails_in_teardown"].detail.startswith("teardown: ")
    assert "left something behind" in outcomes["fails_in_teardown"].detail
    assert "cannot sign in" in outcomes["fails_in_setup"].detail
    assert "call: " in outcomes["fails_twice"].detail
    assert "teardown: " in outcomes["fails_twice"].detail
    assert outcomes["is_skipped"].detail == "no camera"
    assert outcomes["fails_as_expected"].detail == "known: 42"
    assert "known: 45" in outcomes["is_not_run"].detail


def test_what_will_be_run_is_known_beforehand(tmp_path: Path) -> None:
    folder = run(tmp_path, "def test_one(): pass\ndef test_two(): pass\n", "-k", "one")
    collected = runner.collect([BROWSER], ["-k", "one"], root=tmp_path / "suites")
    assert collected == [test.id for test in folder.browser_tests()]
    (tmp_path / "suites" / "test_it.py").write_text("import no_such_module\n")
    assert runner.collect([BROWSER], [], root=tmp_path / "suites") is None


def test_a_file_that_cannot_be_imported_is_no_pass(tmp_path: Path) -> None:
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "test_whole.py").write_text("def test_passes(): pass\n")
    (tmp_path / "suites" / "test_broken.py").write_text("import no_such_module\n")
    folder = RunFolder.create(tmp_path / "run")
    arguments = ["--continue-on-collection-errors"]
    runner.run([BROWSER], folder, tmp_path / "no-target.json", arguments, root=tmp_path / "suites")
    assert [test.outcome for test in folder.browser_tests()] == ["passed"]
    invalid, _ = distrusted(folder)
    assert invalid is not None
    assert "test_broken.py" in invalid
    assert "no_such_module" in invalid


def test_exit_code_1_without_a_failure_that_was_recorded_is_no_pass(tmp_path: Path) -> None:
    folder = run(tmp_path, "import os\ndef test_passes(): pass\ndef test_ends_it_all(): os._exit(1)\n")
    assert [test.outcome for test in folder.browser_tests()] == ["passed"]
    invalid, missing = distrusted(folder)
    assert invalid == "pytest says that a test failed (exit code 1), and no failure is recorded"
    assert missing is None


def test_suites_that_do_not_end_lack_evidence(tmp_path: Path) -> None:
    code = "import signal\ndef test_hangs(): signal.sigwait([signal.SIGUSR1])\n"
    assert distrusted(run(tmp_path, code, within_s=0.5)) == (None, "the suites did not end within 0.5 s")


def test_a_phase_that_neither_passed_nor_was_skipped_fails_its_test() -> None:
    # As pytest-xdist reports the test that a crashed worker was running.
    crash = pytest.TestReport("test_dies", ("test_it.py", 1, "test_dies"), {}, "failed", "worker crashed", "???")  # type: ignore[arg-type]
    again = pytest.TestReport("test_dies", ("test_it.py", 1, "test_dies"), {}, "rerun", None, "call")  # type: ignore[arg-type]
    assert outcome_of("test_dies", [crash]).outcome == "failed"
    assert outcome_of("test_dies", [again]).outcome == "failed"


@pytest.mark.full
def test_a_worker_that_crashes_fails_its_test(tmp_path: Path) -> None:
    pytest.importorskip("xdist")
    code = "import os\ndef test_passes(): pass\ndef test_dies(): os._exit(0)\n"
    folder = run(tmp_path, code, "-n", "1")
    assert {test.id.rpartition("::")[2]: test.outcome for test in folder.browser_tests()} == {
        "test_passes": "passed",
        "test_dies": "failed",
    }


def test_arguments_with_which_nothing_would_run_are_wrong_usage() -> None:
    assert runner.wrong_usage(["-k", "nothing_like_it"]) == "no browser test is selected by -k nothing_like_it"
    assert runner.wrong_usage(["--bogus"]) == "pytest cannot run with --bogus: unrecognized arguments: --bogus"
