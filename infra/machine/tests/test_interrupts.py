"""What ends a command ends it in order: a signal, a terminal that hangs up, a reader of its output that has ended."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.machine.waiting import until

DEADLINE_S = 30.0
WORKS_UNTIL_ENDED = """
import fcntl, os, signal, sys, termios
from pathlib import Path
from infra.machine import interrupts
from infra.machine.progress import say, step
if os.isatty(0):
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
interrupts.raise_interrupt()
done = Path(sys.argv[1])
try:
    with step("work") as progress:
        progress(0.5, "working")
        done.write_text("working")
        signal.pause()
except KeyboardInterrupt:
    interrupts.ignore()
    for line in range(1000):
        say(f"healing {line}")
        print("an answer", flush=True)
    done.write_text("healed")
    sys.exit(130)
"""


@contextmanager
def started(place: Path, terminal: int, *, ignored: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    """The process, at work; it is gone afterwards, whatever a test finds."""
    command = [sys.executable, "-c", WORKS_UNTIL_ENDED, str(place)]
    with subprocess.Popen(
        ["nohup", *command] if ignored else command, stdin=terminal, stdout=terminal, stderr=terminal,
        start_new_session=True,
    ) as process:  # fmt: skip
        os.close(terminal)
        try:
            working = until(lambda: (place.exists() and place.read_text() == "working") or None, DEADLINE_S)
            assert working, process.poll()
            yield process
        finally:
            process.kill()


def test_when_the_terminal_hangs_up_it_heals_and_writes_no_more_to_it(tmp_path: Path) -> None:
    ours, its = pty.openpty()
    with started(tmp_path / "state", its) as process:
        os.close(ours)  # The kernel sends SIGHUP to the leader of the terminal's session.
        assert process.wait(DEADLINE_S) == 130
    assert (tmp_path / "state").read_text() == "healed"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_signal_is_as_ctrl_c(tmp_path: Path, number: signal.Signals) -> None:
    with started(tmp_path / "state", os.open(os.devnull, os.O_RDWR)) as process:
        process.send_signal(number)
        assert process.wait(DEADLINE_S) == 130
    assert (tmp_path / "state").read_text() == "healed"


def test_under_nohup_a_hang_up_does_not_end_it(tmp_path: Path) -> None:
    with started(tmp_path / "state", os.open(os.devnull, os.O_RDWR), ignored=True) as process:
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 130
    assert int(status["SigIgn"], 16) & 1 << signal.SIGHUP - 1


def test_progress_that_cannot_be_written_ends_nothing() -> None:
    """As with `./covenant nightly 2>&1 | head`."""
    code = "from infra.machine.progress import say\nfor line in range(100_000): say('healing')\nprint('done')"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stderr is not None
    process.stderr.close()
    assert process.stdout is not None
    assert process.stdout.read() == b"done\n"
    assert process.wait(DEADLINE_S) == 0
    process.stdout.close()
