"""Files of objectives in the forms that OpenSLO's own examples have: read, or refused with the line."""

from __future__ import annotations

import re

import pytest

from reports.evidence.folder import OWN_SLO
from reports.model import Bound
from reports.policy import own_slo
from reports.policy.claims import load_claims
from reports.policy.own_slo import Objective, SloError, applied, parse
from reports.policy.policy import load_policy

CLAIMS = load_claims()
POLICY = load_policy(claims=CLAIMS)
RATIO = """\
apiVersion: openslo/v1
kind: Service
metadata: {name: web}
spec: {description: the web}
---
apiVersion: openslo/v1
kind: SLO
metadata:
  name: foo-slo
  displayName: Foo SLO
  annotations:
    covenant/row: availability
spec:
  service: web
  indicator:
    metadata:
      name: foo-error
    spec:
      ratioMetric:
        counter: true
        good:
          metricSource:
            metricSourceRef: my-datasource
            type: Prometheus
            spec:
              query: sum(http_requests{k8s_cluster="prod",code=~"2xx|4xx"})
        total:
          metricSource:
            metricSourceRef: my-datasource
            type: Prometheus
            spec:
              query: sum(http_requests{k8s_cluster="prod"})
  timeWindow:
    - duration: 28d
      isRolling: true
  budgetingMethod: Occurrences
  objectives:
    - displayName: Foo Total Errors
      target: 0.9995
"""
THRESHOLD = """\
---
apiVersion: openslo/v1
kind: SLO
metadata: {name: fast, annotations: {covenant/row: api.read_p99, covenant/unit: s}}
spec:
  description: Reads are fast
  service: web
  indicatorRef: read-latency
  budgetingMethod: Occurrences
  objectives: [{op: lte, value: 0.08, targetPercent: 99}]
---
apiVersion: openslo/v1
kind: SLI
metadata: {name: read-latency}
spec: {thresholdMetric: {metricSource: {type: Prometheus, spec: {query: latency}}}}
"""
ERRORS = Objective(row="availability", bound=Bound(op=">=", value=99.95, unit="%"), text="Foo SLO")
FAST = Objective(row="api.read_p99", bound=Bound(op="<=", value=80.0, unit="ms"), text="Reads are fast")


def test_a_ratio_and_a_threshold_are_read() -> None:
    assert parse(OWN_SLO, RATIO + THRESHOLD, CLAIMS) == [ERRORS, FAST]


@pytest.mark.parametrize("other", ["bad", "raw"])
def test_a_ratio_has_other_forms(other: str) -> None:
    assert parse(OWN_SLO, RATIO.replace("        good:", f"        {other}:"), CLAIMS) == [ERRORS]


@pytest.mark.parametrize(
    ("was", "is_", "line", "said"),
    [
        (
            "    covenant/row: availability",
            "    team: x",
            11,
            "a query cannot be asked here: say which row it is about",
        ),
        ("covenant/row: availability", "covenant/row: uptime", 12, "expected one of availability, bus.publish_p99, "),
        ("covenant/row: availability", "covenant/row: api.read_p99", 12, "a ratio says nothing of a time"),
        ("budgetingMethod: Occurrences", "budgetingMethod: Timeslices", 36, "a run counts each request"),
        ("target: 0.9995", "target: 99.95", 39, "expected a number above 0 and below 1, found 99.95"),
        ("target: 0.9995", "timeSliceTarget: 0.9", 38, "expected either target or targetPercent, found neither"),
        ("      target: 0.9995", "      target: 0.9\n    - target: 0.8", 37, "expected one objective, an SLO each"),
        ("ratioMetric:", "otherMetric:", 18, "expected either ratioMetric or thresholdMetric"),
        ("        total:", "        sum:", 19, "expected total, and good or bad"),
        ("kind: SLO", "kind: Service", 1, "expected a document of kind SLO, found none"),
        ("openslo/v1\nkind: SLO", "openslo/v1alpha\nkind: SLO", 6, "expected openslo/v1, found 'openslo/v1alpha'"),
        ("  name: foo-slo", "  name: [foo", 10, "this is not YAML"),
        ("web}\n---", "web}\n---\n- 1\n---", 6, "expected a document of OpenSLO, found list"),
    ],
)
def test_what_cannot_be_judged_is_refused_with_its_line(was: str, is_: str, line: int, said: str) -> None:
    assert was in RATIO
    with pytest.raises(SloError) as caught:
        parse("mine.yaml", RATIO.replace(was, is_, 1), CLAIMS)
    assert str(caught.value).startswith(f"mine.yaml:{line}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("was", "is_", "line", "said"),
    [
        ("covenant/row: api.read_p99", "covenant/row: availability", 4, "expected a row of a latency"),
        ("targetPercent: 99", "targetPercent: 95", 10, "rows of a latency are of its p99: expected 0.99, found 0.95"),
        ("op: lte", "op: gte", 10, "a latency is bounded above: expected lt or lte, found 'gte'"),
        ("value: 0.08", "value: fast", 10, "expected a number above 0, found 'fast'"),
        ("covenant/unit: s", "covenant/unit: min", 4, "expected ms or s, found 'min'"),
        ("indicatorRef: read-latency", "indicatorRef: other", 8, "expected an SLI of this file, found 'other'"),
    ],
)
def test_a_threshold_that_no_row_has_is_refused_with_its_line(was: str, is_: str, line: int, said: str) -> None:
    with pytest.raises(SloError, match=rf"^mine\.yaml:{line}: .*{re.escape(said)}"):
        parse("mine.yaml", THRESHOLD.replace(was, is_, 1), CLAIMS)


def test_two_objectives_of_one_row_are_refused() -> None:
    with pytest.raises(SloError, match="expected one SLO of each row, found more of availability"):
        parse(OWN_SLO, RATIO + "---\n" + RATIO, CLAIMS)


def test_an_objective_is_the_claim_of_its_row_and_can_loosen_no_gate() -> None:
    claims, policy = applied([ERRORS, FAST], CLAIMS, POLICY, "load.api-browse")
    of = {claim.row: claim for claim in claims}
    assert (of["availability"].bound.value, of["availability"].text) == (99.95, "Foo SLO")
    assert of["api.read_p99.syd"].bound == FAST.bound
    assert policy.gate(of["availability"]).value == 99.99, "ours, which is stricter"
    assert policy.gate(of["api.read_p99.syd"]) == FAST.bound
    assert policy.judges("load.api-browse", "availability")
    assert not policy.judges("load.bus-ingest", "availability")
    named = ("availability", "api.read_p99")
    assert [one for one in claims if one.family not in named] == [one for one in CLAIMS if one.family not in named]


@pytest.mark.parametrize(
    ("ours", "own", "stricter"),
    [
        (("<", 100), ("<=", 80), ("<=", 80)), (("<", 100), ("<", 120), ("<", 100)),
        (("<", 100), ("<=", 100), ("<", 100)), (("<=", 100), ("<", 100), ("<", 100)),
        ((">=", 99.9), (">=", 99.99), (">=", 99.99)), ((">=", 99.99), (">=", 99.9), (">=", 99.99)),
    ],
)  # fmt: skip
def test_the_stricter_bound_is_the_gate(
    ours: tuple[str, float], own: tuple[str, float], stricter: tuple[str, float]
) -> None:
    bounds = [Bound(op=op, value=value, unit="ms") for op, value in (ours, own, stricter)]  # type: ignore[arg-type]
    assert own_slo._stricter(bounds[0], bounds[1]) == bounds[2]
