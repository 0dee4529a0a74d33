"""The command line: the group of commands, and how errors end it. The commands are in `commands/`.

Answers go to stdout, progress to stderr. Exit codes: 0 PASS, 1 FAIL, 2 wrong usage, 3 INCONCLUSIVE,
4 INVALID, 5 the system would not start or a part is missing, 130 interrupted.
"""

from __future__ import annotations

import logging
import sys
import traceback
from typing import Any

import click

from commands import chaos, e2e, load, nightly, plant, report, system, test
from commands.exit_codes import EXIT_INTERRUPTED, EXIT_UNTRUSTED, EXIT_USAGE, fail
from infra.machine import interrupts, surroundings
from infra.machine.checkout import STATE


class OneLine(click.Group):
    """Wrong usage is answered in one line."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        # nats-py's streams do over TLS what asyncio warns of each time a connection ends; nothing comes of it.
        logging.getLogger("asyncio").setLevel(logging.ERROR)
        try:
            return super().main(*args, **{**kwargs, "standalone_mode": False})
        except click.UsageError as error:
            where = error.ctx.command_path if error.ctx else "./covenant"
            fail(EXIT_USAGE, f"{error.format_message()} (see {where} --help)")
        except (click.Abort, KeyboardInterrupt):
            sys.exit(EXIT_INTERRUPTED)
        except Exception as error:  # noqa: BLE001 - a bug of ours must not end with the code of a missed gate
            crash = STATE / "crash.log"
            crash.parent.mkdir(exist_ok=True)
            crash.write_text(traceback.format_exc())
            fail(EXIT_UNTRUSTED, f"the harness failed: {type(error).__name__}: {error} (more in {crash})")


@click.group(cls=OneLine, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Put Covenant's claims to the test: load it, break it, browse it, and read the verdict.

    \b
    Start here:  ./covenant nightly --profile smoke    (everything, five minutes)
    Then:        ./covenant report show                (the newest report again)
    """


for _command in (
    nightly.nightly, test.test,
    system.up, system.status, system.down, system.preflight, system.rotate, system.region, system.restore,
    system.token, system.audit, system.dead_letters,
    load.load, chaos.chaos, e2e.e2e, plant.plant, report.report,
):  # fmt: skip
    main.add_command(_command)

if __name__ == "__main__":
    surroundings.enter()
    interrupts.raise_interrupt()
    main(prog_name="./covenant")
