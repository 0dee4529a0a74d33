"""Evidence in, verdicts and documents out.

    report = assess(folder)
    publish(folder, report)
    sys.exit(exit_code(report))

What judges and renders is imported when it is first used: load engines and probers import `reports.evidence`
many times over, and must not pay for charts and templates.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reports.claims import ClaimError
    from reports.documents import assess, publish
    from reports.policy import PolicyError, load_policy
    from reports.render.text import to_text
    from reports.render.words import headline
    from reports.verdict import exit_code

__all__ = ["ClaimError", "PolicyError", "assess", "exit_code", "headline", "load_policy", "publish", "to_text"]

_HOMES = {
    "ClaimError": "reports.claims",
    "PolicyError": "reports.policy",
    "assess": "reports.documents",
    "exit_code": "reports.verdict",
    "headline": "reports.render.words",
    "load_policy": "reports.policy",
    "publish": "reports.documents",
    "to_text": "reports.render.text",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
