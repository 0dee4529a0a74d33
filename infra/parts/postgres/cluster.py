"""Patroni's REST interface: the state of the cluster and its members, and the promotion of a member."""

from __future__ import annotations

import base64
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import psycopg

from infra.parts.postgres.access import dsn
from infra.parts.postgres.configuration import KIND
from infra.site import certificates
from infra.site.site import Place
from infra.topology.model import Node

_PROMOTE_WITHIN_S = 45.0
"""The lost primary's lease (20 s) has to run out first, unless it is released."""
_ASK_WITHIN_S = 1.0
_ANSWER_WITHIN_S = 30.0
_POLL_S = 0.2


class NotPromoted(Exception):
    """A member could not be promoted; says why, and what to do."""


def member_state(place: Place, node: Node) -> dict[str, Any]:
    """A member's state by Patroni's own names; empty if it does not answer."""
    _, body = _ask(place, node, "/patroni")
    with suppress(json.JSONDecodeError):
        answer = json.loads(body)
        if isinstance(answer, dict):
            return answer
    return {}


def cluster(place: Place) -> dict[str, dict[str, Any]]:
    """Name -> state of every member, by Patroni's own names, from the first member that answers; empty if none does."""
    for node in place.nodes(KIND):
        status, body = _ask(place, node, "/cluster")
        if status == 200:
            return {member["name"]: member for member in json.loads(body)["members"]}
    return {}


def primary(place: Place) -> Node | None:
    """The member that holds the leader's lease and runs as primary; None if there is none."""
    for node in place.nodes(KIND):
        if _ask(place, node, "/primary")[0] == 200:
            return node
    return None


def missing_redundancy(place: Place) -> str | None:
    """What the cluster lacks for full redundancy, in words: a primary, streaming replicas, a synchronous standby. None
    if nothing."""
    return lacking(cluster(place), [node.name for node in place.nodes(KIND)], place.site.options.durability)


def lacking(members: Mapping[str, Mapping[str, Any]], names: Iterable[str], durability: str) -> str | None:
    """The same, of members as Patroni lists them and of the names that there should be.

    With `any-1` each replica must be one that a commit may wait for: Patroni takes them up one after another, and until
    then the loss of the first leaves no other.
    """
    role = {name: members.get(name, {}).get("role") for name in names}
    if "leader" not in role.values():
        return "a primary"
    replicas = [name for name in role if role[name] != "leader"]
    lagging = [name for name in replicas if members.get(name, {}).get("state") != "streaming"]
    if lagging:
        return f"replicas to stream: {', '.join(lagging)}"
    if durability == "standby" and "sync_standby" not in role.values():
        return "a synchronous standby"
    if durability == "any-1" and (unasked := [name for name in replicas if role[name] != "quorum_standby"]):
        return f"replicas to confirm commits: {', '.join(unasked)}"
    return None


def promote(place: Place, node: Node, within_s: float = _PROMOTE_WITHIN_S) -> None:
    """Promote a member although it may lack the last acknowledged writes, as when a region is lost.

    Patroni never does this by itself if a synchronous standby is meant to have these writes. It still waits until the
    old primary's lease has run out. Returns once the member is the primary and takes writes. NotPromoted.
    """
    deadline = time.monotonic() + within_s
    said = "nothing"
    while (left_s := deadline - time.monotonic()) > 0:
        if _ask(place, node, "/primary")[0] == 200:
            if _takes_writes(place, node):
                return
            said = "it leads, its PostgreSQL still replays"
            time.sleep(_POLL_S)
            continue
        # The request is repeated: a member refuses it while it is starting or has no etcd, and Patroni forgets a
        # request that led to nothing. It answers once there is a new leader, or after 10 s or more.
        status, body = _ask(place, node, "/failover", {"candidate": node.name}, within_s=min(left_s, _ANSWER_WITHIN_S))
        if status != 200:
            said = body or str(status)
            time.sleep(_POLL_S)
    raise NotPromoted(
        f"expected {node.name} to be the primary within {within_s:.0f} s, Patroni said: {said}; "
        "look whether it runs and reaches a majority of etcd, and whether another member leads"
    )


def _takes_writes(place: Place, node: Node) -> bool:
    """Whether PostgreSQL has ended its recovery; Patroni calls a member primary shortly before that."""
    url = dsn(place, "postgres", place.site.secrets["postgres"], node=node, database="postgres")
    with suppress(psycopg.OperationalError), psycopg.connect(url, autocommit=True) as link:
        return link.execute("select pg_is_in_recovery()").fetchone() == (False,)
    return False


def _ask(
    place: Place, node: Node, path: str, order: dict[str, str] | None = None, within_s: float = _ASK_WITHIN_S
) -> tuple[int, str]:
    """Status and body, whatever the status; (0, reason) if there is no answer. A request with an `order` is a POST that
    carries the password."""
    tls = place.site.options.tls == "on"
    scheme = "https" if tls else "http"
    request = urllib.request.Request(f"{scheme}://{place.outside(node, 'rest')}{path}")
    if order is not None:
        login = base64.b64encode(f"patroni:{place.site.secrets['patroni']}".encode()).decode()
        request.add_header("Authorization", f"Basic {login}")
        request.add_header("Content-Type", "application/json")
        request.data = json.dumps(order).encode()
    try:
        context = certificates.context(place.site) if tls else None
        with urllib.request.urlopen(request, timeout=within_s, context=context) as answer:
            return int(answer.status), answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")
    except OSError as error:
        return 0, str(error)
