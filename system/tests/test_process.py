"""Processes without their dependencies: they wait, log each missing one once, and end on SIGTERM."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from system.settings import variable
from system.store import migrate

DEADLINE_S = 60.0
SERVICES = [
    "system.api",
    "system.events.relay",
    "system.events.consumers.analytics",
    "system.events.consumers.cache_invalidator",
]


@pytest.fixture
def environment(port: Callable[[str], int]) -> dict[str, str]:
    """Settings that name servers which do not run: their ports refuse connections."""
    settings = {
        "region": "ams", "database_hosts": "127.0.0.1:1", "replica": "127.0.0.1:1", "database_user": "app",
        "database_password": "s3cret", "nats_urls": "nats://127.0.0.1:1", "nats_user": "bus",
        "nats_password": "s3cret", "valkey": "127.0.0.1:1", "valkey_password": "s3cret", "port": str(port("http")),
        "token_keys": "tests:s3cret-s3cret-s3cret-s3cret-s3cret",
    }  # fmt: skip
    return {variable(name): value for name, value in settings.items()}


@pytest.mark.parametrize("module", SERVICES)
def test_a_process_waits_for_its_dependencies_and_ends_on_sigterm(
    module: str, environment: dict[str, str], tmp_path: Path
) -> None:
    ready = tmp_path / "ready"
    ready.touch()  # As an earlier process would leave it.
    process = subprocess.Popen(
        [sys.executable, "-m", module],
        env={**os.environ, **environment, variable("ready_file"): str(ready)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        said = process.stderr.readline()
        assert " is away: " in said
        assert process.poll() is None
        assert not ready.exists()
        process.terminate()
        _, rest = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    lines = [said, *rest.splitlines()]
    assert len(lines) == len({line.partition(" is away")[0] for line in lines}), lines
    assert "Traceback" not in rest
    assert "s3cret" not in said + rest


@pytest.mark.parametrize("module", ["system.api", "system.store.migrate", "system.events.streams"])
def test_missing_settings_are_named_and_the_exit_code_is_2(module: str) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COVENANT_")}
    command = [sys.executable, "-m", module]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 2
    assert "COVENANT_REGION is not set" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("keys", "said"), [(None, "found none"), ("tests:too-short", "in place 1")])
def test_the_api_does_not_start_without_keys_for_its_tokens(
    environment: dict[str, str], keys: str | None, said: str
) -> None:
    environment = {**os.environ, **environment}
    environment.pop(variable("token_keys"))
    if keys:
        environment[variable("token_keys")] = keys
    command = [sys.executable, "-m", "system.api"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 2
    assert "COVENANT_TOKEN_KEYS: expected id:secret" in done.stderr
    assert said in done.stderr
    assert "too-short" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_migration_that_finds_no_primary_says_so_in_a_line(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(migrate, "_DEADLINE_S", 0.0)
    assert migrate.main() == 1
    said = capsys.readouterr().err
    assert "migrate: nothing was changed" in said
    assert "refused" in said
    assert len(said.splitlines()) == 1
