"""Who may do what; tokens; how often somebody may ask. Without an API."""

import time
from typing import get_args

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from system.api.auth.access import LEEWAY_S, TOKEN_LIFE_S, InvalidToken, Tokens, bearer
from system.domain.access import ACTIONS, ROLES, Action, may, roles_that_may
from system.domain.rate_limits import Buckets, burst_of
from system.settings import SettingsError
from system.tests.servers import TOKEN_KEYS
from system.wire import Region, Role

ALLOWED: dict[tuple[Role, Action], bool] = {
    ("reader", "read"): True,
    ("steward", "read"): True,
    ("steward", "write-projects"): True,
    ("operator", "read"): True,
    ("operator", "write-incidents"): True,
    **{("admin", action): True for action in ACTIONS},
}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("action", ACTIONS)
def test_the_matrix_of_roles_and_actions(role: Role, action: Action) -> None:
    region = "ams" if role == "steward" else None
    assert may(role, region, action, "ams") == ALLOWED.get((role, action), False)
    assert (role in roles_that_may(action)) == ALLOWED.get((role, action), False)


@given(st.sampled_from(get_args(Region)), st.sampled_from([*get_args(Region), None]))
def test_a_steward_writes_in_its_own_region_alone(region: Region, target: Region | None) -> None:
    assert may("steward", region, "write-projects", target) == (region == target)
    assert may("steward", region, "read", target)


SECRET = TOKEN_KEYS.partition(":")[2]
CLAIMS = {
    "iss": "covenant", "aud": "covenant-api", "sub": "reader", "role": "reader", "region": None, "rate_per_s": 10,
}  # fmt: skip


def forged(secret: str = SECRET, algorithm: str = "HS256", kid: str = "tests", **changes: object) -> str:
    """A token whose claims are right but for the changes; None takes one away."""
    now = int(time.time())
    claims = {**CLAIMS, "iat": now, "exp": now + 60, **changes}
    claims = {name: value for name, value in claims.items() if value is not None or name == "region"}
    return jwt.encode(claims, secret, algorithm, headers={"kid": kid})


def test_a_token_says_what_it_was_signed_with() -> None:
    tokens = Tokens(TOKEN_KEYS)
    principal = tokens.verify(tokens.sign("steward-ams", "steward", "ams", 7))
    assert (principal.client_id, principal.role, principal.region, principal.rate_per_s) == (
        "steward-ams", "steward", "ams", 7,
    )  # fmt: skip
    assert tokens.verify(forged()).client_id == "reader"


ANOTHER = "another-secret-that-is-long-enough-too"
BAD_TOKENS = {
    "expired": forged(exp=int(time.time()) - LEEWAY_S - 1),
    "not yet signed": forged(iat=int(time.time()) + 3_600),
    "forged": forged(ANOTHER),
    "none algorithm": forged("", "none"),
    "another algorithm": forged(SECRET.ljust(64, "-"), "HS512"),
    "unknown key": forged(kid="other"),
    "without exp": forged(exp=None),
    "without iat": forged(iat=None),
    "without sub": forged(sub=None),
    "without rate": forged(rate_per_s=None),
    "another issuer": forged(iss="somebody"),
    "another audience": forged(aud="something"),
    "unknown role": forged(role="root"),
    "unknown region": forged(region="lhr"),
    "no token": "x",
    "empty": "",
    "far too long": "x" * 5_000,
    "not ASCII": "é.é.é",
}


@pytest.mark.parametrize("token", BAD_TOKENS.values(), ids=BAD_TOKENS)
def test_a_bad_token_is_not_believed(token: str) -> None:
    with pytest.raises(InvalidToken):
        Tokens(TOKEN_KEYS).verify(token)


@given(st.text(), st.text(), st.text())
def test_whatever_is_sent_as_a_token_is_refused_and_no_error(first: str, second: str, third: str) -> None:
    for text in (first, f"{first}.{second}.{third}"):
        with pytest.raises(InvalidToken):
            Tokens(TOKEN_KEYS).verify(text)


def test_a_remembered_token_ends_when_it_ends() -> None:
    now = time.time()
    tokens = Tokens(TOKEN_KEYS, lambda: now)
    token = tokens.sign("reader", "reader", None, 10)
    tokens.verify(token)
    now += TOKEN_LIFE_S + LEEWAY_S - 1
    tokens.verify(token)
    now += 2
    with pytest.raises(InvalidToken, match="expired"):
        tokens.verify(token)


def test_a_key_is_changed_by_putting_a_new_one_in_front() -> None:
    old, new = Tokens(TOKEN_KEYS), Tokens(f"new:{ANOTHER},{TOKEN_KEYS}")
    assert new.verify(old.sign("reader", "reader", None, 10)).client_id == "reader"
    with pytest.raises(InvalidToken):
        old.verify(new.sign("reader", "reader", None, 10))


@pytest.mark.parametrize("keys", ["", "tests", "tests:short", f":{SECRET}", f"a b:{SECRET}", f"{TOKEN_KEYS},x:y"])
def test_keys_that_are_none_or_short_are_told_without_being_shown(keys: str) -> None:
    with pytest.raises(SettingsError, match="COVENANT_TOKEN_KEYS: expected id:secret") as caught:
        Tokens(keys)
    assert SECRET not in str(caught.value)


def test_a_header_of_another_scheme_is_no_token() -> None:
    assert bearer(None) is None
    assert bearer("bearer  abc") == "abc"
    with pytest.raises(InvalidToken):
        bearer("Basic YTpi")


@given(st.lists(st.floats(0, 0.5), max_size=300), st.integers(1, 200))
def test_nobody_gets_more_than_the_burst_and_the_rate_allow(pauses_s: list[float], rate: int) -> None:
    buckets = Buckets(10)
    now_s, burst, taken = 0.0, burst_of(rate), 0
    for pause_s in pauses_s:
        now_s += pause_s
        wait_s = buckets.take("client", rate, burst, now_s)
        taken += not wait_s
        assert taken <= burst + rate * now_s + 1e-6
        if wait_s:
            assert wait_s <= 1 / rate + 1e-9
            assert not buckets.take("client", rate, burst, now_s + wait_s + 1e-9)
            taken += 1
            now_s += wait_s + 1e-9


def test_one_clients_bucket_is_no_other_clients() -> None:
    buckets = Buckets(10)
    assert [buckets.take("one", 1, 2, 0.0) for _ in range(3)] == [0.0, 0.0, 1.0]
    assert buckets.take("other", 1, 2, 0.0) == 0.0


def test_the_table_of_buckets_is_bounded() -> None:
    buckets = Buckets(2)
    for name in ("one", "two", "three"):
        buckets.take(name, 1, 1, 0.0)
    assert buckets.take("three", 1, 1, 0.0) > 0
    assert buckets.take("one", 1, 1, 0.0) == 0.0
