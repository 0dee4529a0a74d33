"""The facts of the security rows: all hold on a system that is protected, and each fails on one that is not."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from checks.security import facts, secret_scan
from infra.fabric.process.system import System
from infra.parts import etcd
from infra.tests.small_cluster import running
from infra.topology.options import Options

PARTS = ["etcd-iad", "postgres-iad-a", "nats-iad-a", "nats-iad-b", "nats-iad-c", "valkey-iad", "s3-iad"]


@pytest.fixture(scope="module")
def protected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with running(tmp_path_factory.mktemp("on") / "home", PARTS, Options(durability="async")) as system:
        yield system


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    options = Options(durability="async", tls="off", encryption="off")
    with running(tmp_path_factory.mktemp("off") / "home", PARTS, options) as system:
        yield system


def test_every_fact_holds_where_everything_is_protected(protected: System) -> None:
    found = [*facts.transit(protected), *facts.rest(protected), *facts.access(protected)]
    assert [fact.how for fact in found if fact.ok is False] == []
    assert len([fact for fact in found if fact.row == facts.TRANSIT and fact.ok]) == 3 * (1 + 3 * 3 + 1 + 2 + 1)
    short = ["etcd-iad"] if etcd.least_tls() != ssl.TLSVersion.TLSv1_3 else []
    assert [fact.how.partition(":")[0] for fact in found if fact.ok is None] == [*short, "valkey-iad"]
    assert len([fact for fact in found if fact.row == facts.REST]) == 3


def test_without_tls_every_listener_shows(plain: System) -> None:
    wrong = [fact.how for fact in facts.transit(plain) if fact.ok is False]
    assert [how for how in wrong if how.endswith("TLS 1.3 is spoken")]
    plain_text = [how for how in wrong if how.endswith("plain text is refused")]
    names = {how.partition(":")[0] for how in plain_text}
    assert {"nats-iad-a client", "nats-iad-a cluster", "postgres-iad-a client", "etcd-iad client", "s3-iad s3"} <= names
    assert {"nats-iad-a monitor", "postgres-iad-a rest"} <= names


def test_without_encryption_the_canary_is_found(plain: System) -> None:
    assert [fact.ok for fact in facts.rest(plain)] == [False, False, False]


def test_a_secret_in_a_log_is_found_and_reported_by_its_name(protected: System, tmp_path: Path) -> None:
    assert secret_scan.scan(protected, tmp_path) == {
        "logs of the parts": [], "command lines": [], "the run's evidence": [], "files that others may read": [],
    }  # fmt: skip
    log = protected.site.path / "leaky.log"
    log.write_text(f"signed in with {protected.site.secrets['app']}")
    (tmp_path / "report.json").write_text(protected.site.secrets["valkey"])
    try:
        found = secret_scan.scan(protected, tmp_path)
    finally:
        log.unlink()
    assert found["logs of the parts"] == ["app in leaky.log"]
    assert found["the run's evidence"] == ["valkey in report.json"]


def test_a_file_that_others_may_read_is_searched(protected: System) -> None:
    home = protected.site.path
    home.chmod(0o711)
    try:
        loose = home / "loose.conf"
        loose.write_text(protected.site.secrets["owner"])
        loose.chmod(0o644)
        found = secret_scan.in_files(secret_scan.secrets_by_name(protected.site), secret_scan.readable_by_others(home))
        loose.unlink()
    finally:
        home.chmod(0o700)
    assert "owner in loose.conf" in found
