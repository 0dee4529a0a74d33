"""Calibrates the bus around a load: what it gives at most, on this machine, under the same settings, in these minutes.

The publisher is a process of its own where the load's are; this process watches the cores, from the outside.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Literal

import msgspec

from infra import target as targets
from infra.machine.sampler import Processes
from infra.target import Target
from loadtests.engine import environment
from loadtests.engine.calibrator import CalibratorPart, CalibratorSpec
from loadtests.engine.process import Ended, Go, Ready, Said, Slice
from reports.evidence import Calibration
from reports.evidence.folder import EvidenceError, read_record

WARMUP_S = 1.0
SLICE_S = 2.0
SLICES_MAX = 30
"""After a minute a rate that its slices leave uncertain stays so, and the verdict sees them. Two shared cores whose
slices deviate by 9% need 26 s, by 13% nearly the minute."""
STEADY_AT = 0.05
"""The spread of the slices (`reports.evidence.spread`) at which a calibration is long enough: what the policy asks for,
which the command passes."""
WINDOW = 16_000
"""Messages on their way at most: enough to keep two cores full, and no more latency than that takes."""
_LEAD_S = 0.1
_WITHIN_S = 120.0
"""For all of it: to have the stream, to publish, to drain, to give the stream's space back."""
_SERVERS = "nats"


class CalibrationError(Exception):
    """The bus could not be calibrated: what was expected, what was found."""


class Cores(msgspec.Struct, frozen=True):
    """Ticks of each core since the machine started: all, and those in which it had nothing to do."""

    all: list[int]
    idle: list[int]

    @classmethod
    def read(cls, text: str) -> Cores:
        """From /proc/stat, whose lines `cpu<n>` are: user nice system idle iowait irq softirq steal ..."""
        cores = [line.split()[1:9] for line in text.splitlines() if line.startswith("cpu") and line[3:4].isdigit()]
        ticks = [list(map(int, each)) for each in cores]
        return cls([sum(each) for each in ticks], [each[3] + each[4] for each in ticks])

    def busy_since(self, before: Cores) -> list[float]:
        """The share of the time in which each core had something to do, or was kept from it by the hypervisor."""
        return [1 - (self.idle[n] - before.idle[n]) / max(1, self.all[n] - before.all[n]) for n in range(len(self.all))]

    def used_since(self, before: Cores) -> int:
        """Ticks of all cores that were not idle."""
        return sum(self.all) - sum(before.all) - (sum(self.idle) - sum(before.idle))


def calibrate(
    scenario: str, row: str, when: Literal["before", "after"], *, target_path: Path, steady_at: float = STEADY_AT,
    warmup_s: float = WARMUP_S, slice_s: float = SLICE_S, slices_max: int = SLICES_MAX, window: int = WINDOW,
) -> Calibration:  # fmt: skip
    """Calibrate `row` once, for a load of `scenario`, until the slices agree within `steady_at`, or `slices_max` are
    over. CalibrationError if that could not be done."""
    target = targets.read(target_path)
    seen_from = targets.inside_path(target_path) if target.enter else target_path
    with tempfile.TemporaryDirectory(prefix="covenant-calibration-") as scratch:
        part = Path(scratch) / "calibrator.part.json"
        spec = CalibratorSpec(
            target=str(seen_from.resolve()), part=str(part), warmup_s=warmup_s, slice_s=slice_s,
            slices_max=slices_max, steady_at=steady_at, window=window,
        )  # fmt: skip
        spec_file = Path(scratch) / "calibrator.spec.json"
        spec_file.write_bytes(msgspec.json.encode(spec))
        with _start(target, spec_file) as process:
            watchdog = threading.Timer(_WITHIN_S, process.kill)
            watchdog.start()
            try:
                busy, ticks, used = _watch(process, target.run_id, spec)
            finally:
                watchdog.cancel()
                process.kill()
        try:
            found = read_record(part, CalibratorPart)
        except EvidenceError as error:
            raise CalibrationError(str(error)) from None
    return Calibration(
        scenario=scenario, when=when, row=row, begin_ns=found.begin_ns, end_ns=found.end_ns, acked=found.acked,
        failed=found.failed, busy=[round(each, 4) for each in busy], servers=round(ticks.get(_SERVERS, 0) / used, 4),
        generator=round(ticks.get(environment.KIND, 0) / used, 4),
        settings={**found.settings, "durability": target.durability, "security": target.security},
        slices=found.slices,
    )  # fmt: skip


def _start(target: Target, spec_file: Path) -> subprocess.Popen[bytes]:
    command = [*target.enter.get(target.regions[0], []), sys.executable, "-m", "loadtests.engine.calibrator"]
    return subprocess.Popen(
        [*command, str(spec_file)], env=environment.environment(target.run_id), stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )  # fmt: skip


def _watch(
    process: subprocess.Popen[bytes], run_id: str, spec: CalibratorSpec
) -> tuple[list[float], dict[str, int], int]:
    """Let it run; how busy each core was in the measured window, ticks by kind of process, and ticks in all."""
    assert process.stdin is not None
    assert process.stdout is not None
    _expect(process, Ready)
    begin_ns = time.monotonic_ns() + round(_LEAD_S * 1e9)
    process.stdin.write(msgspec.json.encode(Go(begin_ns=begin_ns)) + b"\n")
    process.stdin.flush()
    kinds, stat = Processes(run_id), Path("/proc/stat")
    _expect(process, Slice)
    kinds.used_ticks()
    before = after = Cores.read(stat.read_text())
    ticks: dict[str, int] = {}
    while isinstance(_expect(process, Slice, Ended), Slice):
        after = Cores.read(stat.read_text())
        for kind, used in kinds.used_ticks().items():
            ticks[kind] = ticks.get(kind, 0) + used
    process.wait(_WITHIN_S)
    return after.busy_since(before), ticks, max(1, after.used_since(before))


def _expect(process: subprocess.Popen[bytes], *kinds: type[Ready] | type[Slice] | type[Ended]) -> Said | Slice:
    """Read what the publisher says until it says one of these."""
    assert process.stdout is not None
    for line in process.stdout:
        said = msgspec.json.decode(line, type=Said | Slice)
        if isinstance(said, Ended) and said.error:
            raise CalibrationError(said.error)
        if isinstance(said, kinds):
            return said
    raise CalibrationError(f"expected the calibrating publisher to be done within {_WITHIN_S:.0f} s, it ended before")
