"""Pages of lists: in order, without doubles, complete, ending."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.sessions import Initial, Record, Shown
from ledger.sessions.lists import SortedIds
from ledger.tests.histories import create, delete, judged, kinds, page, read, update

THREE = tuple(Initial(id=key, incarnation=1, version=1, lists=("all",)) for key in "abc")


def test_a_whole_walk_is_complete_and_counted() -> None:
    findings = judged(
        page("bob", 10, 11, "a", "b", last=False), page("bob", 12, 13, "c", number=2), initial=THREE
    )  # fmt: skip
    assert findings.sound
    assert (findings.pages, findings.walks, findings.shown) == (2, 1, 3)


@pytest.mark.parametrize(
    "pages",
    [
        pytest.param([page("bob", 10, 11, "a", "c")], id="in the middle"),
        pytest.param([page("bob", 10, 11, "a", "b")], id="the last item"),
        pytest.param([page("bob", 10, 11, "b", "c")], id="the first item"),
        pytest.param([page("bob", 10, 11, "a", last=False), page("bob", 12, 13, "c", number=2)], id="between pages"),
        pytest.param([page("bob", 10, 11, "c", "a", sort="-id")], id="descending"),
        pytest.param([page("bob", 10, 11, "c", last=False, sort="-id"), page("bob", 12, 13, "a", number=2, sort="-id")],
                     id="between descending pages"),
    ],
)  # fmt: skip
def test_an_item_is_left_out(pages: list[Record]) -> None:
    assert kinds(*pages, initial=THREE) == {"page incomplete": 1}


def test_a_page_that_is_not_the_last_ends_at_its_last_item() -> None:
    assert not kinds(page("bob", 10, 11, "a", last=False), initial=THREE)
    assert not kinds(page("bob", 10, 11, "c", last=False, sort="-id"), initial=THREE)


def test_a_page_without_the_pages_before_it_is_only_held_against_its_items() -> None:
    assert not kinds(page("bob", 10, 11, "c", number=2), initial=THREE)
    assert kinds(page("bob", 10, 11, "c", "b", number=2), initial=THREE) == {"page out of order": 1}


def test_what_is_made_or_deleted_meanwhile_may_be_on_it_or_not() -> None:
    made, gone = create("ann", 10, 20, id="d"), delete("eve", 10, 20, id="b")
    for shown in ("abc", "abcd", "ac", "acd"):
        assert not kinds(made, gone, page("bob", 11, 19, *shown), initial=THREE), shown
    unknown = delete("eve", 10, 20, id="b", outcome="unknown")
    assert not kinds(unknown, page("bob", 30, 31, *"ac"), page("bob", 32, 33, *"ac"), initial=THREE)
    assert kinds(made, page("bob", 21, 22, *"abc"), initial=THREE) == {"page incomplete": 1}


def test_a_replica_may_lag_but_not_for_ones_own_writes() -> None:
    made = create("ann", 10, 20, id="d")
    lagging: dict[str, Any] = {"source": "replica"}
    assert not kinds(made, page("bob", 30, 31, *"abc", **lagging), initial=THREE)
    assert kinds(made, page("bob", 31, 32, *"abc", **lagging), initial=THREE) == {"page incomplete": 1}
    own = page("ann", 21, 22, *"abc", fresh=True, **lagging)
    assert kinds(made, own, initial=THREE) == {"own write not seen": 1}
    seen = [read("bob", 21, 22, 1, id="d"), page("bob", 23, 24, *"abc", **lagging)]
    assert kinds(made, *seen, initial=THREE) == {"non-monotonic read": 1}


def test_items_are_judged_as_reads_are() -> None:
    write = update("ann", 10, 20, id="b", base=1)
    old = page("bob", 31, 32, *"abc", source="replica")
    assert kinds(write, old, initial=THREE) == {"stale read": 1}
    other = page("bob", 31, 32, "a", Shown(id="b", incarnation=1, version=2, digest="X"), "c")
    assert kinds(write, other, initial=THREE) == {"wrong contents": 1}
    assert kinds(page("bob", 10, 11, *"abcx"), initial=THREE) == {"garbage read": 1}


def test_not_in_order_or_twice() -> None:
    assert kinds(page("bob", 10, 11, *"acb"), initial=THREE) == {"page out of order": 1}
    assert kinds(page("bob", 10, 11, *"abbc"), initial=THREE) == {"page out of order": 1}
    again = [page("bob", 10, 11, *"ab", last=False), page("bob", 12, 13, *"bc", number=2)]
    assert kinds(*again, initial=THREE) == {"page out of order": 1}
    [twice] = judged(page("bob", 10, 11, *"abbc"), initial=THREE).anomalies
    assert (twice.id, twice.found) == ("b", "it twice")


def test_a_page_without_items_that_names_a_next_one() -> None:
    assert kinds(page("bob", 10, 11, last=False), initial=THREE) == {"walk without end": 1}
    assert not kinds(page("bob", 10, 11))


def test_a_filter_shows_what_always_matches_it() -> None:
    made = create("ann", 1, 2, id="d", lists=("all", "red"))
    red: dict[str, Any] = {"collection": "red"}
    none = page("bob", 21, 22, **red)
    assert kinds(made, none, initial=THREE) == {"page incomplete": 1}
    assert not kinds(made, page("bob", 21, 22, "d", **red), initial=THREE)
    leaves: dict[str, Any] = {"id": "d", "lists": ("all",)}
    for outcome in ("ok", "unknown"):
        for began, ended in ((10, 20), (15, 30)):
            change = update("eve", began, ended, base=1, outcome=outcome, **leaves)
            assert not kinds(made, change, none, initial=THREE)
    assert not kinds(
        made, update("eve", 10, 40, None, outcome="unknown", incarnation=None, **leaves), none, initial=THREE
    )
    stays = update("eve", 10, 20, base=1, id="d", lists=("red", "all"))
    assert kinds(made, stays, none, initial=THREE) == {"page incomplete": 1}
    assert kinds(made, update("eve", 23, 24, base=1, **leaves), none, initial=THREE) == {"page incomplete": 1}


def by_name(key: str, name: str, version: int = 1) -> Shown:
    return Shown(id=key, incarnation=1, version=version, key=name)


def test_a_list_by_another_field() -> None:
    sorted_by: dict[str, Any] = {"sort": "name"}
    first = page("bob", 10, 11, by_name("c", "Ada"), by_name("a", "Bo"), last=False, **sorted_by)
    assert not kinds(first, page("bob", 12, 13, by_name("b", "Bo"), number=2, **sorted_by), initial=THREE)
    assert kinds(first, page("bob", 12, 13, number=2, **sorted_by), initial=THREE) == {"page incomplete": 1}
    behind = page("bob", 12, 13, by_name("b", "Al"), number=2, **sorted_by)
    assert kinds(first, behind, initial=THREE) == {"page out of order": 1}


def test_a_list_in_an_order_that_is_not_ours() -> None:
    by_name_here: dict[str, Any] = {"sort": "name"}
    assert not kinds(page("bob", 10, 11, *"cab", **by_name_here), initial=THREE)
    assert kinds(page("bob", 10, 11, *"cba"[:2], **by_name_here), initial=THREE) == {"page incomplete": 1}
    first = page("bob", 10, 11, *"ca", last=False, **by_name_here)
    assert kinds(first, page("bob", 12, 13, *"ab", number=2, **by_name_here), initial=THREE) == {"page out of order": 1}


def test_an_item_that_moves_in_the_list_may_be_missed_or_met_twice() -> None:
    sorted_by: dict[str, Any] = {"sort": "name"}
    first = page("bob", 10, 20, by_name("a", "Ada"), by_name("c", "Cy"), last=False, **sorted_by)
    second = page("bob", 30, 40, number=2, **sorted_by)
    for change in (
        update("ann", 15, 25, id="b", base=1),
        update("ann", 15, 55, id="b", base=1),
        update("ann", 5, 8, id="b", base=1, outcome="unknown"),
    ):
        assert not kinds(first, second, change, initial=THREE), change
    before = update("ann", 5, 8, id="b", base=1)
    assert kinds(first, second, before, initial=THREE) == {"page incomplete": 1}
    twice = page("bob", 30, 40, by_name("a", "Di", 2), by_name("b", "Ed"), number=2, **sorted_by)
    assert not kinds(first, update("ann", 21, 22, id="a", base=1, digest=None), twice, initial=THREE)


def test_deleted_and_made_anew_it_belongs_on_the_page_again() -> None:
    story = [delete("ann", 10, 11, id="b"), page("bob", 12, 13, *"ac"), create("ann", 14, 15, id="b", incarnation=2)]
    assert kinds(*story, page("bob", 16, 17, *"ac"), initial=THREE) == {"page incomplete": 1}


ids = st.text("ab", max_size=4)


@given(st.lists(ids), st.lists(st.tuples(st.booleans(), ids)), st.none() | ids, st.none() | ids, st.booleans())
def test_sorted_ids_against_a_set(
    begin: list[str], changes: list[tuple[bool, str]], after: str | None, last: str | None, descending: bool
) -> None:
    found, expected = SortedIds(set(begin)), set(begin)
    for adds, key in changes:
        (found.add if adds else found.discard)(key)
        (expected.add if adds else expected.discard)(key)
    within = [
        key for key in sorted(expected)
        if (after is None or (key < after if descending else key > after))
        and (last is None or (key >= last if descending else key <= last))
    ]  # fmt: skip
    assert list(found.page(after, last, descending)) == within


def test_sorted_ids_in_many_chunks() -> None:
    numbers = [f"{number * 7919 % 10_007:05d}" for number in range(10_007)]
    found = SortedIds(numbers[:3_000])
    for number in numbers[3_000:]:
        found.add(number)
    assert list(found.page(None, None)) == sorted(numbers)
    assert list(found.page("05000", "05003")) == ["05001", "05002", "05003"]
    for number in numbers[:9_000]:
        found.discard(number)
    assert list(found.page(None, None)) == sorted(numbers[9_000:])
