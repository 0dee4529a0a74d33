"""What a project and a country may look like."""

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from system.domain.money import contribution_usd_millions, has_at_most_digits
from system.domain.validation import (
    CountryPatch,
    ProjectPatch,
    is_country_code,
    is_uuid,
    problems_of_country,
    problems_of_project,
)
from system.wire import NewProject

GOOD = NewProject(
    name="Solar Park",
    region="ams",
    country_code="FRA",
    sector="Energy",
    status="Active",
    funding_usd_millions=Decimal("12.50"),
    id="5f0c9a51-6d0a-4b0e-9c27-3d6f6c0ce9a1",
)


def test_a_good_project_has_no_problems() -> None:
    assert problems_of_project(GOOD) == []


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("name", "", "name: expected 1 to 200 characters, found 0"),
        ("name", "x" * 201, "found 201"),
        ("name", " padded", "without space around"),
        ("name", "nul\0", "printable"),
        ("country_code", "fra", "three capital letters"),
        ("country_code", "FRANCE", "three capital letters"),
        ("funding_usd_millions", Decimal(-1), "expected 0 to 999999999.99, found -1"),
        ("funding_usd_millions", Decimal("1000000000"), "expected 0 to 999999999.99"),
        ("funding_usd_millions", Decimal("1.005"), "at most 2 digits after the point, found 1.005"),
        ("funding_usd_millions", Decimal("NaN"), "expected 0 to"),
        ("funding_usd_millions", Decimal("1e400"), "expected 0 to"),
        ("id", "5F0C9A51-6D0A-4B0E-9C27-3D6F6C0CE9A1", "a UUID in lower case"),
        ("id", "1", "a UUID in lower case"),
    ],
)
def test_each_bad_field_of_a_project_is_named(field: str, value: object, said: str) -> None:
    [problem] = problems_of_project(msgspec.structs.replace(GOOD, **{field: value}))
    assert problem.startswith(f"{field}: ")
    assert said in problem


def test_a_patch_is_checked_in_the_fields_that_it_gives() -> None:
    assert problems_of_project(ProjectPatch()) == []
    assert len(problems_of_project(ProjectPatch(name="", country_code="x"))) == 2


@pytest.mark.parametrize(
    ("patch", "problems"),
    [
        (CountryPatch(), 0),
        (CountryPatch(gdp_usd_billions=Decimal("1.234"), gdp_year=2024, gdp_source="IMF"), 0),
        (CountryPatch(gdp_usd_billions=Decimal("1.2345")), 1),
        (CountryPatch(gdp_year=20240), 1),
        (CountryPatch(gdp_source=""), 1),
    ],
)
def test_a_correction_of_a_country(patch: CountryPatch, problems: int) -> None:
    assert len(problems_of_country(patch)) == problems


@given(st.uuids())
def test_every_uuid_in_its_canonical_form_is_one(value: object) -> None:
    assert is_uuid(str(value))
    assert not is_uuid(str(value).upper()) or str(value).upper() == str(value)


@given(st.text())
def test_only_three_capital_ascii_letters_are_a_country_code(text: str) -> None:
    assert is_country_code(text) == (len(text) == 3 and all("A" <= letter <= "Z" for letter in text))


@given(st.decimals(min_value=0, max_value=10**7, places=3))
def test_a_contribution_is_a_hundred_thousandth_of_gdp_within_half_a_cent(gdp: Decimal) -> None:
    contribution = contribution_usd_millions(gdp)
    assert has_at_most_digits(contribution, 2)
    # GDP in billions is a thousand times as much in millions; 0.001% of it is GDP * 1000 / 100000.
    assert abs(contribution - gdp * 1000 / 100_000) <= Decimal("0.005")


@pytest.mark.parametrize(
    ("amount", "digits", "enough"),
    [
        ("1E+3", 0, True),
        ("2.000", 0, True),
        ("1.50", 1, True),
        ("1.50", 0, False),
        ("1.05", 2, True),
        ("1.05", 1, False),
        ("0.001", 2, False),
    ],
)
def test_digits_after_the_point_are_counted_without_trailing_zeros(amount: str, digits: int, enough: bool) -> None:
    assert has_at_most_digits(Decimal(amount), digits) == enough
