"""Samples the machine that a run shares with other programs, to show whether the run's numbers can be trusted.

`python -m infra.machine.sampler SPEC.json` appends a HostSample a second to `evidence/host.jsonl`, until SIGTERM or
until its parent has ended, so that a killed run leaves no sampler behind.

Processes of the system and of the harness carry COVENANT_RUN_ID and COVENANT_KIND in their environment. A process that
has overwritten its environment (PostgreSQL's do) counts as its parent's kind. The kernel's threads work for all and are
a kind of their own. All other CPU is foreign. The sampler reads /proc itself, since psutil took 2.6 times the CPU for
the same figures, and a sampler must not disturb what it measures.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from infra.machine import cgroup
from infra.machine.processes import KIND, RUN_ID
from infra.machine.spec import read_spec
from reports.evidence import FOREIGN, HostSample, RunFolder

_NAP_NS = 10_000_000
_PF_KTHREAD = 0x0020_0000
_WRITE = b"\0" * 4096
TURNS = 20
"""Memory and open files of each process are read once in this many samples, a share of the processes in each: the
kernel walks all pages for it, which takes 0.6 ms a process, and longer for a large one. With a sample a second, half an
hour of a soak gives as many readings as its rows take."""
_NAMED_FROM = 0.01
"""The share of all cores from which on a foreign program is named."""
_NAMED_MAX = 3


class HostSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What the sampler is started with."""

    folder: str
    """The run folder."""
    run_id: str
    """COVENANT_RUN_ID of the processes that are not foreign."""
    disk: str
    """A folder beside the components' data, where fsync is timed."""
    interval_s: float = 1.0


def command(folder: RunFolder, run_id: str, disk: Path) -> list[str]:
    """The command that samples the machine for a run; writes its specification into the run's evidence."""
    path = folder.evidence / "host.spec.json"
    spec = HostSpec(folder=str(folder.path.resolve()), run_id=run_id, disk=str(disk))
    path.write_bytes(msgspec.json.encode(spec))
    return [sys.executable, "-m", "infra.machine.sampler", str(path)]


class _Usage(msgspec.Struct, frozen=True):
    """CPU in ticks of a process itself, and of those of its children that have ended and been reaped."""

    parent: int
    kernel: bool
    own: int
    ended_children: int
    name: str = ""
    """The command's name, as the kernel has it."""


class Processes:
    """CPU, memory and open files of the system and the harness, by kind of process."""

    def __init__(self, run_id: str, harness_pid: int | None = None, proc: Path = Path("/proc")) -> None:
        """`harness_pid`: a process of the harness whose environment in /proc lacks the variables, since it set them
        only after it had started."""
        self._harness_pid = harness_pid
        self._mark = f"{RUN_ID}={run_id}".encode()
        self._proc = proc
        self._kinds: dict[tuple[int, int], str | None] = {}
        self._before: dict[tuple[int, int], _Usage] = {}
        self._held: dict[tuple[int, int], tuple[float, int]] = {}
        self._written: dict[tuple[int, int], int] = {}
        self.foreign_ticks: dict[str, int] = {}
        """Name of a foreign program -> CPU ticks that its processes used between the last two calls of `used_ticks`."""

    def used_ticks(self) -> dict[str, int]:
        """Kind -> CPU ticks that it used since the last call; the first call gives nothing."""
        now = dict(self._usages())
        first = not self._before
        ticks: dict[str, int] = {}
        alive = {pid: (pid, started) for pid, started in now}
        self._kinds = {key: kind for key, kind in self._kinds.items() if key in now}
        ended = self._ended_by_parent(now)
        self.foreign_ticks = {}
        for key, usage in now.items():
            kind = self._kind(key, now, alive)
            if first:
                continue
            before = self._before.get(key, _Usage(usage.parent, usage.kernel, 0, 0))
            if kind is None:
                self.foreign_ticks[usage.name] = self.foreign_ticks.get(usage.name, 0) + usage.own - before.own
                continue
            # An ended child's ticks are added to its parent's account; those counted while it lived are not new.
            from_children = usage.ended_children - before.ended_children - ended.get(key[0], 0)
            ticks[kind] = ticks.get(kind, 0) + usage.own - before.own + max(0, from_children)
        self._before = now
        return ticks

    def measure_holdings(self, turn: int) -> None:
        """Read memory and open files of a share of the processes that `used_ticks` found last; `TURNS` turns cover
        all. A process that this user may not inspect is left out."""
        self._held = {key: held for key, held in self._held.items() if key in self._kinds}
        for key, kind in self._kinds.items():
            if kind is None or kind == "kernel" or (key[0] - turn) % TURNS:
                continue
            folder = self._proc / str(key[0])
            try:
                memory_mib = own_kib((folder / "smaps_rollup").read_text()) / 1024
                self._held[key] = memory_mib, len(os.listdir(folder / "fd"))  # noqa: PTH208
            except OSError:
                continue  # It ended meanwhile, or belongs to another user.

    def holdings(self) -> tuple[dict[str, float], dict[str, int]]:
        """(kind -> MiB of private memory, kind -> open files), as they were measured last."""
        memory: dict[str, float] = {}
        files: dict[str, int] = {}
        for key, (mib, count) in self._held.items():
            kind = self._kinds.get(key)
            if kind is not None:
                memory[kind] = memory.get(kind, 0.0) + mib
                files[kind] = files.get(kind, 0) + count
        return {kind: round(mib, 2) for kind, mib in sorted(memory.items())}, dict(sorted(files.items()))

    def written_mib(self) -> dict[str, float]:
        """Kind -> MiB that its processes wrote to files since the last call, `foreign` for other programs. A process
        that this user may not inspect is left out, and so is what one wrote before it was seen first."""
        mib: dict[str, float] = {}
        now: dict[tuple[int, int], int] = {}
        for key, kind in self._kinds.items():
            if kind == "kernel":
                continue
            try:
                with open(f"{self._proc}/{key[0]}/io", "rb", buffering=0) as file:  # noqa: PTH123 - no Path for each
                    text = file.read(512)
            except OSError:
                continue  # It ended meanwhile, or belongs to another user.
            now[key] = int(text.split(b"\nwrite_bytes: ", 1)[1].split(b"\n", 1)[0])
            wrote = (now[key] - self._written.get(key, now[key])) / 2**20
            mib[kind or FOREIGN] = mib.get(kind or FOREIGN, 0.0) + wrote
        self._written = now
        return mib

    def _ended_by_parent(self, now: dict[tuple[int, int], _Usage]) -> dict[int, int]:
        """Parent -> ticks that were already counted of its descendants that have ended since. If a parent has ended,
        too, its account went to its own parent."""
        gone = {key[0]: usage for key, usage in self._before.items() if key not in now}
        ended: dict[int, int] = {}
        for usage in gone.values():
            heir, seen = usage.parent, {usage.parent}
            while heir in gone and gone[heir].parent not in seen:
                heir = gone[heir].parent
                seen.add(heir)
            counted = usage.own + usage.ended_children
            ended[heir] = ended.get(heir, 0) + counted
        return ended

    def _usages(self) -> Iterator[tuple[tuple[int, int], _Usage]]:
        for name in os.listdir(self._proc):  # noqa: PTH208 - no Path for each of hundreds, every second
            if not name.isdigit():
                continue
            try:
                stat = (self._proc / name / "stat").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue  # It ended meanwhile.
            # The command's name is in parentheses and may hold any character; the fields follow the last parenthesis.
            fields = stat[stat.rindex(b")") + 2 :].split()
            usage = _Usage(
                parent=int(fields[1]),
                kernel=bool(int(fields[6]) & _PF_KTHREAD),
                own=int(fields[11]) + int(fields[12]),
                ended_children=int(fields[13]) + int(fields[14]),
                name=stat[stat.index(b"(") + 1 : stat.rindex(b")")].decode("utf-8", "backslashreplace"),
            )
            yield (int(name), int(fields[19])), usage

    def _kind(
        self, key: tuple[int, int], now: dict[tuple[int, int], _Usage], alive: dict[int, tuple[int, int]]
    ) -> str | None:
        """The kind of a process; None if it is foreign."""
        if key in self._kinds:
            return self._kinds[key]
        kind = "kernel" if now[key].kernel else self._own_kind(key[0])
        if kind is None:
            parent = alive.get(now[key].parent)
            if parent is not None and parent[0] != key[0]:
                kind = self._kind(parent, now, alive)
        self._kinds[key] = kind
        return kind

    def _own_kind(self, pid: int) -> str | None:
        if pid == self._harness_pid:
            return "harness"
        try:
            environment = (self._proc / str(pid) / "environ").read_bytes().split(b"\0")
        except OSError:
            return None
        if self._mark not in environment:
            return None
        prefix = f"{KIND}=".encode()
        return next((each[len(prefix) :].decode() for each in environment if each.startswith(prefix)), "harness")


def own_kib(rollup: str) -> int:
    """A process's share of anonymous memory and of swap, in KiB, in the text of /proc/PID/smaps_rollup. Pages of files
    and of shared memory do not count: a cache that fills is no leak."""
    found = 0
    for line in rollup.splitlines():
        name, _, value = line.partition(":")
        if name in ("Pss_Anon", "SwapPss"):
            found += int(value.split()[0])
    return found


class _Total(msgspec.Struct, frozen=True):
    """The machine's CPU in ticks, all cores together."""

    all: int
    idle: int
    steal: int
    interrupts: int

    @classmethod
    def read(cls, text: str) -> _Total:
        """From the first line of /proc/stat: user nice system idle iowait irq softirq steal ..."""
        user, nice, system, idle, iowait, irq, softirq, steal = map(int, text.split("\n", 1)[0].split()[1:9])
        return cls(
            all=user + nice + system + idle + iowait + irq + softirq + steal,
            idle=idle + iowait,
            steal=steal,
            interrupts=irq + softirq,
        )


def sample(
    before: _Total, after: _Total, ticks: dict[str, int], *, at_ns: int, interval_s: float,
    timer_lag_ms: float, fsync_ms: float, holdings: tuple[dict[str, float], dict[str, int]] = ({}, {}),
    cores: int = 1, throttled_s: float = 0.0, cpu_limit: float | None = None,
    foreign_ticks: dict[str, int] | None = None, written_mib: dict[str, float] | None = None,
) -> HostSample:  # fmt: skip
    """The sample of the interval between two readings. Time in interrupts counts neither as ours nor as foreign.
    `throttled_s`: core seconds for which the group was throttled in the interval, on a machine of so many `cores`;
    `cpu_limit` is the group's, in cores. `foreign_ticks`: name of a foreign program -> its ticks;
    `written_mib`: kind -> what was written in the interval."""
    total = max(1, after.all - before.all)
    steal = after.steal - before.steal
    busy = total - (after.idle - before.idle) - steal
    named = {name: used / total for name, used in (foreign_ticks or {}).items() if used / total >= _NAMED_FROM}
    foreign = busy - (after.interrupts - before.interrupts) - sum(ticks.values())
    return HostSample(
        at_ns=at_ns,
        interval_s=round(interval_s, 4),
        busy=round(busy / total, 4),
        steal=round(steal / total, 4),
        foreign=round(max(0, foreign) / total, 4),
        timer_lag_ms=round(timer_lag_ms, 3),
        fsync_ms=round(fsync_ms, 3),
        by_kind={kind: round(used / total, 4) for kind, used in sorted(ticks.items())},
        memory_mib=holdings[0],
        files=holdings[1],
        throttled=round(min(1.0, throttled_s / (interval_s * cores)), 4),
        allowed=1.0 if cpu_limit is None else round(min(1.0, cpu_limit / cores), 4),
        foreign_by={name: round(named[name], 4) for name in sorted(named, key=named.__getitem__)[-_NAMED_MAX:]},
        written_mib_s={kind: round(mib / interval_s, 3) for kind, mib in sorted((written_mib or {}).items())},
    )


def _fsync_ms(descriptor: int) -> float:
    begin = time.perf_counter()
    os.pwrite(descriptor, _WRITE, 0)
    os.fsync(descriptor)
    return (time.perf_counter() - begin) * 1000


def watch(spec: HostSpec, stopped: list[int]) -> None:
    """Sample until a signal is in `stopped`, or until the parent has ended."""
    started_by = os.getppid()
    processes = Processes(spec.run_id, harness_pid=started_by if started_by != 1 else None)
    processes.used_ticks()
    processes.written_mib()
    stat = Path("/proc/stat")
    groups, cores = cgroup.folders("cpu"), os.cpu_count() or 1
    throttled_before_s = cgroup.throttled_s(groups)
    before, begin_ns = _Total.read(stat.read_text()), time.monotonic_ns()
    path = Path(spec.disk) / f".fsync-{os.getpid()}"
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        with RunFolder(Path(spec.folder)).host() as samples:
            turn = 0
            while not stopped and os.getppid() == started_by:
                timer_lag_ms = _sleep_through(begin_ns + round(spec.interval_s * 1e9), stopped)
                fsync_ms = _fsync_ms(descriptor)
                after, ticks, now_ns = _Total.read(stat.read_text()), processes.used_ticks(), time.monotonic_ns()
                interval_s = (now_ns - begin_ns) / 1e9
                throttled_s = cgroup.throttled_s(groups)
                processes.measure_holdings(turn)
                turn += 1
                holdings = processes.holdings() if turn % TURNS == 0 else ({}, {})
                written_mib = processes.written_mib()
                samples.add(
                    sample(
                        before, after, ticks, at_ns=now_ns, interval_s=interval_s, timer_lag_ms=timer_lag_ms,
                        fsync_ms=fsync_ms, holdings=holdings, cores=cores,
                        throttled_s=throttled_s - throttled_before_s, cpu_limit=cgroup.cpu_limit(groups),
                        foreign_ticks=processes.foreign_ticks, written_mib=written_mib,
                    )
                )  # fmt: skip
                before, begin_ns, throttled_before_s = after, now_ns, throttled_s
    finally:
        os.close(descriptor)
        path.unlink(missing_ok=True)


def _sleep_through(until_ns: int, stopped: list[int]) -> float:
    """Sleep in naps of 10 ms; returns by how many ms the latest nap was late."""
    worst_ns = 0
    while (now_ns := time.monotonic_ns()) < until_ns and not stopped:
        time.sleep(_NAP_NS / 1e9)
        worst_ns = max(worst_ns, time.monotonic_ns() - now_ns - _NAP_NS)
    return worst_ns / 1e6


def main() -> None:
    spec = read_spec(HostSpec)
    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, frame: stopped.append(received))
    watch(spec, stopped)


if __name__ == "__main__":
    main()
