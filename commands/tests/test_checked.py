"""What `./covenant test` counts as passed."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands import checked

SUITES = {
    "passes": ("def test_a(): pass\n", False),
    "fails": ("def test_a(): assert 0\n", False),
    "ends with 1 although all passed": (
        "import pytest\n"
        "@pytest.fixture(autouse=True)\n"
        "def fails_the_session(request):\n    request.session.testsfailed = 1\n"
        "def test_a(): pass\n",
        True,
    ),
}


@pytest.mark.parametrize("name", SUITES)
def test_an_exit_code_that_no_failure_explains_is_broken(name: str, tmp_path: Path) -> None:
    code, broken = SUITES[name]
    (tmp_path / "test_it.py").write_text(code)
    tally = checked.pytest(tmp_path, [f"--rootdir={tmp_path}", str(tmp_path)], {})
    assert (tally.passed, tally.failed) == ((0, 1) if name == "fails" else (1, 0))
    assert tally.broken == broken
