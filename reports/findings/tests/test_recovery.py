"""Recovery clocks from literal probe histories, and what must hold for any history."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.evidence import Experiment, Outcome, Probe
from reports.findings.recovery import clocks, recoveries, recovery, redundancy_s, worst

SLOT = 50_000_000
FAULT = 1_000 * SLOT
SLO_US = 100_000
ANSWER_S = 0.005
"""How long a probe takes that is well."""


@dataclass(frozen=True)
class Ended:
    """How the probes of some slots ended."""

    outcome: Outcome
    latency_ms: float


OK, FAIL = Ended("ok", 5), Ended("fail", 1)
SLOW, UNKNOWN = Ended("ok", 250), Ended("unknown", 2000)


def history(*runs: tuple[int, Ended], first: int = 0, region: str = "syd", operation: str = "write") -> list[Probe]:
    """Probes every 50 ms from slot `first` (slot 0 is the fault): so many that ended so, then so many ..."""
    ended = [how for count, how in runs for _ in range(count)]
    return [
        Probe(
            at_ns=FAULT + (first + index) * SLOT,
            region=region,
            operation=operation,
            latency_us=round(how.latency_ms * 1000),
            outcome=how.outcome,
        )
        for index, how in enumerate(ended)
    ]


def clock(probes: list[Probe], slo_us: int | None = SLO_US) -> tuple[str, float | None, float | None, float | None]:
    result = recovery("syd", "write", probes, FAULT, slo_us)
    return result.state, result.detected, result.first_success, result.slo_stable


def experiment(**changes: object) -> Experiment:
    record = Experiment(
        id="kill", title="", target="", begin_ns=0, end_ns=FAULT * 2, fault_ns=FAULT, slo={"write": SLO_US}
    )
    for name, value in changes.items():
        setattr(record, name, value)
    return record


def test_an_outage_is_timed_from_the_fault_to_the_first_stable_probe() -> None:
    # Slots 0-1 answer, 2-41 fail after 1 ms, from 42 on all answer after 5 ms.
    state, detected, first_success, stable = clock(history((2, OK), (40, FAIL), (100, OK)))
    assert state == "recovered"
    assert detected == pytest.approx(0.101)
    assert first_success == pytest.approx(42 * 0.05 + 0.005)
    assert stable == pytest.approx(42 * 0.05 + ANSWER_S)


def test_one_answer_between_failures_is_a_success_but_no_recovery() -> None:
    state, _, first_success, stable = clock(history((10, FAIL), (1, OK), (10, FAIL), (80, OK)))
    assert state == "recovered"
    assert first_success == pytest.approx(0.505)
    assert stable == pytest.approx(21 * 0.05 + ANSWER_S)


def test_an_outage_that_comes_back_after_a_stable_stretch_has_not_ended() -> None:
    _, _, _, stable = clock(history((10, FAIL), (80, OK), (1, FAIL), (80, OK)))
    assert stable == pytest.approx(91 * 0.05 + ANSWER_S)


def test_one_or_two_slow_probes_after_a_stable_stretch_are_no_relapse() -> None:
    result = recovery("syd", "write", history((10, FAIL), (80, OK), (2, SLOW), (80, OK)), FAULT, SLO_US)
    assert result.slo_stable == pytest.approx(0.5 + ANSWER_S)
    assert result.slow == 2


def test_three_slow_probes_are_a_relapse() -> None:
    _, _, _, stable = clock(history((10, FAIL), (80, OK), (3, SLOW), (80, OK)))
    assert stable == pytest.approx(93 * 0.05 + ANSWER_S)


def test_slow_probes_near_the_end_do_not_undo_a_recovery() -> None:
    state, _, _, stable = clock(history((10, FAIL), (80, OK), (1, SLOW), (10, OK)))
    assert state == "recovered"
    assert stable == pytest.approx(0.5 + ANSWER_S)


def test_a_failed_probe_near_the_end_does() -> None:
    state, _, _, stable = clock(history((10, FAIL), (80, OK), (1, FAIL), (10, OK)))
    assert (state, stable) == ("censored", None)


def test_without_three_good_seconds_before_the_probing_ended_it_is_censored() -> None:
    result = recovery("syd", "write", history((10, FAIL), (59, OK)), FAULT, SLO_US)
    assert result.state == "censored"
    assert result.slo_stable is None
    assert result.first_success is not None
    assert result.observed_s == pytest.approx(69 * 0.05)
    assert clock(history((10, FAIL), (60, OK)))[0] == "recovered"


def test_answers_that_are_too_slow_are_an_outage() -> None:
    state, detected, _, stable = clock(history((30, SLOW), (80, OK)))
    assert state == "recovered"
    assert detected == pytest.approx(0.25)
    assert stable == pytest.approx(1.5 + ANSWER_S)


def test_without_an_slo_slow_answers_are_good() -> None:
    assert clock(history((30, SLOW), (80, OK)), slo_us=None)[0] == "no_outage"


def test_a_single_slow_probe_after_the_fault_is_no_outage() -> None:
    assert clock(history((3, OK), (1, SLOW), (80, OK))) == ("no_outage", 0.0, 0.0, 0.0)


def test_probes_that_ended_before_the_fault_play_no_part() -> None:
    before = history((20, FAIL), first=-40)
    assert clock(before + history((80, OK))) == ("no_outage", 0.0, 0.0, 0.0)


def test_a_probe_sent_before_the_fault_that_timed_out_after_it_was_hit_by_it() -> None:
    state, detected, first_success, stable = clock(history((1, UNKNOWN), (90, OK), first=-1))
    assert state == "recovered"
    assert detected == pytest.approx(1.95)
    assert first_success == pytest.approx(1.955)
    assert stable == pytest.approx(ANSWER_S)


def test_a_timeout_is_seen_when_it_ends_not_when_it_was_sent() -> None:
    _, detected, first_success, stable = clock(history((4, UNKNOWN), (100, OK)))
    assert detected == pytest.approx(2.0)
    assert first_success == pytest.approx(2.005)
    assert stable == pytest.approx(0.2 + ANSWER_S)


def test_without_probes_nothing_is_known() -> None:
    assert clock([]) == ("no_evidence", None, None, None)


def test_probes_that_stopped_before_the_fault_say_nothing() -> None:
    assert clock(history((20, OK), first=-40)) == ("no_evidence", None, None, None)


def test_too_few_good_probes_after_the_fault_do_not_show_that_there_was_no_outage() -> None:
    assert clock(history((30, OK)))[0] == "no_evidence"


def test_good_probes_on_both_sides_of_a_hole_do_not_show_that_there_was_no_outage() -> None:
    assert clock(history((20, OK)) + history((100, OK), first=60))[0] == "no_evidence"


def test_a_stable_stretch_does_not_reach_across_a_hole() -> None:
    _, _, _, stable = clock(history((10, FAIL), (20, OK)) + history((100, OK), first=60))
    assert stable == pytest.approx(60 * 0.05 + ANSWER_S)


def test_the_budget_is_the_failed_share_of_each_slot() -> None:
    twice = [*history((10, FAIL), (80, OK)), *history((10, FAIL), (80, OK)), *history((10, OK), (80, OK))]
    result = recovery("syd", "write", twice, FAULT, SLO_US)
    assert result.budget_s == pytest.approx(10 * 0.05 * 2 / 3)


def test_the_worst_region_and_operation_gives_the_clocks() -> None:
    probes = [
        *history((10, FAIL), (100, OK), region="iad", operation="read"),
        *history((30, FAIL), (100, OK), region="ams"),
        *history((130, OK), region="syd"),
    ]
    record = experiment(redundancy_ns=FAULT + 9 * 10**9)
    found, where = clocks(record, recoveries(record, probes))
    assert where is not None
    assert (where.region, where.operation) == ("ams", "write")
    assert found.slo_stable == pytest.approx(1.5 + ANSWER_S)
    assert found.redundancy == 9.0


def test_detected_is_the_first_that_any_client_noticed_and_success_the_last_that_any_waited_for() -> None:
    probes = [
        *history((30, FAIL), (100, OK), region="iad", operation="write"),
        *history((31, OK), (2, FAIL), (100, OK), region="ams", operation="read"),
    ]
    found, where = clocks(experiment(), recoveries(experiment(), probes))
    assert where is not None
    assert (where.region, where.operation) == ("ams", "read")
    early, late = recovery("iad", "write", probes[:130], FAULT, SLO_US), found
    assert late.detected == early.detected
    assert late.first_success is not None
    assert early.first_success is not None
    assert late.first_success > early.first_success
    assert late.detected is not None
    assert late.slo_stable is not None
    assert late.detected < late.first_success <= late.slo_stable + 0.05


def test_age_of_an_effect_is_known_at_once() -> None:
    aged = history((30, SLOW), (100, OK), operation="effect")
    result = recovery("bus", "effect", aged, FAULT, SLO_US)
    assert result.detected == 0.05
    assert result.slo_stable == pytest.approx(1.5)


def test_one_that_never_became_stable_is_worse_than_any_that_did() -> None:
    probes = [
        *history((90, FAIL), (100, OK), region="iad"),
        *history((100, OK), (1, FAIL), (5, OK), region="syd"),
    ]
    slowest = worst(recoveries(experiment(), probes))
    assert slowest is not None
    assert (slowest.region, slowest.state) == ("syd", "censored")


def test_a_lost_region_and_the_planned_way_back_are_no_recovery() -> None:
    lost = history((300, FAIL), (100, OK), region="iad")
    taken_over = history((40, FAIL), (200, OK), (30, FAIL), (130, OK), region="ams")
    record = experiment(lost_region="iad", handed_back_ns=FAULT + 240 * SLOT)
    found, where = clocks(record, recoveries(record, [*lost, *taken_over]))
    assert where is not None
    assert (where.region, where.operation) == ("ams", "write")
    assert found.slo_stable == pytest.approx(2.0 + ANSWER_S)


def test_without_a_fault_there_are_no_clocks() -> None:
    record = experiment(fault_ns=None)
    assert recoveries(record, history((10, FAIL), (100, OK))) == []
    found, where = clocks(record, [])
    assert (found.slo_stable, found.redundancy, where) == (None, None, None)


def test_redundancy_that_never_came_back_has_no_clock() -> None:
    assert redundancy_s(experiment()) is None


endings = st.sampled_from([OK, FAIL, SLOW, UNKNOWN])
histories = st.lists(st.tuples(st.integers(1, 90), endings), max_size=6).map(lambda runs: history(*runs, first=-20))


@given(histories)
def test_the_clocks_of_any_history_fit_together(probes: list[Probe]) -> None:
    result = recovery("syd", "write", probes, FAULT, SLO_US)
    if result.state == "recovered":
        assert result.detected is not None
        assert result.slo_stable is not None
        assert 0 <= result.slo_stable <= result.observed_s
    if result.state in ("censored", "no_evidence"):
        assert result.slo_stable is None
    if result.first_success is not None and result.detected is not None:
        assert result.detected <= result.first_success
    assert 0 <= result.budget_s <= 0.05 * (result.failed + result.unknown) + 1e-9


@given(histories, st.randoms())
def test_the_order_of_the_lines_does_not_matter(probes: list[Probe], dice: object) -> None:
    shuffled = list(probes)
    dice.shuffle(shuffled)  # type: ignore[attr-defined]
    assert recovery("syd", "write", shuffled, FAULT, SLO_US) == recovery("syd", "write", probes, FAULT, SLO_US)


@given(histories)
def test_from_the_stable_instant_on_no_probe_fails(probes: list[Probe]) -> None:
    result = recovery("syd", "write", probes, FAULT, SLO_US)
    if result.slo_stable is None:
        return
    since_ns = FAULT + round(result.slo_stable * 1e9)
    assert all(probe.outcome == "ok" for probe in probes if probe.at_ns >= since_ns)


@given(histories, st.integers(1, 40))
def test_a_longer_outage_never_has_a_shorter_recovery(probes: list[Probe], more: int) -> None:
    """The same history with failures put before it and a long good end: later failures cannot recover sooner."""
    good = history((100, OK), first=1000)
    joined = history((60, OK), first=940)
    outage = history((more, FAIL))
    longer = history((more + 10, FAIL))
    rest = [probe for probe in probes if probe.at_ns >= FAULT + (more + 10) * SLOT]
    short = recovery("syd", "write", [*outage, *rest, *joined, *good], FAULT, SLO_US).slo_stable
    long = recovery("syd", "write", [*longer, *rest, *joined, *good], FAULT, SLO_US).slo_stable
    assert short is not None
    assert long is not None
    assert short <= long
