"""ETags, conditions and numbers, without a running API."""

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from system.api.http.messages import encode, etag, given_or_none, if_match, none_match
from system.api.http.problems import ApiError
from system.domain.validation import ProjectPatch


@given(st.integers(1, 2**53), st.integers(1, 10**17))
def test_an_etag_in_if_match_is_the_state_that_it_was_made_from(incarnation: int, version: int) -> None:
    state = f"{incarnation}-{version}"
    assert if_match(etag(state)) == state
    assert none_match(etag(state), etag(state))
    assert not none_match(etag(state), etag(f"{incarnation}-{version + 1}"))
    assert not none_match(etag(state), etag(f"{incarnation + 1}-{version}"))


def test_a_star_matches_any_version() -> None:
    assert if_match("*") is None
    assert none_match("*", etag("4-1"))


def test_a_list_of_etags_and_weak_ones_are_understood() -> None:
    assert none_match('"4-1", W/"4-7"', etag("4-7"))
    assert not none_match('"4-1", W/"4-7"', etag("4-3"))
    assert not none_match(None, etag("4-3"))


def test_a_missing_condition_is_428() -> None:
    with pytest.raises(ApiError) as caught:
        if_match(None)
    assert caught.value.status == 428


@pytest.mark.parametrize(
    "header",
    ["", "1-1", '"', '""', '"1"', '"-1"', '"1-"', '"x"', '"4-١"', '"4-1" ,"4-2"', f'"4-{10**30}"', 'W/"4-1"'],
)
def test_a_condition_that_no_state_can_meet_is_412(header: str) -> None:
    with pytest.raises(ApiError) as caught:
        if_match(header)
    assert caught.value.status == 412


@given(st.integers(-(10**13), 10**13))
def test_money_is_a_number_with_its_own_digits(cents: int) -> None:
    amount = Decimal(cents).scaleb(-2)
    assert encode(amount) == str(amount).encode()
    assert msgspec.json.decode(encode(amount), type=Decimal) == amount


def test_absent_fields_of_a_patch_are_none_in_order() -> None:
    assert given_or_none(ProjectPatch(name="N", status="Pending")) == ["N", None, None, None, "Pending", None]
