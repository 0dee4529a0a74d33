"""How this machine's programs connect to the members, and how a new cluster gets its roles and a checkpoint."""

from __future__ import annotations

from urllib.parse import quote, urlencode

import psycopg

from infra.parts.postgres.configuration import KIND
from infra.site import certificates
from infra.site.site import Place, Reach
from infra.topology.model import Node
from system.wire import load

DATABASE = "covenant"
_CONNECT_WITHIN_S = 3


def dsn(
    place: Place, role: str, secret: str, *, node: Node | None = None, port: int | None = None,
    database: str = DATABASE, reach: Reach | None = None,
) -> str:  # fmt: skip
    """A libpq URL: of the member `node`, of a server on this machine's port `port`, or of all members, among which it
    finds the primary. `reach` is how members are reached, by default from this machine."""
    found = reach or place.outside
    options = {"connect_timeout": str(_CONNECT_WITHIN_S)}
    if port is not None:
        hosts = f"127.0.0.1:{port}"
    elif node is not None:
        hosts = found(node, "client")
    else:
        hosts = ",".join(found(member, "client") for member in place.nodes(KIND))
        options["target_session_attrs"] = "primary"
    if place.site.options.tls == "on":
        options |= {"sslmode": "verify-full", "sslrootcert": str(certificates.client(place.site).ca)}
    return f"postgresql://{role}:{secret}@{hosts}/{database}?{urlencode(options, quote_via=quote)}"


def create_roles(place: Place) -> None:
    """Make the database and its roles on the primary: the owner migrates, the application changes rows, the observer
    reads everything and changes nothing, the archiver copies. The migrations grant rights to all of them but the load
    (`admit_load`). psycopg.Error."""
    secret = place.site.secrets
    with psycopg.connect(dsn(place, "postgres", secret["postgres"], database="postgres"), autocommit=True) as link:
        for role in ("owner", "app", "observer", "load"):
            name = psycopg.sql.Identifier(f"covenant_{role}")
            password = psycopg.sql.Literal(secret[role])
            link.execute(psycopg.sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(name, password))
        password = psycopg.sql.Literal(secret["archiver"])
        link.execute(psycopg.sql.SQL("CREATE ROLE archiver LOGIN REPLICATION PASSWORD {}").format(password))
        link.execute("GRANT pg_read_all_data TO covenant_observer")
        link.execute("ALTER ROLE covenant_observer SET default_transaction_read_only = on")
        link.execute(f"CREATE DATABASE {DATABASE} OWNER covenant_owner")


def admit_load(place: Place) -> None:
    """Let the load generator append events to the outbox, to make more events than the API admits, and write
    heartbeats; nothing else. The tables have to exist. psycopg.Error."""
    with psycopg.connect(dsn(place, "covenant_owner", place.site.secrets["owner"]), autocommit=True) as link:
        link.execute(load.ADMIT)


def checkpoint_all(place: Place) -> None:
    """Make a checkpoint on every member. Without it, a primary that is killed within seconds of a parallel bootstrap
    can ask for a removed WAL segment for ever. psycopg.Error."""
    for node in place.nodes(KIND):
        url = dsn(place, "postgres", place.site.secrets["postgres"], node=node, database="postgres")
        with psycopg.connect(url, autocommit=True) as link:
            link.execute("CHECKPOINT")
