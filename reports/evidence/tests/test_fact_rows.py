"""Every row that takes facts is judged by them, and no other takes any."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import structs

from reports.evidence import Count, RunFolder
from reports.evidence.fact_rows import FACT_ROWS, NoFactRow
from reports.findings.loaded import Evidence
from reports.tests.spoilt_run import CLAIMS, POLICY, report_of, row_of

ALL = structs.replace(POLICY, profiles={"smoke": ["*"]})


def wrong(row: str) -> Count:
    return Count(row=row, value=7, unit="", how="this does not hold", ok=False)


@pytest.mark.parametrize("row", sorted(FACT_ROWS))
def test_a_fact_that_does_not_hold_fails_its_row(evidence: Evidence, row: str) -> None:
    evidence.counts.append(wrong(row))
    found = row_of(report_of(evidence, ALL), row)
    assert (found.verdict, "this does not hold" in found.why) == ("FAIL", True)


def test_no_other_row_reads_facts(evidence: Evidence) -> None:
    """One that does has to be named in FACT_ROWS, or its facts are refused."""
    before = report_of(evidence, ALL)
    others = sorted({claim.row for claim in CLAIMS} - FACT_ROWS)
    evidence.counts += map(wrong, others)
    after = report_of(evidence, ALL)
    for row in others:
        assert row_of(after, row) == row_of(before, row)


@pytest.mark.parametrize("row", ["availability", "bus.exactly_onse", ""])
def test_a_fact_for_another_row_is_refused_where_it_is_written(tmp_path: Path, row: str) -> None:
    folder = RunFolder.create(tmp_path)
    right = Count(row="data.projects", value=1, unit="", how="")
    with folder.facts() as facts, pytest.raises(NoFactRow, match=f"found '{row}'"):
        facts.add(right, wrong(row))
    assert folder.counts() == [], "all or nothing"
