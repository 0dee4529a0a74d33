"""The audit trail on real servers: the application cannot change it, and `verify` finds what a superuser changed."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import asyncpg
import psycopg
import pyarrow.parquet as pq
import pytest

from system.domain.hash_chain import Broken, Entry, Tip
from system.settings import Settings, variable
from system.store.audit import exports as exports_
from system.store.audit import trail
from system.store.audit.exports import ExportedAlready, ExportFile, Exports, ExportsAway
from system.store.blocking import connect
from system.store.connect import connect as connect_async
from system.tests.servers import BUCKET, PASSWORD, s3_client
from system.tools import audit as command
from system.wire import Event, Project, ProjectEvent

HIGHEST = "9" * 20


def event(number: int) -> ProjectEvent:
    project = Project(
        id=f"00000000-0000-4000-8000-{number:012}", name=f"P{number}", region="syd", country_code="AUS",
        sector="Health", status="Pending", funding_usd_millions=Decimal("1.50"), version=1,
    )  # fmt: skip
    return ProjectEvent(
        id=project.id, type="created", aggregate="projects", aggregate_id=project.id, partition="projects.0",
        position=number, region="syd", occurred_at="2026-01-01T00:00:00Z", before=None, after=project,
    )  # fmt: skip


def append(settings: Settings, *batches: Sequence[Event]) -> None:
    """Append batches concurrently, each on a connection of its own."""

    async def one(batch: Sequence[Event]) -> None:
        connection = await connect_async(settings.replica, settings, "test")
        try:
            async with connection.transaction():
                await trail.append(connection, batch)
        finally:
            connection.terminate()

    async def run() -> None:
        await asyncio.gather(*(one(batch) for batch in batches))

    asyncio.run(run())


def as_superuser(settings: Settings, *statements: str) -> None:
    """Run statements as somebody with root on the machine could: as superuser, with triggers off."""
    host, _, port = settings.replica.partition(":")
    dsn = f"host={host} port={port} user=postgres dbname={settings.database}"
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in ("set session_replication_role = replica", *statements):
            connection.execute(statement.encode())


def read_trail(settings: Settings) -> list[Entry]:
    with connect(settings, "test") as connection:
        return [entry for page in trail.pages(connection, 0) for entry in page]


def no_progress(_: str) -> None:
    """Takes progress lines and drops them."""


@pytest.fixture
def with_s3(database: Settings, s3_server: None, port: Callable[[str], int]) -> Settings:
    """Settings with a new database and an S3 without exports."""
    client = s3_client(port("s3"))
    for one in client.list_objects_v2(Bucket=BUCKET, Prefix=exports_.PREFIX).get("Contents", []):
        client.delete_object(Bucket=BUCKET, Key=one["Key"])
    client.close()
    return replace(
        database, s3_endpoint=f"http://127.0.0.1:{port('s3')}", s3_bucket=BUCKET,
        s3_access_key="tests", s3_secret_key=PASSWORD,
    )  # fmt: skip


@pytest.fixture
def exports(with_s3: Settings) -> Iterator[Exports]:
    opened = Exports(with_s3)
    yield opened
    opened.close()


@pytest.fixture
def environment(with_s3: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings as environment variables."""
    for name, value in vars(with_s3).items():
        if value not in (None, ""):
            monkeypatch.setenv(variable(name), str(value))


def test_writers_at_the_same_time_make_one_chain_without_gaps(database: Settings) -> None:
    append(database, *([event(10 * writer + n) for n in range(10)] for writer in range(1, 7)))
    append(database, [event(1)])
    assert command.verify(database, no_progress) == Tip(61, read_trail(database)[-1].hash)


@pytest.mark.parametrize(
    "statement", ["update audit_log set entry = ''", "delete from audit_log", "truncate audit_log"]
)
def test_the_application_cannot_change_the_trail(database: Settings, statement: str) -> None:
    append(database, [event(1)])

    async def run() -> None:
        connection = await connect_async(database.replica, database, "test")
        try:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
        finally:
            connection.terminate()

    asyncio.run(run())
    owner = replace(database, database_user="covenant_owner")
    with connect(owner, "test") as connection, pytest.raises(psycopg.errors.RaiseException, match="append-only"):
        connection.execute(statement.encode())


@pytest.mark.parametrize(
    ("tampering", "seq"),
    [
        ("update audit_log set entry = replace(entry, '1.50', '9.50') where seq = 2", 2),
        ("update audit_log set position = 9 where seq = 3", 3),
        ("delete from audit_log where seq = 2", 2),
        ("delete from audit_log where seq = 1", 1),
        ("update audit_log set hash = repeat('0', 64) where seq = 4", 4),
    ],
)
def test_tampering_without_triggers_is_found_at_the_entry(database: Settings, tampering: str, seq: int) -> None:
    append(database, [event(number) for number in range(1, 5)])
    as_superuser(database, tampering)
    with pytest.raises(Broken) as broken:
        command.verify(database, no_progress)
    assert broken.value.seq == seq


def test_exports_are_the_trail_in_sections(
    with_s3: Settings, exports: Exports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "FILE_ENTRIES_MAX", 4)
    monkeypatch.setattr(trail, "PAGE", 3)
    written: list[str] = []
    command.export_new(with_s3, written.append)
    assert written == []
    append(with_s3, [event(number) for number in range(1, 7)])
    command.export_new(with_s3, written.append)
    append(with_s3, [event(7)])
    command.export_new(with_s3, written.append)
    assert exports.files() == [ExportFile(1, 4), ExportFile(5, 6), ExportFile(7, 7)]
    assert written[0] == "audit/00000000000000000001-00000000000000000004.parquet written"
    assert [entry for file in exports.files() for page in exports.read(file) for entry in page] == read_trail(with_s3)
    assert command.verify(with_s3, no_progress) == command.check_exports(exports, no_progress)


def test_a_file_says_what_its_columns_are_and_is_compressed(
    with_s3: Settings, exports: Exports, port: Callable[[str], int]
) -> None:
    append(with_s3, [event(1), event(2)])
    command.export_new(with_s3, no_progress)
    client = s3_client(port("s3"))
    answer = client.get_object(Bucket=BUCKET, Key=ExportFile(1, 2).key, ChecksumMode="ENABLED")
    file = pq.ParquetFile(io.BytesIO(answer["Body"].read()))
    client.close()
    assert file.schema_arrow == exports_.SCHEMA
    assert file.metadata.row_group(0).column(4).compression == "ZSTD"
    assert answer["ChecksumSHA256"]


def test_two_exporters_never_overwrite_each_other(with_s3: Settings, exports: Exports) -> None:
    append(with_s3, [event(1), event(2)])
    rows = read_trail(with_s3)
    exports.write([rows])
    with pytest.raises(ExportedAlready):
        exports.write([rows])
    with connect(with_s3, "test") as connection:
        connection.execute("select pg_advisory_lock(hashtext('covenant.audit-export'))")
        with pytest.raises(command.ExportBusy):
            command.export_new(with_s3, no_progress)


def test_overlapping_files_of_one_chain_are_valid(with_s3: Settings, exports: Exports) -> None:
    append(with_s3, [event(number) for number in range(1, 6)])
    rows = read_trail(with_s3)
    exports.write([rows[:2]])
    exports.write([rows[:4]])
    exports.write([rows[4:]])
    assert command.check_exports(exports, no_progress) == command.verify(with_s3, no_progress)


def test_a_truncated_trail_is_found_by_its_exports(with_s3: Settings) -> None:
    append(with_s3, [event(number) for number in range(1, 5)])
    command.export_new(with_s3, no_progress)
    as_superuser(with_s3, "delete from audit_log where seq > 2")
    assert command.verify(replace(with_s3, s3_endpoint=None), no_progress).seq == 2
    with pytest.raises(Broken, match="the trail ends with entry 2") as broken:
        command.verify(with_s3, no_progress)
    assert broken.value.seq == 3


def test_a_rewritten_trail_is_found_by_its_exports_and_not_exported(with_s3: Settings, exports: Exports) -> None:
    append(with_s3, [event(number) for number in range(1, 5)])
    command.export_new(with_s3, no_progress)
    as_superuser(with_s3, "delete from audit_log where seq >= 3")
    append(with_s3, [event(number) for number in (11, 12, 13)])
    assert command.verify(replace(with_s3, s3_endpoint=None), no_progress).seq == 5
    with pytest.raises(Broken, match="written anew"):
        command.verify(with_s3, no_progress)
    with pytest.raises(Broken):
        command.export_new(with_s3, no_progress)
    assert exports.files() == [ExportFile(1, 4)]


def test_a_missing_or_changed_file_is_found(with_s3: Settings, exports: Exports, port: Callable[[str], int]) -> None:
    append(with_s3, [event(number) for number in range(1, 5)])
    rows = read_trail(with_s3)
    exports.write([rows[:2]])
    exports.write([rows[3:]])
    with pytest.raises(Broken, match="breaks at entry 3"):
        command.check_exports(exports, no_progress)
    client = s3_client(port("s3"))
    client.put_object(Bucket=BUCKET, Key=ExportFile(1, 2).key, Body=b"PAR1 no more", ChecksumAlgorithm="SHA256")
    client.close()
    with pytest.raises(Broken, match=r"breaks at entry 1: .* cannot be read"):
        command.check_exports(exports, no_progress)


def test_an_unreachable_s3_is_reported_as_such(with_s3: Settings) -> None:
    append(with_s3, [event(1)])
    with pytest.raises(ExportsAway):
        command.export_new(replace(with_s3, s3_secret_key="wrong"), no_progress)


def test_the_exit_code_says_what_was_found(
    with_s3: Settings, environment: None, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        code = command.main(arguments)
        output: Any = capsys.readouterr()
        return code, output.out + output.err

    append(with_s3, [event(number) for number in range(1, 5)])
    assert run("verify")[0] == 0
    assert run("export") == (
        0,
        "audit/00000000000000000001-00000000000000000004.parquet written\naudit: everything is exported\n",
    )
    assert run("list")[1].startswith("audit/00000000000000000001-00000000000000000004.parquet  entries 1 to 4")
    assert run("verify", "--exports")[0] == 0
    as_superuser(with_s3, "update audit_log set entry = replace(entry, '1.50', '9.50') where seq = 3")
    code, output = run("verify")
    assert (code, "it does not hold: the trail breaks at entry 3" in output) == (1, True)
    assert run("verify", "--exports")[0] == 0
