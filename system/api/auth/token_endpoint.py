"""`POST /api/v1/tokens`: issue a token for a client's id and secret."""

from __future__ import annotations

from typing import Any

from litestar import Request, post

from system import wire
from system.api.http.messages import Answer, encode, read_body
from system.api.http.openapi import documented
from system.api.services import services_of
from system.wire import SignIn, Token


@post(
    wire.TOKENS,
    summary="Sign in: a bearer token for a client's secret",
    opt=documented(Token, body=SignIn, statuses=(401, 429), signed_in=False),
    status_code=200,
)
async def sign_in(request: Request[Any, Any, Any]) -> Answer:
    asked = await read_body(request, SignIn)
    token = await services_of(request).token_issuer.issue(asked)
    return Answer(encode(token), headers={"cache-control": "no-store"})
