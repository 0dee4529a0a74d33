"""A member's configuration as data: durability, timings, who may connect. Pure.

The timings are short, and sound by Patroni's rule (loop_wait + 2 x retry_timeout <= ttl): with its defaults it
waits up to 320 s for a primary that does not come back, which alone breaks an RTO of 2 minutes. With ours, a request to
etcd over links of 140 ms still has three attempts.
"""

from __future__ import annotations

from typing import Any

import msgspec

from infra.site import certificates
from infra.site.site import Place
from infra.topology.model import Node
from infra.topology.options import Options

KIND = "postgres"
ARCHIVER = "archiver"
SLOT = "archiver"
"""The replication slot that retains WAL until the archiver has fetched it; Patroni keeps it on every member."""
_TIMINGS = {
    "ttl": 20,
    "loop_wait": 2,
    "retry_timeout": 5,
    "maximum_lag_on_failover": 1_048_576,
    "primary_start_timeout": 0,
}
_SYNCHRONOUS: dict[str, dict[str, Any]] = {
    "async": {"synchronous_mode": False},
    "standby": {"synchronous_mode": True, "synchronous_node_count": 1},
    "any-1": {"synchronous_mode": "quorum", "synchronous_node_count": 1},
}
_IN_WORDS = {
    "async": "PostgreSQL: no synchronous standby, a commit waits for the primary's disk alone",
    "standby": "PostgreSQL: synchronous standby in the primary's region, asynchronous regional replicas",
    "any-1": "PostgreSQL: a commit waits for any one other member, in whatever region",
}
_PARAMETERS = {
    "shared_buffers": "32MB",
    # Twelve APIs with 16 connections for writes each, and some for all others.
    "max_connections": 250,
    "wal_log_hints": "on",
    "wal_keep_size": "64MB",
    # If a slot's reader is away for long, its WAL is dropped before the disk is full.
    "max_slot_wal_keep_size": "512MB",
    "max_wal_size": "256MB",
    "jit": "off",
    # Shared memory in files of its own folder: a killed postmaster would leave it in /dev/shm.
    "dynamic_shared_memory_type": "mmap",
    "hot_standby_feedback": "off",
    "password_encryption": "scram-sha-256",
    # A peer beyond a cut link is given up after 10 s, many round trips of the longest link, and tried again each
    # second. The defaults are minutes, and two hours for an idle client's connection.
    "wal_sender_timeout": "10s",
    "wal_receiver_timeout": "10s",
    "wal_retrieve_retry_interval": "1s",
    "tcp_user_timeout": "10s",
    "tcp_keepalives_idle": 5,
    "tcp_keepalives_interval": 2,
    "tcp_keepalives_count": 3,
}
# Patroni has no setting for the lowest version of TLS. This cipher is impossible with our ECDSA certificates, so no
# handshake below TLS 1.3 succeeds; the ciphers of TLS 1.3 are not chosen here.
_NONE_BELOW_TLS_13 = "ECDHE-RSA-AES256-GCM-SHA384"
_INITDB = [
    {"encoding": "UTF8"}, "data-checksums", {"locale-provider": "builtin"}, {"builtin-locale": "C.UTF-8"},
    {"locale": "C"},
    # With the default of 16 MB, seven members would keep five segments each, mostly empty.
    {"wal-segsize": "4"},
]  # fmt: skip


def timings(options: Options) -> dict[str, Any]:
    """Patroni's settings for the whole cluster, by its own names: timings in seconds, `maximum_lag_on_failover` in
    bytes, and which members a commit waits for."""
    return {**_TIMINGS, **_SYNCHRONOUS[options.durability]}


def parameters() -> dict[str, Any]:
    """PostgreSQL's settings by its own names, the same for every member."""
    return dict(_PARAMETERS)


def durability(options: Options) -> str:
    """What a commit waits for, in words."""
    return _IN_WORDS[options.durability]


def configuration(place: Place, node: Node, bin_dir: str) -> dict[str, Any]:
    """Patroni's configuration file of a member, as data. `bin_dir` holds PostgreSQL's programs."""
    folder, secret, tls = place.site.folder(node), place.site.secrets, _tls(place, node)
    rest, client = place.endpoint(node, "rest"), place.endpoint(node, "client")
    return {
        "scope": place.site.run_id,
        "name": node.name,
        "restapi": {
            "listen": rest,
            "connect_address": rest,
            "authentication": {"username": "patroni", "password": secret["patroni"]},
            **tls.rest,
        },
        **tls.ctl,
        "etcd3": {"hosts": place.endpoints("etcd", "client", near=node.region), **tls.etcd},
        "bootstrap": {
            "dcs": {
                **timings(place.site.options),
                **({"slots": {SLOT: {"type": "physical"}}} if place.nodes(ARCHIVER) else {}),
                "postgresql": {"use_pg_rewind": True, "use_slots": True, "parameters": _PARAMETERS},
            },
            "initdb": _INITDB,
        },
        "postgresql": {
            "listen": client,
            "connect_address": client,
            "data_dir": str(folder / "data"),
            "bin_dir": bin_dir,
            "pgpass": str(folder / "pgpass"),
            "authentication": {
                "superuser": {"username": "postgres", "password": secret["postgres"], **tls.client},
                "replication": {"username": "replication", "password": secret["replication"], **tls.client},
            },
            # Sockets in the file system have a limit of 107 bytes on their path: TCP alone.
            "parameters": {"unix_socket_directories": "", **tls.server},
            "pg_hba": [
                f"{tls.host} {database} {role} {network} scram-sha-256"
                for network in _networks(place)
                for database, role in (("replication", "replication"), ("replication", ARCHIVER), ("all", "all"))
            ],
            "basebackup": [{"checkpoint": "fast"}],
        },
        "tags": _tags(place, node),
    }


class _Tls(msgspec.Struct, frozen=True):
    """What TLS adds to each section of the configuration; the defaults are for a system without TLS."""

    host: str = "host"
    """The kind of line in pg_hba."""
    rest: dict[str, str] = {}
    etcd: dict[str, str] = {}
    ctl: dict[str, Any] = {}
    client: dict[str, str] = {}
    server: dict[str, str] = {}


def _tls(place: Place, node: Node) -> _Tls:
    """TLS 1.3 for clients, replication and Patroni's interface; also on loopback, and between Patroni and its
    PostgreSQL."""
    if place.site.options.tls == "off":
        return _Tls()
    mine = certificates.of(place.site, node)
    cert, key, ca = str(mine.cert), str(mine.key), str(mine.ca)
    return _Tls(
        host="hostssl",
        rest={
            "certfile": cert, "keyfile": key, "cafile": ca, "verify_client": "required",
            "ciphers": _NONE_BELOW_TLS_13,
        },
        etcd={"protocol": "https", "cacert": ca, "cert": cert, "key": key},
        ctl={"ctl": {"cacert": ca, "certfile": cert, "keyfile": key}},
        client={"sslmode": "verify-full", "sslrootcert": ca},
        server={
            "ssl": "on", "ssl_cert_file": cert, "ssl_key_file": key, "ssl_min_protocol_version": "TLSv1.3",
        },
    )  # fmt: skip


def _networks(place: Place) -> list[str]:
    """The networks that may connect, as CIDRs."""
    regions = [region.cidr for region in place.topology.regions.values()] if place.site.apart else []
    return ["127.0.0.0/8", *regions]


def _tags(place: Place, node: Node) -> dict[str, Any]:
    """Whether a member may be synchronous, and its rank for a promotion: among members with the same WAL, the first in
    the topology wins.

    With durability `standby`, only members in the region of the first one may be synchronous, since a commit that waits
    for another continent is too slow. Patroni then promotes no other member by itself, since those may lack
    acknowledged writes (see `promote`).
    """
    members = place.nodes(KIND)
    home = node.region == members[0].region
    return {
        "nosync": place.site.options.durability == "standby" and not home,
        "failover_priority": len(members) - members.index(node),
    }
