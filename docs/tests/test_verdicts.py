"""The page of rules by which a miss is no FAIL names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMED = re.findall(r"`([\w/]+\.py)::(test_\w+)`", (ROOT / "docs" / "verdicts.md").read_text("utf-8"))


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_test_that_the_page_names_is_there(file: str, name: str) -> None:
    assert f"def {name}(" in (ROOT / file).read_text("utf-8")


def test_every_rule_names_one() -> None:
    rules = [line for line in (ROOT / "docs" / "verdicts.md").read_text("utf-8").splitlines() if line.startswith("| ")]
    assert len(rules) - 2 == len(NAMED) >= 15
