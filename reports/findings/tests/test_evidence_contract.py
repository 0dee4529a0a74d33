"""What a run did not leave, or not as it was closed, is missed by its file, and its rows say so."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec import structs

from reports.evidence import (
    BrowserSession,
    Count,
    Failure,
    Hop,
    Kept,
    TimelineEvent,
    Tries,
    Try,
)
from reports.findings.evidence_contract import Difference, differences
from reports.findings.loaded import Evidence
from reports.model import Report, Verdict
from reports.tests.spoilt_run import CLAIMS, POLICY, load_of, lost_write, row_of
from reports.tests.synthetic_run import at
from reports.verdict.verdict import judge

Spoil = Callable[[Evidence], None]


def report_of(evidence: Evidence) -> Report:
    return judge(evidence, CLAIMS, POLICY)


def one_of(evidence: Evidence) -> Difference:
    (found,) = differences(evidence)
    return found


def test_a_run_that_left_what_it_was_to_leave_differs_in_nothing(evidence: Evidence) -> None:
    assert differences(evidence) == []
    assert report_of(evidence).verdict == "PASS"


# What passed before there was a contract.


def a_test_died(evidence: Evidence) -> None:
    """pytest ended after the first of two tests, and said that all is well of what it knows."""
    evidence.browser = evidence.browser[:1]
    evidence.browser_session = BrowserSession(selected=[evidence.browser[0].id], exit_code=0)


def no_write_probes(evidence: Evidence) -> None:
    for trial in evidence.trials:
        trial.probes = [probe for probe in trial.probes if probe.operation != "write"]


def a_failure_cut_off(evidence: Evidence) -> None:
    """As a reader sees it: the torn line is dropped, and with it the one test that failed."""
    evidence.browser = evidence.browser[:1]
    evidence.kept["e2e/tests.jsonl"] = Kept(lines=1, writers=1, problem="its last line is torn")
    evidence.browser_session = None


def unended(evidence: Evidence) -> None:
    """A third of what was sent ended in no way at all."""
    load_of(evidence, "api-browse", ok=24_480)


def an_engine_killed(evidence: Evidence) -> None:
    """What the other five of six engines left adds up."""
    load = evidence.loads[0]
    share = load.sent * 2 // 3
    seconds = [structs.replace(second, ok=second.ok * 2 // 3) for second in load.seconds]
    ok = sum(second.ok for second in seconds)
    load_of(
        evidence, "api-browse", engines=load.engines[:2], offered=ok, sent=ok, ok=ok, seconds=seconds,
        operations=[each for each in load.operations if each.region != "syd"],
    )  # fmt: skip
    assert share >= ok


def one_hop_left(evidence: Evidence) -> None:
    evidence.hops = [hop for hop in evidence.hops if hop.hop in ("postgres", "stream")]


def a_step_failed(evidence: Evidence) -> None:
    why = "the regions' etcd members do not hear from each other: expected an etcd member in each, found 1"
    evidence.trials[0].record.failed_steps = [why]


def a_misspelt_count(evidence: Evidence) -> None:
    evidence.counts.append(Count(row="bus.exactly_onse", value=3, unit="", how="doubled", ok=False))


def a_count_for_availability(evidence: Evidence) -> None:
    evidence.counts.append(Count(row="availability", value=3, unit="", how="refused", ok=False))


@pytest.mark.parametrize(
    ("spoil", "row", "expected", "says"),
    [
        (a_test_died, "web.e2e", "INCONCLUSIVE", "1 of 2 tests left no result"),
        (no_write_probes, "recovery.rto", "INCONCLUSIVE", "no probe of write from iad"),
        (a_failure_cut_off, "web.e2e", "INCONCLUSIVE", "its last line is torn"),
        (unended, "availability", "INCONCLUSIVE", "36,000 operations were sent, and 24,480 ended"),
        (unended, "api.read_p99.syd", "INCONCLUSIVE", "36,000 operations were sent, and 24,480 ended"),
        (an_engine_killed, "api.read_p99.iad", "INCONCLUSIVE", "results of 2 of 3 processes are in it, none of"),
        (one_hop_left, "bus.exactly_once", "INCONCLUSIVE", "its writes were not looked for there"),
        (a_step_failed, "recovery.rto", "INVALID", "a step of the experiment failed: the regions' etcd members"),
        (a_step_failed, "recovery.rpo_loss", "INVALID", "found 1"),
        (a_count_for_availability, "availability", "INCONCLUSIVE", "a fact for 'availability', which takes none"),
    ],
)
def test_what_used_to_pass_does_not(
    evidence: Evidence, spoil: Spoil, row: str, expected: Verdict, says: str
) -> None:  # fmt: skip
    spoil(evidence)
    report = report_of(evidence)
    found = row_of(report, row)
    assert (found.verdict, says in found.why) == (expected, True), found.why
    assert report.verdict == expected


def test_a_count_that_nothing_reads_is_refused(evidence: Evidence) -> None:
    a_misspelt_count(evidence)
    report = report_of(evidence)
    assert report.verdict == "INCONCLUSIVE"
    assert "facts.jsonl: a fact for 'bus.exactly_onse', which takes none" in report.notes[0]


def test_the_status_of_an_experiment_is_that_of_its_evidence(evidence: Evidence) -> None:
    no_write_probes(evidence)
    assert {each.verdict for each in report_of(evidence).experiments} == {"INCONCLUSIVE"}


def test_a_miss_stays_one_whatever_else_is_missing(evidence: Evidence) -> None:
    lost_write(evidence)
    no_write_probes(evidence)
    report = report_of(evidence)
    assert (row_of(report, "recovery.rpo_loss").verdict, report.verdict) == ("FAIL", "FAIL")


def test_an_error_of_a_phase_is_never_only_a_note(evidence: Evidence) -> None:
    error = TimelineEvent(at_ns=at(70), kind="error", name="bus-ingest", detail="exit code 1")
    evidence.timeline.append(error)
    report = report_of(evidence)
    assert report.verdict == "INCONCLUSIVE"
    for name in ("bus.publish_p99", "bus.exactly_once", "harness.honesty"):
        assert row_of(report, name).verdict == "INCONCLUSIVE"
        assert "bus-ingest: exit code 1" in row_of(report, name).why
    assert row_of(report, "api.read_p99.iad").verdict == "PASS"


def test_an_error_of_another_try_is_that_of_its_phase(evidence: Evidence) -> None:
    error = TimelineEvent(at_ns=at(70), kind="error", name="bus-ingest, try 2", detail="exit code 1")
    evidence.timeline.append(error)
    assert row_of(report_of(evidence), "bus.publish_p99").verdict == "INCONCLUSIVE"


# Each difference, named by its file.


def load_record_gone(evidence: Evidence) -> None:
    evidence.loads = evidence.loads[1:]


def fewer_offered(evidence: Evidence) -> None:
    load = evidence.loads[0]
    seconds = [structs.replace(second, ok=second.ok // 2) for second in load.seconds]
    ok = sum(second.ok for second in seconds)
    load_of(evidence, "api-browse", offered=ok, sent=ok, ok=ok, seconds=seconds)


def seconds_differ(evidence: Evidence) -> None:
    seconds = evidence.loads[0].seconds
    load_of(evidence, "api-browse", seconds=[structs.replace(seconds[0], ok=seconds[0].ok - 1), *seconds[1:]])


def faster_than_its_seconds(evidence: Evidence) -> None:
    load = evidence.loads[0]
    seconds = [structs.replace(second, p50_ms=120.0, p99_ms=150.0) for second in load.seconds]
    load_of(evidence, "api-browse", seconds=seconds)


def failures_differ(evidence: Evidence) -> None:
    failure = Failure(at_ns=at(21), region="iad", operation="list", outcome="fail", detail="503")
    evidence.failures["api-browse"] = [failure]


def another_kind_of_load(evidence: Evidence) -> None:
    load_of(evidence, "bus-ingest", requests=True)


def ledger_lacks_spans(evidence: Evidence) -> None:
    kept = evidence.ledgers["bus-ingest"]
    kept.spans = kept.spans[:-2]


def undeclared(evidence: Evidence) -> None:
    evidence.expected = [each for each in evidence.expected if each.phase != "bus-ingest"]


def no_session(evidence: Evidence) -> None:
    evidence.expected = [each for each in evidence.expected if each.kind != "session"]


def a_probe_missing(evidence: Evidence) -> None:
    del evidence.trials[0].probes[1000]


def probes_cut(evidence: Evidence) -> None:
    trial = evidence.trials[0]
    trial.probes = [probe for probe in trial.probes if probe.at_ns < at(140)]


def fault_moved(evidence: Evidence) -> None:
    evidence.trials[0].record.fault_ns = at(121)


def slo_loosened(evidence: Evidence) -> None:
    evidence.trials[0].record.slo = {"read": 9_000_000}


def a_region_lost(evidence: Evidence) -> None:
    evidence.trials[0].record.lost_region = "syd"


def a_proof_less(evidence: Evidence) -> None:
    evidence.trials[0].record.proofs *= 2


def ledger_differs(evidence: Evidence) -> None:
    evidence.ledgers["pg-primary-kill"].writes = evidence.ledgers["pg-primary-kill"].writes[:-2]


def no_effect_any_more(evidence: Evidence) -> None:
    evidence.hops = [structs.replace(hop, effect=False) if hop.hop == "analytics" else hop for hop in evidence.hops]


def a_test_too_many(evidence: Evidence) -> None:
    evidence.browser.append(structs.replace(evidence.browser[0], id="another"))


def a_test_twice(evidence: Evidence) -> None:
    evidence.browser.append(evidence.browser[0])


def facts_gone(evidence: Evidence) -> None:
    evidence.counts = [count for count in evidence.counts if not count.how.startswith("nobody, action 3")]


def not_sampled(evidence: Evidence) -> None:
    del evidence.host[100]


def sampler_ended(evidence: Evidence) -> None:
    evidence.host = evidence.host[:100]


def another_profile(evidence: Evidence) -> None:
    evidence.run.profile = "load.api-browse"


def a_phase_never_began(evidence: Evidence) -> None:
    evidence.timeline = [event for event in evidence.timeline if event.name != "security"]


def an_end_missing(evidence: Evidence) -> None:
    evidence.timeline = [
        event for event in evidence.timeline if (event.name, event.kind) != ("api-browse", "phase_end")
    ]


def an_error_missing(evidence: Evidence) -> None:
    evidence.timeline = [
        structs.replace(event, detail="failed: exit code 1")
        if (event.name, event.kind) == ("data", "phase_end")
        else event
        for event in evidence.timeline
    ]


def a_file_gone(evidence: Evidence) -> None:
    del evidence.kept["load/api-browse.failures.jsonl"]


def a_writer_killed(evidence: Evidence) -> None:
    evidence.expected = [
        structs.replace(each, files=[structs.replace(file, writers=2) for file in each.files])
        if each.phase == "bus-ingest"
        else each
        for each in evidence.expected
    ]
    for name, kept in evidence.kept.items():
        if name != "ledger/bus-ingest.spans.jsonl" and kept.writers:
            evidence.kept[name] = structs.replace(kept, writers=2)


READS = ("api.read_p99.*", "availability", "harness.honesty")
BULK = ("bus.publish_p99", "bus.throughput", "bus.exactly_once")
CHAOS = ("recovery.rto", "recovery.rpo_loss", "bus.exactly_once")


@pytest.mark.parametrize(
    ("spoil", "path", "says", "rows"),
    [
        (load_record_gone, "load/api-browse.json", "the load left no record that can be read", READS),
        (fewer_offered, "load/api-browse.json", "17,988 operations were offered, at least 34,200", READS),
        (seconds_differ, "load/api-browse.json", "its seconds have 35,999 ok and 0 not", READS),
        (faster_than_its_seconds, "load/api-browse.json", "took 120 ms or more, by its distributions", READS),
        (failures_differ, "load/api-browse.json", "0 did not succeed, 1 are in the list of failures", READS),
        (another_kind_of_load, "load/bus-ingest.json", "not the kind of load that was to be made", BULK),
        (ledger_lacks_spans, "load/bus-ingest.json", "its ledger has 59,000 before they were", BULK),
        (undeclared, "load/bus-ingest.json", "no phase declared it before", ("bus.publish_p99", "bus.throughput")),
        (no_session, "expected/session.json", "nothing was declared before the run", ("*",)),
        (a_probe_missing, "chaos/pg-primary-kill/probes.jsonl", "1 probes of", CHAOS),
        (probes_cut, "chaos/pg-primary-kill/probes.jsonl", "probes of read from iad end 0.6 s too early", CHAOS),
        (fault_moved, "chaos/pg-primary-kill/experiment.json", "the timeline has its fault at another instant", CHAOS),
        (slo_loosened, "chaos/pg-primary-kill/probes.jsonl", "its SLO is not the one that it was to have", CHAOS),
        (a_region_lost, "chaos/pg-primary-kill/probes.jsonl", "it lost a region, which it was not to", CHAOS),
        (a_proof_less, "chaos/pg-primary-kill/experiment.json", "its 2 proofs are not the 1 of the timeline", CHAOS),
        (ledger_differs, "chaos/pg-primary-kill/probes.jsonl", "writes from syd ended ok, its ledger has", CHAOS),
        (no_effect_any_more, "hops/pg-primary-kill.analytics.json", "not the kind of place", CHAOS),
        (a_test_too_many, "e2e/tests.jsonl", "1 tests that were not collected before: another", ("web.e2e",)),
        (a_test_twice, "e2e/tests.jsonl", "1 tests left more than one result", ("web.e2e",)),
        (facts_gone, "facts.jsonl", "49 facts for security.access, at least 50 were to be there", ("security.access",)),
        (not_sampled, "host.jsonl", "the samples of the machine do not follow one another in 1 places", ()),
        (sampler_ended, "host.jsonl", "the machine was not sampled in the last", ()),
        (another_profile, "run.json", "it is not the run that was to be made: profile differ", ("*",)),
        (a_phase_never_began, "timeline.jsonl", "security was to come, and never began", ()),
        (an_end_missing, "timeline.jsonl", "api-browse began and did not end", ()),
        (an_error_missing, "timeline.jsonl", "data failed, and no error says why", ()),
        (a_file_gone, "load/api-browse.failures.jsonl", "it was expected, and is not there", READS),
        (a_writer_killed, "ledger/bus-ingest.spans.jsonl", "1 of 2 processes closed it", BULK),
    ],
)  # fmt: skip
def test_a_difference_is_named_by_its_file_and_its_rows(
    evidence: Evidence, spoil: Spoil, path: str, says: str, rows: tuple[str, ...]
) -> None:
    spoil(evidence)
    found = [each for each in differences(evidence) if each.path == path]
    assert any(says in each.says for each in found), differences(evidence)
    assert all(set(rows) <= set(each.rows) for each in found if says in each.says), found
    assert report_of(evidence).verdict not in ("PASS", "NOT_JUDGED")


def test_a_phase_that_was_skipped_is_not_missed(evidence: Evidence) -> None:
    evidence.timeline = [event for event in evidence.timeline if event.name != "browser"]
    evidence.timeline.append(TimelineEvent(at_ns=at(241), kind="skipped", name="browser", detail="no browser"))
    evidence.expected = [each for each in evidence.expected if each.kind != "browser"]
    evidence.browser, evidence.browser_session = [], None
    evidence.kept = {name: kept for name, kept in evidence.kept.items() if not name.startswith("e2e/")}
    evidence.kept.pop("expected/browser.json")
    assert differences(evidence) == []


def test_a_run_that_did_not_end_is_not_blamed_for_what_the_session_would_have_written(evidence: Evidence) -> None:
    evidence.run.state = "interrupted"
    evidence.kept["timeline.jsonl"] = Kept(lines=3, problem="it was not closed in order")
    evidence.host = evidence.host[:30]
    assert differences(evidence) == []


def test_effects_of_a_region_that_was_lost_are_not_looked_for(evidence: Evidence) -> None:
    trial = evidence.trials[0]
    trial.record.lost_region = "syd"
    evidence.hops = [hop for hop in evidence.hops if not hop.effect or (hop.client, hop.region) != (trial.name, "syd")]
    evidence.expected = [
        structs.replace(each, trial=structs.replace(each.trial, loses_region=True))
        if each.trial is not None and each.trial.name == trial.name
        else each
        for each in evidence.expected
    ]
    assert differences(evidence) == []


def test_a_try_that_was_set_aside_wrote_what_counts(evidence: Evidence) -> None:
    """Unless it broke before; and what it measured is nobody's matter."""
    expected = next(each for each in evidence.expected if each.phase == "bus-ingest")
    hops = [hop for hop in evidence.hops if hop.client == "bus-ingest"]
    names = [file.path for file in expected.files] + [hop.path for hop in expected.hops] + [expected.path]
    kept = {name: Kept(lines=1, writers=1) for name in names}
    aside = Evidence(run=structs.replace(evidence.run, state="running"), expected=[expected], hops=hops, kept=kept)
    evidence.set_aside = {"bus-ingest.1": aside}
    evidence.tries = [
        Tries(
            name="bus-ingest", phase="bus-ingest", kind="load",
            tries=[Try(begin_ns=at(66), end_ns=at(67), set_aside=True)],
        )
    ]  # fmt: skip
    assert differences(evidence) == []
    aside.hops = []
    found = one_of(evidence)
    assert found.path == "tries/bus-ingest.1/evidence/hops/bus-ingest.stream.json"
    assert found.rows == ("bus.exactly_once", "recovery.rpo_loss", "ledger.contents")
    evidence.timeline.append(TimelineEvent(at_ns=at(66.5), kind="error", name="bus-ingest", detail="it broke"))
    assert differences(evidence) == []


def test_a_run_from_before_there_was_a_contract_only_has_to_agree_with_itself(evidence: Evidence) -> None:
    evidence.run.schema = 1
    evidence.expected, evidence.kept, evidence.hops = [], {}, []
    assert differences(evidence) == []
    unended(evidence)
    assert "24,480 ended" in one_of(evidence).says


def test_a_run_of_an_older_schema_is_no_go(evidence: Evidence) -> None:
    evidence.run.schema = 1
    report = report_of(evidence)
    assert report.verdict == "INCONCLUSIVE"
    assert report.notes[0] == "recorded with schema 1, and judged again by the rules of schema 2: no GO"
    assert {row.verdict for row in report.slos} == {"PASS", "NOT_JUDGED"}


def test_a_row_that_the_schema_could_not_hold_is_not_judged(evidence: Evidence) -> None:
    evidence.run.schema = 1
    claims = [structs.replace(claim, since=2) if claim.row == "web.e2e" else claim for claim in CLAIMS]
    row = row_of(judge(evidence, claims, POLICY), "web.e2e")
    assert (row.verdict, row.why) == ("NOT_JUDGED", "recorded before schema 2")


def test_many_differences_of_a_row_are_counted(evidence: Evidence) -> None:
    evidence.hops = [hop for hop in evidence.hops if hop.hop == "postgres"]
    why = row_of(report_of(evidence), "recovery.rpo_loss").why
    assert why.endswith("more")
    assert why.count("were not looked for there") == 3


def test_a_hop_that_was_not_declared_is_no_difference(evidence: Evidence) -> None:
    evidence.hops.append(Hop(client="pg-primary-kill", hop="contents", found={}))
    assert differences(evidence) == []
