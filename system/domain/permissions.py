"""Role-based access control: four roles, a few actions.

Every role may read countries, projects and incidents. A steward writes the projects of one region, and cannot move a
project into or out of it. An operator writes incidents. An admin writes everything, and only an admin sees users.
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
    """Whether a role may do this in `target_region` (None: the action concerns no region). `region` is a steward's own
    region, None for other roles."""
    if role == "steward" and action != "read" and region != target_region:
        return False
    return role in _ALLOWED[action]


def roles_that_may(action: Action) -> str:
    """The allowed roles, as text for an error: `steward of its region, admin`."""
    return ", ".join("steward of its region" if role == "steward" and action != "read" else role
                     for role in _ALLOWED[action])  # fmt: skip
