"""The archiver, which puts the primary's WAL and base backups into S3 (`infra.backup`), as a part."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import ClassVar

import msgspec
from psycopg.conninfo import make_conninfo

from infra.backup.archiver import Config
from infra.parts.base import Part, binary
from infra.parts.postgres import Postgres
from infra.parts.postgres.configuration import ARCHIVER, SLOT
from infra.parts.s3 import backup_access
from infra.site import certificates

_CONNECT_WITHIN_S = 5
_GIVE_UP_AFTER_MS = 10_000


class Archiver(Part):
    kind = ARCHIVER
    package = "covenant-harness"
    ready_within_s: ClassVar[float] = 90.0

    def prepare(self) -> None:
        self._spool.mkdir()
        self._write("pgpass", f"*:*:*:archiver:{self.site.secrets['archiver']}\n".encode())
        config = Config(
            programs=str(Path(binary(Postgres.package, "pg_receivewal")).parent),
            conninfo=self._conninfo(),
            passfile=str(self.folder / "pgpass"),
            slot=SLOT,
            spool=str(self._spool),
            ready_file=str(self._ready),
            access=backup_access(self.place, outside=False),
        )
        self._write("archiver.json", msgspec.json.encode(config))

    def before_start(self) -> None:
        self._ready.unlink(missing_ok=True)

    def command(self) -> list[str]:
        return [sys.executable, "-m", "infra.backup.archiver", str(self.folder / "archiver.json")]

    def waiting_for(self) -> str | None:
        return None if self._ready.exists() else "a base backup in S3"

    @property
    def _spool(self) -> Path:
        return self.folder / "spool"

    @property
    def _ready(self) -> Path:
        return self.folder / "ready"

    def _conninfo(self) -> str:
        members = [end.rpartition(":") for end in self.place.endpoints(Postgres.kind, "client")]
        values: dict[str, str | int] = {
            "host": ",".join(host for host, _, _ in members),
            "port": ",".join(port for _, _, port in members),
            "user": "archiver",
            "target_session_attrs": "primary",
            "connect_timeout": _CONNECT_WITHIN_S,
            "tcp_user_timeout": _GIVE_UP_AFTER_MS,
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
        }
        if self.site.options.tls == "on":
            values |= {"sslmode": "verify-full", "sslrootcert": str(certificates.of(self.site, self.node).ca)}
        return make_conninfo(**{name: str(value) for name, value in values.items()})

    def _write(self, name: str, content: bytes) -> None:
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_bytes(content)
