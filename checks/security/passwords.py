"""Tries a wrong password at every part that takes one, except the bus."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator

import boto3
import psycopg
import redis
from botocore.client import Config
from botocore.exceptions import ClientError

from infra.fabric.protocol import Fabric
from infra.parts import postgres, s3
from infra.site.site import Place
from infra.topology.model import Node
from system import wire

_WRONG = "not-the-password"
_WITHIN_S = 5.0
_ROLES = ("postgres", "replication", "covenant_owner", "covenant_app", "covenant_observer")


def attempts(system: Fabric) -> int:
    """How many things `wrong_passwords` tries."""
    target = system.target()
    return len(_ROLES) + len(target.valkey) + len(system.place.nodes("s3")) + len(target.api)


def wrong_passwords(system: Fabric) -> Iterator[tuple[str, bool]]:
    """(what was tried, whether it refused the password) for each. A part that does not answer has not refused it."""
    for role in _ROLES:
        yield f"PostgreSQL role {role}", _postgres_refuses(system, role)
    for region, url in system.target().valkey.items():
        yield f"Valkey in {region}", _valkey_refuses(url)
    for node in system.place.nodes("s3"):
        yield node.name, _s3_refuses(system.place, node)
    for region, url in system.target().api.items():
        yield f"API in {region}", _api_refuses(url)


def _postgres_refuses(system: Fabric, role: str) -> bool:
    url = postgres.dsn(system.place, role, _WRONG, node=system.place.nodes("postgres")[0], database="postgres")
    try:
        with psycopg.connect(url):
            return False
    except psycopg.OperationalError as error:
        return "password authentication failed" in str(error)


def _valkey_refuses(url: str) -> bool:
    end = url.rpartition("@")[2].partition("/")[0]
    host, _, port = end.partition(":")
    with redis.Redis(host, int(port), password=_WRONG, socket_timeout=_WITHIN_S) as client:
        try:
            client.ping()
        except redis.AuthenticationError:
            return True
    return False


def _s3_refuses(place: Place, node: Node) -> bool:
    client = boto3.client(
        "s3", endpoint_url=f"{s3.scheme(place)}://{place.outside(node, 's3')}", verify=s3.authority(place),
        aws_access_key_id=place.site.s3_access_key, aws_secret_access_key=_WRONG, region_name="us-west-1",
        config=Config(connect_timeout=_WITHIN_S, read_timeout=_WITHIN_S, retries={"total_max_attempts": 1}),
    )  # fmt: skip
    try:
        client.list_objects_v2(Bucket=s3.BUCKET, MaxKeys=1)
    except ClientError as error:
        return int(error.response["ResponseMetadata"]["HTTPStatusCode"]) == 403
    finally:
        client.close()
    return False


def _api_refuses(url: str) -> bool:
    body = json.dumps({"client_id": "admin", "client_secret": _WRONG}).encode()
    request = urllib.request.Request(url + wire.TOKENS, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=_WITHIN_S):
            return False
    except urllib.error.HTTPError as error:
        with error:
            return error.code == 401
