"""The bus's replication: by the copies that every node holds, and by what the loss of a node cost."""

from __future__ import annotations

import msgspec
import pytest

from reports.evidence import Count, Hop
from reports.findings.loaded import Evidence
from reports.model import Row
from reports.tests.spoilt_run import POLICY, report_of, row_of

ROW = "bus.replication"
STREAMS = ("COUNTRIES", "PROJECTS", "USERS", "INCIDENTS")


def replicated(evidence: Evidence, copies: int = 3, *, ok: bool = True) -> None:
    """Facts of four streams; of one of them there are so many copies."""
    for stream in STREAMS:
        number = copies if stream == "PROJECTS" else 3
        cells = [Count(row=ROW, value=0, unit="wrong", how=f"{stream} {n}", ok=True) for n in range(3)]
        cells.append(Count(row=ROW, value=0, unit="wrong", how=f"{stream} 3", ok=ok or stream != "PROJECTS"))
        copied = Count(row=ROW, value=number, unit="replicas", how=f"{stream}: copies equal the leader's")
        evidence.counts = [*evidence.counts, copied, *cells]


def judged(evidence: Evidence) -> Row:
    policy = msgspec.structs.replace(POLICY, profiles={"smoke": [ROW]})
    return row_of(report_of(evidence, policy), ROW)


def test_equal_copies_and_a_lost_node_that_cost_nothing_pass(evidence: Evidence) -> None:
    replicated(evidence)
    row = judged(evidence)
    assert (row.verdict, row.claim.verdict, row.measured, row.samples) == ("PASS", "PASS", 3, 20)
    assert "bus-leader-kill: publishes went on, none of" in row.why
    assert "the loss of power is not part of it yet" in row.why


def test_a_run_that_lost_no_node_says_so(evidence: Evidence) -> None:
    replicated(evidence)
    evidence.trials = []
    row = judged(evidence)
    assert (row.verdict, "no node was lost in this run" in row.why) == ("PASS", True)


@pytest.mark.parametrize(("copies", "ok"), [(2, True), (3, False)])
def test_a_copy_that_lacks_something_fails(evidence: Evidence, copies: int, ok: bool) -> None:
    replicated(evidence, copies, ok=ok)
    assert judged(evidence).verdict == "FAIL"


def test_without_the_nodes_own_word_there_is_nothing_to_judge(evidence: Evidence) -> None:
    assert judged(evidence).verdict == "INCONCLUSIVE"


def test_an_acknowledged_write_that_the_stream_lost_with_a_node_fails(evidence: Evidence) -> None:
    replicated(evidence)
    lame = [hop for hop in evidence.hops if (hop.client, hop.hop) == ("bus-leader-kill", "stream")]
    assert lame
    evidence.hops = [_without_two(hop) if hop in lame else hop for hop in evidence.hops]
    row = judged(evidence)
    assert row.verdict == "FAIL"
    assert "2 of" in row.why
    assert "are not in the stream" in row.why


def _without_two(hop: Hop) -> Hop:
    return msgspec.structs.replace(hop, found=dict(list(hop.found.items())[2:]))
