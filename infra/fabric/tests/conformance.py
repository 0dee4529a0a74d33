"""What every fabric has to do, as checks of a running system that leave it whole. A fabric's own tests run them all.

`a_part` of the checks is a part that the system can miss for some seconds, and that is ready again soon.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable

import msgspec

from infra.fabric.protocol import Capability, Fabric
from infra.machine.waiting import until
from infra.wan import measure
from infra.wan.links import planned

READY_WITHIN_S = 90.0
SOON_S = 10.0

Check = Callable[[Fabric, str], None]


def checks() -> dict[str, Check]:
    """Every check by its name."""
    found = {
        name: value for name, value in globals().items() if name.startswith("check_") and inspect.isfunction(value)
    }
    return dict(sorted(found.items()))


def check_a_running_part_says_so(fabric: Fabric, a_part: str) -> None:
    assert fabric.alive(a_part)
    assert fabric.state(a_part) == "running"
    assert fabric.wanted(a_part)
    assert not fabric.is_gone(a_part)
    started = fabric.started_at(a_part)
    assert started is not None
    assert 0 < started <= time.time()


def check_starting_a_running_part_changes_nothing(fabric: Fabric, a_part: str) -> None:
    before = fabric.started_at(a_part)
    fabric.start_part(a_part)
    assert fabric.started_at(a_part) == before


def check_a_killed_part_is_gone_and_stays_dead_until_it_is_started(fabric: Fabric, a_part: str) -> None:
    before, deaths = fabric.started_at(a_part), fabric.deaths()
    assert fabric.kill(a_part) > 0
    assert fabric.state(a_part) == "dead"
    assert fabric.is_gone(a_part)
    assert not fabric.wanted(a_part)
    assert fabric.started_at(a_part) is None
    assert any(a_part in what for what in fabric.missing())
    assert fabric.kill(a_part) == 0, "there was nothing left to kill"
    assert fabric.deaths() == deaths, "a death on purpose is no surprise"
    fabric.start_part(a_part)
    _wait_ready(fabric, a_part)
    assert fabric.wanted(a_part)
    assert fabric.started_at(a_part) not in (None, before)


def check_a_crashed_part_is_started_again_without_help(fabric: Fabric, a_part: str) -> None:
    before, deaths = fabric.started_at(a_part), fabric.deaths()
    assert fabric.crash(a_part)
    again = until(lambda: fabric.started_at(a_part) not in (None, before) or None, SOON_S)
    assert again, "expected the supervisor to start it"
    _wait_ready(fabric, a_part)
    assert fabric.deaths() == deaths, "a crash on purpose is no surprise"


def check_a_paused_part_answers_nothing_and_goes_on_as_the_same(fabric: Fabric, a_part: str) -> None:
    if Capability.PAUSE not in fabric.capabilities:
        return
    server = fabric.place.nodes("valkey")[-1].name  # One that can be asked.
    before = fabric.started_at(server)
    try:
        assert fabric.pause(server) > 0
        assert fabric.state(server) == "paused"
        assert fabric.alive(server), "it is frozen, not dead"
        assert fabric.parts[server].waiting_for() is not None, "it answers nothing"
    finally:
        fabric.resume(server)
    assert fabric.state(server) == "running"
    _wait_ready(fabric, server)
    assert fabric.started_at(server) == before
    fabric.resume(server)
    assert fabric.state(server) == "running", "twice does no harm"


def check_a_paused_part_is_let_run_for_a_moment_and_is_paused_again(fabric: Fabric, a_part: str) -> None:
    if Capability.PAUSE not in fabric.capabilities:
        return
    server = fabric.place.nodes("valkey")[-1].name
    before = fabric.started_at(server)
    try:
        fabric.pause(server)
        begin_ns = time.monotonic_ns()
        ran = fabric.let_run(server, 0.02)
        assert ran is not None
        at_ns, ran_s = ran
        assert ran_s >= 0.02
        assert begin_ns + 20_000_000 <= at_ns <= time.monotonic_ns()
        assert fabric.state(server) == "paused"
    finally:
        fabric.resume(server)
    _wait_ready(fabric, server)
    assert fabric.started_at(server) == before


def check_a_paused_part_can_be_killed(fabric: Fabric, a_part: str) -> None:
    if Capability.PAUSE not in fabric.capabilities:
        return
    fabric.pause(a_part)
    assert fabric.kill(a_part) > 0
    assert fabric.is_gone(a_part)
    fabric.start_part(a_part)
    _wait_ready(fabric, a_part)


def check_a_restart_is_another_life(fabric: Fabric, a_part: str) -> None:
    before = fabric.started_at(a_part)
    fabric.restart(a_part)
    assert fabric.started_at(a_part) not in (None, before)
    _wait_ready(fabric, a_part)


def check_pids_are_known_where_the_fabric_says_so(fabric: Fabric, a_part: str) -> None:
    assert (fabric.pid(a_part) is not None) == (Capability.PIDS in fabric.capabilities)


def check_commands_run_inside_a_region_at_its_distance(fabric: Fabric, a_part: str) -> None:
    one, other = fabric.target().regions[:2]
    topology = fabric.place.topology
    found = measure.result(measure.start(fabric.inside(one), {other: topology.zone_address(other)}))[other]
    if Capability.SHAPE_LINKS in fabric.capabilities:
        assert found is not None
        assert found >= topology.distance_ms(one, other), "no packet is faster than the link"


def check_a_link_is_cut_for_every_packet_and_restored(fabric: Fabric, a_part: str) -> None:
    if Capability.SHAPE_LINKS not in fabric.capabilities:
        return
    one, other = fabric.target().regions[:2]
    address = {other: fabric.place.topology.zone_address(other)}
    whole = planned(fabric.place.topology.distance_ms(one, other))
    try:
        fabric.shape_link(one, other, msgspec.structs.replace(whole, cut=True))
        (state,) = [link for link in fabric.links() if (link.source, link.target) == (one, other)]
        assert state.shape.cut
        assert measure.result(measure.start(fabric.inside(one), address, rounds=1), rounds=1)[other] is None
    finally:
        fabric.shape_link(one, other, whole)
    assert measure.result(measure.start(fabric.inside(one), address))[other] is not None


def check_the_target_names_every_region(fabric: Fabric, a_part: str) -> None:
    target = fabric.target()
    assert set(target.api) == set(target.web) == set(target.valkey) == set(target.regions)
    assert fabric.target_path.exists()


def check_what_it_runs_has_versions(fabric: Fabric, a_part: str) -> None:
    versions = fabric.versions()
    assert versions.keys() == {part.kind for part in fabric.parts.values()}
    assert all(versions.values())


def _wait_ready(fabric: Fabric, part: str) -> None:
    fabric.wait_ready([fabric.parts[part]], time.monotonic() + READY_WITHIN_S)
