"""Bearer tokens: how the API signs and verifies them.

A token is a JWT with everything that a request needs (role, region, rate limit), so that no request has to look up its
client in the database. The price: a token of a client that was disabled or deleted stays valid until it expires, 15
minutes at most.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import jwt
import msgspec

from system.settings import SettingsError
from system.wire import Region, Role

TOKEN_LIFE_S = 900
LEEWAY_S = 5
"""The clock skew that is allowed between two regions."""
ANONYMOUS = "anonymous"
_ISSUER = "covenant"
_AUDIENCE = "covenant-api"
_ALGORITHM = "HS256"
_KEY_LENGTH_MIN = 32
_TOKEN_LENGTH_MAX = 2_000
_KNOWN_MAX = 10_000
_REQUIRED = ["exp", "iat", "iss", "aud", "sub"]


class Principal(msgspec.Struct, frozen=True):
    """The authenticated sender of a request. `region` is where a steward may write, None for other roles; `expires_at`
    is the token's expiry in seconds since 1970."""

    client_id: str
    role: Role
    region: Region | None
    rate_per_s: int
    expires_at: int


class InvalidToken(Exception):
    """A token was refused. The message may be shown to the client."""


class Tokens:
    """Signs tokens with the first key and accepts all keys. Keeps a bounded cache of verified tokens: verifying a
    signature costs fifty times as much as a lookup."""

    def __init__(self, keys: str, clock: Callable[[], float] = time.time) -> None:
        """`keys` as in `Settings.token_keys`. SettingsError if there is no key, or one is malformed or too short."""
        self._keys = _parse(keys)
        self._signing = next(iter(self._keys))
        self._clock = clock
        self._known: dict[str, Principal] = {}

    def sign(self, client_id: str, role: Role, region: Region | None, rate_per_s: int) -> str:
        """A token that expires after TOKEN_LIFE_S."""
        now = int(self._clock())
        claims = {
            "iss": _ISSUER, "aud": _AUDIENCE, "sub": client_id, "iat": now, "exp": now + TOKEN_LIFE_S,
            "role": role, "region": region, "rate_per_s": rate_per_s,
        }  # fmt: skip
        return jwt.encode(claims, self._keys[self._signing], _ALGORITHM, headers={"kid": self._signing})

    def verify(self, token: str) -> Principal:
        """The principal of a valid token. InvalidToken."""
        principal = self._known.get(token)
        if principal is None:
            principal = self._verify(token)
            if len(self._known) >= _KNOWN_MAX:
                del self._known[next(iter(self._known))]
            self._known[token] = principal
        if self._clock() >= principal.expires_at + LEEWAY_S:
            self._known.pop(token, None)
            raise InvalidToken("the token has expired")
        return principal

    def _verify(self, token: str) -> Principal:
        if len(token) > _TOKEN_LENGTH_MAX:
            raise InvalidToken(f"expected a token of at most {_TOKEN_LENGTH_MAX} characters")
        try:
            key = self._keys.get(str(jwt.get_unverified_header(token).get("kid")))
            if key is None:
                raise InvalidToken("the token names a key that is not known here")
            claims = jwt.decode(
                token, key, algorithms=[_ALGORITHM], issuer=_ISSUER, audience=_AUDIENCE, leeway=LEEWAY_S,
                options={"require": _REQUIRED},
            )  # fmt: skip
            return Principal(
                client_id=claims["sub"],
                role=msgspec.convert(claims.get("role"), Role),
                region=msgspec.convert(claims.get("region"), Region | None),
                rate_per_s=msgspec.convert(claims.get("rate_per_s"), int),
                expires_at=int(claims["exp"]),
            )
        except jwt.ExpiredSignatureError:
            raise InvalidToken("the token has expired") from None
        except (jwt.InvalidTokenError, msgspec.ValidationError, ValueError):
            raise InvalidToken("the token is malformed, or was not signed here") from None


def _parse(text: str) -> dict[str, str]:
    expected = f"COVENANT_TOKEN_KEYS: expected id:secret,id:secret with secrets of {_KEY_LENGTH_MIN} characters or more"
    if not text:
        raise SettingsError(f"{expected}, found none; tokens cannot be signed without")
    keys: dict[str, str] = {}
    for number, pair in enumerate(text.split(","), 1):
        name, _, secret = pair.partition(":")
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name) or len(secret) < _KEY_LENGTH_MIN:
            raise SettingsError(f"{expected}, found another thing in place {number}")
        keys[name] = secret
    return keys


def bearer(header: str | None) -> str | None:
    """The token of an Authorization header; None without one. InvalidToken for another scheme."""
    if header is None:
        return None
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer":
        raise InvalidToken("expected Authorization: Bearer and a token")
    return token.strip()
