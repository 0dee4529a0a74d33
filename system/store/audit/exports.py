"""The audit trail's files in S3: Parquet, each a section of the chain, named by its first and last entry.

A file's metadata holds the hash before its section and the hash of its last entry. So every file anchors the chain:
if the trail in the database is truncated or rewritten, it no longer agrees with the files.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
from botocore.client import Config
from botocore.exceptions import BotoCoreError, ClientError, FlexibleChecksumError

from system.domain.geography import PLACES
from system.domain.hash_chain import Broken, Entry, Tip
from system.settings import Settings
from system.store.audit.trail import PAGE

PREFIX = "audit/"
_KEY = re.compile(rf"{PREFIX}(\d{{20}})-(\d{{20}})\.parquet")
_BEFORE, _LAST = "before-hash", "last-hash"
_CONNECT_WITHIN_S, _ANSWER_WITHIN_S = 2, 20

SCHEMA = pa.schema(
    [
        pa.field("seq", pa.int64(), nullable=False),
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("partition", pa.string(), nullable=False),
        pa.field("position", pa.int64(), nullable=False),
        pa.field("entry", pa.string(), nullable=False),
        pa.field("previous_hash", pa.string(), nullable=False),
        pa.field("hash", pa.string(), nullable=False),
    ]
)


class ExportsAway(Exception):
    """S3 could not be reached, or refused. The message names the request and the answer."""


class ExportedAlready(Exception):
    """A file of that name exists: another exporter wrote it."""


class ExportFile(NamedTuple):
    """A file, by the sequence numbers of its first and last entry."""

    first: int
    last: int

    @property
    def key(self) -> str:
        return f"{PREFIX}{self.first:020}-{self.last:020}.parquet"


class Anchor(NamedTuple):
    """What a file's metadata says of its section: the chain's tip before it, and the tip at its end."""

    before: Tip
    last: Tip

    @property
    def file(self) -> ExportFile:
        return ExportFile(self.before.seq + 1, self.last.seq)


class Exports:
    """The files of the trail. Every method may raise ExportsAway."""

    def __init__(self, settings: Settings) -> None:
        self._bucket = settings.s3_bucket
        self._client = boto3.client(
            "s3",
            endpoint_url=settings.s3_endpoint,
            aws_access_key_id=settings.s3_access_key,
            aws_secret_access_key=settings.s3_secret_key,
            region_name=PLACES[settings.region].aws_region,  # type: ignore[index]
            verify=settings.s3_ca,
            config=Config(
                connect_timeout=_CONNECT_WITHIN_S,
                read_timeout=_ANSWER_WITHIN_S,
                retries={"total_max_attempts": 1},
                s3={"addressing_style": "path"},
            ),
        )

    def close(self) -> None:
        self._client.close()

    def files(self) -> list[ExportFile]:
        """Every file, in the order of the chain; other objects in the bucket are left out."""
        paginator = self._client.get_paginator("list_objects_v2")
        try:
            keys = [
                one["Key"]
                for page in paginator.paginate(Bucket=self._bucket, Prefix=PREFIX)
                for one in page.get("Contents", [])
            ]
        except (BotoCoreError, ClientError) as error:
            raise _away(f"the list of {self._bucket}/{PREFIX}", error) from error
        found = [_KEY.fullmatch(key) for key in keys]
        return sorted(ExportFile(int(match[1]), int(match[2])) for match in found if match)

    def anchor(self, file: ExportFile) -> Anchor:
        """The anchor in a file's metadata."""
        try:
            answer = self._client.head_object(Bucket=self._bucket, Key=file.key)
        except (BotoCoreError, ClientError) as error:
            raise _away(file.key, error) from error
        metadata = answer["Metadata"]
        return Anchor(Tip(file.first - 1, metadata.get(_BEFORE, "")), Tip(file.last, metadata.get(_LAST, "")))

    def write(self, pages: Iterable[list[Entry]]) -> Anchor | None:
        """Write these entries as one file. None if there are no entries. ExportedAlready if the file exists."""
        body = io.BytesIO()
        first = last = None
        with pq.ParquetWriter(body, SCHEMA, compression="zstd") as writer:
            for page in pages:
                writer.write_table(_table(page))
                first, last = first or page[0], page[-1]
        if first is None or last is None:
            return None
        anchor = Anchor(Tip(first.seq - 1, first.previous_hash), Tip(last.seq, last.hash))
        self._put(anchor, body.getvalue())
        return anchor

    def _put(self, anchor: Anchor, body: bytes) -> None:
        key = anchor.file.key
        try:
            self._client.put_object(
                Bucket=self._bucket,
                Key=key,
                Body=body,
                ContentType="application/vnd.apache.parquet",
                ChecksumAlgorithm="SHA256",
                IfNoneMatch="*",
                Metadata={_BEFORE: anchor.before.hash, _LAST: anchor.last.hash},
            )
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 412:
                raise ExportedAlready(key) from None
            raise _away(key, error) from error
        except BotoCoreError as error:
            raise _away(key, error) from error

    def read(self, file: ExportFile) -> Iterator[list[Entry]]:
        """The entries of a file, in pages. Verifies the checksum that S3 stored with it. Broken if the file is damaged
        or is not a section of the trail."""
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=file.key, ChecksumMode="ENABLED")
            body = io.BytesIO(answer["Body"].read())
        except FlexibleChecksumError as error:
            raise Broken(file.first, f"{file.key} is damaged: {error}") from None
        except (BotoCoreError, ClientError) as error:
            raise _away(file.key, error) from error
        try:
            parquet = pq.ParquetFile(body)
            if not parquet.schema_arrow.equals(SCHEMA):
                raise Broken(file.first, f"{file.key} has other columns than a piece of the trail")
            for batch in parquet.iter_batches(batch_size=PAGE):
                yield [Entry(*row) for row in zip(*(column.to_pylist() for column in batch.columns), strict=True)]
        except pa.ArrowException as error:
            raise Broken(file.first, f"{file.key} cannot be read: {error}") from None


def _table(page: list[Entry]) -> pa.Table:
    return pa.table([list(column) for column in zip(*page, strict=True)], schema=SCHEMA)


def _away(what: str, error: Exception) -> ExportsAway:
    return ExportsAway(f"{what}: {error}")
