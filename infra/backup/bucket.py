"""The backup bucket. Objects are immutable: each is read in its first version, whatever was done to it since."""

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


class BucketError(Exception):
    """S3 did not do what it was asked for; says what, and why."""


class Access(msgspec.Struct, frozen=True):
    """The store's endpoint, and a user's credentials."""

    endpoint: str
    """`http://host:port` or `https://...`."""
    region: str
    user: str
    secret: str
    ca: str | None = None
    """The file of the authority that signed the certificate of an https endpoint."""


class Bucket:
    """Make it in one thread; any thread may use it."""

    def __init__(self, access: Access, attempts: int = 2) -> None:
        """`attempts`: how often a request is tried, with growing pauses, while the store cannot answer it."""
        # Imported here: these imports would be half of every command's start.
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
        """Store an object. BucketError."""
        with _as_bucket_error(f"put {key}"):
            self._client.put_object(Bucket=NAME, Key=key, Body=data)

    def put_stream(self, key: str, stream: IO[bytes]) -> None:
        """Store what the stream yields until it ends, in parts. BucketError."""
        with _as_bucket_error(f"put {key}"):
            self._client.upload_fileobj(stream, NAME, key, Config=self._transfer)

    def first_versions(self, prefix: str) -> dict[str, str]:
        """Key -> its first version, for every object that was ever put below a prefix. BucketError."""
        found: dict[str, str] = {}
        with _as_bucket_error(f"list {prefix}"):
            for page in self._client.get_paginator("list_object_versions").paginate(Bucket=NAME, Prefix=prefix):
                # The newest version of a key comes first, so the last one stays.
                found.update((version["Key"], version["VersionId"]) for version in page.get("Versions", ()))
        return found

    @contextmanager
    def open(self, key: str, version: str) -> Iterator[StreamingBody]:
        """The content of an object's version, as a stream. BucketError."""
        with _as_bucket_error(f"get {key}"):
            body = self._client.get_object(Bucket=NAME, Key=key, VersionId=version)["Body"]
            try:
                yield body
            finally:
                body.close()

    def read(self, key: str, version: str) -> bytes:
        """The content of an object's version. BucketError."""
        with self.open(key, version) as body:
            return bytes(body.read())

    def close(self) -> None:
        self._client.close()


@contextmanager
def _as_bucket_error(what: str) -> Iterator[None]:
    from boto3.exceptions import S3UploadFailedError
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError, S3UploadFailedError) as error:
        raise BucketError(f"S3 would not {what}: {error}") from error
