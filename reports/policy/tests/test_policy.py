"""Claims and gates as files: the project's own are whole, and a wrong one is refused by the name of its entry."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

import reports
from reports.policy.claims import REGIONS, ClaimError, RowClaim, load_claims, parse_claims
from reports.policy.policy import Policy, PolicyError, load_policy, matches, parse_policy

CLAIMS = load_claims()
POLICY_TEXT = (Path(reports.__file__).with_name("policy.yaml")).read_text("utf-8")
SLO_TEXT = (Path(reports.__file__).with_name("slo.yaml")).read_text("utf-8")

ROWS = [
    "bus.throughput", "bus.applied", "bus.relayed", "bus.publish_p99", "bus.delivery_p99", "bus.end_to_end_p99",
    "realtime.p99", "availability", "recovery.rto", "recovery.rpo_loss", "recovery.redundancy", "system.parts",
    "bus.exactly_once", "ledger.contents", "api.consistency", "bus.replication",
    "bus.limits", "bus.connections", "bus.gateways", "push.delivery", "sync.bandwidth", "sync.convergence",
    "web.bundle", "web.install", "web.a11y", "web.e2e", "data.countries", "data.projects", "data.points",
    "security.transit", "security.rest", "security.access", "security.audit", "security.secrets",
    "security.network", "infra.terraform", "infra.kubernetes", "cost.monthly", "observability.trace",
    "soak.memory", "soak.files", "soak.drift", "harness.alarms", "harness.honesty",
]  # fmt: skip


def policy_with(**changes: Any) -> Policy:
    content = yaml.safe_load(POLICY_TEXT) | changes
    return parse_policy(yaml.safe_dump(content), CLAIMS)


def test_every_row_has_a_claim_and_each_region_its_own() -> None:
    per_region = [f"{row}.{region}" for row in ("api.read_p99", "api.write_p99", "recovery.lag") for region in REGIONS]
    assert sorted(claim.row for claim in CLAIMS) == sorted(ROWS + per_region)


def test_claims_are_the_seeds() -> None:
    claims = {claim.row: claim for claim in CLAIMS}
    assert claims["api.read_p99.jnb"].bound.value == 100
    assert claims["api.read_p99.jnb"].family == "api.read_p99"
    assert claims["recovery.rto"].text == "RTO: < 2 minutes (failover)"
    assert claims["data.countries"].bound.op == "=="
    assert not claims["harness.honesty"].claimed


def test_a_gate_is_the_claim_unless_the_policy_says_otherwise() -> None:
    claims = {claim.row: claim for claim in CLAIMS}
    policy = load_policy()
    assert policy.gate(claims["api.read_p99.syd"]) == claims["api.read_p99.syd"].bound
    assert policy.gate(claims["web.e2e"]).value == 100
    assert claims["web.e2e"].bound.value == 55


@pytest.mark.parametrize("profile", ["smoke", "load.api-browse", "load.bus-ingest", "chaos", "e2e"])
def test_every_profile_judges_something(profile: str) -> None:
    policy = load_policy()
    assert any(policy.judges(profile, claim.row) and policy.unbuilt_why(claim.row) is None for claim in CLAIMS)


def test_an_unknown_profile_is_refused_with_those_there_are() -> None:
    with pytest.raises(PolicyError, match=r"'weekly'.*chaos, e2e, .*smoke"):
        load_policy().judges("weekly", "availability")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gates": {"bus.p99": {"op": "<", "value": 1, "unit": "ms", "why": "w"}}}, "gates: there is no row 'bus.p99'"),
        ({"gates": {"availability": {"op": "~", "value": 1, "unit": "%", "why": "w"}}}, r"\$\.gates"),
        ({"gates": {"availability": {"op": ">", "value": 1, "unit": "%"}}}, "missing required field `why`"),
        ({"minimum": {"availability": {"samples": 0, "why": "w"}}}, "availability: expected at least 1 sample"),
        ({"minimum": {"avail": {"samples": 5, "why": "w"}}}, "minimum: there is no row 'avail'"),
        ({"profiles": {"smoke": ["api.raed_p99.*"]}}, "profiles, smoke: 'api.raed_p99.*' matches no row"),
        ({"where_measured": {"chaos": ["bus.gate"]}}, "where_measured, chaos: 'bus.gate' matches no row"),
        ({"where_measured": {"chaoss": ["bus.gateways"]}}, "where_measured: there is no profile 'chaoss'"),
        ({"unbuilt": [{"rows": ["nothing.*"], "why": "w"}]}, r"unbuilt: 'nothing\.\*' matches no row"),
        ({"surprise": 1}, "unknown field `surprise`"),
        ({"honesty": {"sent_ratio_min": 99, "lag_share_max": 0.1}}, "sent_ratio_min: expected a share from 0 to 1"),
        ({"waivers": [{"row": "api", "owner": "o", "reason": "r", "expires": "2030-01-01"}]}, "there is no row 'api'"),
        ({"waivers": [{"row": "availability", "owner": "o", "reason": "r", "expires": "soon"}]}, r"\$\.waivers"),
    ],
)  # fmt: skip
def test_a_wrong_policy_is_refused_by_the_name_of_its_entry(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        policy_with(**changes)


def test_an_entry_that_stands_twice_is_refused_with_its_line() -> None:
    text = POLICY_TEXT.replace("profiles:\n", "profiles:\n  smoke: [availability]\n", 1)
    with pytest.raises(PolicyError, match=r"(?s)'smoke' twice.*line \d+"):
        parse_policy(text, CLAIMS)


def test_a_policy_that_is_not_yaml_is_refused() -> None:
    with pytest.raises(PolicyError, match="not YAML"):
        parse_policy("gates: [", CLAIMS)


def test_a_waiver_holds_up_to_its_last_day() -> None:
    waiver = {"row": "availability", "owner": "o", "reason": "r", "expires": date(2026, 11, 24)}
    policy = policy_with(waivers=[waiver])
    assert policy.waiver("availability", date(2026, 11, 24)) is not None
    assert policy.waiver("availability", date(2026, 11, 25)) is None
    assert policy.waiver("recovery.rto", date(2026, 11, 1)) is None


def first_document(**spec: Any) -> str:
    document = next(yaml.safe_load_all(SLO_TEXT))
    document["spec"] |= spec
    return yaml.safe_dump(document)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            SLO_TEXT.replace("openslo/v1", "openslo/v9", 1),
            r"document 1 \(bus-throughput\): expected apiVersion openslo/v1",
        ),
        (first_document(objectives=[]), r"bus-throughput\): expected one objective"),
        (
            first_document(objectives=[{"op": "eq", "value": 1, "target": 0.9}]),
            "bus-throughput.*Invalid enum value 'eq'",
        ),
        (first_document(indicator={}), r"bus-throughput\): 'spec' is missing"),
        (SLO_TEXT + "---\n- a list\n", r"document 48 \(without a name\): expected a mapping"),
        (SLO_TEXT + "---\n" + first_document(), "bus.throughput stands twice"),
        ("kind: [", "not YAML"),
    ],
)
def test_a_wrong_slo_file_is_refused_by_the_name_of_its_document(text: str, message: str) -> None:
    with pytest.raises(ClaimError, match=message):
        parse_claims(text)


def test_an_equality_is_two_objectives_of_one_value() -> None:
    both = [{"op": "gte", "value": 7, "target": 0.9}, {"op": "lte", "value": 7, "target": 0.9}]
    claim: RowClaim = parse_claims(first_document(objectives=both))[0]
    assert (claim.bound.op, claim.bound.value) == ("==", 7)
    both[1]["value"] = 8
    with pytest.raises(ClaimError, match="gte and lte of one value"):
        parse_claims(first_document(objectives=both))


def test_a_pattern_with_an_exclamation_mark_takes_rows_out() -> None:
    patterns = ["*", "!soak.*"]
    assert matches("bus.applied", patterns)
    assert not matches("soak.memory", patterns)
    assert not matches("bus.applied", ["!soak.*"])


def test_a_night_judges_every_row_that_is_built_but_those_of_hours() -> None:
    policy, rows = load_policy(), [claim.row for claim in load_claims()]
    left = [row for row in rows if not policy.judges("nightly", row)]
    assert left == ["bus.gateways", "soak.memory", "soak.files", "soak.drift"]
    assert policy.judges("nightly", "bus.gateways", measured=True)
