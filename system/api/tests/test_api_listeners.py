"""Two APIs of a region share a port: each answers, and the other goes on when one ends; TLS 1.3 is required."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
import pytest
import trustme

from system import wire
from system.settings import Settings
from system.tests.api_process import running

_CONNECTIONS = 40


def _serving(pid: int, port: int) -> int:
    """The number of connections to a port that this process has."""
    return sum(
        link.laddr.port == port and link.status == psutil.CONN_ESTABLISHED
        for link in psutil.Process(pid).net_connections("tcp")
    )


def _live(client: httpx.Client) -> bool:
    return client.get(wire.LIVE).status_code == 200


def test_a_regions_apis_share_a_port_behind_tls_1_3(
    database: Settings, nats_server: None, valkey_server: object, port: Callable[[str], int], tmp_path: Path
) -> None:
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    pair = authority.issue_cert("127.0.0.1", key_type=trustme.KeyType.ECDSA)
    cert, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    pair.cert_chain_pems[0].write_to_path(str(cert))
    pair.private_key_pem.write_to_path(str(key))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    settings = replace(
        database, region_port=port("region"), region_tls_port=port("tls"), tls_cert=str(cert), tls_key=str(key)
    )
    url = f"https://127.0.0.1:{port('tls')}"
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    with running(settings, port("one"), folders[0]) as one:
        with running(settings, port("two"), folders[1]) as two, ExitStack() as open_clients:
            assert httpx.get(f"http://127.0.0.1:{port('region')}{wire.LIVE}").status_code == 200
            clients = [
                open_clients.enter_context(httpx.Client(base_url=url, verify=context)) for _ in range(_CONNECTIONS)
            ]
            assert all(_live(client) for client in clients)
            shares = [_serving(api.pid, port("tls")) for api in (one, two)]
            assert sum(shares) == _CONNECTIONS
            assert min(shares) > 0
            older = ssl.create_default_context()
            authority.configure_trust(older)
            older.maximum_version = ssl.TLSVersion.TLSv1_2
            with pytest.raises(httpx.ConnectError, match=r"(?i)protocol|alert"):
                httpx.get(f"{url}{wire.LIVE}", verify=older)
        for _ in range(_CONNECTIONS):
            with httpx.Client(base_url=url, verify=context) as client:
                assert _live(client)
