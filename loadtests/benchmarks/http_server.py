"""A server that answers at once, for comparing clients: 1.9 KB of JSON to every read, a token to every sign-in.

An ASGI application, to be run by granian (`started`): real HTTP/1.1 with keep-alive, and TLS 1.3 if asked for.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import trustme

from infra.machine.ports import free_port
from infra.machine.waiting import until
from system.wire import TOKENS, Token

BODY = msgspec.json.encode(
    {
        "items": [
            {
                "id": f"project-{n}",
                "name": "A name of forty characters, as many have",
                "region": "iad",
                "sector": "Energy",
            }
            for n in range(17)
        ],
        "next": None,
    }
)
_TOKEN = msgspec.json.encode(Token(access_token="a-token", token_type="Bearer", expires_in=86_400))
_HEADERS = ((b"content-type", b"application/json"), (b"etag", b'"12"'), (b"cache-control", b"no-cache"))
_START_WITHIN_S = 20.0


async def app(scope: dict[str, Any], receive: object, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    if scope["type"] != "http":
        return
    body = _TOKEN if scope["path"] == TOKENS else BODY
    headers = [*_HEADERS, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


@contextmanager
def started(authority: trustme.CA | None, scratch: Path) -> Iterator[str]:
    """The server's address while it runs, `https://` with a certificate of the authority if there is one.
    RuntimeError if it does not come up."""
    port = free_port()
    command = [sys.executable, "-m", "granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--http", "1", "--no-ws", "--log-level", "error", "--backlog", "1024"]
    if authority is not None:
        certificate = authority.issue_cert("127.0.0.1")
        files = scratch / "server.crt", scratch / "server.key"
        certificate.cert_chain_pems[0].write_to_path(files[0])
        certificate.private_key_pem.write_to_path(files[1])
        command += ["--ssl-certificate", str(files[0]), "--ssl-keyfile", str(files[1])]
    process = subprocess.Popen([*command, f"{__name__}:app"])
    try:
        _wait_until_open(port, process)
        yield f"{'http' if authority is None else 'https'}://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(_START_WITHIN_S)


def _wait_until_open(port: int, process: subprocess.Popen[bytes]) -> None:
    def is_open() -> bool | None:
        if process.poll() is not None:
            return False
        with closing(socket.socket()) as probe:
            return True if probe.connect_ex(("127.0.0.1", port)) == 0 else None

    if not until(is_open, _START_WITHIN_S):
        raise RuntimeError(f"expected a server on port {port} within {_START_WITHIN_S:.0f} s, found none")
