"""The machine clients with which the harness uses the system's API: one for each role, and a steward for each region.

A new database starts with these users, but gets only the hashes of their secrets. The secrets live as long as the
system.
"""

from __future__ import annotations

import json
import secrets
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import get_args

import msgspec

from infra.target import Target
from system import wire
from system.wire import NewUser, Region, Role

_RATE_PER_S = 100_000
"""Requests a second: more than any load offers, since the usual limit (`wire.NewUser.rate_per_s`) would be measured."""
_WITHIN_S = 5.0


class NoToken(Exception):
    """The system gave no token; says why, and what to do."""


def client_id(role: str, region: str | None = None) -> str:
    """The id of a role's client: `steward-ams`, or the role itself."""
    return f"steward-{region}" if role == "steward" else role


def new_secrets(regions: Iterable[str]) -> dict[str, str]:
    """Client id -> a new secret, for every client of the harness."""
    roles = [role for role in get_args(Role) if role != "steward"]
    names = [*map(client_id, roles), *(client_id("steward", region) for region in regions)]
    return {name: secrets.token_urlsafe(32) for name in names}


def write_users(path: Path, clients: Mapping[str, str]) -> None:
    """Write the file of users that the system's database starts with (COVENANT_USERS_FILE)."""
    users = [_user(name, secret) for name, secret in clients.items()]
    path.write_bytes(msgspec.json.encode(users))
    path.chmod(0o600)


def _user(name: str, secret: str) -> NewUser:
    role, _, region = name.partition("-")
    return NewUser(
        id=name,
        role=msgspec.convert(role, Role),
        region=msgspec.convert(region, Region) if region else None,
        secret_sha256=sha256(secret.encode()).hexdigest(),
        rate_per_s=_RATE_PER_S,
    )


def token(target: Target, role: str, region: str | None) -> str:
    """A bearer token for a role, from the API of the region; if that does not answer, from any other. NoToken."""
    login = target.clients.get(client_id(role, region))
    if login is None:
        raise NoToken(f"a steward belongs to a region: name one with --region {'|'.join(target.regions)}")
    body = msgspec.json.encode(wire.SignIn(client_id=login.user, client_secret=login.password))
    answers = []
    for name in sorted(target.regions, key=lambda one: one != region):
        request = urllib.request.Request(
            target.api[name] + wire.TOKENS, data=body, headers={"content-type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=_WITHIN_S) as answer:
                return str(json.loads(answer.read())["access_token"])
        except urllib.error.HTTPError as error:
            answers.append(f"{name} answered {error.code}: {error.read()[:200].decode(errors='replace')}")
        except OSError as error:
            answers.append(f"{name}: {error}")
    raise NoToken(f"no API gave a token: {'; '.join(answers)}; see ./covenant status")
