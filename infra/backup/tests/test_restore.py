"""A real primary whose WAL goes to a real S3: what it lost comes back, and its backups cannot be removed."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import psycopg
import pytest
from botocore.exceptions import ClientError

from commands import restoring
from infra.backup import archive, bucket
from infra.backup.restore import NotReached, NotRestored
from infra.fabric.process.system import System
from infra.operations import recovery
from infra.parts import postgres
from infra.parts.s3 import BUCKET, backup_access
from infra.tests.small_cluster import running
from infra.topology.options import Options
from system.tests.servers import wait_until

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    names = ["etcd-iad", "s3-iad", "postgres-iad-a", "archiver-iad"]
    # People keep checkouts in such folders, and each of these parts and commands quotes paths in a way of its own.
    place = tmp_path_factory.mktemp("archived") / "my 'own' 100% work"
    place.mkdir()
    with running(place / "home", names, Options(durability="async")) as started:
        yield started


def connect(system: System, role: str = "owner") -> psycopg.Connection[Any]:
    url = postgres.dsn(system.place, f"covenant_{role}", system.site.secrets[role])
    return psycopg.connect(url, autocommit=True)


def takes_writes(system: System) -> bool:
    try:
        with connect(system) as link:
            return link.execute("select pg_is_in_recovery()").fetchone() == (False,)
    except psycopg.OperationalError:
        return False


def make_table(link: psycopg.Connection[Any], name: str) -> None:
    link.execute(f"create table {name} (id bigint generated always as identity primary key, note text)")
    link.execute(f"create index on {name} (note)")
    link.execute(f"grant select, insert on {name} to covenant_app")


def test_a_dropped_table_is_restored_to_the_moment_before(system: System) -> None:
    with connect(system) as link:
        make_table(link, "ledger")
        for number in range(500):
            link.execute("insert into ledger (note) values (%s)", [f"note {number}"])
        with link.transaction():
            link.execute("lock table ledger")
            row = link.execute("select clock_timestamp()").fetchone()
            link.execute("drop table ledger")
        link.execute("create table later (id int)")
    assert row is not None

    figures = recovery.restore_table(system, "ledger", row[0])

    assert figures is not None
    assert figures.segments >= 1
    assert recovery.restore_table(system, "ledger", row[0]) is None, "it is there: once is enough"
    with connect(system, "app") as link:
        assert link.execute("select count(*), max(note) from ledger").fetchone() == (500, "note 99")
        assert link.execute("insert into ledger (note) values ('after') returning id > 500").fetchone() == (True,)
        assert link.execute("select count(*) from pg_indexes where tablename = 'ledger'").fetchone() == (2,)
    assert not (system.site.path / "restored").exists()
    with connect(system) as link:
        link.execute("drop table ledger, later")


def test_an_instant_that_the_archive_does_not_reach_is_named(system: System) -> None:
    ahead = datetime.now(UTC) + timedelta(days=1)
    with (
        pytest.raises(NotReached, match="the archive does not reach"),
        recovery.database_at(system, ahead, reached_within_s=0),
    ):
        pass
    long_ago = ahead - timedelta(days=30)
    with (
        pytest.raises(NotRestored, match=r"no base backup from before .*: the oldest is of 20"),
        recovery.database_at(system, long_ago),
    ):
        pass


def test_a_table_that_is_there_is_kept_when_it_is_restored_over(
    system: System, capsys: pytest.CaptureFixture[str]
) -> None:
    with connect(system) as link:
        make_table(link, "pledges")
        link.execute("insert into pledges (note) values ('before')")
        row = link.execute("select clock_timestamp()::text").fetchone()
        link.execute("update pledges set note = 'mistaken'")
    assert row is not None

    assert restoring.table(system, "pledges", row[0], replace=False) == 2
    assert restoring.table(system, "nobodys", row[0], replace=False) == 1
    said = capsys.readouterr().err
    assert "pledges is there, and nothing was touched" in said
    assert "expected a table nobodys at" in said
    assert restoring.table(system, "pledges; drop", row[0], replace=False) == 2
    assert restoring.table(system, "pledges", row[0], replace=True) == 0

    with connect(system) as link:
        assert link.execute("select note from pledges").fetchall() == [("before",)]
        kept = link.execute("select schemaname from pg_tables where tablename = 'pledges' and schemaname <> 'public'")
        schema = kept.fetchall()[0][0]
        assert link.execute(f"select note from {schema}.pledges").fetchall() == [("mistaken",)]


def test_the_archiver_may_write_and_read_and_remove_nothing(system: System) -> None:
    access = backup_access(system.place, outside=True)
    client = boto3.client(
        "s3", endpoint_url=access.endpoint, aws_access_key_id=access.user, aws_secret_access_key=access.secret,
        region_name=access.region, verify=access.ca,
    )  # fmt: skip
    store = bucket.Bucket(access)
    key = next(iter(store.first_versions(archive.BASE)))
    before = store.first_versions("")
    for number, version in enumerate((None, before[key], before[key])):
        extra = {} if version is None else {"VersionId": version, "BypassGovernanceRetention": number == 2}
        if version is None:
            client.delete_object(Bucket=bucket.NAME, Key=key)
        else:
            with pytest.raises(ClientError, match="AccessDenied"):
                client.delete_object(Bucket=bucket.NAME, Key=key, **extra)
    client.put_object(Bucket=bucket.NAME, Key=key, Body=b"something else")
    assert store.first_versions("").items() >= before.items(), "a deletion and another content are only later versions"
    refusals: tuple[Callable[[], object], ...] = (
        lambda: client.put_object(Bucket=BUCKET, Key="x", Body=b""),
        lambda: client.delete_bucket(Bucket=bucket.NAME),
        lambda: client.put_object_lock_configuration(
            Bucket=bucket.NAME, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"}
        ),
    )
    for refused in refusals:
        with pytest.raises(ClientError, match="AccessDenied"):
            refused()
    store.close()
    client.close()


def test_the_archive_goes_on_after_archiver_s3_and_primary_were_killed(system: System) -> None:
    with connect(system) as link:
        make_table(link, "survivors")
    numbers = itertools.count()
    for name in ("archiver-iad", "s3-iad", "postgres-iad-a"):
        system.kill(name)
        if name != "postgres-iad-a":
            with connect(system) as link:
                link.execute("insert into survivors (note) values (%s)", [f"{next(numbers)} without {name}"])
        system.start_part(name)
    wait_until(lambda: takes_writes(system), "the primary to come back")
    wait_until(lambda: system.parts["s3-iad"].waiting_for() is None, "S3 to come back")
    with connect(system) as link:
        link.execute("insert into survivors (note) values (%s)", [f"{next(numbers)} at the end"])
        row = link.execute("select clock_timestamp()").fetchone()
        link.execute("create table something_later (id int)")
    assert row is not None
    with recovery.database_at(system, row[0]) as (_, url), psycopg.connect(url) as link:
        notes = [note for (note,) in link.execute("select note from survivors order by id")]
    assert notes == ["0 without archiver-iad", "1 without s3-iad", "2 at the end"]


def test_a_lost_cluster_is_restored_from_the_bucket_alone(system: System) -> None:
    """This test is the last one, since it destroys the cluster."""
    with connect(system) as link:
        make_table(link, "everything")
        link.execute("insert into everything (note) values ('kept')")
        row = link.execute("select clock_timestamp()").fetchone()
        link.execute("create table something_else (id int)")
    assert row is not None
    with recovery.database_at(system, row[0]):
        pass  # The archive has it now.
    for name in ("postgres-iad-a", "archiver-iad"):
        system.kill(name)
        shutil.rmtree(system.parts[name].folder / ("data" if name.startswith("postgres") else "spool"))
    with recovery.database_at(system, None) as (_, url), psycopg.connect(url, autocommit=True) as link:
        assert link.execute("select note from everything").fetchall() == [("kept",)]
        link.execute("insert into everything (note) values ('it takes writes')")
