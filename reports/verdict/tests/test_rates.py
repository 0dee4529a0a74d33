"""The rates of events: what a release must meet, and what is said of a claim that no load put to the test."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from reports.evidence import Rate
from reports.findings.loaded import Evidence, load
from reports.model import Row
from reports.tests.spoilt_run import report_of
from reports.tests.synthetic_run import Story, at, write_run


@pytest.fixture
def evidence(tmp_path: Path) -> Evidence:
    return load(
        write_run(tmp_path / "run", Story(requests=3_000, seconds=3, profile="load.bus-fanout", experiments=[]))
    )


def offered(evidence: Evidence, per_s: int, applied: int, relayed: int, seconds: int = 60) -> dict[str, Row]:
    """The rows of a run whose load offered so many, of which so many a second were applied and relayed in time."""
    total = per_s * seconds
    rates = [
        Rate(name="bus.applied", offered=total, completed=applied * seconds),
        Rate(name="bus.relayed", offered=total, completed=relayed * seconds),
    ]
    evidence.loads = [
        msgspec.structs.replace(
            evidence.loads[0], scenario="bus-fanout", offered_per_s=per_s, offered=total, sent=total, ok=total,
            begin_ns=at(40), end_ns=at(40 + seconds), rates=rates,
        )
    ]  # fmt: skip
    return {row.id: row for row in report_of(evidence).slos}


def test_what_the_api_admits_is_applied_and_the_claim_was_not_put_to_the_test(evidence: Evidence) -> None:
    rows = offered(evidence, 1_250, 1_240, 1_250)
    assert (rows["bus.applied"].verdict, rows["bus.applied"].measured) == ("PASS", 1_240)
    assert rows["bus.relayed"].verdict == "PASS"
    assert rows["bus.applied"].claim.verdict == rows["bus.relayed"].claim.verdict == "NOT_JUDGED"


def test_consumers_that_fall_behind_fail_though_the_relay_does_not(evidence: Evidence) -> None:
    rows = offered(evidence, 1_250, 900, 1_250)
    assert (rows["bus.applied"].verdict, rows["bus.relayed"].verdict) == ("FAIL", "PASS")


def test_the_claim_fails_where_it_was_offered_and_not_reached(evidence: Evidence) -> None:
    rows = offered(evidence, 100_000, 5_000, 20_000)
    assert (rows["bus.applied"].verdict, rows["bus.applied"].claim.verdict) == ("PASS", "FAIL")
    assert (rows["bus.relayed"].measured, rows["bus.relayed"].claim.verdict) == (20_000, "FAIL")


def test_a_burst_is_no_rate(evidence: Evidence) -> None:
    assert offered(evidence, 1_250, 1_250, 1_250, seconds=9)["bus.applied"].verdict == "INCONCLUSIVE"


def test_too_small_an_offer_judges_nothing(evidence: Evidence) -> None:
    assert offered(evidence, 60, 60, 60)["bus.relayed"].verdict == "NOT_JUDGED"
