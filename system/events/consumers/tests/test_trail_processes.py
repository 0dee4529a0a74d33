"""The processes of audit logger and notifications are killed again and again: no effect is lost or doubled."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec
import pytest
from nats.js.errors import NotFoundError

from system.domain import frames
from system.domain.frames import EncodedEvent
from system.events import bus, streams
from system.events.consumers.tests.test_audit_logger import refusal
from system.events.consumers.tests.test_notifications import PushServer, execute
from system.events.consumers.tests.test_notifications import push_server as push_server
from system.events.publish import publish
from system.events.streams import ensure_stream
from system.process import DependencyState
from system.settings import Settings, variable
from system.store.audit.exports import Exports
from system.tests.servers import DEADLINE_S, wait_until
from system.tools import audit as command
from system.tools.tests.test_audit import event, no_progress, read_trail
from system.tools.tests.test_audit import with_s3 as with_s3
from system.wire import STREAMS, Event

LOG = logging.getLogger("test")
PROJECTS, REFUSALS = 3_000, 1_000
KILLS = 4
POSITIONS = """
select partition, position from consumer_position
where consumer = '{}' and partition in ('projects.0', 'users.1') order by partition"""
TRACE = """
select partition, first, last from consumer_applied where consumer = '{}' order by partition, first, applied_at"""

encode = msgspec.json.Encoder(decimal_format="number").encode


class Process:
    """A consumer's process, which may be killed and started again."""

    def __init__(self, name: str, settings: Settings) -> None:
        self._module = f"system.events.consumers.{name.replace('-', '_')}"
        given = {variable(key): str(one) for key, one in vars(settings).items() if one not in (None, "")}
        self._environment = {**os.environ, **given}
        self._running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._running = subprocess.Popen([sys.executable, "-m", self._module], env=self._environment)

    def kill(self) -> None:
        assert self._running is not None
        self._running.kill()
        self._running.wait(DEADLINE_S)

    def end(self) -> int:
        assert self._running is not None
        self._running.terminate()
        return self._running.wait(DEADLINE_S)

    def clean_up(self) -> None:
        if self._running is not None and self._running.poll() is None:
            self.kill()


@contextlib.contextmanager
def consumer(name: str, settings: Settings) -> Iterator[Process]:
    process = Process(name, settings)
    try:
        yield process
    finally:
        process.clean_up()


def publish_all(settings: Settings, *batches: list[Event]) -> None:
    """Events on new streams; the last hundred of each batch twice, with other frame boundaries, as after a failure."""

    async def run() -> None:
        client = await bus.connect(settings, "test", DependencyState(LOG), LOG)
        js = client.jetstream()
        for stream in STREAMS:
            with contextlib.suppress(NotFoundError):
                await js.delete_stream(stream.name)
            await ensure_stream(js, stream, 1)
        for batch in batches:
            encoded = [EncodedEvent(one.partition, one.position, one.id, encode(one)) for one in batch]
            for part in (encoded, encoded[-100:]):
                outcome = await publish(js, part, DEADLINE_S)
                assert outcome.failure is None
        await client.close()

    asyncio.run(run())


def applied(settings: Settings, name: str) -> list[tuple[str, int]]:
    return execute(settings, POSITIONS.format(name))


def moved(settings: Settings, name: str, before: list[tuple[str, int]]) -> bool:
    return applied(settings, name) != before


def let_it_be_killed(process: Process, name: str, settings: Settings) -> None:
    """Kill the process at random instants, then let it finish its work."""
    chance = random.Random(name)
    done = [("projects.0", PROJECTS), ("users.1", REFUSALS)]
    for _ in range(KILLS):
        before = applied(settings, name)
        if before == done:
            break
        process.start()
        wait_until(partial(moved, settings, name, before), "something to be applied")
        time.sleep(chance.uniform(0, 0.05))  # At any instant of its work: there is no condition to wait for.
        process.kill()
    ready = Path(settings.ready_file or "")
    ready.unlink(missing_ok=True)
    process.start()
    wait_until(ready.exists, "the consumer to be ready")
    wait_until(lambda: applied(settings, name) == done, "everything to be applied")


def holes_and_overlaps(settings: Settings, name: str) -> list[tuple[str, int, int]]:
    """Ranges of the trace that do not follow on the previous one."""
    found = []
    position: dict[str, int] = {}
    for partition, first, last in execute(settings, TRACE.format(name)):
        if first != position.get(partition, 0) + 1:
            found.append((partition, first, last))
        position[partition] = last
    return found


@pytest.fixture
def published(nats_server: None, with_s3: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    # Small messages, so that kills come in the midst of the work, and a short time until redelivery.
    monkeypatch.setattr(streams, "ACK_WAIT_S", 0.3)
    monkeypatch.setattr(frames, "EVENTS_A_MESSAGE_MAX", 1)
    projects: list[Event] = [event(number) for number in range(1, PROJECTS + 1)]
    refusals: list[Event] = [refusal(number) for number in range(1, REFUSALS + 1)]
    publish_all(with_s3, projects, refusals)
    return replace(with_s3, ready_file=str(tmp_path / "ready"))


def test_a_killed_audit_logger_leaves_an_intact_trail(published: Settings) -> None:
    with consumer("audit-logger", published) as process:
        let_it_be_killed(process, "audit-logger", published)
        assert command.verify(published, no_progress).seq == PROJECTS + REFUSALS
        assert holes_and_overlaps(published, "audit-logger") == []
        assert {(one.partition, one.position) for one in read_trail(published)} == {
            *(("projects.0", number) for number in range(1, PROJECTS + 1)),
            *(("users.1", number) for number in range(1, REFUSALS + 1)),
        }
        assert process.end() == 0
    command.export_new(published, no_progress)
    exports = Exports(published)
    assert command.check_exports(exports, no_progress).seq == PROJECTS + REFUSALS
    exports.close()


def test_killed_notifications_stores_each_once_and_delivers_all(published: Settings, push_server: PushServer) -> None:
    with consumer("notifications", replace(published, push_url=push_server.url)) as process:
        let_it_be_killed(process, "notifications", published)
        assert holes_and_overlaps(published, "notifications") == []
        assert execute(published, "select count(*) from notification") == [(PROJECTS,)]
        # The claims of a killed sender end with their lease, which would take too long here.
        execute(published, "update notification set next_attempt_at = now() where state = 'pending'")
        pending = "select count(*) from notification where state <> 'delivered'"
        wait_until(lambda: execute(published, pending) == [(0,)], "everything to be delivered")
        assert process.end() == 0
    assert len({key for key, _ in push_server.received}) == PROJECTS
