"""Engines that read the API, started as Locust's process starts them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec

from loadtests.engine.open_loop import RequestsSpec
from loadtests.engine.process import Go


def started(spec: RequestsSpec, folder: Path) -> subprocess.Popen[bytes]:
    """An engine of `api-browse` that is ready; its specification is kept in `folder`."""
    file = folder / "spec.json"
    file.write_bytes(msgspec.json.encode(spec))
    command = [sys.executable, "-m", "loadtests.engine.api_load", str(file)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def begin(process: subprocess.Popen[bytes], begin_ns: int) -> None:
    """Have its schedule begin at this instant of CLOCK_MONOTONIC."""
    assert process.stdin is not None
    process.stdin.write(msgspec.json.encode(Go(begin_ns=begin_ns)) + b"\n")
    process.stdin.flush()
