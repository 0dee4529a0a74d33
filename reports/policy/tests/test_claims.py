"""Every claim of the seed is a row of the report or has a reason why it is not, and no row claims anything else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from reports.policy.claims import load_claims

DOCUMENT = Path(__file__).parents[3] / "docs" / "seed-claims.md"
UNTESTED = "not tested, because "
_ROW = re.compile(r"`([a-z0-9_]+(?:\.[a-z0-9_]+)?)`")


class Line(NamedTuple):
    identity: str
    claim: str
    where: str
    answer: str

    @property
    def rows(self) -> list[str]:
        return [] if self.answer.startswith(UNTESTED) else _ROW.findall(self.answer)


def lines_of(text: str) -> list[Line]:
    """The table's lines, without its head."""
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line.startswith("|")]
    assert all(len(one) == 4 for one in cells), "every line of the table has four cells"
    return [Line(*(cell.strip() for cell in one)) for one in cells[2:]]


def problems_of(lines: list[Line], rows: set[str], claimed: set[str]) -> list[str]:
    """What is wrong: `rows` there are, and `claimed` of them have a claim of the seed."""
    problems = []
    for line in lines:
        if not re.fullmatch(r"S\d{3}", line.identity) or not line.claim or not line.where:
            problems.append(f"{line.identity or line.claim}: expected an id like S001, a claim and where it stands")
        if line.answer.startswith(UNTESTED):
            if len(line.answer) < len(UNTESTED) + 10:
                problems.append(f"{line.identity}: expected a reason after {UNTESTED!r}")
        elif not line.rows:
            problems.append(f"{line.identity}: expected a row in backticks, or {UNTESTED!r} and a reason")
        problems += [f"{line.identity}: {row} is no row of slo.yaml" for row in line.rows if row not in rows]
    identities = [line.identity for line in lines]
    problems += [f"{one} stands twice" for one in sorted(set(identities)) if identities.count(one) > 1]
    named = {row for line in lines for row in line.rows}
    problems += [f"{row} claims something of the seed, but no line names it" for row in sorted(claimed - named)]
    return problems


def test_every_claim_is_a_row_or_has_a_reason_and_every_row_a_claim() -> None:
    claims = load_claims()
    rows = {claim.family for claim in claims}
    claimed = {claim.family for claim in claims if claim.claimed}
    lines = lines_of(DOCUMENT.read_text("utf-8"))
    assert len(lines) > 100
    assert problems_of(lines, rows, claimed) == []


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("", "expected a row"),
        ("tested somewhere", "expected a row"),
        ("not tested, because ", "expected a row"),
        ("not tested, because no", "expected a reason"),
        ("`bus.speed`", "bus.speed is no row"),
        ("`bus.limits`, `bus.speed`", "bus.speed is no row"),
        ("not tested, because it is `bus.limits` by another name", "bus.limits claims something"),
    ],
)
def test_a_slip_is_found(answer: str, problem: str) -> None:
    lines = lines_of(
        f"| id | claim | where | answer |\n| --- | --- | --- | --- |\n| S001 | 8MB \\| more | here | {answer} |"
    )
    found = problems_of(lines, {"bus.limits"}, {"bus.limits"})
    assert any(problem in one for one in found), found


def test_an_id_that_stands_twice_is_found() -> None:
    line = Line("S001", "8MB", "here", "`bus.limits`")
    assert problems_of([line, line], {"bus.limits"}, {"bus.limits"}) == ["S001 stands twice"]
