"""A Chaos Toolkit control that opens the system which an experiment is about; `chaos/run/settings.yaml` names it.

Chaos Toolkit runs in a process of its own. If the harness started it, it ends with the harness, whatever ends that:
what it has injected by then stands in the undo journal.

Actions of ours note the instant of their fault. An experiment that has none begins its fault with its first action.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec
from chaoslib.types import Activity, Experiment

from chaos import running
from chaos.handover import Facts, Fault
from infra.fabric.process.system import System
from infra.machine import surroundings
from infra.machine.lifetime import end_with_parent
from infra.target import UP


def configure_control() -> None:
    """Called by Chaos Toolkit before the experiment begins. NoSystem if no system runs."""
    if (parent := os.environ.get(running.PARENT)) is not None:
        end_with_parent(int(parent))
    else:
        surroundings.enter()  # Started by hand: local calls must not use the caller's proxy.
    home = Path(os.environ.get(running.HOME) or UP)
    try:
        running.hand_in(System.attach(home))
    except FileNotFoundError:
        raise running.NoSystem(f"no system is running in {home}: start one with ./covenant up --detach") from None
    except (OSError, msgspec.MsgspecError) as error:
        raise running.NoSystem(
            f"{home}: {error}: end it with ./covenant down, and start one with ./covenant up"
        ) from error


_waiting_for_action = False


def before_method_control(context: Experiment) -> None:
    """Called by Chaos Toolkit between the steady state and the first step."""
    global _waiting_for_action
    _waiting_for_action = running.EXPERIMENT in os.environ


def before_activity_control(context: Activity) -> None:
    """Called by Chaos Toolkit before each probe and each action, and before the pause that it may begin with."""
    global _waiting_for_action
    if not _waiting_for_action or context.get("type") != "action":
        return
    _waiting_for_action = False
    pause_s = context.get("pauses", {}).get("before", 0)
    at_ns = time.monotonic_ns() + round((pause_s if isinstance(pause_s, int | float) else 0) * 1e9)
    facts = Facts(running.system().site.path)
    facts.add(Fault(experiment=os.environ[running.EXPERIMENT], at_ns=at_ns, part="", target=str(context["name"])))


def after_method_control(context: Experiment) -> None:
    """Called by Chaos Toolkit before the rollbacks, whose actions are no faults."""
    global _waiting_for_action
    _waiting_for_action = False
