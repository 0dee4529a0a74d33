"""The ledger against its hops: literal histories, and ranges against a brute-force model of sets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.evidence import Hop, Outcome, Span, Write
from reports.findings.ledger import check
from reports.model import HopResult

FAULT = 10_000_000_000


def wrote(name: str, *outcomes: Outcome | None, at_s: float = 9.0) -> list[Write]:
    return [Write(name, round(at_s * 1e9), outcome, "iad") for outcome in (None, *outcomes)]


def hop(name: str = "postgres", *, effect: bool = False, **found: int) -> Hop:
    return Hop(client="c", hop=name, effect=effect, found=found)


def only(writes: list[Write], one_hop: Hop) -> HopResult:
    return check("c", writes, [], [one_hop]).hops[0]


def test_an_acknowledged_write_that_is_there_once_is_found() -> None:
    result = only(wrote("a", "ok"), hop(a=1))
    assert (result.acked, result.found, result.lost, result.duplicated, result.unexpected) == (1, 1, 0, 0, 0)


def test_an_acknowledged_write_that_is_not_there_is_lost() -> None:
    result = only(wrote("a", "ok") + wrote("b", "ok"), hop(b=1))
    assert (result.found, result.lost, result.lost_examples) == (1, 1, ["a"])


def test_a_count_of_zero_is_not_there() -> None:
    assert only(wrote("a", "ok"), hop(a=0)).lost == 1


def test_a_write_without_an_answer_is_neither_lost_nor_unexpected() -> None:
    writes = wrote("a", "unknown") + wrote("b", "unknown") + wrote("c")
    result = only(writes, hop(a=1))
    assert (result.acked, result.unknown, result.unknown_found) == (0, 3, 1)
    assert (result.lost, result.unexpected) == (0, 0)


def test_a_write_that_failed_and_is_there_is_unexpected() -> None:
    result = only(wrote("a", "fail"), hop(a=1))
    assert (result.unexpected, result.unexpected_examples) == (1, ["a"])


def test_a_write_that_was_not_recorded_is_unexpected() -> None:
    assert only(wrote("a", "ok"), hop(a=1, stranger=1)).unexpected_examples == ["stranger"]


def test_whatever_is_there_twice_is_doubled_even_if_its_outcome_is_unknown() -> None:
    result = only(wrote("a", "ok") + wrote("b", "unknown"), hop(a=2, b=3))
    assert (result.duplicated, result.duplicated_examples) == (2, ["a", "b"])


def test_the_last_line_with_an_outcome_counts() -> None:
    assert check("c", wrote("a", "unknown", "ok"), [], []).acked == 1
    assert check("c", [*wrote("a", "ok"), Write("a", 0, None, "iad")], [], []).acked == 1
    assert check("c", wrote("a", "ok", "fail"), [], []).failed == 1


def test_a_hop_that_could_not_be_read_proves_nothing() -> None:
    result = only(wrote("a", "ok"), Hop(client="c", hop="postgres", problem="connection refused"))
    assert (result.lost, result.found, result.duplicated) == (None, None, None)
    assert result.problem == "connection refused"


def test_the_first_hop_that_a_write_did_not_reach_is_named() -> None:
    hops = [hop("analytics", effect=True), hop("stream"), hop("outbox", a=1), hop("postgres", a=1)]
    result = check("c", wrote("a", "ok"), [], hops)
    assert [one_hop.hop for one_hop in result.hops] == ["postgres", "outbox", "stream", "analytics"]
    assert result.first_lost == "stream"
    assert result.first_doubled is None


def test_the_first_hop_where_a_write_doubled_is_named_with_its_region() -> None:
    hops = [hop("postgres", a=1), Hop(client="c", hop="cache-invalidator", region="syd", effect=True, found={"a": 2})]
    assert check("c", wrote("a", "ok"), [], hops).first_doubled == "cache-invalidator.syd"


def test_a_lost_write_is_named_with_the_label_that_another_hop_knows() -> None:
    hops = [
        Hop(client="c", hop="outbox", found={"a": 1}, labels={"a": "event e1, projects.2 position 7"}),
        hop("stream"),
    ]
    result = check("c", wrote("a", "ok"), [], hops)
    assert result.hops[1].lost_examples == ["a (event e1, projects.2 position 7)"]


def test_the_age_of_a_loss_is_that_of_its_oldest_write_at_the_fault() -> None:
    writes = wrote("a", "ok", at_s=9.6) + wrote("b", "ok", at_s=9.9) + wrote("c", "ok", at_s=1.0)
    result = check("c", writes, [], [hop(c=1)], FAULT)
    assert result.lost_seconds == pytest.approx(0.4)
    assert result.lost_after_fault == 0


def test_a_lost_write_that_was_sent_after_the_fault_is_counted_apart() -> None:
    result = check("c", wrote("a", "ok", at_s=10.5), [], [hop()], FAULT)
    assert (result.lost_seconds, result.lost_after_fault) == (0.0, 1)


def test_the_age_is_unknown_where_postgres_was_not_read_and_zero_where_nothing_is_lost() -> None:
    unread = Hop(client="c", hop="postgres", problem="no answer")
    assert check("c", wrote("a", "ok"), [], [unread], FAULT).lost_seconds is None
    assert check("c", wrote("a", "ok"), [], [hop("stream")], FAULT).lost_seconds is None
    assert check("c", wrote("a", "ok"), [], [hop(a=1)], FAULT).lost_seconds == 0.0


def test_hops_of_other_clients_play_no_part() -> None:
    assert check("c", wrote("a", "ok"), [], [Hop(client="other", hop="postgres")]).hops == []


def spans(*lines: tuple[int, int, Outcome | None]) -> list[Span]:
    return [Span(1, first, last, outcome, 0) for first, last, outcome in lines]


def test_numbered_writes_are_compared_as_ranges() -> None:
    sent = spans((0, 999, None), (0, 899, "ok"), (900, 949, "fail"))
    one_hop = Hop(
        client="c", hop="stream", spans=[(1, 0, 499), (1, 510, 920), (1, 960, 969)], doubled_spans=[(1, 3, 4)]
    )
    result = check("c", [], sent, [one_hop]).hops[0]
    assert (result.acked, result.unknown) == (900, 50)
    assert (result.lost, result.lost_examples) == (10, ["publisher 1: 500 to 509"])
    assert (result.duplicated, result.duplicated_examples) == (2, ["publisher 1: 3 to 4"])
    assert (result.unexpected, result.unexpected_examples) == (21, ["publisher 1: 900 to 920"])
    assert result.unknown_found == 10


def test_publishers_are_kept_apart() -> None:
    sent = [Span(1, 0, 9, "ok", 0), Span(2, 0, 9, "ok", 0)]
    result = check("c", [], sent, [Hop(client="c", hop="stream", spans=[(2, 0, 9)])]).hops[0]
    assert (result.lost, result.lost_examples) == (10, ["publisher 1: 0 to 9"])


def test_millions_of_numbers_cost_no_more_than_their_ranges() -> None:
    sent = [Span(1, first, first + 999, "ok", 0) for first in range(0, 6_000_000_000, 1_000_000)]
    hops = [Hop(client="c", hop="stream", spans=[(1, 0, 6_000_000_000)], doubled_spans=[])]
    assert check("c", [], sent, hops).hops[0].lost == 0


# Numbers as ranges, against a model of sets.

pairs = st.tuples(st.integers(0, 60), st.integers(0, 12)).map(lambda pair: (pair[0], pair[0] + pair[1]))


def expand(some: list[tuple[int, int]]) -> set[int]:
    return {number for first, last in some for number in range(first, last + 1)}


outcomes: st.SearchStrategy[Outcome | None] = st.sampled_from(["ok", "fail", "unknown", None])
ledgers = st.lists(st.tuples(st.integers(1, 2), pairs, outcomes), max_size=15)
hops = st.lists(st.tuples(st.integers(1, 2), pairs), max_size=10)


def _publisher_numbers(lines: list[tuple[int, tuple[int, int]]]) -> set[tuple[int, int]]:
    return {(publisher, number) for publisher, span in lines for number in expand([span])}


@given(ledgers, hops, hops)
def test_numbered_writes_agree_with_a_model_of_sets(
    lines: list[tuple[int, tuple[int, int], Outcome | None]],
    found: list[tuple[int, tuple[int, int]]],
    doubled: list[tuple[int, tuple[int, int]]],
) -> None:
    def named(*kinds: Outcome | None) -> set[tuple[int, int]]:
        return _publisher_numbers([(publisher, span) for publisher, span, outcome in lines if outcome in kinds])

    acked = named("ok")
    unknown = named(None, "unknown") - acked - named("fail")
    there = _publisher_numbers(found)
    sent = [Span(publisher, *span, outcome, 0) for publisher, span, outcome in lines]
    one_hop = Hop(
        client="c",
        hop="stream",
        spans=[(publisher, *span) for publisher, span in found],
        doubled_spans=[(publisher, *span) for publisher, span in doubled],
    )
    ledger = check("c", [], sent, [one_hop])
    assert ledger.failed == len(named("fail") - acked)
    result = ledger.hops[0]
    assert result.acked == len(acked)
    assert result.unknown == len(unknown)
    assert result.lost == len(acked - there)
    assert result.found == len(acked & there)
    assert result.duplicated == len(_publisher_numbers(doubled))
    assert result.unexpected == len(there - acked - unknown)
    assert result.unknown_found == len(unknown & there)
