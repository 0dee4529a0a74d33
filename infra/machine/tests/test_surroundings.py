"""What a caller's surroundings may not do to us, tried with the real libraries that would let them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from infra.fabric.process.table import ProcessTable
from infra.machine import surroundings

NOBODY_LISTENS = "http://127.0.0.1:9"
CALLERS_FILES = {
    ".locust.conf": "run-time = 10s\nmaster = true\n",
    ".aws/config": "[default]\nregion = mars-1\nendpoint_url = http://127.0.0.1:9\n",
    ".pgpass": "*:*:*:*:wrong\n",
    ".pg_service.conf": "[mine]\nhost=elsewhere\n",
    ".netrc": "machine 127.0.0.1 login someone password else\n",
}
CALLERS_VARIABLES = {
    "http_proxy": NOBODY_LISTENS,
    "https_proxy": NOBODY_LISTENS,
    "all_proxy": NOBODY_LISTENS,
    "HTTP_PROXY": NOBODY_LISTENS,
    "HTTPS_PROXY": NOBODY_LISTENS,
    "ALL_PROXY": NOBODY_LISTENS,
    # Not all libraries know networks.
    "no_proxy": "127.0.0.0/8",
    "LOCUST_RUN_TIME": "10s",
    "PYTEST_ADDOPTS": "--no-such-option",
    "AWS_PROFILE": "no-such-profile",
    "AWS_CA_BUNDLE": "/no/such/file",
    "PGHOST": "elsewhere",
    "PGSERVICE": "mine",
    "PGSSLMODE": "require",
    "ETCD_NAME": "mine",
    "PATRONI_NAME": "mine",
    "OTEL_EXPORTER_OTLP_ENDPOINT": NOBODY_LISTENS,
    "GRANIAN_WORKERS": "8",
    "SSLKEYLOGFILE": "/dev/null",
    "GIT_DIR": "/no/such/folder",
}
TRIES_EVERYTHING = """
import json, os, subprocess, sys
from infra.machine import surroundings
if sys.argv[2] == "ours":
    surroundings.enter()
sys.exit(subprocess.run([sys.executable, "-c", sys.argv[3], sys.argv[1]]).returncode)
"""
CHILD = """
from locust.argument_parser import parse_options  # First, since it patches what it finds imported.
import json, os, sys, urllib.request
url = sys.argv[1]
found = {}
def tried(name, work):
    try:
        found[name] = work()
    except BaseException as error:
        found[name] = f"{type(error).__name__}: {error}"
def by_urllib():
    return urllib.request.urlopen(url, timeout=5).read().decode()
def by_httpx():
    import httpx
    return httpx.get(url).text
def by_requests():
    import requests
    return requests.get(url, timeout=5).text
def by_boto3():
    import boto3
    from botocore.client import Config
    client = boto3.client("s3", endpoint_url=url, aws_access_key_id="a", aws_secret_access_key="b", region_name="r",
                          config=Config(retries={"total_max_attempts": 1}))
    return client.meta.region_name, client.head_object(Bucket="b", Key="k")["ResponseMetadata"]["HTTPStatusCode"]
def by_libpq():
    from psycopg import pq
    set_by = {each.keyword.decode(): (each.val or b"").decode() for each in pq.Conninfo.get_defaults()}
    return [set_by["host"], set_by["service"], set_by["sslmode"]]
def by_locust():
    said = parse_options(["--headless", "--run-time", "60s"])
    return [said.run_time, said.master]
def by_locust_alone():
    return parse_options(["--headless"]).run_time
def by_pytest():
    import pytest
    return int(pytest.main(["--markers"]))
for name, work in list(globals().items()):
    if name.startswith("by_"):
        tried(name.removeprefix("by_"), work)
asked = json.loads(os.environ["COVENANT_ASKED"])
found["home"] = [name for name in asked if os.path.exists(os.path.expanduser(f"~/{name}"))]
found["variables"] = sorted(set(json.loads(os.environ["COVENANT_VARIABLES"])) & set(os.environ))
found["path"] = [each for each in sys.path if each in ("", os.getcwd())]
print("found:" + json.dumps(found))
"""


class _Says(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = (self.headers.get("Authorization") or "no login").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Says) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def found_by_a_child(server: str, whose: str, home: Path) -> dict[str, Any]:
    for name, content in CALLERS_FILES.items():
        (home / name).parent.mkdir(exist_ok=True, parents=True)
        (home / name).write_text(content)
        (home / name).chmod(0o600)
    given = {
        **os.environ, **CALLERS_VARIABLES, "HOME": str(home), "COVENANT_ASKED": json.dumps(list(CALLERS_FILES)),
        "COVENANT_VARIABLES": json.dumps(list(CALLERS_VARIABLES)),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", TRIES_EVERYTHING, server, whose, CHILD], env=given, cwd=home, capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("found:"))
    found: dict[str, Any] = json.loads(line.removeprefix("found:"))
    return found


def test_no_library_and_no_tool_finds_what_the_caller_has_configured(server: str, tmp_path: Path) -> None:
    assert found_by_a_child(server, "ours", tmp_path) == {
        "urllib": "no login",
        "httpx": "no login",
        "requests": "no login",
        "boto3": ["r", 200],
        "libpq": ["", "", "prefer"],
        "locust": [60, False],
        "locust_alone": None,
        "pytest": 0,
        "home": [],
        "variables": [],
        "path": [],
    }


def test_the_same_would_be_found_without_us(server: str, tmp_path: Path) -> None:
    """Or the test above would prove nothing."""
    found = found_by_a_child(server, "the caller's", tmp_path)
    assert "refused" in found["urllib"]
    assert "no-such-profile" in found["boto3"]
    assert found["libpq"] == ["elsewhere", "mine", "require"]
    assert found["locust_alone"] == 10
    assert found["locust"] != [60, False]
    assert found["pytest"] != 0
    assert found["home"] == list(CALLERS_FILES)


def test_what_the_caller_asks_of_us_passes() -> None:
    asked = {
        "PATH": "/mine:/bin", "LC_ALL": "C", "TMPDIR": "/large", "COVENANT_TOPOLOGY": "mine.toml", "CI": "true",
        "NO_COLOR": "1", "PLAYWRIGHT_BROWSERS_PATH": "/browsers",
    }  # fmt: skip
    ours = surroundings.environment({**asked, "HOME": "/no/such/home", "SOME_TOOL_OPTION": "x"})
    added = {"HOME": str(surroundings.HOME), "PYTHONSAFEPATH": "1", surroundings.CALLERS_HOME: "/no/such/home"}
    assert ours == {**asked, **added}
    assert surroundings.environment(ours) == ours


@pytest.mark.parametrize(
    ("given", "folder"),
    [({"HOME": "/home/me"}, "/home/me/.cache"), ({"HOME": "/home/me", "XDG_CACHE_HOME": "/c"}, "/c")],
)
def test_browsers_are_looked_for_where_the_caller_keeps_them(given: dict[str, str], folder: str) -> None:
    assert surroundings.environment(given)["PLAYWRIGHT_BROWSERS_PATH"] == f"{folder}/ms-playwright"


def test_git_reads_what_the_caller_calls_safe(tmp_path: Path) -> None:
    given = {"HOME": str(tmp_path)}
    assert "GIT_CONFIG_GLOBAL" not in surroundings.environment(given)
    (tmp_path / ".gitconfig").touch()
    ours = surroundings.environment(given)
    assert ours["GIT_CONFIG_GLOBAL"] == str(tmp_path / ".gitconfig")
    assert surroundings.environment(ours) == ours


def test_installers_get_the_callers_proxy_and_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        surroundings, "_CALLER", {"https_proxy": NOBODY_LISTENS, "HOME": "/home/me", "PYTHONHOME": "/other"}
    )
    assert surroundings.callers() == {"https_proxy": NOBODY_LISTENS, "HOME": "/home/me", "PYTHONSAFEPATH": "1"}


def test_code_that_the_caller_brought_finds_what_it_reads(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {
        "HOME": str(tmp_path), "MY_TOKEN": "x", "AWS_PROFILE": "mine", "LOCUST_RUN_TIME": "1s", "PYTHONHOME": "/other",
        "http_proxy": NOBODY_LISTENS, "no_proxy": "example.org", "PATH": os.environ["PATH"],
    }  # fmt: skip
    monkeypatch.setattr(surroundings, "_CALLER", given)
    monkeypatch.setenv("COVENANT_HOME", "ours")
    found = surroundings.for_brought()
    assert {name: found[name] for name in ("HOME", "MY_TOKEN", "AWS_PROFILE", "COVENANT_HOME")} == {
        "HOME": str(tmp_path), "MY_TOKEN": "x", "AWS_PROFILE": "mine", "COVENANT_HOME": "ours",
    }  # fmt: skip
    assert not {"LOCUST_RUN_TIME", "PYTHONHOME"} & set(found)
    asks = "import sys, urllib.request as u; print(u.getproxies()['http'], u.urlopen(sys.argv[1]).read().decode())"
    done = subprocess.run([sys.executable, "-c", asks, server], env=found, capture_output=True, text=True, check=False)
    assert done.stdout == f"{NOBODY_LISTENS} no login\n", done.stderr


@pytest.fixture
def needy_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An interpreter that starts only with LD_LIBRARY_PATH, as one built with `--enable-shared` under a home folder."""
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\n[ "${{LD_LIBRARY_PATH:-}}" = /opt/python/lib ] || exit 127\nexec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    surroundings._needs_libraries.cache_clear()
    monkeypatch.setattr(sys, "executable", str(python))
    yield str(python)
    surroundings._needs_libraries.cache_clear()


def test_parts_get_the_libraries_that_the_interpreter_needs(
    needy_interpreter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/python/lib")
    environment = ProcessTable(tmp_path, "r").environment("api")
    done = subprocess.run([needy_interpreter, "-c", "print('started')"], env=environment, stdout=-1, check=False)
    assert done.stdout == b"started\n"


def test_parts_get_no_libraries_that_the_interpreter_does_not_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/other/lib")
    assert "LD_LIBRARY_PATH" not in ProcessTable(tmp_path, "r").environment("api")


def test_parts_get_nothing_else_of_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CALLERS_VARIABLES.items():
        monkeypatch.setenv(name, value)
    environment = ProcessTable(tmp_path, "r").environment("api")
    assert not set(environment) & set(CALLERS_VARIABLES)
    assert environment["HOME"] == str(tmp_path)
