"""A database of its own beside the system's, in the same cluster and made by the same migrations: for what must not
touch the system's data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from infra.fabric.protocol import Fabric
from infra.parts import postgres
from system.settings import variable


@contextmanager
def scratch_database(system: Fabric, name: str, projects: int = 300) -> Iterator[dict[str, str]]:
    """Make the database `name` with its initial data, `projects` of them, and drop it at the end; one that was left
    behind is dropped first. Yields the environment with which modules of the system use it. psycopg.Error, StartError.
    """
    drop = sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
    make = sql.SQL("create database {} owner covenant_owner").format(sql.Identifier(name))
    uses = {variable("database"): name}
    url = postgres.dsn(system.place, "postgres", system.site.secrets["postgres"], database="postgres")
    with psycopg.connect(url, autocommit=True) as link:
        link.execute(drop)
        link.execute(make)
        try:
            system.run_once(
                "system.store.migrate", role="owner",
                more={**uses, variable("projects"): str(projects), variable("users_file"): ""},
            )  # fmt: skip
            yield uses
        finally:
            link.execute(drop)
