"""Signing in at a region's API, and staying signed in: a bearer token is renewed beside the requests that carry it.

A token is asked for over a connection of its own, so that no request ever waits for one, and is put once into the
client that sends the requests. While a renewal fails the old token holds; when it has run out, the API's 401 says so.
"""

from __future__ import annotations

import asyncio
import ssl

import msgspec

from infra.machine.spec import EngineError
from infra.target import Login
from loadtests.clients.http import HttpClient, RequestError
from system.wire import TOKENS, SignIn, Token

_WITHIN_S = 10.0
_RENEW_AT = 0.5
"""Of a token's life: what is left of it is how long the API may be away."""
_RETRY_S = 1.0


class SignInError(EngineError):
    """The API gave no token. Says who was refused and how, and never holds a secret."""


class ApiClient(HttpClient):
    """Requests to one API as one of its machine clients, signed in until it is closed."""

    def __init__(
        self, base_url: str, login: Login, *, connections: int = 64, tls: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(base_url, connections=connections, tls=tls)
        self._login = login
        self._tokens = HttpClient(base_url, connections=1, tls=tls)
        self._renewal: asyncio.Task[None] | None = None

    async def sign_in(self) -> None:
        """Get the first token; later ones come by themselves. SignInError if there is none within 10 s."""
        valid_s = await self._ask()
        self._renewal = asyncio.get_running_loop().create_task(self._keep_signed_in(valid_s))

    async def close(self) -> None:
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.wait([self._renewal], timeout=1.0)
        await self._tokens.close()
        await super().close()

    async def _keep_signed_in(self, valid_s: float) -> None:
        pause_s = valid_s * _RENEW_AT
        while True:
            await asyncio.sleep(pause_s)
            try:
                pause_s = await self._ask() * _RENEW_AT
            except SignInError:
                pause_s = _RETRY_S

    async def _ask(self) -> float:
        """Take a new token; for how many seconds it is valid."""
        body = msgspec.json.encode(SignIn(client_id=self._login.user, client_secret=self._login.password))
        deadline = asyncio.get_running_loop().time() + _WITHIN_S
        try:
            response = await self._tokens.request(b"POST", TOKENS, deadline=deadline, body=body)
            if 200 <= response.status < 300:
                token = response.json(Token)
                self.authorize(f"{token.token_type} {token.access_token}")
                return token.expires_in
            found = response.summary
        except RequestError as error:
            found = error.detail
        except msgspec.MsgspecError as error:
            found = str(error)
        raise SignInError(
            f"POST {TOKENS} as {self._login.user}: expected a token, found {found}; is the system up? ./covenant status"
        )
