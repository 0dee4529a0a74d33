"""Bearer tokens: signed here, believed here, and what a handler asks of the one who sent it.

A token is a JWT that says everything that a request needs (role, region, rate), so that no request asks the database
who is there. The price: who is disabled or deleted keeps what was given out until it ends, 15 minutes at most.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any, cast

import jwt
import msgspec
from litestar import Request

from system.api.http.problems import Refused
from system.domain.permissions import Action, may, roles_that_may
from system.settings import SettingsError
from system.wire import Region, Role

TOKEN_LIFE_S = 900
LEEWAY_S = 5
"""How far the clocks of two regions may differ."""
ANONYMOUS = "anonymous"
_ISSUER = "covenant"
_AUDIENCE = "covenant-api"
_ALGORITHM = "HS256"
_KEY_LENGTH_MIN = 32
_TOKEN_LENGTH_MAX = 2_000
_KNOWN_MAX = 10_000
_REQUIRED = ["exp", "iat", "iss", "aud", "sub"]


class Principal(msgspec.Struct, frozen=True):
    """Who sent a request, as the token proved. `region` is where a steward may write; `expires_at` counts seconds
    from 1970."""

    client_id: str
    role: Role
    region: Region | None
    rate_per_s: int
    expires_at: int


class InvalidToken(Exception):
    """Why a token is not believed, in words that may go to whoever sent it."""


class Tokens:
    """Signs with the first key, believes all of them. What was verified is remembered, a bounded number of them,
    because a signature costs fifty times what finding it again does."""

    def __init__(self, keys: str, clock: Callable[[], float] = time.time) -> None:
        """`keys` as in `Settings.token_keys`. SettingsError if there is none, or one is malformed or short."""
        self._keys = _parse(keys)
        self._signing = next(iter(self._keys))
        self._clock = clock
        self._known: dict[str, Principal] = {}

    def sign(self, client_id: str, role: Role, region: Region | None, rate_per_s: int) -> str:
        """A token for TOKEN_LIFE_S from now."""
        now = int(self._clock())
        claims = {
            "iss": _ISSUER, "aud": _AUDIENCE, "sub": client_id, "iat": now, "exp": now + TOKEN_LIFE_S,
            "role": role, "region": region, "rate_per_s": rate_per_s,
        }  # fmt: skip
        return jwt.encode(claims, self._keys[self._signing], _ALGORITHM, headers={"kid": self._signing})

    def verify(self, token: str) -> Principal:
        """Whose token it is. InvalidToken."""
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


def unauthorized(error: InvalidToken | None) -> Refused:
    """The 401 for a request without a token (None), or with one that is not believed."""
    if error is None:
        detail = "expected a bearer token; POST client_id and client_secret to /api/v1/tokens to get one"
        return Refused(401, detail, "no token", {"www-authenticate": 'Bearer realm="covenant"'})
    challenge = f'Bearer realm="covenant", error="invalid_token", error_description="{error}"'
    return Refused(401, f"{error}; sign in again", str(error), {"www-authenticate": challenge})


def principal_of(request: Request[Any, Any, Any]) -> Principal:
    """Who sent this request. Refused (401) if nobody has proven it."""
    principal = request.scope.get("auth")
    if principal is None:
        raise unauthorized(None)
    return cast(Principal, principal)


def require(request: Request[Any, Any, Any], action: Action, target_region: str | None = None) -> Principal:
    """Who sent this request, and may do this. Refused (403) says which roles may."""
    principal = principal_of(request)
    if not may(principal.role, principal.region, action, target_region):
        raise forbidden(principal, action, target_region)
    return principal


def forbidden(principal: Principal, action: Action, target_region: str | None) -> Refused:
    """The 403 for this action."""
    of_region = f" of {principal.region}" if principal.region else ""
    there = f" in {target_region}" if target_region else ""
    reason = f"{principal.role}{of_region} may not {action.replace('-', ' ')}{there}"
    challenge = {"www-authenticate": 'Bearer realm="covenant", error="insufficient_scope"'}
    return Refused(403, f"{reason}; allowed: {roles_that_may(action)}", reason, challenge)
