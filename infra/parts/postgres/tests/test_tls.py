"""A real cluster of two with TLS: plain text, old versions and certificates of another authority are refused."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from infra.fabric.process.system import System
from infra.parts import postgres
from infra.site import certificates
from infra.tests import loops
from infra.tests.small_cluster import lay_out, running
from infra.topology.options import Options
from system.settings import Settings
from system.store import blocking
from system.store.connect import NotSent, connect_primary

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    names = ["etcd-iad", "postgres-iad-a", "postgres-iad-b"]
    home = tmp_path_factory.mktemp("tls") / "home"
    with running(home, names, Options()) as system:
        yield system


@pytest.fixture
def process_settings(cluster: System) -> Settings:
    hosts = cluster.place.endpoints("postgres", "client")
    return Settings(
        region="iad", database_hosts=",".join(hosts), replica=hosts[-1], database_user="covenant_app",
        database_password=cluster.site.secrets["app"], database_ca=str(certificates.client(cluster.site).ca),
        nats_urls="-", nats_user="-", nats_password="-", valkey="-", valkey_password="-",
    )  # fmt: skip


@pytest.fixture(scope="module")
def strangers_ca(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The authority of another system."""
    other = lay_out(tmp_path_factory.mktemp("other") / "home", ["etcd-iad"], Options())
    certificates.issue(other.place)
    return certificates.client(other.site).ca


def observer(cluster: System, **changed: str) -> psycopg.Connection[tuple[object, ...]]:
    url = postgres.dsn(cluster.place, "covenant_observer", cluster.site.secrets["observer"])
    return psycopg.connect(url, autocommit=True, **changed)  # type: ignore[arg-type]


def test_the_harness_and_the_replicas_connect_by_tls_13(cluster: System) -> None:
    superuser = postgres.dsn(cluster.place, "postgres", cluster.site.secrets["postgres"])
    with observer(cluster), psycopg.connect(superuser) as link:
        found = link.execute(
            "select usename, ssl, version from pg_stat_ssl join pg_stat_activity using (pid) where usename is not null"
        ).fetchall()
    assert {"replication", "covenant_observer", "postgres"} <= {row[0] for row in found}
    assert {row[1:] for row in found} == {(True, "TLSv1.3")}


def test_plain_text_is_refused_on_loopback_too(cluster: System) -> None:
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        observer(cluster, sslmode="disable")


def test_tls_12_is_refused(cluster: System) -> None:
    with pytest.raises(psycopg.OperationalError, match="protocol version"):
        observer(cluster, ssl_max_protocol_version="TLSv1.2")


def test_a_client_refuses_a_server_of_another_authority(
    cluster: System, process_settings: Settings, strangers_ca: Path
) -> None:
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        observer(cluster, sslrootcert=str(strangers_ca))
    elsewhere = Settings(**{**vars(process_settings), "database_ca": str(strangers_ca)})
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        blocking.connect(elsewhere, "test")
    with pytest.raises(NotSent, match="certificate verify failed"):
        loops.run(connect_primary(elsewhere, "test"))


def test_the_system_connects_by_tls_13_and_not_without(cluster: System, process_settings: Settings) -> None:
    query = "select version from pg_stat_ssl where pid = pg_backend_pid()"

    async def ask(using: Settings) -> object:
        _, connection = await connect_primary(using, "test")
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    assert loops.run(ask(process_settings)) == "TLSv1.3"
    with blocking.connect(process_settings, "test") as link:
        assert link.execute(query).fetchone() == ("TLSv1.3",)
    plain = Settings(**{**vars(process_settings), "database_ca": None})
    with pytest.raises(NotSent, match="no encryption"):
        loops.run(ask(plain))
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        blocking.connect(plain, "test")


def test_patroni_takes_tls_13_with_a_certificate_and_nothing_else(cluster: System) -> None:
    rest = cluster.place.outside(cluster.place.nodes("postgres")[0], "rest")
    assert postgres.primary(cluster.place) is not None

    def ask(scheme: str, context: ssl.SSLContext | None) -> None:
        urllib.request.urlopen(f"{scheme}://{rest}/patroni", timeout=5, context=context).close()

    ask("https", certificates.context(cluster.site))
    with pytest.raises(OSError, match=r"reset|closed|disconnected"):
        ask("http", None)
    ca, mine = certificates.client(cluster.site).ca, certificates.client(cluster.site)
    old = ssl.create_default_context(cafile=ca)
    old.load_cert_chain(mine.cert, mine.key)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(urllib.error.URLError, match="handshake"):
        ask("https", old)
    anonymous = ssl.create_default_context(cafile=ca)
    with pytest.raises(OSError, match=r"certificate required|EOF|reset"):
        ask("https", anonymous)
