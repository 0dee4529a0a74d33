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
from reports.model import Row
from reports.tests.spoilt_run import CLAIMS, POLICY, report_of
from reports.tests.synthetic_run import SECOND, Story, at, latencies, write_run
from reports.verdict.verdict import exit_code

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
    servers: float = 0.8, noise: float = 0.01,
) -> Calibration:  # fmt: skip
    """Four slices of a second; every other one is by `noise` above the rate, the others below."""
    slices = [round(per_s * (1 + noise * sign)) for sign in (1, -1, 1, -1)]
    return Calibration(
        scenario="bus-ingest", when=when, row=ROW, begin_ns=0, end_ns=4 * SECOND, acked=sum(slices), failed=0,
        busy=list(busy), servers=servers, generator=0.1, slices=slices,
    )  # fmt: skip


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
    evidence.calibrations = [calibration(80_000), calibration(80_000, "after")]
    row = row_of(evidence)
    assert words.ceiling(row) == "80,000 msg/s, 2% of it measured"
    assert "calibrated: 80,000/s before, 80,000/s after" in row.why
    evidence.calibrations[1] = calibration(82_000, "after", busy=(0.5, 0.97))
    assert "82,000/s after (no ceiling: a core was only 50% busy" in row_of(evidence).why
    evidence.calibrations = []
    assert words.ceiling(row_of(evidence)) == "–"


def test_a_profile_that_judges_it_has_to_offer_it(evidence: Evidence) -> None:
    policy = msgspec.structs.replace(POLICY, profiles={"everything": [ROW]})
    evidence.run.profile = "everything"
    report = report_of(evidence, policy)
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
    evidence.calibrations = [calibration(61_000), calibration(59_000, "after")]
    row = row_of(evidence)
    assert row.gate is not None
    assert (row.verdict, row.claim.verdict) == (verdict, "INCONCLUSIVE")
    assert row.gate.value == pytest.approx(54_000)
    assert row.ceiling is not None
    assert row.ceiling.value == 60_000
    assert row.ceiling.ratio == pytest.approx(kept / 0.6)
    assert "ceiling of 60,000 msg/s is below 100,000" in row.why
    assert "calibrated: 61,000/s before, 59,000/s after" in row.why


@pytest.mark.parametrize(
    ("found", "kept", "verdict", "why"),
    [
        # As it was measured: PASS at 1.47 of a "ceiling" from a bad moment.
        ([calibration(26_259), calibration(46_552, "after")], 0.38569, "INCONCLUSIVE",
         "26,259/s before (no ceiling: 46,552/s were measured, 1.77 times as much)"),
        ([calibration(26_259), calibration(26_300, "after")], 0.38569, "INCONCLUSIVE",
         "26,300/s after (no ceiling: 38,569/s were measured, 1.47 times as much)"),
        ([calibration(46_552)], 0.45, "INCONCLUSIVE", "a ceiling takes one before and one after the load that agree"),
        ([calibration(46_552), calibration(46_000, "after", noise=0.06)], 0.45, "INCONCLUSIVE",
         "46,000/s after (no ceiling: 4 slices in 4 s leave it uncertain by more than 5%)"),
        ([calibration(46_552, servers=0.4), calibration(46_000, "after")], 0.45, "INCONCLUSIVE",
         "a ceiling takes one before and one after"),
        # The margin of 5%, from both of its sides.
        ([calibration(40_000), calibration(41_900, "after")], 0.419, "PASS", "the machine's ceiling of 40,950"),
        ([calibration(40_000), calibration(42_100, "after")], 0.400, "INCONCLUSIVE", "1.05 times as much"),
        ([calibration(40_000), calibration(40_000, "after")], 0.419, "PASS", "the machine's ceiling of 40,000"),
        ([calibration(40_000), calibration(40_000, "after")], 0.421, "INCONCLUSIVE", "1.05 times as much"),
        # A miss of whatever the gate may be stays one, and so does one of a machine that could have done it.
        ([calibration(26_259), calibration(46_552, "after")], 0.236, "FAIL", "23,600 of 100,000"),
        ([calibration(26_259), calibration(46_552, "after")], 0.237, "INCONCLUSIVE", "23,700 of 100,000"),
        ([calibration(70_000), calibration(120_000, "after")], 0.97, "FAIL", "97,000 of 100,000"),
        ([calibration(26_259), calibration(46_552, "after")], 1.0, "PASS", "100,000 of 100,000"),
    ],
)  # fmt: skip
def test_a_gate_is_lowered_only_by_a_ceiling_that_holds(
    evidence: Evidence, found: list[Calibration], kept: float, verdict: str, why: str
) -> None:
    offered(evidence, 100_000, kept=kept)
    evidence.calibrations = found
    row = row_of(evidence)
    assert row.gate is not None
    assert (row.verdict, why in row.why) == (verdict, True), row.why
    assert (row.gate.value < 100_000) == (row.ceiling is not None) == ("the machine's ceiling" in row.why)
    assert row.ceiling is None or row.ceiling.ratio <= 1.05


def test_no_ceiling_does_not_excuse_a_load_that_offered_what_the_least_gate_asks(evidence: Evidence) -> None:
    offered(evidence, 50_000, kept=0.5)
    evidence.calibrations = [calibration(40_000), calibration(60_000, "after")]
    assert (row_of(evidence).verdict, row_of(evidence).claim.verdict) == ("FAIL", "NOT_JUDGED")
    offered(evidence, 50_000)
    assert row_of(evidence).verdict == "INCONCLUSIVE"
    offered(evidence, 35_000)
    assert row_of(evidence).verdict == "NOT_JUDGED"


def test_a_calibration_of_old_without_slices_is_no_ceiling() -> None:
    old = [msgspec.structs.replace(calibration(60_000), slices=[])] * 2
    found = ceiling.calibrated(old, 0, POLICY.calibration)
    assert (found.value, found.full) == (None, [60_000, 60_000])
    assert "it was not measured in slices" in found.says


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


def test_one_that_is_not_full_is_named_and_left_out() -> None:
    found = ceiling.calibrated([calibration(60_000, servers=0.4), calibration(90_000, "after")], 0, POLICY.calibration)
    assert (found.value, found.full) == (None, [90_000])
    assert "60,000/s before (no ceiling: the servers had only 40% of the CPU that was used)" in found.says


@given(rates=st.lists(st.integers(1, 10**6), min_size=1, max_size=4), reached=st.integers(0, 10**6))
def test_a_ceiling_is_never_exceeded_and_a_gate_never_raised(rates: list[int], reached: int) -> None:
    claim = next(each for each in CLAIMS if each.row == ROW)
    found = ceiling.calibrated([calibration(rate, noise=0) for rate in rates], reached, POLICY.calibration)
    bound, why = ceiling.gate(POLICY, claim, claim.bound, found)
    assert (why is None) == (bound == claim.bound)
    if found.value is None:
        assert bound == claim.bound
    else:
        assert found.value >= max(reached, *found.full) / 1.05
        assert bound.value <= min(claim.bound.value, found.value)


def test_calibrations_survive_the_run_folder(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", Story(requests=300, seconds=3))
    folder.write_calibration(calibration(60_000))
    assert load(folder).calibrations == [calibration(60_000)]
