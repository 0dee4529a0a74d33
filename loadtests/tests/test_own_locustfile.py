"""Locustfiles of the user's own, in the forms of Locust's examples, against a real HTTP server."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest
import trustme

from infra import target as targets
from infra.target import Tls
from loadtests import own_locustfile
from loadtests.locust_process import LoadError
from loadtests.request import UsageError
from loadtests.tests.load_servers import Api
from reports.evidence import RunFolder, percentile_ms

USERS = """
import os
from locust import HttpUser, LoadTestShape, constant, task

class Visitor(HttpUser):
    wait_time = constant(0.05)

    def on_start(self):
        self.client.headers["Authorization"] = f"Bearer {os.environ['COVENANT_TOKEN']}"

    @task
    def look(self):
        self.client.get("/api/v1/regions")
"""
# Locust's custom_shape example: stages, and None at the end.
SHAPE = """
class Stages(LoadTestShape):
    stages = [(1, 2), (2, 4)]

    def tick(self):
        for until, users in self.stages:
            if self.get_run_time() < until:
                return users, 10
        return None
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "my_locustfile.py"
    path.write_text(text)
    return path


def test_a_load_shape_runs_to_its_end_and_is_recorded_as_a_closed_loop(
    api: Api, make_target: Callable[..., Path], tmp_path: Path
) -> None:
    spec = own_locustfile.check(write(tmp_path, USERS + SHAPE), users=None, duration_s=None)
    folder = RunFolder.create(tmp_path / "run")
    told: list[str] = []
    own_locustfile.run(
        spec, folder=folder, target_path=make_target(api=api.url), progress=lambda fraction, text: told.append(text)
    )
    (load,) = folder.loads()
    assert (load.scenario, load.closed_loop, load.requests, load.failed) == ("locustfile", True, True, 0)
    assert load.ok == load.sent == load.offered == api.seen["GET /api/v1/regions"] > 20
    (operation,) = load.operations
    assert (operation.name, operation.latencies.samples) == ("GET /api/v1/regions", load.ok)
    times = [percentile_ms(operation.latencies, each) for each in (10, 25, 50, 75, 90, 99, 100)]
    # One of them may be whole by chance.
    assert any(each is not None and each != round(each) for each in times), "not Locust's whole milliseconds"
    assert None not in times
    assert 1.5e9 < load.end_ns - load.begin_ns < 20e9
    assert sum(second.ok for second in load.seconds) == load.ok
    assert load.settings["mode"] == "closed loop: response times leave out coordinated omission"
    assert f"max {times[-1]:.3f} ms of {load.ok}" in load.settings["GET /api/v1/regions"]
    assert any("users" in text for text in told)


def test_without_a_shape_it_has_the_users_and_the_length_that_were_asked_for(
    api: Api, make_target: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever options of Locust lie around. Failures are counted, and are no failure of the load."""
    (tmp_path / "locust.conf").write_text("run-time = 300s\nmaster = true\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOCUST_USERS", "50")
    api.broken["/api/v1/regions"] = 503
    folder = RunFolder.create(tmp_path / "run")
    spec = own_locustfile.check(write(tmp_path, USERS), users=2, duration_s=1.0)
    own_locustfile.run(spec, folder=folder, target_path=make_target(api=api.url))
    (load,) = folder.loads()
    assert load.ok == 0
    assert 0 < load.failed <= 2 * 25
    assert load.end_ns - load.begin_ns < 10e9


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet."""


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """An HTTPS server, and the file of the authority that signed its certificate."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{server.server_address[1]}", tmp_path / "ca.pem"
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.mark.parametrize("trusted", [True, False])
def test_the_systems_certificate_is_verified_with_its_authority(
    api: Api, secured: tuple[str, Path], make_target: Callable[..., Path], tmp_path: Path, trusted: bool
) -> None:
    url, ca_file = secured
    path = make_target(api=api.url)
    if not trusted:
        trustme.CA().cert_pem.write_to_path(ca_file)
    tls = Tls(ca_file=str(ca_file), cert_file="none", key_file="none")
    found = msgspec.structs.replace(targets.read(path), api_tls={"iad": url, "ams": url}, tls=tls)
    targets.write(found, path)
    folder = RunFolder.create(tmp_path / "run")
    own_locustfile.run(
        own_locustfile.check(write(tmp_path, USERS), users=1, duration_s=1.0), folder=folder, target_path=path
    )
    (load,) = folder.loads()
    assert (load.ok > 0, load.failed > 0) == (trusted, not trusted)


@pytest.mark.parametrize(
    ("text", "users", "said"),
    [
        ("import no_such_module", None, "this is no locustfile: ModuleNotFoundError: No module named 'no_such_module'"),
        ("x = (", None, "this is no locustfile: SyntaxError"),
        ("x = 1", None, "expected a class that is a Locust user"),
        (USERS + SHAPE, 3, "its load shape says how many users there are; leave --users out"),
        (USERS, 0, "users: expected 1 to 10,000"),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_line_before_anything_starts(
    tmp_path: Path, text: str, users: int | None, said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        own_locustfile.check(write(tmp_path, text), users=users, duration_s=None)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_whose_users_ask_nothing_is_no_load(api: Api, make_target: Callable[..., Path], tmp_path: Path) -> None:
    idle = "from locust import User, constant, task\nclass Idle(User):\n    @task\n    def nothing(self): pass\n"
    idle += "    wait_time = constant(1)\n"
    spec = own_locustfile.check(write(tmp_path, idle), users=1, duration_s=1.0)
    with pytest.raises(LoadError, match="no load came of it"):
        own_locustfile.run(spec, folder=RunFolder.create(tmp_path / "run"), target_path=make_target(api=api.url))
