"""The initial data of a system."""

from collections import Counter
from decimal import Decimal

from system.data.countries import countries
from system.data.projects import projects
from system.domain.geography import REGIONS, SECTORS
from system.domain.money import contribution_usd_millions
from system.domain.validation import is_country_code, is_uuid


def test_there_are_193_members_and_two_observers_of_the_united_nations() -> None:
    codes = [country.id for country in countries()]
    assert len(codes) == len(set(codes)) == 195
    assert codes == sorted(codes)
    assert all(map(is_country_code, codes))
    assert {"VAT", "PSE", "FRA", "TUV"} <= set(codes)
    assert not {"TWN", "XKX", "GRL", "ESH"} & set(codes)


def test_every_country_pledges_its_share() -> None:
    for country in countries():
        assert country.contribution_usd_millions == contribution_usd_millions(country.gdp_usd_billions)
        assert country.gdp_usd_billions > 0


def test_a_figure_that_is_from_no_file_says_so() -> None:
    for country in countries():
        assert country.gdp_approximate == ("from memory" in country.gdp_source), country.id
        assert country.gdp_approximate or country.gdp_source == "Natural Earth (geopandas 0.14.4)"
    assert sum(country.gdp_approximate for country in countries()) == 29


def test_every_region_serves_countries() -> None:
    assert {country.region for country in countries()} == set(REGIONS)


def test_there_are_50_projects_a_region_each_in_a_country_of_it() -> None:
    region_of = {country.id: country.region for country in countries()}
    generated = projects(countries())
    assert Counter(project.region for project in generated) == dict.fromkeys(REGIONS, 50)
    assert all(region_of[project.country_code] == project.region for project in generated)


def test_projects_have_ids_of_their_own_and_spread_over_sectors_and_amounts() -> None:
    generated = projects(countries())
    assert len({project.id for project in generated}) == 300
    assert all(is_uuid(project.id) for project in generated)
    assert set(Counter(project.sector for project in generated).values()) <= set(range(48, 55))
    assert {project.sector for project in generated} == set(SECTORS)
    statuses = Counter(project.status for project in generated)
    assert statuses["Active"] > statuses["Pending"] > statuses["Completed"] > 0
    assert all(Decimal("0.50") <= project.funding_usd_millions <= Decimal("250.00") for project in generated)


def test_the_generator_gives_the_same_projects_for_a_seed_and_others_for_another() -> None:
    assert projects(countries(), seed=1) == projects(countries(), seed=1)
    first, second = projects(countries(), seed=1), projects(countries(), seed=2)
    assert not {project.id for project in first} & {project.id for project in second}
    # A literal, so that a change of the generator, which would rename everything, does not go unseen.
    assert first[0].id == "289d45a9-3749-56d5-983d-25d0e990edea"
