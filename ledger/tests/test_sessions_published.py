"""Histories with the shape of published analyses, judged as those reports judge them.

Words and numbers are ours; each test names its source and says no more of it than its shape. What the reports found
between items is listed at the end: versions of single items do not show it.
"""

from __future__ import annotations

from typing import Any

from ledger.sessions import BEYOND, Initial
from ledger.tests.histories import absent, create, judged, kinds, page, read, update

ACCOUNT = Initial(id="a", incarnation=1, version=1, digest="A", lists=("all",))
LAGS: dict[str, Any] = {"source": "replica"}


def test_nats_2_12_1_lost_acknowledged_writes() -> None:
    """Jepsen, NATS 2.12.1, 2025-12-08: JetStream acknowledges before it flushes to disk (every two minutes by default);
    after power failures acknowledged messages were gone. Here three of five are, the newest, for every reader."""
    sent = [create("publisher", at, at + 5, id=f"m{at}", incarnation=at) for at in (10, 20, 30, 40, 50)]
    kept = [read("consumer", 100 + at, 101 + at, 1, id=f"m{at}", incarnation=at) for at in (10, 20)]
    gone = [absent(who, 200 + at, 201 + at, id=f"m{at}") for at in (30, 40, 50) for who in ("consumer", "auditor")]
    found = judged(*sent, *kept, *gone)
    assert found.totals == {"stale read": 6, "lost update": 3}
    assert {one.id for one in found.anomalies if one.kind == "lost update"} == {"m30", "m40", "m50"}
    whole_stream = page("consumer", 300, 301, collection="all")
    assert kinds(*sent, whole_stream) == {"page incomplete": 5}


def test_nats_2_12_1_nodes_that_disagree() -> None:
    """The same report: persistent split-brain, in which an acknowledged message is there on some nodes and missing on
    others. Who asks now one and now another sees it come and go."""
    sent = create("publisher", 10, 20)
    coming_and_going = [read("ann", 30, 31, 1), absent("bob", 40, 41), read("ann", 50, 51, 1), absent("bob", 60, 61)]
    found = kinds(sent, *coming_and_going)
    assert found == {"stale read": 2}


def test_redis_raft_stale_reads() -> None:
    """Jepsen, Redis-Raft 1b3fbf6, 2020-06-23: among twenty-one issues, reads that miss writes completed before."""
    assert kinds(
        update("ann", 10, 20, base=1), read("bob", 30, 31, 1, "A"), read("bob", 40, 41, 2, "B"), initial=(ACCOUNT,)
    ) == {"stale read": 1}  # fmt: skip


def test_redis_raft_aborted_reads() -> None:
    """The same report: what a failed operation had written could be read."""
    failed = update("ann", 10, 20, base=1, digest="never", outcome="fail")
    assert kinds(failed, read("bob", 30, 31, 2, "never"), initial=(ACCOUNT,)) == {"dirty read": 1}


def test_redis_raft_split_brain_loses_updates() -> None:
    """The same report: two leaders took updates at the same time, and those of one side were lost."""
    one_side = [update("ann", 10, 20, base=1, digest="B"), update("ann", 30, 40, base=2, digest="C")]
    other_side = [update("bob", 12, 22, base=1, digest="X"), update("bob", 32, 42, base=2, digest="Y")]
    assert kinds(*one_side, *other_side, initial=(ACCOUNT,)) == {"lost update": 2}


def test_redis_raft_loses_all_data_on_failover() -> None:
    """The same report: after a failover nothing was there any more."""
    made = [create("ann", at, at + 1, id=f"k{at}", incarnation=at) for at in range(10, 20)]
    after = [absent(who, at, at + 1, id=f"k{at - 90}") for at in range(100, 110) for who in ("bob", "eve")]
    assert kinds(*made, *after) == {"stale read": 20, "lost update": 10}


def test_rethinkdb_2_1_5_majority_is_linearizable() -> None:
    """Jepsen, RethinkDB 2.1.5, 2016-01-04: with majority for reads and writes nothing was found, though writes end
    unknown while the network is cut."""
    assert judged(
        update("ann", 10, 200, base=1, digest="B", outcome="unknown"),
        read("bob", 50, 60, 1, "A"), read("eve", 55, 70, 2, "B"),
        update("bob", 80, 300, base=2, digest="X", outcome="unknown"),
        update("eve", 90, 95, base=2, digest="C"), read("ann", 310, 311, 3, "C"),
        initial=(ACCOUNT,),
    ).sound  # fmt: skip


def test_rethinkdb_2_1_5_weaker_writes_lose_updates() -> None:
    """The same report: with writes acknowledged by a single node, updates can be lost. The cut-off primary takes one
    that nobody sees after the heal."""
    assert kinds(
        update("ann", 10, 20, base=1, digest="B"), read("bob", 100, 101, 1, "A"),
        update("bob", 110, 120, base=1, digest="C"), read("eve", 130, 131, 2, "C"), initial=(ACCOUNT,),
    ) == {"stale read": 1, "lost update": 1}  # fmt: skip


def test_rethinkdb_2_1_5_weaker_reads_are_dirty_and_stale() -> None:
    """The same report: reads in mode `single` or `outdated` may be dirty or stale."""
    isolated = update("ann", 10, 60, base=1, digest="X", outcome="unknown")
    dirty = read("ann's neighbour", 20, 21, 2, "X")
    elected = update("bob", 30, 40, base=1, digest="B")
    stale = read("ann's neighbour", 50, 51, 1, "A", id="b")
    assert kinds(
        isolated, dirty, elected, update("bob", 30, 40, base=1, id="b"), stale, read("eve", 70, 71, 2, id="b"),
        initial=(ACCOUNT, Initial(id="b", incarnation=1, version=1, digest="A")),
    ) == {"dirty read": 1, "stale read": 1}  # fmt: skip


def test_voltdb_6_3_dirty_reads() -> None:
    """Jepsen, VoltDB 6.3, 2016-07-12: stale and dirty reads and lost updates. Reads are answered from local state,
    which in a minority shows writes that will never be."""
    assert kinds(
        update("ann", 10, 90, base=1, digest="X", outcome="unknown"), read("ann", 20, 21, 2, "X"),
        update("bob", 30, 40, base=1, digest="B"), read("bob", 50, 51, 2, "B"), initial=(ACCOUNT,),
    ) == {"dirty read": 1}  # fmt: skip


def test_crate_0_54_9_one_version_with_several_values() -> None:
    """aphyr.com, Crate 0.54.9 version divergence, June 2016: one row's `_version` named several values."""
    unknown = [
        update("ann", 10, 60, base=1, digest="X", outcome="unknown"),
        update("bob", 12, 62, base=1, digest="Y", outcome="unknown"),
    ]
    assert kinds(
        *unknown, read("eve", 70, 71, 2, "X"), read("joe", 72, 73, 2, "Y"), initial=(ACCOUNT,)
    ) == {"wrong contents": 1}  # fmt: skip


def test_mongodb_3_6_4_causal_sessions_at_default_levels() -> None:
    """Jepsen, MongoDB 3.6.4, 2018-10-23: causally consistent sessions needed majority reads and writes; at the default
    levels a session's order did not hold. Here a session's own write isn't there for it, and what it read is undone."""
    own = [update("ann", 10, 20, base=1), read("ann", 21, 22, 1, "A", fresh=True, **LAGS)]
    assert kinds(*own, initial=(ACCOUNT,)) == {"own write not seen": 1}
    back = [update("ann", 10, 20, base=1), read("bob", 21, 22, 2, "B", **LAGS), read("bob", 24, 25, 1, "A", **LAGS)]
    assert kinds(*back, initial=(ACCOUNT,)) == {"non-monotonic read": 1}


def test_etcd_reads_of_a_node_that_lags() -> None:
    """aphyr.com, Call me maybe: etcd and Consul, June 2014: nodes answered reads from local state, so that reads were
    stale, though nothing was lost. As a stated bound it is legal; as a promise of linearizability it isn't."""
    story = [update("ann", 10, 20, base=1), update("ann", 30, 40, base=2, digest="C")]
    promised = [read("bob", 45, 46, 2, "B"), read("bob", 60, 61, 3, "C")]
    assert kinds(*story, *promised, initial=(ACCOUNT,)) == {"stale read": 1}
    stated = judged(*story, read("bob", 45, 46, 2, "B", **LAGS), promised[1], initial=(ACCOUNT,))
    assert (stated.totals, stated.legal) == ({}, {"stale read within the bound": 1})


def test_mariadb_galera_12_1_2_lost_updates_in_a_healthy_cluster() -> None:
    """Jepsen, MariaDB Galera Cluster 12.1.2, March 2026: P4 (lost update) without any fault: two clients read one
    version, both write what they made of it, both are acknowledged. Besides, stale reads."""
    both = [
        read("ann", 1, 2, 1, "A"), read("bob", 1, 3, 1, "A"),
        update("ann", 10, 20, base=1, digest="A+ann"), update("bob", 11, 21, base=1, version=3, digest="A+bob"),
    ]  # fmt: skip
    assert kinds(*both, read("eve", 30, 31, 3, "A+bob"), initial=(ACCOUNT,)) == {"lost update": 1}


def test_postgresql_12_3_g2_item_is_not_seen() -> None:
    """Jepsen, PostgreSQL 12.3, 2020-06-12: under `serializable` two transactions each missed the other's insert
    (G2-item). Each item's own history is in order, so that its versions do not show it; BEYOND says so."""
    neither = [
        absent("T1", 10, 11, id="y"), absent("T2", 10, 12, id="x"),
        create("T1", 13, 20, id="x"), create("T2", 13, 21, id="y", incarnation=2),
    ]  # fmt: skip
    assert judged(*neither, read("T1", 30, 31, 1, id="y", incarnation=2), read("T2", 30, 32, 1, id="x")).sound
    assert any("G2-item" in one for one in BEYOND)


def test_rds_for_postgresql_17_4_long_fork_is_not_seen() -> None:
    """Jepsen, Amazon RDS for PostgreSQL 17.4, April 2025: long fork between primary and readers: one reader saw the
    first of two writes and not the second, another the other way round. Item by item both are within a replica's bound;
    BEYOND says so."""
    made = [create("w1", 10, 20, id="x"), create("w2", 10, 20, id="y", incarnation=2)]
    fork = [
        read("bob", 21, 22, 1, id="x"), absent("bob", 21, 22, id="y", **LAGS),
        read("eve", 21, 22, 1, id="y", incarnation=2), absent("eve", 21, 22, id="x", **LAGS),
    ]  # fmt: skip
    assert judged(*made, *fork).sound
    assert "long fork" in BEYOND
