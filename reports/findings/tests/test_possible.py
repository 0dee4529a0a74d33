"""What the preflight says beside what was measured: floors, gates of impossible claims, and the page."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from reports.evidence import FaultBound, Operation, Possibility, Preflight, Quorum, RegionFloor, Resource, StreamCover
from reports.evidence.folder import EvidenceError
from reports.findings import possible
from reports.findings.loaded import Evidence, load
from reports.model import Report, Row
from reports.policy.claims import load_claims
from reports.policy.policy import PolicyError, load_policy, parse_policy
from reports.render.html import to_html
from reports.tests.spoilt_run import report_of
from reports.tests.synthetic_run import Story, latencies, write_run

CLAIMS = load_claims()
POLICY = load_policy(claims=CLAIMS)
STRETCHED = Possibility(
    row="bus.publish_p99", verdict="impossible", best=68.0, unit="ms", by_distance=True,
    why="an acknowledgement takes at least 68 ms with a stream stretched over iad, ams, syd",
)  # fmt: skip
FAR_WRITE = Possibility(
    row="api.write_p99.syd", verdict="impossible", best=200.0, unit="ms", by_distance=True, why="there and back: 200 ms"
)
NEAR_READ = Possibility(
    row="api.read_p99.ams", verdict="possible", best=0.0, unit="ms", by_distance=True, why="its own member: 0 ms"
)
FEW_FILES = Possibility(
    row="bus.connections", verdict="impossible", best=20_000.0, unit="connections", why="ulimit -Hn is 20,000"
)
RTO = Possibility(row="recovery.rto", verdict="depends", best=18.0, unit="s", why="who acts when")


def fault(name: str, rto_min_s: float, experiments: list[str]) -> FaultBound:
    return FaultBound(
        id=name, what=name, rto_min_s=rto_min_s, rto_max_s=None, rto_how="it waits", lost="nothing", lost_how="kept",
        budget_share=None, experiments=experiments,
    )  # fmt: skip


FOUND = Preflight(
    size="core", bus="stretched", durability="standby", options={"bus": "stretched"}, topology_sha256="ab" * 32,
    formulas={"write_ms": "there and back"},
    regions=[
        RegionFloor(
            region="syd", read_ms=0.0, write_ms={"standby": 200.0}, lag_ms=100.0, publish_ms={"stretched": 200.0},
            delivery_ms={"stretched": 168.0}, realtime_ms={},
        )
    ],
    faults=[
        fault("node", 3.5, ["pg-primary-kill"]),
        fault("cut off", 18, []),
        fault("broker", 1.5, ["bus-leader-kill"]),
    ],
    power=[],
    streams=[
        StreamCover(stream="LOAD", msgs_max=10, age_max_s=86_400, rate_per_s=2.0, covers_s=5.0, limited_by="messages")
    ],
    quorums=[Quorum(what="etcd", members=3, needs=2, ends_with=[])],
    resources=[Resource(what="memory", needs=9_000, has=8_000, unit="MiB", how="much of it")],
    claims=[STRETCHED, FAR_WRITE, NEAR_READ, FEW_FILES, RTO],
    notes=["ttl <b>too short</b>"],
)  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = write_run(tmp_path_factory.mktemp("possible") / "run", Story(requests=36_000, seconds=36))
    folder.write_preflight(FOUND)
    return msgspec.msgpack.encode(load(folder))


@pytest.fixture
def evidence(whole: bytes) -> Evidence:
    found = msgspec.msgpack.decode(whole, type=Evidence)
    found.run.distance = "namespaces"
    return found


def row_of(report: Report, name: str) -> Row:
    return next(row for row in report.slos if row.id == name)


def publishes_take(evidence: Evidence, milliseconds: float) -> None:
    slow = Operation(name="bus.publish_p99", latencies=latencies([milliseconds] * 5_000).close())
    evidence.loads = [
        msgspec.structs.replace(
            one, operations=[slow if operation.name == slow.name else operation for operation in one.operations]
        )
        for one in evidence.loads
    ]


def test_an_impossible_claim_is_gated_at_the_floor_and_the_allowance(evidence: Evidence) -> None:
    publishes_take(evidence, 90)
    row = row_of(report_of(evidence), "bus.publish_p99")
    assert (row.floor, row.verdict, row.claim.verdict, row.claim.value) == (68, "PASS", "FAIL", 50)
    assert row.gate is not None
    assert row.gate.value == 68 + POLICY.allowances["bus.publish_p99"].plus
    assert "< 50 ms is impossible, the floor is 68 ms; the gate adds 50 ms: what the claim gives" in row.why


def test_over_floor_and_allowance_it_fails(evidence: Evidence) -> None:
    publishes_take(evidence, 130)
    assert row_of(report_of(evidence), "bus.publish_p99").verdict == "FAIL"


def test_a_floor_of_distance_is_none_where_the_regions_are_not_apart(evidence: Evidence) -> None:
    evidence.run.distance = "none"
    publishes_take(evidence, 90)
    row = row_of(report_of(evidence), "bus.publish_p99")
    assert (row.floor, row.verdict) == (None, "FAIL")


def test_what_is_faster_than_the_way_is_not_believed(evidence: Evidence) -> None:
    publishes_take(evidence, 60)
    row = row_of(report_of(evidence), "bus.publish_p99")
    assert row.verdict == "INVALID"
    assert "ms is below the floor of 68 ms (an acknowledgement takes at least" in row.why
    publishes_take(evidence, 67)  # A link that is emulated is not exact.
    assert row_of(report_of(evidence), "bus.publish_p99").verdict == "PASS"


def test_what_this_machine_lacks_lowers_no_gate(evidence: Evidence) -> None:
    report = report_of(evidence)
    row = row_of(report, "bus.connections")
    assert row.gate is not None
    assert (row.gate.value, row.floor) == (65_000, None)


def test_the_floor_of_the_rto_is_that_of_the_faults_that_were_injected(evidence: Evidence) -> None:
    assert row_of(report_of(evidence), "recovery.rto").floor == 3.5
    evidence.trials = [trial for trial in evidence.trials if trial.record.id == "bus-leader-kill"]
    assert row_of(report_of(evidence), "recovery.rto").floor == 1.5
    evidence.trials = []
    assert row_of(report_of(evidence), "recovery.rto").floor is None


def test_without_a_preflight_the_report_is_as_before(evidence: Evidence) -> None:
    evidence.preflight = None
    report = report_of(evidence)
    assert report.lifted == {}
    assert all(row.floor is None for row in report.slos)
    assert "What is possible" not in to_html(report, evidence)


def test_the_page_says_what_is_possible(evidence: Evidence) -> None:
    page = to_html(report_of(evidence), evidence)
    assert "<h2>What is possible</h2>" in page
    assert "an acknowledgement takes at least 68 ms with a stream stretched over iad, ams, syd" in page
    assert "<b>Impossible</b>, whatever is measured" in page
    assert "ttl &lt;b&gt;too short&lt;/b&gt;" in page
    assert "floors of distance do not apply" not in page
    evidence.run.distance = "none"
    assert "floors of distance do not apply" in to_html(report_of(evidence), evidence)


def test_a_damaged_preflight_does_not_take_the_rest_with_it(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", Story(requests=600, seconds=1))
    (folder.evidence / "preflight.json").write_text('{"size": 3}')
    with pytest.raises(EvidenceError, match=r"preflight\.json"):
        folder.preflight()
    found = load(folder)
    assert found.preflight is None
    assert any("preflight.json" in problem for problem in found.problems)


@given(floor=st.one_of(st.none(), st.floats(0, 1e4)), number=st.integers(0, len(CLAIMS) - 1))
def test_a_gate_is_never_tighter_than_before_and_never_below_the_floor(floor: float | None, number: int) -> None:
    claim = CLAIMS[number]
    own = POLICY.gate(claim)
    bound, why = possible.gate(POLICY, claim, floor)
    assert (why is None) == (bound == own)
    if why is not None:
        assert floor is not None
        assert bound.met_by(floor)
        assert not own.met_by(floor)


@pytest.mark.parametrize(
    ("allowances", "message"),
    [
        ("{bus.nothing: {plus: 5, why: x}}", "there is no row 'bus.nothing'"),
        ("{bus.publish_p99: {plus: 0, why: x}}", "expected plus above 0, found 0"),
        ("{bus.publish_p99: {plus: .inf, why: x}}", "expected plus above 0, found inf"),
        ("{bus.publish_p99: {plus: 5}}", "missing required field `why`"),
    ],
)
def test_a_wrong_allowance_is_refused(allowances: str, message: str) -> None:
    text = (Path(possible.__file__).parents[1] / "policy.yaml").read_text("utf-8")
    content = yaml.safe_load(text) | {"allowances": yaml.safe_load(allowances)}
    with pytest.raises(PolicyError, match=message):
        parse_policy(yaml.safe_dump(content), CLAIMS)
