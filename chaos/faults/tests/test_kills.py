"""The kills at random: every kind about as often, the same for the same seed."""

from __future__ import annotations

import random
from collections import Counter

from chaos.faults.tests import kills


def test_every_kind_is_killed_about_as_often_and_a_seed_repeats_the_plan() -> None:
    plan = kills.plan(random.Random(7), 50)
    counts = Counter(plan)
    assert set(counts) == set(kills.KINDS)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert plan == kills.plan(random.Random(7), 50)
    assert plan != kills.plan(random.Random(8), 50)


def test_what_is_killed_alone_is_told_so() -> None:
    assert str(kills.Victim("patroni", "postgres-ams")) == "Patroni alone on postgres-ams"
    assert str(kills.Victim("nats", "nats-iad-a")) == "nats-iad-a"
