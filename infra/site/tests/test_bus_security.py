"""The bus's security on real nodes: which clients get in, what each user may do, what lies on its disks."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client
from nats.js.api import ConsumerConfig

from checks.security import stores, wires
from checks.security.wires import Listener
from infra.fabric.process.system import System
from infra.site import bus_users, certificates
from infra.target import Login
from infra.tests.small_cluster import running
from infra.topology.options import Options
from system import wire
from system.events.streams import durable_config, ensure_dead_letters, ensure_stream

NODES = ["nats-iad-a", "nats-iad-b", "nats-iad-c"]
CANARY = b"canary-4c1f0d"
_WITHIN_S = 10.0


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with running(tmp_path_factory.mktemp("bus") / "home", NODES, Options()) as started:
        asyncio.run(_as(started, bus_users.STREAMS_ADMIN, _make_streams))
        yield started


async def _as(system: System, user: str, what: Callable[[Client], Awaitable[None]]) -> None:
    login = Login(user=user, password=system.site.secrets[bus_users.secret_name(user)])
    async with asyncio.timeout(_WITHIN_S):
        client = await nats.connect(**system.target().nats_options(login))
        try:
            await what(client)
        finally:
            await client.close()


async def _make_streams(client: Client) -> None:
    js = client.jetstream(timeout=5)
    for stream in wire.STREAMS:
        await ensure_stream(js, stream, 3)
    await ensure_dead_letters(js, 3)


def _listener(system: System, port: str = "client") -> Listener:
    host, _, number = system.place.outside(system.place.nodes("nats")[0], port).partition(":")
    return Listener("nats", host, int(number))


def _context(system: System) -> ssl.SSLContext:
    context = system.target().context()
    assert context is not None
    return context


def test_plain_text_gets_nowhere(system: System) -> None:
    secret = system.site.secrets["nats_load"]
    assert b"PONG" not in wires.exchange_nats(_listener(system), None, "load", secret)
    assert b"PONG" in wires.exchange_nats(_listener(system), _context(system), "load", secret)


@pytest.mark.parametrize("port", ["client", "cluster", "monitor"])
def test_nothing_below_tls_1_3_is_spoken(system: System, port: str) -> None:
    assert wires.handshake(_listener(system, port), _context(system)) == "TLSv1.3"
    mine = certificates.client(system.site)
    older = ssl.create_default_context(cafile=str(mine.ca))
    older.load_cert_chain(str(mine.cert), str(mine.key))
    wires.below_1_3(older)
    with pytest.raises(OSError, match=r"(?i)protocol|alert|eof|reset"):
        wires.handshake(_listener(system, port), older)


def test_a_client_without_a_certificate_is_refused(system: System) -> None:
    anonymous = ssl.create_default_context(cafile=str(system.site.path / "ca.crt"))
    with pytest.raises(OSError, match=r"(?i)certificate"):
        wires.handshake(_listener(system), anonymous)


def test_a_wrong_password_is_refused(system: System) -> None:
    for user in bus_users.users():
        assert b"Authorization Violation" in wires.exchange_nats(_listener(system), _context(system), user, "wrong")


@pytest.mark.parametrize("user", sorted(bus_users.users()))
def test_a_user_may_not_do_what_is_another_s(system: System, user: str) -> None:
    secret = system.site.secrets[bus_users.secret_name(user)]
    forbidden = bus_users.forbidden(user)
    assert wires.not_refused(_listener(system), _context(system), user, secret, forbidden) == []


@pytest.mark.parametrize("user", ["analytics", "mobile-sync-ams"])
def test_a_consumer_may_do_its_work(system: System, user: str) -> None:
    """It uses its durable, its gap reader and its dead letters; a refusal would show as a timeout."""

    async def work(client: Client) -> None:
        js = client.jetstream(timeout=3)
        await js.add_consumer(wire.PROJECTS_STREAM.name, durable_config(wire.PROJECTS_STREAM, user))
        await ensure_dead_letters(js, 3, update=False)
        await js.publish(wire.dead_letter_subject(user, "projects.0"), b"{}")
        reader = ConsumerConfig(name=wire.gap_reader(user), filter_subject=wire.event_subject("projects.1"))
        await js.add_consumer(wire.PROJECTS_STREAM.name, reader)
        await js.delete_consumer(wire.PROJECTS_STREAM.name, wire.gap_reader(user))

    asyncio.run(_as(system, user, work))


def test_the_store_gives_nothing_away(system: System) -> None:
    asyncio.run(_as(system, "relay", _publish_canary))
    assert stores.files_with(system.site.path, CANARY) == []


def test_without_encryption_the_store_gives_it_away(tmp_path: Path) -> None:
    with running(tmp_path / "home", NODES, Options(encryption="off", tls="off")) as plain:
        asyncio.run(_as(plain, bus_users.STREAMS_ADMIN, _make_streams))
        asyncio.run(_as(plain, "relay", _publish_canary))
        assert len(stores.files_with(plain.site.path, CANARY)) >= len(NODES)


async def _publish_canary(client: Client) -> None:
    await client.jetstream(timeout=5).publish(
        wire.event_subject("projects.0"), CANARY, headers={"Canary": CANARY.decode()}
    )
