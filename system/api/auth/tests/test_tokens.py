"""Tokens: signed, verified, and refused."""

import time

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from system.api.auth.tokens import LEEWAY_S, TOKEN_LIFE_S, InvalidToken, Tokens, bearer
from system.settings import SettingsError
from system.tests.servers import TOKEN_KEYS

SECRET = TOKEN_KEYS.partition(":")[2]
CLAIMS = {
    "iss": "covenant", "aud": "covenant-api", "sub": "reader", "role": "reader", "region": None, "rate_per_s": 10,
}  # fmt: skip


def forged(secret: str = SECRET, algorithm: str = "HS256", kid: str = "tests", **changes: object) -> str:
    """A token with valid claims, except for the changes; None removes a claim."""
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
def test_a_bad_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidToken):
        Tokens(TOKEN_KEYS).verify(token)


@given(st.text(), st.text(), st.text())
def test_any_text_that_is_no_token_is_refused(first: str, second: str, third: str) -> None:
    for text in (first, f"{first}.{second}.{third}"):
        with pytest.raises(InvalidToken):
            Tokens(TOKEN_KEYS).verify(text)


def test_a_cached_token_expires() -> None:
    now = time.time()
    tokens = Tokens(TOKEN_KEYS, lambda: now)
    token = tokens.sign("reader", "reader", None, 10)
    tokens.verify(token)
    now += TOKEN_LIFE_S + LEEWAY_S - 1
    tokens.verify(token)
    now += 2
    with pytest.raises(InvalidToken, match="expired"):
        tokens.verify(token)


def test_a_key_is_rotated_by_putting_a_new_one_in_front() -> None:
    old, new = Tokens(TOKEN_KEYS), Tokens(f"new:{ANOTHER},{TOKEN_KEYS}")
    assert new.verify(old.sign("reader", "reader", None, 10)).client_id == "reader"
    with pytest.raises(InvalidToken):
        old.verify(new.sign("reader", "reader", None, 10))


@pytest.mark.parametrize("keys", ["", "tests", "tests:short", f":{SECRET}", f"a b:{SECRET}", f"{TOKEN_KEYS},x:y"])
def test_missing_or_short_keys_are_refused_without_being_shown(keys: str) -> None:
    with pytest.raises(SettingsError, match="COVENANT_TOKEN_KEYS: expected id:secret") as caught:
        Tokens(keys)
    assert SECRET not in str(caught.value)


def test_a_header_of_another_scheme_is_no_token() -> None:
    assert bearer(None) is None
    assert bearer("bearer  abc") == "abc"
    with pytest.raises(InvalidToken):
        bearer("Basic YTpi")
