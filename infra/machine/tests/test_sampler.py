"""Which kind of process used the CPU: from literal readings of /proc, and once from the real one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from infra.machine import processes
from infra.machine.sampler import HostSpec, Processes, _Total, sample
from loadtests.tests.load_servers import DEADLINE_S, wait_until
from reports.evidence import RunFolder

KTHREAD = 0x0020_0000


def _process(
    proc: Path, pid: int, *, parent: int, own: int, children: int = 0, kind: str | None = None, flags: int = 0,
    started: int = 1, run: str = "r1",
) -> None:  # fmt: skip
    """Write /proc/<pid>/stat and environ as the kernel does; the name has blanks and parentheses in it."""
    folder = proc / str(pid)
    folder.mkdir(exist_ok=True)
    fields: list[bytes | int] = [b"S", parent, 0, 0, 0, 0, flags, 0, 0, 0, 0, own, 0, children, 0, 20, 0, 1, 0, started]
    words = b" ".join(field if isinstance(field, bytes) else b"%d" % field for field in fields)
    (folder / "stat").write_bytes(b"%d (a ) S 1) " % pid + words + b"\n")
    environment = [b"PATH=/bin"] + (
        [f"COVENANT_RUN_ID={run}".encode(), f"COVENANT_KIND={kind}".encode()] if kind else []
    )
    (folder / "environ").write_bytes(b"\0".join(environment) + b"\0")


def _remove(proc: Path, pid: int) -> None:
    for file in (proc / str(pid)).iterdir():
        file.unlink()
    (proc / str(pid)).rmdir()


def test_cpu_is_counted_by_the_kind_in_the_environment(tmp_path: Path) -> None:
    _process(tmp_path, 10, parent=1, own=100, kind="nats")
    _process(tmp_path, 11, parent=1, own=100, kind="api")
    _process(tmp_path, 12, parent=1, own=100)
    _process(tmp_path, 13, parent=1, own=100, kind="nats", run="another")
    processes = Processes("r1", proc=tmp_path)
    assert processes.used_ticks() == {}, "before the first call it is not known since when it was used"
    for pid, own, kind, run in (
        (10, 107, "nats", "r1"),
        (11, 103, "api", "r1"),
        (12, 150, None, "r1"),
        (13, 150, "nats", "another"),
    ):
        _process(tmp_path, pid, parent=1, own=own, kind=kind, run=run)
    assert processes.used_ticks() == {"nats": 7, "api": 3}


def test_a_process_that_overwrote_its_environment_is_what_its_parent_is(tmp_path: Path) -> None:
    _process(tmp_path, 10, parent=1, own=0, kind="postgres")
    processes = Processes("r1", proc=tmp_path)
    processes.used_ticks()
    _process(tmp_path, 11, parent=10, own=2)
    _process(tmp_path, 12, parent=11, own=3)
    assert processes.used_ticks() == {"postgres": 5}


def test_a_child_that_ended_is_counted_once(tmp_path: Path) -> None:
    _process(tmp_path, 10, parent=1, own=0, kind="postgres")
    _process(tmp_path, 11, parent=10, own=0)
    processes = Processes("r1", proc=tmp_path)
    processes.used_ticks()
    _process(tmp_path, 11, parent=10, own=40)
    assert processes.used_ticks() == {"postgres": 40}
    _remove(tmp_path, 11)
    _process(tmp_path, 10, parent=1, own=1, children=45, kind="postgres")
    assert processes.used_ticks() == {"postgres": 1 + 5}


def test_a_number_that_is_used_again_is_another_process(tmp_path: Path) -> None:
    _process(tmp_path, 10, parent=1, own=500, kind="nats", started=1)
    processes = Processes("r1", proc=tmp_path)
    processes.used_ticks()
    _process(tmp_path, 10, parent=1, own=4, kind="api", started=9)
    assert processes.used_ticks() == {"api": 4}


def test_kernel_threads_are_a_kind_of_their_own(tmp_path: Path) -> None:
    _process(tmp_path, 10, parent=2, own=0, flags=KTHREAD)
    processes = Processes("r1", proc=tmp_path)
    processes.used_ticks()
    _process(tmp_path, 10, parent=2, own=9, flags=KTHREAD)
    assert processes.used_ticks() == {"kernel": 9}


def test_a_process_that_set_the_variables_too_late_is_of_the_harness(tmp_path: Path) -> None:
    _process(tmp_path, 10, parent=1, own=0)
    processes = Processes("r1", harness_pid=10, proc=tmp_path)
    processes.used_ticks()
    _process(tmp_path, 10, parent=1, own=6)
    assert processes.used_ticks() == {"harness": 6}


def test_what_no_process_of_ours_used_is_foreign() -> None:
    before = _Total.read("cpu  0 0 0 0 0 0 0 0 0 0\ncpu0 ...")
    after = _Total.read("cpu  60 0 20 100 4 2 4 10 0 0\n")
    found = sample(
        before, after, {"nats": 30, "load": 10}, at_ns=5, interval_s=1.0, timer_lag_ms=0.2, fsync_ms=0.4
    )  # fmt: skip
    assert found.busy == pytest.approx(0.43)
    assert found.steal == pytest.approx(0.05)
    assert found.foreign == pytest.approx(0.20)
    assert found.by_kind == pytest.approx({"nats": 0.15, "load": 0.05})


def test_more_than_was_busy_is_no_negative_foreign_share() -> None:
    before = _Total.read("cpu  0 0 0 0 0 0 0 0 0 0\n")
    after = _Total.read("cpu  10 0 0 90 0 0 0 0 0 0\n")
    found = sample(before, after, {"nats": 12}, at_ns=5, interval_s=1.0, timer_lag_ms=0.0, fsync_ms=0.0)
    assert found.foreign == 0


def test_what_a_cpu_limit_holds_back_is_a_share_of_all_cores() -> None:
    before = _Total.read("cpu  0 0 0 0 0 0 0 0 0 0\n")
    after = _Total.read("cpu  60 0 0 140 0 0 0 0 0 0\n")
    measured = {"at_ns": 5, "interval_s": 1.0, "timer_lag_ms": 0.0, "fsync_ms": 0.0, "cores": 2}
    found = sample(before, after, {"nats": 60}, **measured, throttled_s=0.5, cpu_limit=0.6)  # type: ignore[arg-type]
    assert (found.throttled, found.allowed) == (0.25, 0.3)
    unlimited = sample(before, after, {"nats": 60}, **measured)  # type: ignore[arg-type]
    assert (unlimited.throttled, unlimited.allowed) == (0.0, 1.0)


def test_a_foreign_program_that_used_the_cpu_is_named(tmp_path: Path) -> None:
    _process(tmp_path, 10, parent=1, own=0, kind="nats")
    _process(tmp_path, 11, parent=1, own=100)
    _process(tmp_path, 12, parent=1, own=100, kind="nats", run="another")
    watched = Processes("r1", proc=tmp_path)
    watched.used_ticks()
    assert watched.foreign_ticks == {}, "before the first call it is not known since when it was used"
    for pid, own, kind, run in ((10, 50, "nats", "r1"), (11, 130, None, "r1"), (12, 120, "nats", "another")):
        _process(tmp_path, pid, parent=1, own=own, kind=kind, run=run)
    watched.used_ticks()
    assert watched.foreign_ticks == {"a ) S 1": 50}


def test_only_foreign_programs_that_matter_are_named() -> None:
    before, after = _Total.read("cpu  0 0 0 0 0 0 0 0 0 0\n"), _Total.read("cpu  500 0 0 500 0 0 0 0 0 0\n")
    ticks = {"python3": 300, "cron": 5, "cc1": 50, "ld": 40, "as": 30}
    found = sample(
        before, after, {}, at_ns=5, interval_s=1.0, timer_lag_ms=0.0, fsync_ms=0.0, foreign_ticks=ticks
    )  # fmt: skip
    assert found.foreign_by == {"python3": 0.3, "cc1": 0.05, "ld": 0.04}


def test_what_was_written_is_counted_by_kind_and_foreign_beside(tmp_path: Path) -> None:
    def io(pid: int, mib: int) -> None:
        (tmp_path / str(pid) / "io").write_text(f"wchar: 9\nread_bytes: 7\nwrite_bytes: {mib * 2**20}\ncancelled: 5\n")

    for pid, kind in ((10, "nats"), (11, "nats"), (12, None), (13, "api")):
        _process(tmp_path, pid, parent=1, own=0, kind=kind)
    for pid in (10, 11, 12):
        io(pid, 100)
    watched = Processes("r1", proc=tmp_path)
    watched.used_ticks()
    assert watched.written_mib() == {"nats": 0.0, "foreign": 0.0}, "what was written before says nothing"
    for pid, mib in ((10, 103), (11, 101), (12, 150)):
        io(pid, mib)
    assert watched.written_mib() == {"nats": 4.0, "foreign": 50.0}


def test_it_samples_until_sigterm(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    spec = tmp_path / "spec.json"
    run_id = f"host-{os.getpid()}"
    spec.write_bytes(
        msgspec.json.encode(HostSpec(folder=str(folder.path), run_id=run_id, disk=str(tmp_path), interval_s=0.1))
    )
    marked = {**os.environ, "COVENANT_RUN_ID": run_id, "COVENANT_KIND": "api"}
    burner = subprocess.Popen([sys.executable, "-c", "while True: pass"], env=marked)
    watcher = subprocess.Popen([sys.executable, "-m", "infra.machine.sampler", str(spec)])
    try:
        wait_until(lambda: any(each.by_kind.get("api", 0) > 0 for each in folder.host_samples()), "CPU of the kind api")
    finally:
        burner.kill()
        burner.wait()
        watcher.terminate()
    assert watcher.wait(DEADLINE_S) == 0
    samples = folder.host_samples()
    assert all(0 <= each.foreign <= each.busy <= 1 for each in samples)
    assert all(each.fsync_ms > 0 and each.timer_lag_ms >= 0 for each in samples)
    assert any(each.written_mib_s for each in samples)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".fsync")] == []


def test_it_does_not_outlive_a_run_that_is_killed(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    spec = tmp_path / "spec.json"
    spec.write_bytes(
        msgspec.json.encode(HostSpec(folder=str(folder.path), run_id="r", disk=str(tmp_path), interval_s=0.1))
    )
    starts = "import subprocess, sys; print(subprocess.Popen(sys.argv[1:]).pid, flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", starts, sys.executable, "-m", "infra.machine.sampler", str(spec)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        watcher = processes.record(int(run.stdout.readline()))
        try:
            wait_until(lambda: bool(folder.host_samples()), "a sample")
            run.kill()
            wait_until(lambda: processes.find(watcher) is None, "the end of the watcher")
        finally:
            processes.send(filter(None, [processes.find(watcher)]), signal.SIGKILL)


def test_what_each_kind_holds_is_its_own_memory_and_its_files(tmp_path: Path) -> None:
    """Shared memory and mapped files do not count; a process that may not be inspected counts for nothing."""
    rollup = "55d0-7ffe ---p 00000000 00:00 0    [rollup]\nRss:    9000 kB\nPss:    5000 kB\nPss_Anon:    {} kB\n"
    rollup += "Pss_File:    2000 kB\nPss_Shmem:    1000 kB\nSwapPss:    24 kB\n"
    for pid, kind, kib, files in ((10, "nats", 1000, 3), (11, "nats", 2000, 1), (12, "api", 500, 2), (13, None, 9, 9)):
        _process(tmp_path, pid, parent=1, own=0, kind=kind)
        (tmp_path / str(pid) / "smaps_rollup").write_text(rollup.format(kib))
        (tmp_path / str(pid) / "fd").mkdir()
        for number in range(files):
            (tmp_path / str(pid) / "fd" / str(number)).touch()
    _process(tmp_path, 14, parent=1, own=0, kind="etcd")
    watched = Processes("r1", proc=tmp_path)
    watched.used_ticks()
    watched.measure_holdings(10)
    assert watched.holdings() == ({"nats": 1.0}, {"nats": 3}), "a share of them each time"
    for turn in range(30):
        watched.measure_holdings(turn)
    assert watched.holdings() == ({"api": 0.51, "nats": 2.98}, {"api": 2, "nats": 4})
    for name in ("smaps_rollup", "stat", "environ"):
        (tmp_path / "12" / name).unlink()
    watched.used_ticks()
    watched.measure_holdings(0)
    assert watched.holdings()[1] == {"nats": 4}, "what has ended holds nothing"


def test_our_own_holdings_are_what_the_kernel_says() -> None:
    watched = Processes("r1", harness_pid=os.getpid())
    watched.used_ticks()
    watched.measure_holdings(os.getpid())
    memory, files = watched.holdings()
    assert memory["harness"] > 1
    assert files["harness"] >= 3
