"""Every role with every action."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from system.domain.permissions import ACTIONS, ROLES, Action, may, roles_that_may
from system.wire import Region, Role

ALLOWED: dict[tuple[Role, Action], bool] = {
    ("reader", "read"): True,
    ("steward", "read"): True,
    ("steward", "write-projects"): True,
    ("operator", "read"): True,
    ("operator", "write-incidents"): True,
    **{("admin", action): True for action in ACTIONS},
}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("action", ACTIONS)
def test_the_matrix_of_roles_and_actions(role: Role, action: Action) -> None:
    region = "ams" if role == "steward" else None
    assert may(role, region, action, "ams") == ALLOWED.get((role, action), False)
    assert (role in roles_that_may(action)) == ALLOWED.get((role, action), False)


@given(st.sampled_from(get_args(Region)), st.sampled_from([*get_args(Region), None]))
def test_a_steward_writes_in_its_own_region_alone(region: Region, target: Region | None) -> None:
    assert may("steward", region, "write-projects", target) == (region == target)
    assert may("steward", region, "read", target)
