"""Roll-ups: deltas of events, and totals out of cells."""

from collections import defaultdict
from decimal import Decimal
from random import Random

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from system.domain.geography import REGIONS, SECTORS, STATUSES
from system.domain.totals import Cell, Sum, deltas_of, region_totals
from system.wire import Country, CountryEvent, EventType, Project, ProjectEvent

projects = st.builds(
    Project,
    id=st.just("p"),
    name=st.just("P"),
    region=st.sampled_from(REGIONS),
    country_code=st.just("FRA"),
    sector=st.sampled_from(SECTORS),
    status=st.sampled_from(STATUSES),
    funding_usd_millions=st.integers(0, 10**11).map(lambda cents: Decimal(cents).scaleb(-2)),
    version=st.just(1),
)
histories = st.lists(st.lists(projects, min_size=1, max_size=5), max_size=8)
"""The versions of several projects, one after the other."""


def changed(before: Project | None, after: Project | None) -> ProjectEvent:
    kind: EventType = "created" if before is None else "deleted" if after is None else "updated"
    return ProjectEvent(
        id="e", type=kind, aggregate="projects", aggregate_id="p", partition="projects.0", position=1,
        region="ams", occurred_at="2026-01-01T00:00:00Z", before=before, after=after,
    )  # fmt: skip


def events_of(versions: list[Project]) -> list[ProjectEvent]:
    return [changed(before, after) for before, after in zip([None, *versions], versions, strict=False)]


@given(histories)
def test_the_deltas_of_all_events_are_the_sums_over_the_last_versions(
    histories: list[list[Project]],
) -> None:
    expected: dict[Cell, Sum] = defaultdict(Sum)
    for versions in histories:
        last = versions[-1]
        expected[last.region, last.sector, last.status].add(1, last.funding_usd_millions)
    assert deltas_of(event for versions in histories for event in events_of(versions)).projects == expected


@given(histories)
def test_what_is_created_and_deleted_again_leaves_nothing(histories: list[list[Project]]) -> None:
    events = [event for versions in histories for event in events_of(versions)]
    deletions = [changed(versions[-1], None) for versions in histories]
    assert deltas_of([*events, *deletions]).projects == {}


@given(histories, st.randoms())
def test_the_order_of_a_batch_does_not_matter_to_its_sums(histories: list[list[Project]], random: Random) -> None:
    events = [event for versions in histories for event in events_of(versions)]
    shuffled = list(events)
    random.shuffle(shuffled)
    assert deltas_of(shuffled) == deltas_of(events)


def test_a_country_whose_pledge_changes_moves_the_money_of_its_region_alone() -> None:
    before = Country(
        id="FRA", name="France", continent="Europe", region="ams", gdp_usd_billions=Decimal(2715),
        gdp_year=2019, gdp_source="s", gdp_approximate=False, contribution_usd_millions=Decimal("27.15"), version=1,
    )  # fmt: skip
    event = CountryEvent(
        id="e", type="updated", aggregate="countries", aggregate_id="FRA", partition="countries.0",
        position=1, region="ams", occurred_at="2026-01-01T00:00:00Z",
        before=before, after=msgspec.structs.replace(before, contribution_usd_millions=Decimal("30.00")),
    )  # fmt: skip
    deltas = deltas_of([event])
    assert deltas.countries == {"ams": Sum(0, Decimal("2.85"))}
    assert deltas.projects == {}


def test_totals_of_a_region_are_the_sums_over_its_cells() -> None:
    cells: dict[Cell, Sum] = {
        ("ams", "Energy", "Active"): Sum(2, Decimal("10.10")),
        ("ams", "Energy", "Pending"): Sum(1, Decimal("0.20")),
        ("syd", "Health", "Active"): Sum(4, Decimal("1.00")),
    }
    totals = {one.id: one for one in region_totals(cells, {"ams": Sum(89, Decimal("267.01"))}, {"projects.0": 7})}
    assert list(totals) == list(REGIONS)
    ams = totals["ams"]
    assert (ams.projects, ams.funding_usd_millions) == (3, Decimal("10.30"))
    assert (ams.countries, ams.contribution_usd_millions) == (89, Decimal("267.01"))
    assert ams.by_sector["Energy"] == 3
    assert ams.by_sector["Health"] == 0
    assert ams.by_status == {"Active": 2, "Pending": 1, "Completed": 0}
    assert ams.as_of == {"projects.0": 7}
    assert totals["jnb"].projects == 0
