"""What follows from the declaration of a consumer: its names, its keys, and that an undeclared one does not run."""

from __future__ import annotations

import pytest

from system.events.consumers.analytics import Analytics
from system.events.consuming.runner import main_of
from system.wire import observer
from system.wire.observer import ConsumerInstance


def test_a_consumer_is_called_by_its_region_where_it_runs_once_a_region() -> None:
    everywhere = observer.instances(["iad", "ams"])
    assert len(everywhere) == len(set(everywhere)) == len(observer.once()) + 2 * len(observer.per_region())
    assert observer.instance("analytics", ["iad"]) == ConsumerInstance("analytics")
    assert observer.instance("mobile-sync-ams", ["iad", "ams"]) == ConsumerInstance("mobile-sync", "ams")
    with pytest.raises(ValueError, match="no consumer is called 'mobile-sync-syd'; there are: analytics, audit-logger"):
        observer.instance("mobile-sync-syd", ["iad", "ams"])


def test_a_consumer_that_is_not_declared_does_not_start() -> None:
    with pytest.raises(ValueError, match=r"system/wire/observer\.py declares no consumer 'mail'"):
        main_of("mail", Analytics)


def test_keys_are_those_that_systems_have_in_their_valkeys() -> None:
    assert observer.positions_key("mobile-sync") == "covenant:mobile-sync:positions"
    assert observer.trace_key("mobile-sync", "users.3") == "covenant:mobile-sync:trace:users.3"
    assert observer.feed_key("projects.0") == "covenant:feed:projects.0"
