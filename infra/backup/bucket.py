"""The way to the backup bucket: immutable objects, read in their first version whatever was done to them since."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from botocore.response import StreamingBody

NAME = "covenant-backup"
_PART_BYTES = 8 * 1024 * 1024
_CONNECT_WITHIN_S, _ANSWER_WITHIN_S = 3, 20


class Away(Exception):
    """S3 did not do what it was asked for; says what."""


class Access(msgspec.Struct, frozen=True):
    """Where the store is, and who comes."""

    endpoint: str
    """`http://host:port` or `https://...`."""
    region: str
    user: str
    secret: str
    ca: str | None = None
    """Who vouches for an https endpoint."""


class Bucket:
    """Not thread-safe in making, thread-safe in use."""

    def __init__(self, access: Access, attempts: int = 2) -> None:
        """`attempts`: how often a request is made, with growing pauses, while the store cannot answer it."""
        # Half of every command's start would go into importing these.
        import boto3
        from boto3.s3.transfer import TransferConfig
        from botocore.client import Config

        self._transfer = TransferConfig(multipart_chunksize=_PART_BYTES, use_threads=False)
        self._client: Any = boto3.client(
            "s3", endpoint_url=access.endpoint, aws_access_key_id=access.user, aws_secret_access_key=access.secret,
            region_name=access.region, verify=access.ca,
            config=Config(
                connect_timeout=_CONNECT_WITHIN_S, read_timeout=_ANSWER_WITHIN_S,
                retries={"mode": "standard", "total_max_attempts": attempts},
            ),
        )  # fmt: skip

    def put(self, key: str, data: bytes) -> None:
        """Away."""
        with _told(f"put {key}"):
            self._client.put_object(Bucket=NAME, Key=key, Body=data)

    def put_stream(self, key: str, stream: IO[bytes]) -> None:
        """Whatever comes until the stream ends, in parts. Away."""
        with _told(f"put {key}"):
            self._client.upload_fileobj(stream, NAME, key, Config=self._transfer)

    def first_versions(self, prefix: str) -> dict[str, str]:
        """Key -> its first version, of everything that was ever put below a prefix. Away."""
        found: dict[str, str] = {}
        with _told(f"list {prefix}"):
            for page in self._client.get_paginator("list_object_versions").paginate(Bucket=NAME, Prefix=prefix):
                # The newest version of a key comes first, so the last one stays.
                found.update((version["Key"], version["VersionId"]) for version in page.get("Versions", ()))
        return found

    @contextmanager
    def open(self, key: str, version: str) -> Iterator[StreamingBody]:
        """Away."""
        with _told(f"get {key}"):
            body = self._client.get_object(Bucket=NAME, Key=key, VersionId=version)["Body"]
            try:
                yield body
            finally:
                body.close()

    def read(self, key: str, version: str) -> bytes:
        """Away."""
        with self.open(key, version) as body:
            return bytes(body.read())

    def close(self) -> None:
        self._client.close()


@contextmanager
def _told(what: str) -> Iterator[None]:
    from boto3.exceptions import S3UploadFailedError
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError, S3UploadFailedError) as error:
        raise Away(f"S3 would not {what}: {error}") from error
