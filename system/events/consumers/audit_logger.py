"""`python -m system.events.consumers.audit_logger`: append an entry to the audit trail for every event, exactly once.

A thread exports new entries to S3, so that a trail that was tampered with can be detected. The thread has a database
connection of its own and does not delay the effects: while S3 is unavailable the next file only gets larger.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Sequence
from typing import ClassVar

import asyncpg
import psycopg

from system import process
from system.events.consuming.postgres import PostgresEffect
from system.events.consuming.runner import main_of
from system.process import DependencyState
from system.settings import Settings
from system.store.audit import trail
from system.wire import Event

NAME = "audit-logger"
EXPORT_EVERY_S = 600.0
_EXPORT_AGAIN_S = 15.0
"""The pause after S3 or the database was unavailable."""


class AuditLogger(PostgresEffect):
    """The effect on the audit trail, for one stream. The instances of all streams take turns to append."""

    consumer: ClassVar[str] = NAME

    async def effects(self, connection: asyncpg.Connection, events: Sequence[Event]) -> None:
        await trail.append(connection, events)


def keep_exporting(settings: Settings, log: logging.Logger, wait: Callable[[float], bool]) -> None:
    """Export now and every EXPORT_EVERY_S. `wait` pauses for so many seconds and returns True to end."""
    # Imported here, since S3 and Parquet take longer to import than everything else.
    from system.domain.hash_chain import Broken
    from system.store.audit.exports import ExportsAway
    from system.tools.audit import ExportBusy, export_new

    dependencies = DependencyState(log)
    broken: set[str] = set()
    while True:
        pause_s = EXPORT_EVERY_S
        try:
            export_new(settings, log.info)
            dependencies.back("S3")
            dependencies.back("primary database of the export")
        except ExportsAway as error:
            dependencies.away("S3", error)
            pause_s = _EXPORT_AGAIN_S
        except psycopg.Error as error:
            dependencies.away("primary database of the export", error)
            pause_s = _EXPORT_AGAIN_S
        except ExportBusy as error:
            log.info("%s", error)
        except Broken as error:
            if str(error) not in broken:
                broken.add(str(error))
                log.critical("the audit trail does not hold, and is exported no further: %s", error)
        if wait(pause_s):
            return


async def main(settings: Settings, log: logging.Logger) -> None:
    """Consume until cancelled; export if the settings name an S3."""
    ending = threading.Event()
    if settings.s3_endpoint is None:
        log.warning("COVENANT_S3_ENDPOINT is not set: the audit trail is exported nowhere")
    else:
        # A daemon thread, so that it does not delay the process's end: an upload may be cut off at any point.
        threading.Thread(target=keep_exporting, args=(settings, log, ending.wait), daemon=True).start()
    try:
        await main_of(NAME, AuditLogger)(settings, log)
    finally:
        ending.set()


if __name__ == "__main__":
    sys.exit(process.run(NAME, main))
