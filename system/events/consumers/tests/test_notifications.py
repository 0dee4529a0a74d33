"""Notifications on real servers: stored once, sent until accepted, expired after a day."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

import psycopg
import pytest

from system.domain.notification_rules import notification_of
from system.events.consumers import notifications
from system.events.consumers.notifications import Notifications, Sender
from system.events.consuming.effect import Delivery
from system.events.push import HttpPush, Push, PushFailed
from system.process import Backoff, DependencyState
from system.settings import Settings
from system.store import notification_queue as store
from system.store.session import Session
from system.wire import PROJECTS_STREAM, Project, ProjectEvent

LOG = logging.getLogger("test")
T = TypeVar("T")


class PushServer(ThreadingHTTPServer):
    """A push service that gives scripted answers, then accepts everything."""

    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.received: list[tuple[str, dict[str, Any]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/push?to=all"


class _Handler(BaseHTTPRequestHandler):
    server: PushServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.received.append((self.headers["Idempotency-Key"], body))
        status, headers = self.server.answers.pop(0) if self.server.answers else (204, {})
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Not printed."""


@pytest.fixture
def push_server() -> Iterator[PushServer]:
    server = PushServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def creation(position: int) -> Delivery:
    project = Project(
        id=f"00000000-0000-4000-8000-{position:012}", name=f"P{position}", region="syd", country_code="AUS",
        sector="Health", status="Pending", funding_usd_millions=Decimal("1.25"), version=1,
    )  # fmt: skip
    event = ProjectEvent(
        id=project.id, type="created", aggregate="projects", aggregate_id=project.id, partition="projects.0",
        position=position, region="syd", occurred_at="2026-01-01T00:00:00Z", before=None, after=project,
    )  # fmt: skip
    return Delivery(event, None)


async def deliver(settings: Settings, *positions: int) -> bool:
    """Whether there was something to send."""
    kept = asyncio.Event()
    effect = Notifications(settings, PROJECTS_STREAM, kept)
    await effect.apply({"projects.0": [creation(position) for position in positions]})
    await effect.close()
    return kept.is_set()


async def with_sender(settings: Settings, push: Push | None, work: Callable[[Sender], Awaitable[T]]) -> T:
    sender = Sender(settings, push, DependencyState(LOG), jitter=lambda: 0.0)
    try:
        return await work(sender)
    finally:
        sender._session.close()


def rounds(settings: Settings, push: Push | None, count: int = 1) -> list[int]:
    async def work(sender: Sender) -> list[int]:
        return [(await sender.round()).claimed for _ in range(count)]

    return asyncio.run(with_sender(settings, push, work))


def execute(settings: Settings, statement: str) -> list[tuple[Any, ...]]:
    host, _, port = settings.replica.partition(":")
    dsn = f"host={host} port={port} user=covenant_owner dbname={settings.database}"
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


STATES = "select title, state, attempts from notification order by title"
DUE_NOW = "update notification set next_attempt_at = now() where state = 'pending'"


def test_a_notification_is_stored_once_however_often_its_event_is_delivered(database: Settings) -> None:
    assert asyncio.run(deliver(database, 1, 2))
    assert asyncio.run(deliver(database, 2, 1, 3))
    assert not asyncio.run(deliver(database, 3))
    assert [row[0] for row in execute(database, STATES)] == ["New project: P1", "New project: P2", "New project: P3"]


def test_pending_notifications_are_sent_with_their_id_as_key(database: Settings, push_server: PushServer) -> None:
    asyncio.run(deliver(database, 1, 2))
    assert rounds(database, HttpPush(push_server.url), 2) == [2, 0]
    assert sorted(key for key, _ in push_server.received) == [creation(1).event.id, creation(2).event.id]
    key, body = min(push_server.received)
    assert body == {
        "id": key, "topic": "region.syd", "title": "New project: P1",
        "body": {"text": "Health, AUS, pending", "kind": "project", "id": key, "status": "Pending"},
    }  # fmt: skip
    assert execute(database, STATES) == [("New project: P1", "delivered", 1), ("New project: P2", "delivered", 1)]


def test_a_failed_delivery_is_retried_when_it_is_due(database: Settings, push_server: PushServer) -> None:
    push_server.answers = [(503, {}), (429, {"Retry-After": "77"})]
    asyncio.run(deliver(database, 1))
    push = HttpPush(push_server.url)
    waits = "select last_error, round(extract(epoch from next_attempt_at - now()) + 0.5) from notification"
    assert rounds(database, push, 2) == [1, 0]
    [(error, wait_s)] = execute(database, waits)
    assert (error, 0 <= wait_s <= 2) == ("expected 2xx, found 503", True)
    execute(database, DUE_NOW)
    assert rounds(database, push, 2) == [1, 0]
    [(error, wait_s)] = execute(database, waits)
    assert (error, 60 <= wait_s <= 78) == ("expected 2xx, found 429", True)
    execute(database, DUE_NOW)
    assert rounds(database, push, 2) == [1, 0]
    assert execute(database, STATES) == [("New project: P1", "delivered", 3)]
    assert len({key for key, _ in push_server.received}) == 1


def test_a_killed_sender_leaves_a_lease_that_runs_out(database: Settings, push_server: PushServer) -> None:
    async def killed() -> int:
        session = Session(database, "killed")
        claimed = await session.run(lambda connection: store.claim(connection, 10, 60.0))
        session.close()
        return len(claimed)

    asyncio.run(deliver(database, 1))
    assert asyncio.run(killed()) == 1
    assert rounds(database, HttpPush(push_server.url)) == [0]
    execute(database, DUE_NOW)
    assert rounds(database, HttpPush(push_server.url)) == [1]
    assert execute(database, STATES) == [("New project: P1", "delivered", 2)]


def test_two_senders_share_due_notifications(database: Settings, push_server: PushServer) -> None:
    async def run() -> None:
        push = HttpPush(push_server.url)
        await asyncio.gather(*(with_sender(database, push, lambda sender: sender.round()) for _ in range(4)))

    asyncio.run(deliver(database, *range(1, 101)))
    asyncio.run(run())
    keys = [key for key, _ in push_server.received]
    assert len(keys) == len(set(keys)) == 100


def test_after_a_day_a_notification_expires_with_its_last_error(database: Settings, push_server: PushServer) -> None:
    push_server.answers = [(500, {})]
    asyncio.run(deliver(database, 1))
    push = HttpPush(push_server.url)
    rounds(database, push)
    execute(database, "update notification set next_attempt_at = now(), created_at = now() - interval '1 day 1 second'")
    assert rounds(database, push) == [0]
    [row] = execute(database, "select state, last_error from notification")
    assert row == ("expired", "expected 2xx, found 500")


def test_an_unavailable_push_service_is_retried_with_a_backoff(
    database: Settings, push_server: PushServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications, "_AT_ONCE", 2)
    push_server.answers = [(500, {})] * 4
    waits = 0

    async def counted(_: Backoff) -> None:
        nonlocal waits
        waits += 1

    async def work(sender: Sender) -> None:
        running = asyncio.create_task(sender.run(asyncio.Event()))
        async with asyncio.timeout(60):
            while len(push_server.received) < 6:
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.wait({running})

    monkeypatch.setattr(Backoff, "wait", counted)
    asyncio.run(deliver(database, *range(1, 7)))
    asyncio.run(with_sender(database, HttpPush(push_server.url), work))
    assert waits == 2


def test_without_a_push_service_notifications_wait(database: Settings) -> None:
    asyncio.run(deliver(database, 1))
    assert rounds(database, None) == [0]
    assert notifications._PENDING._value.get() == 1
    assert execute(database, STATES) == [("New project: P1", "pending", 0)]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(b"", "ended before an answer"), (b"no HTTP at all\r\n\r\n", "no HTTP"), (None, "refused|Connect")],
)
def test_any_error_of_a_push_service_is_a_failed_delivery(answer: bytes | None, reason: str) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100_000)
        writer.write(answer or b"")
        writer.close()
        await writer.wait_closed()

    async def run() -> None:
        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        if answer is None:
            server.close()
            await server.wait_closed()
        notification = notification_of(creation(1).event)
        assert notification is not None
        try:
            with pytest.raises(PushFailed, match=reason):
                await HttpPush(f"http://127.0.0.1:{port}").send(notification)
        finally:
            server.close()

    asyncio.run(run())
