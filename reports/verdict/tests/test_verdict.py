"""The verdict on rows as a table of cases: what a run left behind, and what may be said of it."""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec
import pytest

from reports.evidence import Count, Hop, Operation, TimelineEvent, Write
from reports.findings.loaded import Evidence
from reports.model import Verdict
from reports.tests.spoilt_run import (
    doubled_effect,
    down_for_ever,
    held_back,
    load_of,
    lost_write,
    report_of,
    row_of,
    slow_reads,
    stolen,
    undeclared,
    unhealed,
    unproven,
    unwatched,
)
from reports.tests.synthetic_run import at, latencies
from reports.verdict.verdict import exit_code
from reports.words import headline, measured


def test_a_clean_run_passes_every_judged_gate(evidence: Evidence) -> None:
    report = report_of(evidence)
    assert report.verdict == "PASS"
    assert exit_code(report) == 0
    assert {row.verdict for row in report.slos} == {"PASS", "NOT_JUDGED"}
    assert sum(row.verdict == "PASS" for row in report.slos) == 19
    assert headline(report) == "GO: 19 of 19 judged gates pass"
    assert all(row.why for row in report.slos)


Spoil = Callable[[Evidence], None]


@pytest.mark.parametrize(
    ("spoils", "name", "expected", "message"),
    [
        pytest.param([slow_reads], "api.read_p99.syd", "FAIL", "p99 of 12,000", id="a slow read fails"),
        pytest.param([slow_reads, stolen], "api.read_p99.syd", "INVALID", "steal 30%", id="or is invalid if disturbed"),
        pytest.param([slow_reads, held_back], "api.read_p99.syd", "INVALID", "CPU limit", id="by a CPU limit, too"),
        pytest.param([lost_write, held_back], "recovery.rpo_loss", "FAIL", "lost 2,142", id="it loses no write"),
        pytest.param([stolen], "api.read_p99.syd", "PASS", "p99 of", id="a pass on a disturbed machine stays a pass"),
        pytest.param([unproven], "recovery.rto", "INVALID", "not proven", id="without proof of the fault is invalid"),
        pytest.param([unwatched], "recovery.rto", "INVALID", "not proven", id="and so is one without any proof"),
        pytest.param(
            [undeclared], "recovery.rto", "INVALID", "not proven to have bitten (proof: none declared)",
            id="and so is one that declares none",
        ),
        pytest.param([unhealed], "recovery.rto", "INVALID", "healing failed", id="without healing recovery is invalid"),
        pytest.param([unhealed], "recovery.rpo_loss", "INVALID", "healing failed", id="and so is the recovery point"),
        pytest.param([lost_write], "recovery.rpo_loss", "FAIL", "lost 2,142", id="a lost acknowledged write fails"),
        pytest.param(
            [lost_write, unproven, unhealed, stolen], "recovery.rpo_loss", "FAIL", "lost 2,142",
            id="a lost acknowledged write fails however invalid the rest is",
        ),
        pytest.param(
            [doubled_effect, stolen], "bus.exactly_once", "FAIL", "1 doubled, first at analytics",
            id="a doubled effect fails and is named",
        ),
        pytest.param([down_for_ever], "recovery.rto", "FAIL", "not stable again", id="a system that stays down fails"),
        pytest.param(
            [down_for_ever, stolen], "recovery.rto", "INVALID", "steal 30%", id="on a disturbed machine that is invalid"
        ),
        pytest.param(
            [down_for_ever, unproven], "recovery.rto", "INVALID", "not proven",
            id="a recovery that was missed after an unproven fault is invalid",
        ),
    ],
)  # fmt: skip
def test_a_row_is_judged(evidence: Evidence, spoils: list[Spoil], name: str, expected: Verdict, message: str) -> None:
    for spoil in spoils:
        spoil(evidence)
    row = row_of(report_of(evidence), name)
    assert (row.verdict, message in row.why) == (expected, True), row.why


# Rows of single checks.


def test_a_wrong_cell_of_the_access_matrix_fails_and_is_named(evidence: Evidence) -> None:
    wrong = Count(row="security.access", value=201, unit="", how="reader creates a project: expected 403", ok=False)
    evidence.counts = [*evidence.counts, wrong]
    row = row_of(report_of(evidence), "security.access")
    assert (row.verdict, row.measured, row.samples) == ("FAIL", 1, 51)
    assert "1 of 51 cells wrong: reader creates a project: expected 403: does not hold (201)" in row.why


def test_a_cell_short_of_the_claim_misses_the_claim_alone(evidence: Evidence) -> None:
    short = Count(row="security.access", value=1, unit="below", how="valkey-iad: plain text")
    evidence.counts = [*evidence.counts, short]
    row = row_of(report_of(evidence), "security.access")
    assert (row.verdict, row.claim.verdict, row.measured) == ("PASS", "FAIL", 0)
    assert "1 of them short of the claim: valkey-iad: plain text: 1 below" in row.why


def test_a_matrix_of_too_few_cells_shows_nothing(evidence: Evidence) -> None:
    evidence.counts = [count for count in evidence.counts if count.row != "security.access"][:1]
    assert row_of(report_of(evidence), "security.access").verdict == "INCONCLUSIVE"


def test_a_row_of_one_experiment_is_judged_where_that_was_run(evidence: Evidence) -> None:
    evidence.run = msgspec.structs.replace(evidence.run, profile="chaos")
    assert row_of(report_of(evidence), "bus.gateways").verdict == "NOT_JUDGED"
    crossed = Count(row="bus.gateways", value=0.2, unit="s", how="a message from iad to ams", ok=True)
    evidence.counts = [*evidence.counts, crossed]
    assert row_of(report_of(evidence), "bus.gateways").verdict == "PASS"
    evidence.counts = [*evidence.counts, msgspec.structs.replace(crossed, ok=False)]
    assert row_of(report_of(evidence), "bus.gateways").verdict == "FAIL"


# Rows of loads.


def test_a_p99_among_failed_operations_fails_and_is_said(evidence: Evidence) -> None:
    lame = Operation(name="api.read_p99", region="syd", latencies=latencies([5.0] * 5000, failed=100).close())
    load_of(evidence, "api-browse", operations=[*evidence.loads[0].operations[:2], lame])
    row = row_of(report_of(evidence), "api.read_p99.syd")
    assert row.verdict == "FAIL"
    assert row.measured == math.inf
    assert "more than 1% of all operations failed" in row.why


def test_too_few_samples_are_inconclusive_however_slow(evidence: Evidence) -> None:
    few = Operation(name="api.read_p99", region="syd", latencies=latencies([500.0] * 999).close())
    load_of(evidence, "api-browse", operations=[few])
    row = row_of(report_of(evidence), "api.read_p99.syd")
    assert row.verdict == "INCONCLUSIVE"
    assert "999 samples of the 1,000" in row.why


def test_a_load_that_was_not_sent_makes_its_rows_and_honesty_invalid(evidence: Evidence) -> None:
    load_of(evidence, "bus-ingest", sent=59_000)
    report = report_of(evidence)
    for name in ("bus.publish_p99", "bus.delivery_p99", "harness.honesty"):
        row = row_of(report, name)
        assert row.verdict == "INVALID"
        assert "98.3% of the 60,000" in row.why
    assert row_of(report, "api.read_p99.iad").verdict == "PASS"
    assert (report.verdict, exit_code(report)) == ("INVALID", 4)


def test_a_load_that_was_ended_early_is_judged_by_what_came_due_until_then(evidence: Evidence) -> None:
    slow_reads(evidence)
    load_of(evidence, "api-browse", ended_early="after 12 s of 60 s: why")
    report = report_of(evidence)
    row = row_of(report, "api.read_p99.syd")
    assert (report.verdict, row.verdict) == ("FAIL", "FAIL")
    assert "api-browse was ended early after 12 s of 60 s: why" in row.why
    assert "api-browse was ended early after 12 s of 60 s: why" in report.notes
    assert row_of(report, "harness.honesty").verdict == "PASS"


def test_a_closed_loop_is_judged_by_its_failures_alone(evidence: Evidence) -> None:
    """It has no schedule that it could be late on."""
    load_of(evidence, "api-browse", closed_loop=True, schedule_lag=latencies([]).close())
    evidence.run.profile = "load.locustfile"
    report = report_of(evidence)
    assert (report.verdict, row_of(report, "availability").verdict) == ("PASS", "PASS")
    assert {row.verdict for row in report.slos if row.id != "availability"} == {"NOT_JUDGED"}
    assert any(note.startswith("api-browse is a closed loop, p99 ") for note in report.notes)
    evidence.loads = [load for load in evidence.loads if load.scenario == "api-browse"]
    assert row_of(report_of(evidence), "harness.honesty").measured is None


def test_a_load_that_was_late_is_invalid_where_it_is_late_for_the_gate(evidence: Evidence) -> None:
    load_of(evidence, "bus-ingest", schedule_lag=latencies([2.0] * 1000).close())
    report = report_of(evidence)
    assert row_of(report, "bus.delivery_p99").verdict == "INVALID"
    assert "schedule lag p99 2.00 ms is over 10% of 10 ms" in row_of(report, "bus.delivery_p99").why
    assert row_of(report, "bus.publish_p99").verdict == "PASS"
    assert row_of(report, "harness.honesty").verdict == "INVALID"


def test_a_load_that_recorded_no_lag_is_not_believed(evidence: Evidence) -> None:
    load_of(evidence, "bus-ingest", schedule_lag=latencies([]).close())
    assert row_of(report_of(evidence), "bus.publish_p99").verdict == "INVALID"


def test_availability_leaves_out_the_seconds_of_a_fault(evidence: Evidence) -> None:
    seconds = [
        msgspec.structs.replace(second, ok=0, failed=second.ok) if index in (3, 4) else second
        for index, second in enumerate(evidence.loads[0].seconds)
    ]
    failed = sum(second.failed for second in seconds)
    load_of(evidence, "api-browse", seconds=seconds, failed=failed, ok=36_000 - failed)
    assert row_of(report_of(evidence), "availability").verdict == "FAIL"
    record = evidence.trials[0].record
    record.fault_ns, record.end_ns = at(23), at(25) - 1
    row = row_of(report_of(evidence), "availability")
    assert row.measured == 100
    assert row.samples == 36_000 - failed
    assert row.verdict == "PASS"


def test_requests_that_time_out_on_a_machine_that_was_taken_away_are_no_proof(evidence: Evidence) -> None:
    load_of(evidence, "api-browse", ok=30_000, unknown=6000)
    assert row_of(report_of(evidence), "availability").verdict == "FAIL"
    stolen(evidence)
    assert row_of(report_of(evidence), "availability").verdict == "INVALID"


def test_a_recovery_that_did_not_end_has_no_upper_bound(evidence: Evidence) -> None:
    down_for_ever(evidence)
    row = row_of(report_of(evidence), "recovery.rto")
    assert row.interval is not None
    assert row.interval[1] == math.inf
    assert row.claim.verdict == "FAIL"
    assert measured(row) == "≥ 30 s"


def test_a_recovery_that_a_late_prober_missed_is_no_proof(evidence: Evidence) -> None:
    """A machine at half its speed: its prober sent reads 30 ms late, and 97 s after the kill they were not stable."""
    down_for_ever(evidence)
    assert row_of(report_of(evidence), "recovery.rto").verdict == "FAIL"
    trial = evidence.trials[0]
    trial.probes[:] = [msgspec.structs.replace(probe, late_us=150_000) for probe in trial.probes]
    row = row_of(report_of(evidence), "recovery.rto")
    assert row.verdict == "INVALID"
    assert "its probes were late themselves: p99 150.0 ms is over 10% of" in row.why
    # What was recovered from in time was so though the probes were late.
    other = next(trial for trial in evidence.trials[1:])
    other.probes[:] = [msgspec.structs.replace(probe, late_us=150_000) for probe in other.probes]
    assert row_of(report_of(evidence), "recovery.rto").why.count("late themselves") == 1


def test_a_row_without_a_load_is_inconclusive(evidence: Evidence) -> None:
    evidence.loads = []
    report = report_of(evidence)
    for name in ("api.read_p99.iad", "availability", "bus.publish_p99", "harness.honesty"):
        assert row_of(report, name).verdict == "INCONCLUSIVE"
    assert (report.verdict, exit_code(report)) == ("INCONCLUSIVE", 3)


# Rows of experiments.


def test_an_experiment_without_a_result_is_inconclusive(evidence: Evidence) -> None:
    evidence.trials = evidence.trials[1:]
    report = report_of(evidence)
    for name in ("recovery.rto", "recovery.rpo_loss", "bus.exactly_once"):
        row = row_of(report, name)
        assert row.verdict == "INCONCLUSIVE"
        assert "pg-primary-kill: no result was left" in row.why
    entry = next(entry for entry in report.experiments if entry.id == "pg-primary-kill")
    assert (entry.verdict, entry.repeats, entry.fault_proven) == ("INCONCLUSIVE", 0, False)


def test_an_experiment_that_was_skipped_says_why(evidence: Evidence) -> None:
    evidence.trials = evidence.trials[1:]
    evidence.timeline.append(
        TimelineEvent(at_ns=1, kind="skipped", name="pg-primary-kill", detail="there is no standby")
    )
    assert "skipped: there is no standby" in row_of(report_of(evidence), "recovery.rto").why


def test_one_experiment_that_failed_outranks_another_that_is_invalid(evidence: Evidence) -> None:
    unproven(evidence)
    evidence.trials[1].record.steady_after = False
    row = row_of(report_of(evidence), "recovery.rto")
    assert row.verdict == "FAIL"
    assert "bus-leader-kill: the steady state did not hold after healing" in row.why


def test_an_operation_that_was_not_watched_is_inconclusive(evidence: Evidence) -> None:
    trial = evidence.trials[0]
    fault_ns = trial.record.fault_ns or 0
    trial.probes = [probe for probe in trial.probes if probe.operation != "read" or probe.at_ns < fault_ns]
    row = row_of(report_of(evidence), "recovery.rto")
    assert row.verdict == "INCONCLUSIVE"
    assert "too few probes around the fault of read from ams" in row.why


def test_a_store_that_could_not_be_read_is_inconclusive(evidence: Evidence) -> None:
    lost_write(evidence)
    evidence.hops[-1] = Hop(client="pg-primary-kill", hop="postgres", problem="connection refused")
    row = row_of(report_of(evidence), "recovery.rpo_loss")
    assert (row.verdict, "connection refused" in row.why) == ("INCONCLUSIVE", True)


def test_the_claim_allows_a_loss_of_the_last_moment_but_the_gate_does_not(evidence: Evidence) -> None:
    fault_ns = evidence.trials[0].record.fault_ns or 0
    hop = next(hop for hop in evidence.hops if (hop.client, hop.hop) == ("pg-primary-kill", "postgres"))
    for age_ms, verdict in ((50, "PASS"), (150, "FAIL"), (-50, "FAIL")):
        late = [Write("late", fault_ns - age_ms * 1_000_000, outcome, "iad") for outcome in (None, "ok")]
        evidence.ledgers["pg-primary-kill"].writes[-2:] = late
        row = row_of(report_of(evidence), "recovery.rpo_loss")
        assert (row.verdict, row.claim.verdict, row.measured) == ("FAIL", verdict, 1.0)
    assert "late" not in hop.found


def test_a_write_that_an_old_primary_took_beside_the_new_one_is_a_lost_write(evidence: Evidence) -> None:
    how = "patroni-kill: postgres-iad-a takes no write at its own port while postgres-iad-b leads"
    evidence.counts.append(Count(row="recovery.rpo_loss", value=3, unit="of 90", how=how, ok=False))
    row = row_of(report_of(evidence), "recovery.rpo_loss")
    assert row.verdict == "FAIL"
    assert how in row.why
    evidence.counts[-1] = Count(row="recovery.rpo_loss", value=0, unit="of 90", how=how, ok=True)
    assert row_of(report_of(evidence), "recovery.rpo_loss").verdict == "PASS"


def test_totals_that_do_not_add_up_are_proof_of_a_defect(evidence: Evidence) -> None:
    evidence.counts.append(Count(row="bus.exactly_once", value=2, unit="groups", how="roll-ups against sums", ok=False))
    row = row_of(report_of(evidence), "bus.exactly_once")
    assert (row.verdict, row.why) == ("FAIL", "roll-ups against sums: does not hold (2 groups)")


def test_a_double_in_the_stream_alone_is_no_defect_where_consumers_applied_it_once(evidence: Evidence) -> None:
    writes = evidence.ledgers["analytics-kill"].writes
    hops = [hop for hop in evidence.hops if (hop.client, hop.hop) != ("analytics-kill", "stream")]
    evidence.hops = [*hops, Hop(client="analytics-kill", hop="stream", found={write.id: 2 for write in writes})]
    report = report_of(evidence)
    assert row_of(report, "bus.exactly_once").verdict == "PASS"
    ledger = next(ledger for ledger in report.ledgers if ledger.client == "analytics-kill")
    assert ledger.first_doubled == "stream"


def test_the_clocks_of_the_worst_repeat_stand_for_the_experiment(evidence: Evidence) -> None:
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(evidence.trials[0]), type=type(evidence.trials[0]))
    again.name = "pg-primary-kill.2"
    down_for_ever(evidence)
    evidence.trials.append(again)
    evidence.ledgers["pg-primary-kill.2"] = evidence.ledgers["pg-primary-kill"]
    report = report_of(evidence)
    entry = next(entry for entry in report.experiments if entry.id == "pg-primary-kill")
    assert entry.repeats == 2
    assert entry.rto_s.slo_stable is None
    assert row_of(report, "recovery.rto").samples == 4


# Other rows.


def test_a_wrong_count_fails(evidence: Evidence) -> None:
    evidence.counts.append(Count(row="data.countries", value=177, unit="countries", how="count in syd"))
    row = row_of(report_of(evidence), "data.countries")
    assert (row.verdict, row.measured) == ("FAIL", 177)


def test_a_check_that_does_not_hold_fails_although_the_number_is_right(evidence: Evidence) -> None:
    evidence.counts.append(Count(row="data.projects", value=3, unit="USD", how="totals differ", ok=False))
    row = row_of(report_of(evidence), "data.projects")
    assert (row.verdict, row.measured) == ("FAIL", 300)
    assert "totals differ: does not hold (3 USD)" in row.why


def test_rows_that_cannot_be_judged_say_why(evidence: Evidence) -> None:
    report = report_of(evidence)
    whys = {row.id: row.why for row in report.slos if row.verdict == "NOT_JUDGED"}
    assert whys["api.read_p99.jnb"] == "jnb is not part of size core"
    assert whys["security.network"] == "no check of it is built yet"
    assert whys["bus.end_to_end_p99"] == "profile smoke does not judge it"


def test_a_row_that_is_not_judged_counts_for_nothing(evidence: Evidence) -> None:
    slow = Operation(name="bus.end_to_end_p99", latencies=latencies([900.0] * 5000).close())
    load_of(evidence, "bus-ingest", operations=[*evidence.loads[1].operations[:2], slow])
    report = report_of(evidence)
    row = row_of(report, "bus.end_to_end_p99")
    assert (row.verdict, row.claim.verdict) == ("NOT_JUDGED", "FAIL")
    assert report.verdict == "PASS"


@pytest.mark.parametrize(("lowest_us", "verdict"), [(-400, "PASS"), (-4_000_000, "FAIL")])
def test_latencies_that_cannot_be_are_none_of_the_fast_ones(evidence: Evidence, lowest_us: int, verdict: str) -> None:
    [load] = [each for each in evidence.loads if each.scenario == "bus-ingest"]
    operations = [
        msgspec.structs.replace(
            each, latencies=msgspec.structs.replace(each.latencies, negative=800, min_us=lowest_us)
        )
        if each.name == "bus.delivery_p99"
        else each
        for each in load.operations
    ]  # fmt: skip
    load_of(evidence, "bus-ingest", operations=operations)
    row = row_of(report_of(evidence), "bus.delivery_p99")
    assert row.verdict == verdict, row.why
    assert ("rank among the slowest" in row.why) == (verdict == "FAIL")
