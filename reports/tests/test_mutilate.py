"""A good run's folder, spoilt in every way that `mutilate` knows, one at a time: nothing that takes evidence away ends
better than INCONCLUSIVE, and nothing that changes a number passes unnoticed.

Half of it is done before sealing: a faulty writer would have closed what it wrote. That is found by what was declared
before, or by another count of the same thing. What nothing can find is in `UNNOTICED`, with its reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from zlib import crc32

import pytest

from reports.evidence import Count, RunFolder
from reports.evidence.closing import CLOSED
from reports.evidence.folder import EvidenceError
from reports.findings.loaded import Evidence, load
from reports.model import Report
from reports.tests.mutate import Mutation, mutations, seal, spoil
from reports.tests.spoilt_run import CLAIMS, POLICY
from reports.tests.synthetic_run import Story, write_run
from reports.verdict.verdict import judge

EXPERIMENT = "pg-primary-kill"
PROBE_HZ = 5.0
"""As a small machine probes a large system: a quarter of the evidence, and of the time that it takes here."""
OFTEN = 6
"""Of the kinds of mutations one in so many is made each time, and all whole files; the rest with `--full`."""

_WHOLE = (": deleted", ": emptied", ": cut in half", ": end cut off", ": second half gone")
HARMLESS = {
    f"{CLOSED}: reversed": "it says what was closed, not when",
    f"{CLOSED}: *moved behind the next": "it says what was closed, not when",
    f"{CLOSED}: of *.json: doubled": "a record that was closed twice with the same hash is that record",
    f"{CLOSED}: of *.failures.jsonl: doubled": "a list to which nothing was added is empty however often it was closed",
}
"""Pattern of a kind -> why a change of what was closed changes nothing."""

_PROBER = "what one probe measured is known to the prober alone; a clock takes more, and their schedule is known"
_SAMPLER = "what one second of the machine was like is known to the sampler alone; it may excuse a miss, never hide it"
_GENERATOR = "known to the generator alone; it may make a row INVALID, never hide a miss"
_SHOWN = "shown, and nothing is judged by it"
_ORDER = "the order of its lines or entries means nothing: they are read by their instants, their ids or their names"
_LESS = "a declaration that asks for less takes nothing away: what it no longer asks for is there, and counts"
_FACT = "what was looked at is known to the check alone; whether it holds, and how often, is known twice"
_WORSE = "more failures than the load had make its p99 worse"
_TWICE = "the bus may hold a message twice: consumers drop the second"
_JUDGED = "what was compared is known to the judge of sessions alone; the history beside it can be judged again"
_NS = "a nanosecond"

UNNOTICED = {
    "consistency/*.json: *": _JUDGED,
    "chaos/*/experiment.json: title replaced": _SHOWN,
    "chaos/*/experiment.json: *_ns one more": _NS,
    "chaos/*/experiment.json: proof_declared turned round": _SHOWN,
    "chaos/*/probes.jsonl: reversed": _ORDER,
    "chaos/*/probes.jsonl: *: 0 one more": _NS,
    "chaos/*/probes.jsonl: *: [3-6] *": _PROBER,
    "e2e/session.json: said *": _SHOWN,
    "e2e/session.json: selected reversed": _ORDER,
    "e2e/tests.jsonl: reversed": _ORDER,
    "e2e/tests.jsonl: a line: duration_s *": _SHOWN,
    "e2e/tests.jsonl: a line: detail replaced": _SHOWN,
    "e2e/tests.jsonl: a line: expected_to_fail turned round": "a test that failed counts as failed either way",
    "expected/*.json: * reversed": _ORDER,
    "expected/*.json: * last doubled": "what is asked for twice is asked for",
    "expected/*.json: * gone": _LESS,
    "expected/*.json: *.writers to zero": _LESS,
    "expected/*.json: *.lines one more": "at least a line is there",
    "expected/*.json: *.operations *": _LESS,
    "expected/*.json: facts.* to zero": _LESS,
    "expected/*.json: kind replaced": "only the session's own is read",
    "expected/*.json: rows.* replaced": "a difference would then be the run's alone, which is no GO either",
    "expected/*.json: trial.steady turned round": _LESS,
    "expected/*.json: trial.loses_region turned round": _LESS,
    "expected/session.json: run.record.state replaced": "how a run ends is not known beforehand",
    "expected/session.json: run.sampled turned round": _LESS,
    "facts.jsonl: reversed": _ORDER,
    "facts.jsonl: *moved behind the next": _ORDER,
    "facts.jsonl: *doubled": "a fact that is there twice says what it said",
    "facts.jsonl: *: unit replaced": _FACT,
    "facts.jsonl: *: how replaced": _FACT,
    "hops/*.outbox.json: labels*": _SHOWN,
    "hops/*.stream.json: spans last doubled": "the same numbers, found at the same place",
    "hops/*.stream.json: found.* one more": _TWICE,
    "hops/*.stream.json: found.* tenfold": _TWICE,
    "host.jsonl: a line: at_ns one more": _NS,
    "host.jsonl: a line: [!ai]*": _SAMPLER,
    "host.jsonl: a line: allowed *": _SAMPLER,
    "ledger/*.jsonl: reversed": _ORDER,
    "ledger/*.jsonl: *moved behind the next": _ORDER,
    "ledger/*.spans.jsonl: span *: 4 one more": _NS,
    "ledger/*.jsonl: write *: 1 one more": _NS,
    "load/*.json: end_ns one more": _NS,
    "load/*.json: warmup_s *": _SHOWN,
    "load/*.json: offered one more": "one operation of thousands that was offered and not sent",
    "load/*.json: offered_per_s one more": "within what chance makes of a rate",
    "load/*.json: schedule_lag.*": _GENERATOR,
    "load/*.json: operations reversed": _ORDER,
    "load/*.json: operations.*.latencies.failed one more": _WORSE,
    "load/*.json: operations.*.latencies.unknown one more": _WORSE,
    "load/*.json: operations.*.latencies.negative one more": _SHOWN,
    "load/*.json: operations.*.latencies.min_us one more": _SHOWN,
    "load/*.json: seconds reversed": _ORDER,
    "load/*.json: seconds.*.at_ns one more": _NS,
    "load/*.json: seconds.*.p?*_ms one more": "one second of many: the whole is judged by its own distribution",
    "load/*.json: settings*": _SHOWN,
    "load/*.json: engines reversed": _ORDER,
    "load/*.json: engines last doubled": "a process that is named twice is named",
    "load/*.json: rates*": "no row of this profile; where one is judged, it is INCONCLUSIVE without its rate",
    "timeline.jsonl: reversed": _ORDER,
    "timeline.jsonl: phase_end: moved behind the next": _ORDER,
    "timeline.jsonl: phase_*: at_ns *": "when a phase began is shown; what it measured has its own instants",
    "timeline.jsonl: *: detail *": _SHOWN,
}
"""Pattern of a kind -> why nothing finds it if the one that writes it writes it so, and what harm it does."""


def _matching(kind: str, patterns: dict[str, str]) -> list[str]:
    return [pattern for pattern in patterns if fnmatchcase(kind, pattern)]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    story = Story(requests=36_000, seconds=36, experiments=[EXPERIMENT], probe_hz=PROBE_HZ)
    return write_run(tmp_path_factory.mktemp("mutilated") / "run", story)


def _kinds(folder: RunFolder) -> list[Mutation]:
    """One mutation of each kind."""
    found: dict[str, Mutation] = {}
    for each in mutations(folder.evidence):
        found.setdefault(each.kind, each)
    return list(found.values())


def _some(kinds: list[Mutation]) -> list[Mutation]:
    """Whole files, and one in `OFTEN` of the others, always the same."""
    return [each for each in kinds if each.kind.endswith(_WHOLE) or crc32(each.kind.encode()) % OFTEN == 0]


def _rest(kinds: list[Mutation]) -> list[Mutation]:
    some = {each.kind for each in _some(kinds)}
    return [each for each in kinds if each.kind not in some]


def _evidence(folder: RunFolder) -> Evidence | None:
    """None if nothing can be said of the run."""
    try:
        return load(folder)
    except EvidenceError:
        return None


def _report(evidence: Evidence) -> Report:
    return judge(evidence, CLAIMS, POLICY)


def _passing(folder: RunFolder, chosen: list[Mutation], *, sealed: bool) -> Iterator[Mutation]:
    """The mutations after which the run still passes; those that change nothing of what is read are none."""
    untouched = load(folder)
    for each in chosen:
        restore = spoil(folder.evidence, each)
        try:
            if not sealed:
                seal(folder.evidence, each.path)
            found = _evidence(folder)
        finally:
            restore()
        if found is not None and found != untouched and _report(found).verdict in ("PASS", "NOT_JUDGED"):
            yield each


def _after_sealing(folder: RunFolder, chosen: list[Mutation]) -> None:
    passed = [each.kind for each in _passing(folder, chosen, sealed=True)]
    assert [kind for kind in passed if not _matching(kind, HARMLESS)] == []


def _before_sealing(folder: RunFolder, chosen: list[Mutation]) -> set[str]:
    """The patterns that were needed."""
    mine = [each for each in chosen if each.path != CLOSED]
    passed = [each.kind for each in _passing(folder, mine, sealed=False)]
    assert [kind for kind in passed if not _matching(kind, UNNOTICED)] == []
    return {pattern for kind in passed for pattern in _matching(kind, UNNOTICED)}


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """As much as can be is missed at once, each with all the evidence of it."""
    story = Story(
        requests=36_000, seconds=36, experiments=[EXPERIMENT, "analytics-kill"], slow_ms={"syd": 130.0}, refused=100,
        lost=3, doubled=2, probe_hz=PROBE_HZ, outage_s={EXPERIMENT: 60.0}, browser="failed",
    )  # fmt: skip
    folder = write_run(tmp_path_factory.mktemp("mutilated") / "bad", story)
    with folder.facts() as facts:
        facts.add(Count(row="security.access", value=1, unit="wrong", how="reader creates a project", ok=False))
        facts.add(Count(row="data.projects", value=2, unit="groups", how="totals reconcile", ok=False))
    return folder


def _verdicts(report: Report) -> dict[str, str]:
    return {row.id: row.verdict for row in report.slos}


def _hidden(folder: RunFolder, chosen: list[Mutation]) -> list[str]:
    """The mutations that make a row pass that was a FAIL, and which row that is."""
    missed = [row for row, verdict in _verdicts(_report(load(folder))).items() if verdict == "FAIL"]
    assert missed == [
        "api.read_p99.syd", "availability", "recovery.rto", "recovery.rpo_loss", "bus.exactly_once", "web.e2e",
        "data.projects", "security.access",
    ]  # fmt: skip
    found = []
    for each in chosen:
        restore = spoil(folder.evidence, each)
        try:
            seal(folder.evidence, each.path)
            evidence = _evidence(folder)
        finally:
            restore()
        now = {} if evidence is None else _verdicts(_report(evidence))
        found += [f"{each.kind} hides {row}" for row in missed if now.get(row) in ("PASS", "NOT_JUDGED")]
    return found


def test_the_run_is_a_good_one_and_there_are_enough_ways_to_spoil_it(good: RunFolder) -> None:
    assert _report(load(good)).verdict == "PASS"
    kinds = _kinds(good)
    assert len(kinds) > 1000
    assert 2 * len(_some(kinds)) > 500
    assert {each.path.split("/")[0] for each in kinds} == {
        "chaos", "closed.jsonl", "consistency", "e2e", "expected", "facts.jsonl", "hops", "host.jsonl", "ledger",
        "load", "run.json", "timeline.jsonl",
    }  # fmt: skip


def test_what_is_altered_after_it_was_closed_is_found(good: RunFolder) -> None:
    _after_sealing(good, _some(_kinds(good)))


def test_what_a_faulty_writer_closes_is_found_or_known(good: RunFolder) -> None:
    _before_sealing(good, _some(_kinds(good)))


def test_what_nothing_can_find_hides_no_miss(bad: RunFolder) -> None:
    known = [each for each in _some(_kinds(bad)) if each.path != CLOSED and _matching(each.kind, UNNOTICED)]
    assert len(known) > 30
    assert _hidden(bad, known) == []


@pytest.mark.full
def test_the_rest_that_is_altered_after_it_was_closed_is_found(good: RunFolder) -> None:
    _after_sealing(good, _rest(_kinds(good)))


@pytest.mark.full
def test_the_rest_that_a_faulty_writer_closes_is_found_or_known(good: RunFolder) -> None:
    assert _before_sealing(good, _kinds(good)) == set(UNNOTICED), "none is known that is found"


@pytest.mark.full
def test_the_rest_of_what_nothing_can_find_hides_no_miss(bad: RunFolder) -> None:
    known = [each for each in _rest(_kinds(bad)) if each.path != CLOSED and _matching(each.kind, UNNOTICED)]
    assert _hidden(bad, known) == []
