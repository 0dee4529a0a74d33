"""What limits how many connections can be held, and what is left where nothing does."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import structs

from infra.machine import processes
from loadtests.engine import connection_limits
from loadtests.engine.connection_holder import instants
from loadtests.engine.connection_limits import HOLDERS_MAX, Machine

ROOMY = Machine(server_files=[200_000] * 3, holder_files=200_000, memory_bytes=64 * 2**30, ports=28_232)


def _allowed(machine: Machine, *, per_s: float = 300, opening_s: float = 225) -> connection_limits.Allowed:
    return connection_limits.allowed(65_000, machine, per_s=per_s, opening_s=opening_s)


def test_a_machine_with_room_holds_all_that_is_wanted() -> None:
    found = _allowed(ROOMY)
    assert (found.connections, found.holders, found.limited_by) == (65_000, 1, None)


@pytest.mark.parametrize(
    ("machine", "connections", "holders", "why"),
    [
        (
            structs.replace(ROOMY, server_files=[20_000] * 3, holder_files=20_000), 58_500, 3,
            "20,000 open files in each of 3 brokers",
        ),
        (structs.replace(ROOMY, holder_files=1_024), HOLDERS_MAX * 824, HOLDERS_MAX, "1,024 open files in each of 8"),
        (structs.replace(ROOMY, memory_bytes=2**30), 3_932, 1, "1.0 GiB of memory"),
        (structs.replace(ROOMY, ports=16_000), 45_000, 1, "16,000 ports"),
        (structs.replace(ROOMY, server_files=[400]), 0, 1, "400 open files"),
    ],
)  # fmt: skip
def test_the_least_limit_counts_and_is_told(machine: Machine, connections: int, holders: int, why: str) -> None:
    found = _allowed(machine)
    assert (found.connections, found.holders) == (connections, holders)
    assert found.limited_by is not None
    assert why in found.limited_by


def test_a_short_run_opens_fewer() -> None:
    found = _allowed(ROOMY, opening_s=50)
    assert found.connections == 15_000
    assert "longer --duration" in str(found.limited_by)


@given(st.integers(0, 100_000), st.integers(1, HOLDERS_MAX))
def test_shares_are_all_of_them_and_even(connections: int, holders: int) -> None:
    found = connection_limits.shares(connections, holders)
    assert sum(found) == connections
    assert max(found) - min(found) <= 1


@given(st.integers(1, 65_000), st.floats(20.0, 1_000.0), st.integers(1, HOLDERS_MAX))
@example(19_500, 80.0, 3)
def test_as_many_instants_as_connections_whatever_the_division_loses(
    connections: int, per_s: float, holders: int
) -> None:
    assert instants(1, connections, per_s / holders).total == connections


def test_the_kernel_tells_the_limit_of_a_process() -> None:
    text = "Limit                     Soft Limit           Hard Limit           Units     \n"
    text += "Max processes             95000                95000                processes \n"
    text += "Max open files            20000                30000                files     \n"
    assert processes.open_file_limit(text) == 20_000
