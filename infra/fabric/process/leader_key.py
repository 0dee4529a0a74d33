"""Patroni's lease on being PostgreSQL's primary, as it stands in etcd: given back at once for a member that is dead.

Left alone the lease runs out 20 s after the member's last sign of life, because from afar a dead member and one that
is cut off look the same, and the latter may still be writing. Who knows that every process of the member is gone,
and keeps it from being started meanwhile, need not wait. The order makes it safe: first read the key, then make sure
that the member is dead, then delete the key if it is still that very one.
"""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Callable
from typing import Any, NamedTuple

from infra.parts import etcd
from infra.site.site import Place

_ANSWER_WITHIN_S = 1.0


class NoAnswer(Exception):
    """No etcd member answered; says what each did."""


class Lease(NamedTuple):
    """The leader's key as it stood at one instant."""

    member: str
    revision: int
    """etcd's revision in which the key was written last: another one is another lease, be it of the same member."""


def holder(place: Place) -> Lease | None:
    """The lease and its holder; None if no member holds it. NoAnswer."""
    found = _ask(place, "range", {"key": _text(_key(place))}).get("kvs", [])
    return Lease(base64.b64decode(found[0]["value"]).decode(), int(found[0]["mod_revision"])) if found else None


def release(place: Place, member: str, is_dead: Callable[[], bool]) -> bool:
    """Give the lease of a dead member back; whether there was one to give back. NoAnswer.

    The caller keeps the member from being started until this returns.
    """
    lease = holder(place)
    if lease is None or lease.member != member or not is_dead():
        return False
    key = _text(_key(place))
    done = _ask(place, "txn", {
        "compare": [
            {"key": key, "target": "MOD", "result": "EQUAL", "mod_revision": str(lease.revision)},
            {"key": key, "target": "VALUE", "result": "EQUAL", "value": _text(member)},
        ],
        "success": [{"request_delete_range": {"key": key}}],
    })  # fmt: skip
    return bool(done.get("succeeded", False))


def _key(place: Place) -> str:
    return f"/service/{place.site.run_id}/leader"


def _text(value: str) -> str:
    return base64.b64encode(value.encode()).decode()


def _ask(place: Place, what: str, body: dict[str, Any]) -> dict[str, Any]:
    """A request to etcd's JSON gateway, at the first member that answers it."""
    data = json.dumps(body).encode()
    problems = []
    for node in place.nodes("etcd"):
        end = etcd.origin(place, node)
        request = urllib.request.Request(f"{end}/v3/kv/{what}", data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=_ANSWER_WITHIN_S, context=etcd.context(place)) as answer:
                found: dict[str, Any] = json.loads(answer.read())
                return found
        except (OSError, ValueError) as error:
            problems.append(f"{end}: {error}")
    raise NoAnswer(f"no etcd member answered: {'; '.join(problems)}")
