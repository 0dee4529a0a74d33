"""The audit logger on real servers: one entry an event, however often it is delivered, and exports of its own pace."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest

from system.events.consumers import audit_logger
from system.events.consumers.audit_logger import AuditLogger, keep_exporting
from system.events.consuming.effect import Delivery
from system.settings import Settings
from system.store.audit.exports import ExportFile, Exports
from system.tools import audit as command
from system.tools.tests.test_audit import append, as_superuser, event, no_progress, read_trail
from system.tools.tests.test_audit import with_s3 as with_s3
from system.wire import PROJECTS_STREAM, USERS_STREAM, Event, Refusal, UserEvent

LOG = logging.getLogger("test")


def refusal(position: int) -> UserEvent:
    refused = Refusal(
        client_id="anonymous", region="ams", method="POST", route="/api/v1/projects", status=401, reason="no token",
        count=3, last_at="2026-01-01T00:00:00Z",
    )  # fmt: skip
    return UserEvent(
        id=f"00000000-0000-4000-9000-{position:012}", type="refused", aggregate="users", aggregate_id="anonymous",
        partition="users.1", position=position, region="ams", occurred_at="2026-01-01T00:00:00Z", before=None,
        after=None, refusal=refused,
    )  # fmt: skip


def test_events_of_all_streams_become_one_chain_however_often_they_are_delivered(database: Settings) -> None:
    async def deliver(effect: AuditLogger, *batches: list[Event]) -> None:
        for batch in batches:
            await effect.apply({batch[0].partition: [Delivery(one, None) for one in batch]})
        await effect.close()

    async def run() -> None:
        projects, users = AuditLogger(database, PROJECTS_STREAM), AuditLogger(database, USERS_STREAM)
        await asyncio.gather(
            deliver(projects, [event(1), event(2)], [event(2), event(1), event(3)], [event(5)]),
            deliver(users, [refusal(1)], [refusal(1), refusal(2)]),
        )

    asyncio.run(run())
    entries = read_trail(database)
    assert command.verify(database, no_progress).seq == 5
    assert sorted((one.partition, one.position) for one in entries) == [
        ("projects.0", 1), ("projects.0", 2), ("projects.0", 3), ("users.1", 1), ("users.1", 2),
    ]  # fmt: skip
    assert any('"reason":"no token"' in one.entry for one in entries)


def test_exports_start_at_once_and_log_an_unreachable_s3_once(
    with_s3: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    waited: list[float] = []
    away = replace(with_s3, s3_secret_key="wrong")

    def wait(pause_s: float) -> bool:
        waited.append(pause_s)
        return len(waited) == 2

    append(with_s3, [event(1)])
    keep_exporting(away, LOG, wait)
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["S3 is away"]
    assert waited == [audit_logger._EXPORT_AGAIN_S] * 2
    waited.clear()

    def write_meanwhile(pause_s: float) -> bool:
        if not waited:
            append(with_s3, [event(2), event(3)])
        return wait(pause_s)

    keep_exporting(with_s3, LOG, write_meanwhile)
    exports = Exports(with_s3)
    assert exports.files() == [ExportFile(1, 1), ExportFile(2, 3)]
    exports.close()
    assert waited == [audit_logger.EXPORT_EVERY_S] * 2


def test_a_broken_trail_is_logged_once_and_not_exported_further(
    with_s3: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    append(with_s3, [event(1), event(2)])
    as_superuser(with_s3, "update audit_log set entry = '{}' where seq = 2")
    rounds = iter((False, False, True))
    keep_exporting(with_s3, LOG, lambda _: next(rounds))
    exports = Exports(with_s3)
    assert exports.files() == []
    exports.close()
    assert [record.levelname for record in caplog.records] == ["CRITICAL"]
    assert "breaks at entry 2" in caplog.text
