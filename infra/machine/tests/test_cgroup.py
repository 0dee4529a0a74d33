"""Limits of control groups: of literal files as the kernel writes them, and of a real group where one can be made."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.machine import cgroup

MOUNT_V1 = "33 28 0:29 {root} {mount} rw,nosuid - cgroup cgroup rw,cpu,cpuacct\n"
MOUNT_V2 = "35 24 0:31 {root} {mount} rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
OTHERS = "24 1 254:1 / / rw,relatime - ext4 /dev/root rw\n34 28 0:30 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "proc").mkdir()
    return tmp_path / "proc"


def group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content)


def test_the_narrowest_limit_of_version_2_counts(tmp_path: Path, proc: Path) -> None:
    (proc / "cgroup").write_text("0::/user.slice/run-1.scope\n")
    (proc / "mountinfo").write_text(OTHERS + MOUNT_V2.format(root="/", mount=tmp_path / "sys"))
    group(tmp_path / "sys")
    group(tmp_path / "sys/user.slice", cpu__max="150000 100000\n", cpu__stat="usage_usec 9\nthrottled_usec 2500000\n")
    group(
        tmp_path / "sys/user.slice/run-1.scope", cpu__max="max 100000\n",
        cpu__stat="usage_usec 9\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0\nnr_bursts 0\n",
    )  # fmt: skip
    found = cgroup.folders("cpu", proc)
    assert [path.name for path in found] == ["run-1.scope", "user.slice", "sys"]
    assert cgroup.cpu_limit(found) == 1.5
    assert cgroup.throttled_s(found) == 2.5


def test_a_containers_own_view_of_version_2(tmp_path: Path, proc: Path) -> None:
    (proc / "cgroup").write_text("0::/\n")
    (proc / "mountinfo").write_text(MOUNT_V2.format(root="/", mount=tmp_path / "sys"))
    group(tmp_path / "sys", cpu__max="50000 100000\n", memory__max="1073741824\n")
    assert cgroup.cpu_limit(cgroup.folders("cpu", proc)) == 0.5
    assert cgroup.folders("memory", proc) == [tmp_path / "sys"]


def test_a_limit_of_version_1_in_a_container_that_sees_the_hosts_paths(tmp_path: Path, proc: Path) -> None:
    (proc / "cgroup").write_text("9:pids:/docker/abc\n4:cpu,cpuacct:/docker/abc\n0::/docker/abc\n")
    (proc / "mountinfo").write_text(
        OTHERS + MOUNT_V2.format(root="/docker/abc", mount=tmp_path / "unified")
        + MOUNT_V1.format(root="/docker/abc", mount=str(tmp_path / "with space").replace(" ", r"\040"))
    )  # fmt: skip
    group(
        tmp_path / "with space", cpu__cfs_quota_us="200000\n", cpu__cfs_period_us="100000\n",
        cpu__stat="nr_periods 7\nnr_throttled 3\nthrottled_time 1500000000\n",
    )  # fmt: skip
    found = cgroup.folders("cpu", proc)
    assert found == [tmp_path / "with space"]
    assert (cgroup.cpu_limit(found), cgroup.throttled_s(found)) == (2.0, 1.5)


def test_no_limit_is_none(tmp_path: Path, proc: Path) -> None:
    (proc / "cgroup").write_text("1:cpu:/\n")
    (proc / "mountinfo").write_text(OTHERS + MOUNT_V1.format(root="/", mount=tmp_path / "cpu"))
    group(tmp_path / "cpu", cpu__cfs_quota_us="-1\n", cpu__cfs_period_us="100000\n")
    assert cgroup.cpu_limit(cgroup.folders("cpu", proc)) is None
    (proc / "mountinfo").write_text(OTHERS)
    assert cgroup.folders("cpu", proc) == []
    assert (cgroup.cpu_limit([]), cgroup.throttled_s([])) == (None, 0.0)


def test_of_this_machine() -> None:
    assert 1 <= cgroup.cores() <= (os.cpu_count() or 1)
    assert cgroup.memory_bytes() > 0


@pytest.fixture
def half_a_core() -> Iterator[Path]:
    """A real group with a limit of half a core."""
    inside = cgroup.folders("cpu")
    folder = inside[0] / f"covenant-test-{os.getpid()}" if inside else Path("/nowhere")
    try:
        folder.mkdir()
        if (folder / "cpu.max").exists():
            (folder / "cpu.max").write_text("50000 100000")
        else:
            (folder / "cpu.cfs_quota_us").write_text("50000")
    except OSError as error:
        if folder.exists():
            folder.rmdir()
        pytest.skip(f"this machine lets us make no control group: {error}")
    yield folder
    folder.rmdir()


BUSY = """
import sys, time
from pathlib import Path
Path(sys.argv[1]).write_text("0")
from infra.machine import cgroup
found = cgroup.folders("cpu")
deadline = time.monotonic() + 20
while cgroup.throttled_s(found) < 0.1 and time.monotonic() < deadline:
    pass
print(cgroup.cores(), cgroup.cpu_limit(found), cgroup.throttled_s(found) >= 0.1)
"""


def test_a_real_group_limits_and_throttles(half_a_core: Path) -> None:
    command = [sys.executable, "-c", BUSY, str(half_a_core / "cgroup.procs")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["1", "0.5", "True"], done.stderr
