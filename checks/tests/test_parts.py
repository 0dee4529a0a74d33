"""What is recorded of the parts at the end of a run."""

from __future__ import annotations

from checks.parts import CONSUMERS, counts


def test_a_whole_system_is_right_in_everything() -> None:
    found = counts({"api-iad": True, "relay": True}, {}, [], None)
    assert [count.how for count in found] == [
        "api-iad runs and is ready",
        "relay runs and is ready",
        "the system is redundant",
        "every consumer has applied and acknowledged what was written",
    ]
    assert all(count.ok and count.value == 0 and count.row == "system.parts" for count in found)


def test_what_is_wrong_is_named() -> None:
    found = counts(
        {"api-iad": False, "relay": True}, {"relay": "a lease"}, ["a standby"], "3 events to be applied by analytics"
    )
    assert not any(count.ok for count in found if "api-iad" in count.how)
    assert [count.how for count in found if not count.ok] == [
        "api-iad does not run",
        "relay is not ready: a lease",
        "the system is redundant, but lacks a standby",
        f"{CONSUMERS}, but waited in vain for 3 events to be applied by analytics",
    ]
