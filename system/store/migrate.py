"""`python -m system.store.migrate`: bring the primary's schema and initial data up to date, then end.

Runs as the role that owns the database. If there is no primary it tries again, for as long as a bootstrap or a
failover may take.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import psycopg
import sqlalchemy
from alembic import command
from alembic.config import Config

from system import settings as settings_
from system.process import make_ready, remove_stale
from system.settings import Settings
from system.store.blocking import Connection, connect

_DEADLINE_S = 120.0
_PAUSE_S = 0.5


def migrate(settings: Settings) -> None:
    """Run every migration that the primary lacks, all in one transaction. sqlalchemy.exc.DBAPIError if no primary is
    found within 120 s, or if a migration fails."""
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: _connect(settings), poolclass=sqlalchemy.NullPool
    )
    with engine.connect() as connection:
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
        config.attributes["connection"] = connection
        config.attributes["settings"] = settings
        command.upgrade(config, "head")
        connection.commit()


def _connect(settings: Settings) -> Connection:
    deadline = time.monotonic() + _DEADLINE_S
    logged = False
    while True:
        try:
            return connect(settings, "migrate")
        except psycopg.OperationalError as error:
            if time.monotonic() > deadline:
                raise
            if not logged:
                print(f"migrate: waiting for a primary: {str(error).splitlines()[0]}", file=sys.stderr)
                logged = True
            time.sleep(_PAUSE_S)


def main() -> int:
    """The exit code: 0 done, 1 no primary within the deadline or a migration failed, 2 settings are missing."""
    try:
        settings = settings_.load()
    except settings_.SettingsError as error:
        print(f"migrate: {error}", file=sys.stderr)
        return 2
    remove_stale(settings.ready_file)
    try:
        migrate(settings)
    except sqlalchemy.exc.DBAPIError as error:
        reason = " ".join(str(error.orig).split())
        print(f"migrate: nothing was changed: {reason}; mend that, then run it again", file=sys.stderr)
        return 1
    make_ready(settings.ready_file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
