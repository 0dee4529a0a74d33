"""Which partition an aggregate goes to."""

from collections import Counter
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from system.domain.partitions import partition_of
from system.wire import ALL_PARTITIONS, Aggregate, event_subject, partitions_of


def test_the_partition_of_an_id_never_changes() -> None:
    # Literals: a change here would send the events of existing aggregates to another partition.
    assert partition_of("countries", "FRA") == "countries.2"
    assert partition_of("projects", "11111111-1111-4111-8111-111111111111") == "projects.1"


@given(st.text(min_size=1))
def test_every_id_has_one_of_the_partitions(identity: str) -> None:
    for aggregate in get_args(Aggregate):
        assert partition_of(aggregate, identity) in partitions_of(aggregate)


def test_ids_spread_evenly() -> None:
    counts = Counter(partition_of("projects", str(number)) for number in range(4_000))
    assert all(900 < count < 1_100 for count in counts.values())


def test_partitions_have_subjects_of_their_own() -> None:
    subjects = {event_subject(name) for name in ALL_PARTITIONS}
    assert len(subjects) == len(ALL_PARTITIONS) == 16
