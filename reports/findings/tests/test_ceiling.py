"""What a rate and the machine's ceiling say of the claim and of the gate."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports import words
from reports.evidence import Calibration, HostSample, Rate
from reports.findings import ceiling
from reports.findings.loaded import Evidence, load
from reports.model import Report, Row
from reports.policy.claims import load_claims
from reports.policy.policy import load_policy
from reports.tests.synthetic_run import SECOND, Story, at, latencies, write_run
from reports.verdict.verdict import exit_code, judge

CLAIMS = load_claims()
POLICY = load_policy(claims=CLAIMS)
ROW = "bus.throughput"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A run of bus-ingest alone, encoded."""
    story = Story(requests=3_000, seconds=3, profile="load.bus-ingest", experiments=[])
    return msgspec.msgpack.encode(load(write_run(tmp_path_factory.mktemp("ceiling") / "run", story)))


@pytest.fixture
def evidence(whole: bytes) -> Evidence:
    return msgspec.msgpack.decode(whole, type=Evidence)


def offered(evidence: Evidence, per_s: int, *, kept: float = 1.0, seconds: int = 60) -> None:
    total = per_s * seconds
    evidence.loads = [
        msgspec.structs.replace(
            each, offered_per_s=per_s, offered=total, sent=total, ok=total, begin_ns=at(40), end_ns=at(40 + seconds),
            rates=[Rate(name=ROW, offered=total, completed=round(total * kept))],
        )
        for each in evidence.loads
        if each.scenario == "bus-ingest"
    ]  # fmt: skip


def calibration(
    per_s: float, when: Literal["before", "after"] = "before", busy: tuple[float, ...] = (0.99, 0.97),
    servers: float = 0.8,
) -> Calibration:  # fmt: skip
    return Calibration(
        scenario="bus-ingest", when=when, row=ROW, begin_ns=0, end_ns=4 * SECOND, acked=round(4 * per_s), failed=0,
        busy=list(busy), servers=servers, generator=0.1,
    )  # fmt: skip


def report_of(evidence: Evidence) -> Report:
    return judge(evidence, CLAIMS, POLICY)


def row_of(evidence: Evidence) -> Row:
    return next(row for row in report_of(evidence).slos if row.id == ROW)


def test_the_claims_rate_held_for_a_minute_passes(evidence: Evidence) -> None:
    offered(evidence, 100_000)
    row = row_of(evidence)
    assert (row.verdict, row.claim.verdict, row.measured) == ("PASS", "PASS", 100_000)


def test_a_backlog_that_grows_misses_it(evidence: Evidence) -> None:
    offered(evidence, 100_000, kept=0.97)
    row = row_of(evidence)
    assert (row.verdict, row.claim.verdict, row.measured) == ("FAIL", "FAIL", 97_000)


def test_a_miss_on_a_disturbed_machine_is_invalid(evidence: Evidence) -> None:
    offered(evidence, 100_000, kept=0.97)
    stolen = HostSample(at_ns=0, interval_s=1, busy=0.6, steal=0.3, foreign=0.0, timer_lag_ms=0.1, fsync_ms=0.1)
    evidence.host = [msgspec.structs.replace(stolen, at_ns=at(second)) for second in range(260)]
    assert row_of(evidence).verdict == "INVALID"


def test_a_load_that_offers_less_judges_neither_side_and_costs_no_exit_code(evidence: Evidence) -> None:
    row = row_of(evidence)
    assert (row.verdict, row.claim.verdict, row.measured) == ("NOT_JUDGED", "NOT_JUDGED", 2000)
    assert row.why == "bus-ingest offered 2,000 msg/s; it takes 100,000 to judge it"
    assert exit_code(report_of(evidence)) == 0


def test_a_ceiling_is_shown_beside_a_rate_that_is_not_judged(evidence: Evidence) -> None:
    evidence.calibrations = [calibration(80_000), calibration(82_000, "after", busy=(0.5, 0.97))]
    row = row_of(evidence)
    assert words.ceiling(row) == "80,000 msg/s, 2% of it measured"
    assert "calibrated: 80,000/s before, 82,000/s after (no ceiling: a core was only 50% busy" in row.why
    evidence.calibrations = []
    assert words.ceiling(row_of(evidence)) == "–"


def test_a_profile_that_judges_it_has_to_offer_it(evidence: Evidence) -> None:
    policy = msgspec.structs.replace(POLICY, profiles={"everything": [ROW]})
    evidence.run.profile = "everything"
    report = judge(evidence, CLAIMS, policy)
    assert (report.verdict, next(row.verdict for row in report.slos if row.id == ROW)) == (
        "INCONCLUSIVE",
        "INCONCLUSIVE",
    )


@pytest.mark.parametrize("kept", [1.0, 0.5])
def test_less_than_a_minute_proves_nothing(evidence: Evidence, kept: float) -> None:
    offered(evidence, 100_000, kept=kept, seconds=30)
    row = row_of(evidence)
    assert (row.verdict, row.claim.verdict) == ("INCONCLUSIVE", "INCONCLUSIVE")
    assert row.why == "30 s of the 60 that it takes"


@pytest.mark.parametrize(("kept", "verdict"), [(1.0, "PASS"), (0.97, "INVALID")])
def test_a_miss_of_a_generator_that_was_late_itself_is_not_the_systems(
    evidence: Evidence, kept: float, verdict: str
) -> None:
    offered(evidence, 100_000, kept=kept)
    late = latencies([26.0] * 100).close()
    evidence.loads = [msgspec.structs.replace(each, schedule_lag=late) for each in evidence.loads]
    assert row_of(evidence).verdict == verdict


@pytest.mark.parametrize(("kept", "verdict"), [(0.56, "PASS"), (0.50, "FAIL")])
def test_on_a_small_machine_the_gate_is_a_share_of_its_ceiling(evidence: Evidence, kept: float, verdict: str) -> None:
    offered(evidence, 100_000, kept=kept)
    evidence.calibrations = [calibration(62_000), calibration(58_000, "after")]
    row = row_of(evidence)
    assert row.gate is not None
    assert (row.verdict, row.claim.verdict) == (verdict, "INCONCLUSIVE")
    assert row.gate.value == pytest.approx(54_000)
    assert row.ceiling is not None
    assert row.ceiling.value == 60_000
    assert row.ceiling.ratio == pytest.approx(kept / 0.6)
    assert "ceiling of 60,000 msg/s is below 100,000" in row.why
    assert "calibrated: 62,000/s before, 58,000/s after" in row.why


def test_a_ceiling_above_the_claim_changes_nothing(evidence: Evidence) -> None:
    offered(evidence, 100_000, kept=0.97)
    evidence.calibrations = [calibration(120_000)]
    row = row_of(evidence)
    assert row.gate is not None
    assert (row.verdict, row.claim.verdict, row.gate.value) == ("FAIL", "FAIL", 100_000)


def test_a_claim_that_is_met_needs_no_ceiling(evidence: Evidence) -> None:
    offered(evidence, 100_000)
    evidence.calibrations = [calibration(90_000)]
    assert row_of(evidence).claim.verdict == "PASS"


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (calibration(60_000, busy=(0.99, 0.94)), "a core was only 94% busy, it takes 95% of each"),
        (calibration(60_000, servers=0.5), "the servers had only 50% of the CPU that was used"),
        (calibration(0), "nothing was acknowledged"),
    ],
)
def test_a_machine_that_was_not_full_of_the_servers_work_has_no_ceiling(
    evidence: Evidence, found: Calibration, message: str
) -> None:
    offered(evidence, 100_000, kept=0.6)
    evidence.calibrations = [found]
    row = row_of(evidence)
    assert (row.ceiling, row.verdict, row.claim.verdict) == (None, "FAIL", "FAIL")
    assert message in row.why


def test_calibrations_that_differ_by_much_say_so() -> None:
    found = ceiling.calibrated([calibration(60_000), calibration(90_000, "after")], POLICY.calibration)
    assert found.value == 75_000
    assert "1.50 times apart: the machine changed meanwhile" in found.says


def test_one_that_is_no_ceiling_is_named_and_left_out() -> None:
    found = ceiling.calibrated([calibration(60_000, servers=0.4), calibration(90_000, "after")], POLICY.calibration)
    assert found.value == 90_000
    assert "60,000/s before (no ceiling: the servers had only 40% of the CPU that was used)" in found.says


@given(rates=st.lists(st.integers(1, 10**6), min_size=1, max_size=4))
def test_a_gate_is_never_raised_and_never_above_its_ceiling(rates: list[int]) -> None:
    claim = next(each for each in CLAIMS if each.row == ROW)
    found = ceiling.calibrated([calibration(rate) for rate in rates], POLICY.calibration)
    bound, why = ceiling.gate(POLICY, claim, claim.bound, found)
    assert found.value is not None
    assert bound.value <= claim.bound.value
    assert bound.value <= found.value
    assert (why is None) == (bound == claim.bound)


def test_calibrations_survive_the_run_folder(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", Story(requests=300, seconds=3))
    folder.write_calibration(calibration(60_000))
    assert load(folder).calibrations == [calibration(60_000)]
