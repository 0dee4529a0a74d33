"""Connections that were held: all of them, all that the machine allows, fewer, and a count that cannot be trusted."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from reports.evidence import Connections, Recorder
from reports.findings.loaded import Evidence
from reports.model import Row
from reports.tests.spoilt_run import report_of
from reports.tests.synthetic_run import Story, run_record

LIMIT = "20,000 open files in each of 3 brokers (ulimit -Hn)"


def _held(name: str = "holder-1", **changes: Any) -> Connections:
    taking = Recorder()
    taking.record_us(4_000, 65_000)
    usual: dict[str, Any] = {
        "scenario": "connection-storm", "name": name, "wanted": 65_000, "limited_by": None, "per_s": 300.0,
        "opened": 65_000, "retried": 0, "lost": 0, "held": 65_000, "counted": 65_020,
        "memory_bytes": (60 * 2**20, 5_060 * 2**20), "taking": taking.close(), "begin_ns": 0, "end_ns": 240_000_000_000,
    }  # fmt: skip
    return Connections(**usual | changes)


def _row(*records: Connections) -> Row:
    run = run_record(Story(profile="load.connection-storm"))
    report = report_of(Evidence(run=run, connections=list(records)))
    return next(row for row in report.slos if row.id == "bus.connections")


def test_all_that_the_claim_asks_for() -> None:
    row = _row(_held())
    assert (row.verdict, row.claim.verdict, row.measured) == ("PASS", "PASS", 65_000)
    assert "grew by 5,000 MiB" in row.why
    assert "taken within 4.0 ms" in row.why


def test_all_that_the_machine_allows_is_inconclusive() -> None:
    mine = _held(wanted=29_250, held=29_250, limited_by=LIMIT)
    other = _held("holder-2", wanted=29_250, held=29_250, limited_by=LIMIT, counted=None, memory_bytes=None)
    row = _row(structs.replace(mine, counted=58_530), other)
    assert (row.verdict, row.measured) == ("INCONCLUSIVE", 58_500)
    assert LIMIT in row.why
    assert "58,500 of 58,500" in row.why


def test_losing_some_of_them_is_a_miss() -> None:
    row = _row(_held(wanted=58_500, held=58_499, lost=1, limited_by=LIMIT, reasons={"lost: closed by the server": 1}))
    assert (row.verdict, row.measured) == ("FAIL", 58_499)
    assert "1 x lost: closed by the server" in row.why


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"counted": 64_999}, "the servers counted only 64,999"),
        ({"counted": None}, "did not tell"),
        ({"own_problem": "no socket for connection 19,980: Too many open files"}, "Too many open files"),
    ],
)
def test_a_count_that_cannot_be_trusted_is_invalid(changes: dict[str, Any], why: str) -> None:
    row = _row(_held(**changes))
    assert row.verdict == "INVALID"
    assert why in row.why


def test_nothing_held_is_inconclusive() -> None:
    assert _row().verdict == "INCONCLUSIVE"
