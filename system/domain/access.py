"""Who may do what: four roles, a few actions.

Everybody who has signed in reads what is public among the parties. A steward writes the projects of one region and
cannot move a project in or out of it; an operator writes incidents; an admin writes everything, and alone sees users.
"""

from __future__ import annotations

from typing import Literal, get_args

from system.wire import Role

Action = Literal["read", "write-projects", "write-incidents", "write-countries", "read-users", "write-users"]
ROLES: tuple[Role, ...] = get_args(Role)
ACTIONS: tuple[Action, ...] = get_args(Action)

_ALLOWED: dict[Action, tuple[Role, ...]] = {
    "read": ROLES,
    "write-projects": ("steward", "admin"),
    "write-incidents": ("operator", "admin"),
    "write-countries": ("admin",),
    "read-users": ("admin",),
    "write-users": ("admin",),
}


def may(role: Role, region: str | None, action: Action, target_region: str | None = None) -> bool:
    """Whether this role, with its `region` if it is a steward, may do it to something in `target_region` (None: the
    action is none on a thing of a region)."""
    if role == "steward" and action != "read" and region != target_region:
        return False
    return role in _ALLOWED[action]


def roles_that_may(action: Action) -> str:
    """For people: `steward of its region, admin`."""
    return ", ".join("steward of its region" if role == "steward" and action != "read" else role
                     for role in _ALLOWED[action])  # fmt: skip
