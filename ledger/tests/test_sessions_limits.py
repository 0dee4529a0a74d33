"""What the checker refuses, counts, forgets and keeps."""

from __future__ import annotations

import msgspec
import pytest

from ledger.sessions import Initial, Page, Read, Record, SessionChecker, Write, state
from ledger.tests.histories import HERE, SOURCES, absent, create, delete, judged, kinds, page, read, update


def test_records_come_in_the_order_of_their_completion() -> None:
    checker = SessionChecker(SOURCES)
    checker.add(read("bob", 10, 20, 1))
    with pytest.raises(
        ValueError, match="order of their completion, each after its invocation; found one of session ann"
    ):
        checker.add(create("ann", 10, 19))
    with pytest.raises(ValueError, match="from 31 to 30"):
        checker.add(create("ann", 31, 30))


def test_what_is_not_said_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a source of primary, replica, found 'cache'"):
        judged(read("bob", 10, 20, 1, source="cache"))
    with pytest.raises(ValueError, match="expected an acknowledged update of a with incarnation and version"):
        judged(update("ann", 10, 20, base=None))


def test_all_are_counted_and_some_kept() -> None:
    wrong = [read("bob", at, at, 1, "X") for at in range(10, 40)]
    found = judged(*wrong, initial=(HERE,), examples=3)
    assert found.totals == {"wrong contents": 30}
    assert [one.at_ns for one in found.anomalies] == [10, 11, 12]
    [first, *_] = found.anomalies
    assert (first.session, first.source, first.region) == ("bob", "primary", "iad")
    assert (first.expected, first.found) == ("digest A", "digest X")


def test_more_wrong_contents_than_wait_for_the_end_are_counted_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "MISMATCHES_MAX", 5)
    checker = SessionChecker(SOURCES, [HERE])
    for at in range(10, 40):
        checker.add(read("bob", at, at, 1, "X"))
    assert len(checker._state.mismatches) == 5
    assert checker.finish().totals == {"wrong contents": 30}


def test_no_more_absences_wait_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "WAITING_MAX", 5)
    found = judged(*(absent("bob", at, at) for at in range(10, 40)), initial=(HERE,))
    assert (found.totals, found.unjudged) == ({"stale read": 5, "lost update": 1}, 25)
    explained = [(absent("bob", at, at + 4), delete("ann", at + 1, at + 5, incarnation=at // 10)) for at in (10, 20)]
    story = [one for pair in explained for one in pair]
    anew = create("ann", 16, 17, incarnation=2)
    monkeypatch.setattr(state, "WAITING_MAX", 1)
    assert judged(*story, anew, initial=(HERE,)).unjudged == 0


def test_what_was_looked_at_is_counted() -> None:
    found = judged(
        create("ann", 10, 20), read("ann", 21, 22, 1, "A", fresh=True, region="syd"),
        update("ann", 23, 24, base=1, outcome="fail"), update("ann", 25, 26, base=1, outcome="unknown"),
        read("bob", 27, 28, 1, source="replica"), page("bob", 29, 30, "a"), initial=(Initial(id="b"),),
    )  # fmt: skip
    assert found.sound
    assert found.writes == {"ok": 1, "fail": 1, "unknown": 1}
    assert found.reads == {"primary": 1, "replica": 1}
    assert (found.contents, found.own_reads, found.pages, found.walks, found.shown) == (1, {"syd": 1}, 1, 1, 1)
    assert (found.items, found.sessions) == (2, 2)


def test_an_item_that_others_write_too_is_held_against_what_is_known() -> None:
    theirs = (Initial(id="a"),)
    assert not kinds(read("bob", 10, 11, 4, "X"), read("bob", 12, 13, 9, "Y"), absent("bob", 14, 15), initial=theirs)
    assert kinds(read("bob", 10, 11, 4), read("bob", 12, 13, 3, source="replica"), initial=theirs) == {
        "non-monotonic read": 1
    }
    anew = [read("bob", 10, 11, 4, source="replica"), read("bob", 12, 13, 2, incarnation=2)]
    assert kinds(*anew, read("bob", 14, 15, 1, incarnation=2, source="replica"), initial=theirs) == {
        "non-monotonic read": 1
    }
    gone = [read("bob", 10, 11, 4), absent("eve", 14, 15)]
    assert kinds(*gone, read("bob", 16, 17, 4), initial=theirs) == {"write resurrected": 1}
    assert kinds(update("ann", 10, 20, base=4), read("bob", 31, 32, 4), initial=theirs) == {
        "stale read": 1, "lost update": 1,
    }  # fmt: skip


def test_without_a_complete_list_only_what_was_made_before_it_was_seen_is_closed() -> None:
    assert not kinds(read("bob", 10, 11, 1, "X"), complete=False)
    assert not kinds(
        read("bob", 1, 2, 3, "X"), delete("bob", 3, 4), create("ann", 10, 20, incarnation=2), complete=False
    )
    assert kinds(create("ann", 10, 20), read("bob", 30, 31, 2, "X"), complete=False) == {"garbage read": 1}


def many_updates(count: int, keep_ns: int) -> SessionChecker:
    checker = SessionChecker(SOURCES, [HERE], keep_ns=keep_ns)
    for version in range(1, count):
        at = 100 * version
        checker.add(update("ann", at, at + 10, base=version, digest=f"{version + 1}"))
    return checker


def kept(checker: SessionChecker) -> int:
    one = checker._state.items["a"].last
    assert one is not None
    assert one.older is not None
    return len(one.older)


def test_versions_are_kept_for_a_while_only() -> None:
    assert kept(many_updates(5_000, keep_ns=1_000)) <= 128
    assert kept(many_updates(5_000, keep_ns=10**9)) == 4_999


def test_what_is_pruned_is_stale_for_everybody_and_was_without_a_gap() -> None:
    checker = many_updates(1_000, keep_ns=1_000)
    checker.add(read("bob", 200_000, 200_001, 7, "not compared"))
    checker.add(read("bob", 200_002, 200_003, 1_000, "1000"))
    assert checker.finish().totals == {"stale read": 1}


def test_a_gap_is_found_though_it_is_pruned() -> None:
    checker = many_updates(100, keep_ns=1_000)
    checker.add(update("ann", 20_000, 20_001, base=None, version=102))
    for version in range(102, 500):
        checker.add(update("ann", 100 * version + 20_000, 100 * version + 20_001, base=version))
    assert checker.finish().totals == {"doubled write": 1}


def test_a_write_that_is_acknowledged_after_its_version_was_pruned_is_no_gap() -> None:
    checker = SessionChecker(SOURCES, [HERE], keep_ns=1_000)
    for version in (*range(1, 50), *range(51, 500)):
        checker.add(update("ann", 100 * version, 100 * version + 10, base=version))
    checker.add(update("eve", 4_995, 60_000, base=50))
    assert checker.finish().sound


def test_sessions_remember_what_is_newer_than_the_bounds() -> None:
    """A thousand items that never change are read again and again."""
    there = [Initial(id=f"{number}", incarnation=1, version=1) for number in range(1_000)]
    checker = SessionChecker(SOURCES, there, keep_ns=100)
    for at in range(10, 2_010):
        checker.add(read("bob", at, at, 1, id=f"{at % 1_000}"))
    assert not checker._state.sessions["bob"].seen
    for at in range(3_000, 5_000):
        checker.add(create("bob", at, at, id=f"own-{at}"))
    assert len(checker._state.sessions["bob"].own) <= state.SWEEP_AT + 111
    checker.forget("bob")
    assert not checker._state.sessions
    assert checker.finish().sound


def test_pages_do_not_look_at_what_is_gone_again_and_again() -> None:
    there = [Initial(id=key, incarnation=1, version=1, lists=("all",)) for key in "abc"]
    checker = SessionChecker(SOURCES, there)
    checker.add(page("bob", 10, 11, *"abc"))
    checker.add(delete("ann", 12, 13, id="b"))
    checker.add(page("bob", 14, 15, *"ac"))
    assert list(checker._state.lists.ids("all").page(None, None)) == ["a", "c"]
    assert checker.finish().sound


def test_records_are_lists_in_json() -> None:
    records: list[Record] = [create("ann", 10, 20), absent("bob", 21, 22), page("bob", 23, 24, "a")]
    decoder = msgspec.json.Decoder(Write | Read | Page)
    for record in records:
        line = msgspec.json.encode(record)
        assert line.startswith(b'["')
        assert decoder.decode(line) == record
