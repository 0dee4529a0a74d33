"""Authorization of a request: its sender, what the sender may do, and the refusals (401, 403, 429)."""

from __future__ import annotations

import math
from typing import Any, cast

from litestar import Request

from system.api.auth.tokens import InvalidToken, Principal
from system.api.http.problems import Refused
from system.domain.permissions import Action, may, roles_that_may


def unauthorized(error: InvalidToken | None) -> Refused:
    """The 401 for a request without a token (None), or with one that was refused."""
    if error is None:
        detail = "expected a bearer token; POST client_id and client_secret to /api/v1/tokens to get one"
        return Refused(401, detail, "no token", {"www-authenticate": 'Bearer realm="covenant"'})
    challenge = f'Bearer realm="covenant", error="invalid_token", error_description="{error}"'
    return Refused(401, f"{error}; sign in again", str(error), {"www-authenticate": challenge})


def principal_of(request: Request[Any, Any, Any]) -> Principal:
    """The authenticated sender of a request. Refused (401) if there is none."""
    principal = request.scope.get("auth")
    if principal is None:
        raise unauthorized(None)
    return cast(Principal, principal)


def require(request: Request[Any, Any, Any], action: Action, target_region: str | None = None) -> Principal:
    """The sender of a request, if allowed to do this in `target_region` (None: the action concerns no region). Refused:
    401 without a sender, 403 with the roles that are allowed."""
    principal = principal_of(request)
    if not may(principal.role, principal.region, action, target_region):
        raise forbidden(principal, action, target_region)
    return principal


def forbidden(principal: Principal, action: Action, target_region: str | None) -> Refused:
    """The 403 for an action."""
    of_region = f" of {principal.region}" if principal.region else ""
    there = f" in {target_region}" if target_region else ""
    reason = f"{principal.role}{of_region} may not {action.replace('-', ' ')}{there}"
    challenge = {"www-authenticate": 'Bearer realm="covenant", error="insufficient_scope"'}
    return Refused(403, f"{reason}; allowed: {roles_that_may(action)}", reason, challenge)


def too_many(limit: str, wait_s: float) -> Refused:
    """The 429 for a limit that is given in words; `wait_s` becomes Retry-After."""
    seconds = max(1, math.ceil(wait_s))
    return Refused(429, f"{limit}; try again in {seconds} s", "rate limit", {"retry-after": str(seconds)})
