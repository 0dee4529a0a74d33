"""Evidence in, verdicts and documents out.

    report = assess(folder)
    publish(folder, report)
    sys.exit(exit_code(report))

The modules that judge and render are imported on first use: every load engine and every prober imports
`reports.evidence`, and must not pay for charts and templates.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reports.archive.documents import assess, publish
    from reports.policy.claims import ClaimError
    from reports.policy.policy import PolicyError, load_policy
    from reports.render.text import to_text
    from reports.verdict.verdict import exit_code
    from reports.words import headline

__all__ = ["ClaimError", "PolicyError", "assess", "exit_code", "headline", "load_policy", "publish", "to_text"]

_MODULES = {
    "ClaimError": "reports.policy.claims",
    "PolicyError": "reports.policy.policy",
    "assess": "reports.archive.documents",
    "exit_code": "reports.verdict.verdict",
    "headline": "reports.words",
    "load_policy": "reports.policy.policy",
    "publish": "reports.archive.documents",
    "to_text": "reports.render.text",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value
