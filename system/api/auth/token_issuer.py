"""Issues tokens to machine clients (RFC 6749, client credentials).

It reads from the region's replica, so it works while the primary is unavailable. An unknown client, a disabled one and
a wrong secret are indistinguishable from outside: the answer is the same, after the same work.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from system.api.auth.authorization import too_many
from system.api.auth.tokens import TOKEN_LIFE_S, Tokens
from system.api.http.metrics import SIGN_INS
from system.api.http.problems import Refused
from system.domain.rate_limits import Buckets
from system.domain.validation import is_user_id
from system.store import users
from system.store.reader import Reader
from system.wire import SignIn, Token

_TRIES_PER_S = 5
_TRIES_BURST = 30
_ALL_TRIES_PER_S = 100
_ALL_TRIES_BURST = 300
_CLIENTS_MAX = 10_000
_UNKNOWN: tuple[Any, ...] = ("reader", None, 1, True, sha256(b"nobody has this secret").hexdigest())
_WRONG = "expected the client_id and client_secret of an enabled client, found another"


class TokenIssuer:
    """Issues tokens, and limits the rate of tries: for each client, and in total."""

    def __init__(self, reader: Reader, tokens: Tokens, clock: Callable[[], float] = time.monotonic) -> None:
        self._reader = reader
        self._tokens = tokens
        self._clock = clock
        self._tries = Buckets(_CLIENTS_MAX)
        self._all_tries = Buckets(1)

    async def issue(self, sign_in: SignIn) -> Token:
        """A token for this client. Refused (401 or 429), or NothingToRead."""
        client_id = sign_in.client_id
        if not is_user_id(client_id):
            raise _wrong()
        now_s = self._clock()
        wait_s = self._all_tries.take("", _ALL_TRIES_PER_S, _ALL_TRIES_BURST, now_s) or self._tries.take(
            client_id, _TRIES_PER_S, _TRIES_BURST, now_s
        )
        if wait_s:
            SIGN_INS.labels("limited").inc()
            raise too_many(f"{_TRIES_PER_S} sign-ins a second for a client, {_ALL_TRIES_PER_S} in all", wait_s)
        found = await self._reader.fetch(users.SECRET, client_id)
        role, region, rate_per_s, disabled, expected = found[0] if found else _UNKNOWN
        given = sha256(sign_in.client_secret.encode("utf-8", "surrogatepass")).hexdigest()
        if not hmac.compare_digest(given, expected) or disabled:
            raise _wrong()
        SIGN_INS.labels("given").inc()
        access_token = self._tokens.sign(client_id, role, region, rate_per_s)
        return Token(access_token=access_token, token_type="Bearer", expires_in=TOKEN_LIFE_S)


def _wrong() -> Refused:
    SIGN_INS.labels("refused").inc()
    challenge = {"www-authenticate": 'Bearer realm="covenant", error="invalid_client"'}
    return Refused(401, _WRONG, "wrong credentials", challenge)
