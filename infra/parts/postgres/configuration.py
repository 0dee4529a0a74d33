"""How a member is configured, as data: durability, timings, who may connect. Pure.

The timings are Patroni's shortest sound ones (loop_wait + 2 x retry_timeout <= ttl): its defaults wait up to
320 s for a primary that does not come back, which breaks a 2 minute RTO by themselves. They leave an etcd over
140 ms links three attempts a request.
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
"""The replication slot that holds back what the archiver has not fetched; Patroni keeps it on every member."""
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
    # Twelve APIs with 16 for writes, and some for everybody else.
    "max_connections": 250,
    "wal_log_hints": "on",
    "wal_keep_size": "64MB",
    # A slot whose reader is gone for long is given up rather than the disk.
    "max_slot_wal_keep_size": "512MB",
    "max_wal_size": "256MB",
    "jit": "off",
    # In files of its own folder: a killed postmaster that is not started again would leave them in /dev/shm.
    "dynamic_shared_memory_type": "mmap",
    "hot_standby_feedback": "off",
    "password_encryption": "scram-sha-256",
    # A peer beyond a cut link is given up after 10 s, many round trips of the longest link, and looked for each
    # second: the defaults are minutes, and two hours for an idle client's connection.
    "wal_sender_timeout": "10s",
    "wal_receiver_timeout": "10s",
    "wal_retrieve_retry_interval": "1s",
    "tcp_user_timeout": "10s",
    "tcp_keepalives_idle": 5,
    "tcp_keepalives_interval": 2,
    "tcp_keepalives_count": 3,
}
# Patroni has no setting for the least version of TLS. This one cannot be had with our ECDSA certificates, so that no
# handshake below TLS 1.3, whose ciphers are not chosen here, comes to anything.
_NONE_BELOW_TLS_13 = "ECDHE-RSA-AES256-GCM-SHA384"
_INITDB = [
    {"encoding": "UTF8"}, "data-checksums", {"locale-provider": "builtin"}, {"builtin-locale": "C.UTF-8"},
    {"locale": "C"},
    # Of 16 MB seven members would keep five each, mostly empty.
    {"wal-segsize": "4"},
]  # fmt: skip


def timings(options: Options) -> dict[str, Any]:
    """What Patroni keeps for the whole cluster: seconds, but `maximum_lag_on_failover` (bytes); and whom a commit
    waits for."""
    return {**_TIMINGS, **_SYNCHRONOUS[options.durability]}


def parameters() -> dict[str, Any]:
    """PostgreSQL's settings, the same for every member, by its own names."""
    return dict(_PARAMETERS)


def durability(options: Options) -> str:
    """What a commit waits for, in words."""
    return _IN_WORDS[options.durability]


def configuration(place: Place, node: Node, bin_dir: str) -> dict[str, Any]:
    """Patroni's configuration of a member."""
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
    """What TLS adds to each section; without it nothing."""

    host: str = "host"
    """The kind of line in pg_hba."""
    rest: dict[str, str] = {}
    etcd: dict[str, str] = {}
    ctl: dict[str, Any] = {}
    client: dict[str, str] = {}
    server: dict[str, str] = {}


def _tls(place: Place, node: Node) -> _Tls:
    """TLS 1.3 for clients, replication and Patroni's interface. Loopback is no exception, Patroni's own connection
    to its PostgreSQL neither."""
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
    """Where those are who may connect."""
    regions = [region.cidr for region in place.topology.regions.values()] if place.site.apart else []
    return ["127.0.0.0/8", *regions]


def _tags(place: Place, node: Node) -> dict[str, Any]:
    """Who may be synchronous, and who of those that know equally much is promoted: the topology's order.

    With `standby` only the members of the first one's region may: a commit that waits for another continent is
    another product. Nobody else is promoted by itself then, since it may lack acknowledged writes: see `promote`.
    """
    members = place.nodes(KIND)
    home = node.region == members[0].region
    return {
        "nosync": place.site.options.durability == "standby" and not home,
        "failover_priority": len(members) - members.index(node),
    }
