"""`python -m system.events.consumers.audit_logger`: every event becomes one entry of the audit trail, exactly once.

Beside it a thread writes what is new to S3, so that a trail that was tampered with can be told from the true one.
It has its own connection and never holds up an effect: an S3 that is away only makes the next file larger.
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
"""After S3 or the database was away."""


class AuditLogger(PostgresEffect):
    """The effect on the audit trail, for one stream; those of all streams take turns at its end."""

    consumer: ClassVar[str] = NAME

    async def effects(self, connection: asyncpg.Connection, events: Sequence[Event]) -> None:
        await trail.append(connection, events)


def keep_exporting(settings: Settings, log: logging.Logger, wait: Callable[[float], bool]) -> None:
    """Export at once and then again and again; `wait` is given seconds and says whether to end."""
    # Importing S3 and Parquet takes longer than all the rest of the start.
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
    """Consume until cancelled, and export if there is an S3."""
    ending = threading.Event()
    if settings.s3_endpoint is None:
        log.warning("COVENANT_S3_ENDPOINT is not set: the audit trail is exported nowhere")
    else:
        # A daemon: an upload under way may be cut off at any point, and does not hold up the process's end.
        threading.Thread(target=keep_exporting, args=(settings, log, ending.wait), daemon=True).start()
    try:
        await main_of(NAME, AuditLogger, per_region=False)(settings, log)
    finally:
        ending.set()


if __name__ == "__main__":
    sys.exit(process.run(NAME, main))
