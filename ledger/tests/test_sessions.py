"""What answers of single items may show, and what not: for each rule the smallest history that breaks it, beside one
that comes close and is right."""

from __future__ import annotations

from typing import Any

from ledger.sessions import Initial
from ledger.tests.histories import HERE, absent, create, delete, judged, kinds, read, update

# Writes under way, and writes of unknown outcome.


def test_a_read_that_overlaps_a_write_may_show_either() -> None:
    write = update("ann", 10, 20, base=1)
    assert not kinds(write, read("bob", 11, 19, 1, "A"), read("eve", 12, 18, 2, "B"), initial=(HERE,))
    assert not kinds(delete("ann", 10, 20), absent("bob", 11, 14), read("eve", 13, 15, 1), initial=(HERE,))


def test_what_happens_at_one_instant_is_in_no_order() -> None:
    write = update("ann", 10, 20, base=1)
    assert not kinds(write, read("bob", 10, 10, 2, "B"), initial=(HERE,))
    assert not kinds(write, read("bob", 20, 20, 1, "A"), initial=(HERE,))
    unknown = update("ann", 10, 20, base=1, outcome="unknown")
    assert not kinds(unknown, read("bob", 10, 10, 2, "B"), initial=(HERE,))
    for ended in (10, 20):
        assert not kinds(delete("ann", 10, ended), absent("bob", 10, 10), initial=(HERE,))
    assert not kinds(delete("ann", 10, 20), read("bob", 20, 20, 1), initial=(HERE,))
    refused = update("bob", 5, 10, base=1, outcome="fail", conflict=True)
    assert not kinds(refused, write, initial=(HERE,))


def test_a_write_of_unknown_outcome_may_happen_or_not_and_late() -> None:
    write = update("ann", 10, 20, base=1, outcome="unknown")
    assert not kinds(write, read("bob", 30, 31, 1, "A"), initial=(HERE,))
    assert not kinds(write, read("bob", 30, 31, 1, "A"), read("bob", 40, 41, 2, "B"), initial=(HERE,))
    assert not kinds(write, absent("bob", 30, 31), delete("eve", 21, 22, outcome="unknown"), initial=(HERE,))


def test_what_was_seen_of_an_unknown_write_has_happened() -> None:
    write = update("ann", 10, 20, base=1, outcome="unknown")
    seen = read("bob", 30, 31, 2, "B")
    assert kinds(write, seen, read("eve", 40, 41, 1, "A"), initial=(HERE,)) == {"stale read": 1}
    # Seen while it was under way: it ends unknown only afterwards.
    early = read("bob", 12, 13, 2, "B")
    assert kinds(write, early, read("eve", 14, 15, 1, "A"), initial=(HERE,)) == {"stale read": 1}
    assert kinds(write, early, read("eve", 24, 25, 1, "A"), initial=(HERE,)) == {"stale read": 1}


def test_unknown_outcomes_are_counted_and_those_that_took_effect() -> None:
    findings = judged(
        update("ann", 10, 20, base=1, outcome="unknown"), read("bob", 30, 31, 2, "B"),
        update("ann", 40, 50, base=2, outcome="unknown"), read("bob", 60, 61, 2, "B"), initial=(HERE,),
    )  # fmt: skip
    assert findings.sound
    assert findings.legal == {"unknown outcome": 2, "unknown outcome, took effect": 1}


# Lost update.


def test_two_acknowledged_updates_on_one_base() -> None:
    assert kinds(update("ann", 10, 20, base=1), update("bob", 12, 22, base=1), initial=(HERE,)) == {"lost update": 1}
    either = [read("eve", 30, 31, 2, "B"), read("eve", 32, 33, 2, "C")]
    both = [update("ann", 10, 20, base=1), update("bob", 12, 22, base=1, digest="C")]
    assert kinds(*both, *either, initial=(HERE,)) == {"lost update": 1}, "either may be there now"
    # Acknowledged out of order, but one after the other.
    assert not kinds(update("ann", 10, 30, base=1), update("bob", 12, 22, base=2), initial=(HERE,))


def test_an_update_that_jumps_over_anothers() -> None:
    """Its If-Match should have been refused."""
    assert kinds(
        update("ann", 10, 20, base=1), update("bob", 12, 22, base=1, version=3, digest="C"), initial=(HERE,)
    ) == {"lost update": 1}  # fmt: skip


def test_an_acknowledged_version_that_goes_back() -> None:
    back = update("bob", 50, 60, base=3, version=2)
    assert kinds(
        update("ann", 10, 20, base=1), update("ann", 30, 40, base=2), back, initial=(HERE,)
    ) == {"lost update": 1}  # fmt: skip
    assert kinds(update("ann", 10, 20, base=4, version=4), initial=(Initial(id="a"),)) == {"lost update": 1}


def test_an_update_and_a_delete_on_one_base() -> None:
    assert kinds(update("ann", 10, 20, base=1), delete("bob", 12, 22, base=1), initial=(HERE,)) == {"lost update": 1}
    assert kinds(delete("bob", 12, 22, base=1), update("ann", 10, 30, base=1), initial=(HERE,)) == {"lost update": 1}
    assert not kinds(update("ann", 10, 20, base=1), delete("bob", 12, 22, base=2), initial=(HERE,))
    assert kinds(delete("ann", 10, 20, base=1), delete("bob", 12, 22, base=1), initial=(HERE,)) == {"lost update": 1}


def test_an_update_that_is_gone_until_the_end() -> None:
    gone = judged(
        update("ann", 10, 20, base=1), read("bob", 30, 31, 1), read("eve", 40, 41, 1), initial=(HERE,)
    )  # fmt: skip
    assert gone.totals == {"stale read": 2, "lost update": 1}
    [lost] = [anomaly for anomaly in gone.anomalies if anomaly.kind == "lost update"]
    assert (lost.id, lost.incarnation, lost.version, lost.session, lost.at_ns) == ("a", 1, 2, "bob", 31)
    # It was there for a long time: one answer without it is stale.
    seen = [read("bob", 40, 41, 2, "B"), read("bob", 42, 43, 1)]
    assert kinds(update("ann", 10, 20, base=1), *seen, initial=(HERE,)) == {"stale read": 1}
    # It shows again: those in between were stale.
    assert kinds(
        update("ann", 10, 20, base=1), read("bob", 30, 31, 1), read("eve", 40, 41, 1), read("eve", 50, 51, 2),
        initial=(HERE,),
    ) == {"stale read": 2}  # fmt: skip


def test_an_item_that_is_gone_until_the_end() -> None:
    made = create("ann", 10, 20)
    assert kinds(made, absent("bob", 30, 31), absent("eve", 40, 41)) == {"stale read": 2, "lost update": 1}
    assert kinds(made, absent("bob", 30, 31), read("eve", 40, 41, 1)) == {"stale read": 1}
    assert not kinds(made, delete("eve", 29, 50, outcome="unknown"), absent("bob", 30, 31), absent("eve", 51, 52))


def test_an_item_that_another_create_replaces() -> None:
    again = create("bob", 30, 40, incarnation=2)
    assert kinds(create("ann", 10, 20), again) == {"lost update": 1}
    assert not kinds(create("ann", 10, 20), delete("eve", 25, 50), again)


def test_a_conflict_on_a_version_that_nobody_changed() -> None:
    refused = update("ann", 30, 40, base=2, outcome="fail", conflict=True)
    own = update("ann", 10, 20, base=1)
    assert kinds(own, refused, initial=(HERE,)) == {"lost update": 1}
    for reason in (
        update("bob", 35, 50, base=2),
        update("bob", 35, 50, base=None, version=3),
        update("bob", 35, 50, base=2, outcome="unknown"),
        update("bob", 5, 6, base=None, incarnation=None, outcome="unknown"),
        delete("bob", 35, 50, outcome="unknown"),
        delete("bob", 35, 50, incarnation=None),
    ):
        assert not kinds(own, refused, reason, initial=(HERE,)), reason
    too_late = update("bob", 41, 50, base=2)
    assert kinds(own, refused, too_late, initial=(HERE,)) == {"lost update": 1}
    assert judged(own, refused, update("bob", 35, 50, base=2), initial=(HERE,)).legal == {"conflict refused": 1}


# Dirty and garbage reads, wrong contents.


def test_contents_of_a_write_that_failed() -> None:
    failed = update("ann", 10, 20, base=1, digest="X", outcome="fail")
    assert kinds(failed, read("bob", 12, 13, 2, "X"), initial=(HERE,)) == {"dirty read": 1}
    assert kinds(create("ann", 10, 20, outcome="fail"), read("bob", 12, 13, 1, "A")) == {"dirty read": 1}
    happened = [update("eve", 1, 40, base=1, outcome="unknown"), read("eve", 8, 9, 2, "B")]
    assert kinds(*happened, failed, read("bob", 12, 13, 2, "X"), initial=(HERE,)) == {"dirty read": 1}


def test_contents_that_were_seen_and_then_never_happened() -> None:
    unknown = update("ann", 10, 20, base=1, digest="X", outcome="unknown")
    instead = update("bob", 14, 19, base=1, digest="B")
    assert kinds(unknown, read("eve", 12, 13, 2, "X"), instead, initial=(HERE,)) == {"dirty read": 1}
    assert not kinds(unknown, read("eve", 20, 21, 2, "B"), instead, initial=(HERE,))


def test_what_nobody_wrote() -> None:
    assert kinds(read("bob", 10, 11, 2, "X"), initial=(HERE,)) == {"garbage read": 1}
    assert kinds(read("bob", 10, 11, 1, "X", id="nobody's"), initial=(HERE,)) == {"garbage read": 1}
    assert kinds(read("bob", 10, 11, 1, "A", incarnation=2), initial=(HERE,)) == {"garbage read": 1, "stale read": 1}


def test_what_is_only_written_afterwards() -> None:
    later = update("ann", 12, 20, base=1)
    for digest in ("B", "X", None):
        assert kinds(read("bob", 10, 11, 2, digest), later, initial=(HERE,)) == {"garbage read": 1}


def test_the_right_version_with_other_contents() -> None:
    assert kinds(update("ann", 10, 20, base=1), read("bob", 30, 31, 2, "A"), initial=(HERE,)) == {"wrong contents": 1}
    assert kinds(read("bob", 30, 31, 1, "X"), initial=(HERE,)) == {"wrong contents": 1}
    assert kinds(read("bob", 11, 12, 2, "X"), update("ann", 10, 20, base=1), initial=(HERE,)) == {"wrong contents": 1}


def test_one_version_with_two_contents() -> None:
    one, other = read("bob", 30, 31, 7, "X"), read("eve", 32, 33, 7, "Y")
    assert kinds(one, other, initial=(Initial(id="a"),)) == {"wrong contents": 1}
    assert not kinds(one, read("eve", 32, 33, 7, "X"), initial=(Initial(id="a"),))


# Stale reads.


def test_older_than_the_bound() -> None:
    write = update("ann", 10, 20, base=1)
    assert kinds(write, read("bob", 31, 32, 1, source="replica"), initial=(HERE,)) == {"stale read": 1}
    within = judged(write, read("bob", 30, 31, 1, source="replica"), initial=(HERE,))
    assert within.sound
    assert within.legal == {"stale read within the bound": 1}
    assert kinds(write, read("bob", 21, 22, 1), read("bob", 23, 24, 2), initial=(HERE,)) == {"stale read": 1}


def test_what_was_there_before_may_be_news_for_a_replica() -> None:
    just_before = Initial(id="a", incarnation=1, version=4, since_ns=10)
    for shown in (read("bob", 20, 21, 3, source="replica"), absent("bob", 20, 21, source="replica")):
        assert not kinds(shown, initial=(just_before,))
    assert kinds(read("bob", 21, 22, 3, source="replica"), initial=(just_before,)) == {"stale read": 1}


def test_an_item_that_a_replica_still_lacks_or_still_has() -> None:
    made = create("ann", 10, 20)
    assert judged(made, absent("bob", 30, 31, source="replica")).legal == {"stale read within the bound": 1}
    assert kinds(made, absent("bob", 31, 32, source="replica")) == {"stale read": 1}
    gone = delete("ann", 10, 20)
    within = judged(gone, read("bob", 30, 31, 1, source="replica"), initial=(HERE,))
    assert (within.totals, within.legal) == ({}, {"stale read within the bound": 1})


def test_a_create_that_was_seen_while_under_way() -> None:
    made = create("ann", 10, 20)
    assert kinds(made, read("bob", 11, 12, 1), absent("eve", 13, 14)) == {"stale read": 1}
    assert not kinds(made, read("bob", 11, 12, 1), absent("eve", 11, 14))


# Sessions.


def test_a_session_goes_back() -> None:
    write, seen = update("ann", 10, 20, base=1), read("bob", 21, 22, 2, source="replica")
    back = read("bob", 23, 24, 1, source="replica")
    assert kinds(write, seen, back, initial=(HERE,)) == {"non-monotonic read": 1}
    assert not kinds(write, seen, read("eve", 23, 24, 1, source="replica"), initial=(HERE,))
    assert not kinds(write, seen, read("bob", 22, 24, 1, source="replica"), initial=(HERE,))


def test_answers_that_overlap_within_a_session_are_held_against_those_before() -> None:
    changes = [update("ann", 10, 20, base=1), update("ann", 21, 30, base=2, digest="C")]
    first, overlapped = read("bob", 21, 22, 2, source="replica"), read("bob", 25, 33, 3)
    for version, expected in ((3, {}), (2, {}), (1, {"non-monotonic read": 1})):
        last = read("bob", 31, 34, version, source="replica")
        assert kinds(*changes, first, overlapped, last, initial=(HERE,)) == expected


def test_an_answer_that_overlaps_a_newer_one_is_not_taken_for_it() -> None:
    story = [create("ann", 10, 20), delete("ann", 21, 22), create("ann", 23, 24, incarnation=2)]
    new, overlapping = read("bob", 25, 30, 1, incarnation=2), read("bob", 26, 31, 1, source="replica")
    again = read("bob", 32, 33, 1, source="replica")
    assert not kinds(*story, new, overlapping)
    assert kinds(*story, new, overlapping, again) == {"non-monotonic read": 1}


def test_a_session_goes_back_to_before_the_create_or_the_delete() -> None:
    made = create("ann", 10, 20)
    seen, nothing = read("bob", 21, 22, 1), absent("bob", 23, 24, source="replica")
    assert kinds(made, seen, nothing) == {"non-monotonic read": 1}
    back = [absent("bob", 41, 42, source="replica"), read("bob", 43, 44, 1, source="replica")]
    assert kinds(made, delete("ann", 30, 40), *back) == {"non-monotonic read": 1}
    just_made = create("ann", 20, 31)
    assert kinds(just_made, delete("ann", 32, 40), read("bob", 32, 33, 1), *back) == {"non-monotonic read": 1}
    assert not kinds(just_made, delete("ann", 32, 40), *back), "at first the replica may not have known it"


def test_a_session_goes_back_to_the_incarnation_before() -> None:
    story = [create("ann", 10, 20), delete("ann", 21, 22), create("ann", 23, 24, incarnation=2)]
    old: dict[str, Any] = {"source": "replica"}
    new: dict[str, Any] = {"incarnation": 2}
    assert kinds(*story, read("bob", 25, 26, 1, **new), read("bob", 27, 28, 1, **old)) == {"non-monotonic read": 1}
    assert not kinds(*story, read("bob", 25, 26, 1, **old), read("bob", 27, 28, 1, **new)), "a new version 1"
    perhaps = delete("eve", 25, 40, incarnation=2, outcome="unknown")
    back = [read("bob", 25, 26, 1, **new), read("bob", 27, 28, 1, **old)]
    assert kinds(*story, perhaps, *back) == {"non-monotonic read": 1}


def test_a_session_comes_to_another_incarnation_only_when_the_one_before_is_gone() -> None:
    made, unknown = create("ann", 10, 20), create("eve", 15, 40, outcome="unknown", digest=None)
    both = [read("bob", 21, 22, 1), read("bob", 23, 24, 1, incarnation=2, source="replica")]
    assert kinds(made, unknown, *both) == {"non-monotonic read": 1}
    assert not kinds(made, unknown, delete("joe", 22, 50, outcome="unknown"), *both)


def test_a_session_that_saw_the_end_goes_back_however_old_what_it_sees() -> None:
    unknown = delete("ann", 10, 20, outcome="unknown")
    nothing, back = absent("bob", 41, 42, source="replica"), read("bob", 43, 44, 1, "A", source="replica")
    assert kinds(unknown, nothing, back, initial=(HERE,)) == {"non-monotonic read": 1}


def test_own_writes_are_seen_by_reads_that_must() -> None:
    write = update("ann", 10, 20, base=1)
    must: dict[str, Any] = {"source": "replica", "fresh": True}
    assert kinds(write, read("ann", 21, 22, 1, **must), initial=(HERE,)) == {"own write not seen": 1}
    assert not kinds(write, read("ann", 21, 22, 1, source="replica"), initial=(HERE,))
    assert not kinds(write, read("ann", 19, 22, 1, **must), initial=(HERE,))
    for began in (21, 81):
        assert judged(write, read("ann", began, 90, 2, "B", **must), initial=(HERE,)).own_reads == {"iad": 1}
    assert kinds(create("ann", 10, 20), absent("ann", 21, 22, **must)) == {"own write not seen": 1}
    assert kinds(delete("ann", 10, 20), read("ann", 21, 22, 1, **must), initial=(HERE,)) == {"own write not seen": 1}
    anew = [delete("ann", 10, 20), create("ann", 21, 22, incarnation=2)]
    assert kinds(*anew, read("ann", 23, 24, 1, **must), initial=(HERE,)) == {"own write not seen": 1}


def test_a_write_before_what_was_acknowledged_or_read() -> None:
    first = update("ann", 10, 20, base=None, version=3)
    then = update("bob", 30, 40, base=None, version=2)
    assert kinds(first, then, initial=(HERE,)) == {"write reordered": 1}
    assert not kinds(first, update("bob", 15, 40, base=None, version=2), initial=(HERE,))
    under_way = update("ann", 10, 60, base=None, version=3)
    assert kinds(under_way, read("bob", 20, 21, 3, "B"), then, initial=(HERE,)) == {"write reordered": 1}


def test_what_is_deleted_does_not_come_back() -> None:
    gone = delete("ann", 10, 20)
    assert kinds(gone, read("bob", 31, 32, 1, source="replica"), initial=(HERE,)) == {"write resurrected": 1}
    assert kinds(gone, read("bob", 21, 22, 1, "A"), initial=(HERE,)) == {"write resurrected": 1}
    assert kinds(gone, update("bob", 21, 22, base=1, digest=None), initial=(HERE,)).keys() >= {"write resurrected"}


def test_a_delete_of_unknown_outcome_that_was_seen_does_not_come_undone() -> None:
    unknown = delete("ann", 10, 20, outcome="unknown")
    assert kinds(unknown, absent("bob", 30, 31), read("eve", 40, 41, 1), initial=(HERE,)) == {"write resurrected": 1}
    assert not kinds(unknown, read("eve", 28, 29, 1), absent("bob", 30, 31), initial=(HERE,))
    anew = create("bob", 30, 31, incarnation=2)
    assert kinds(unknown, anew, read("eve", 40, 41, 1), initial=(HERE,)) == {"write resurrected": 1}
    while_under_way = [absent("bob", 12, 13), read("eve", 14, 15, 1)]
    assert kinds(unknown, *while_under_way, initial=(HERE,)) == {"write resurrected": 1}


# Doubled writes.


def test_one_change_that_moves_the_version_by_two() -> None:
    assert kinds(update("ann", 10, 20, base=1, version=3), initial=(HERE,)) == {"doubled write": 1}
    assert kinds(create("ann", 10, 20, version=2)) == {"doubled write": 1}
    assert kinds(update("ann", 10, 20, base=None, version=3), initial=(HERE,)) == {"doubled write": 1}
    between = [update("ann", 10, 20, base=None, version=3), read("bob", 15, 16, 2)]
    assert kinds(*between, initial=(HERE,)) == {"doubled write": 1}
    twice = [update("ann", 10, 20, base=1), read("bob", 30, 31, 3, "B")]
    assert kinds(*twice, initial=(HERE,)) == {"doubled write": 1}
    assert kinds(*twice, update("bob", 40, 50, base=None, version=4, digest="C"), initial=(HERE,)) == {
        "doubled write": 1
    }


def test_a_version_in_between_may_be_of_an_unknown_write() -> None:
    unknown = update("ann", 10, 20, base=None, digest="X", outcome="unknown")
    assert not kinds(unknown, update("bob", 30, 40, base=None, version=3), initial=(HERE,))
    assert not kinds(unknown, update("bob", 30, 40, base=None, version=10**15), initial=(HERE,))
    too_late = update("ann", 50, 60, base=None, digest="X", outcome="unknown")
    assert kinds(too_late, update("bob", 30, 40, base=None, version=3), initial=(HERE,)) == {"doubled write": 1}
