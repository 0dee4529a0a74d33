"""Plants a bug into a Python process before it runs anything of its own.

Python imports the first `sitecustomize` that it finds; PYTHONPATH puts this one first. An installation's own
one still runs. Without COVENANT_PLANT nothing else happens. If the bug cannot be planted the process ends at
once: a run that believes it carries a bug and does not would prove the alarms wrong.
"""

import importlib
import importlib.machinery
import importlib.util
import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - pathlib costs every process's start


def _run_shadowed() -> None:
    """Run the sitecustomize that this one stands before, if there is one."""
    others = [place for place in sys.path if os.path.abspath(place or ".") != _HERE]  # noqa: PTH100
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def _plant(name: str) -> None:
    try:
        from chaos.plants import PLANTS

        importlib.import_module(PLANTS[name].module).apply()
    except Exception as error:  # noqa: BLE001 - whatever it is, this process must not run without the bug
        # An exception would only be printed by Python's start-up, which then goes on.
        sys.stderr.write(f"the planted bug {name!r} could not be planted, so this process ends: {error!r}\n")
        sys.stderr.flush()
        os._exit(70)


_run_shadowed()
if name := os.environ.get("COVENANT_PLANT"):
    _plant(name)
