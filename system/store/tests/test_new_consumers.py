"""Where consumers begin: on a new database, and on one whose outbox was pruned before they were declared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from system.settings import Settings
from system.store.migrate import migrate
from system.store.tests.test_outbox_tables import as_role
from system.wire import ALL_PARTITIONS, observer
from system.wire.observer import Consumer

Ask = Callable[[str], list[tuple[Any, ...]]]


def migrate_again(settings: Settings) -> None:
    migrate(Settings(**{**vars(settings), "database_user": "covenant_owner"}))


def declare(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    added = tuple(Consumer(name, per_region=False) for name in names)
    monkeypatch.setattr(observer, "CONSUMERS", observer.CONSUMERS + added)


def test_on_a_new_database_every_consumer_that_runs_once_begins_with_the_first_event(ask: Ask) -> None:
    found = ask("select consumer, partition, position from consumer_position")
    assert set(found) == {(name, partition, 0) for name in observer.once() for partition in ALL_PARTITIONS}


def test_a_new_consumer_begins_with_the_oldest_event_that_is_held(
    database: Settings, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    with as_role(database, "postgres") as link:
        link.execute("update relay_partition set next_position = 10 where partition in ('projects.0', 'projects.1')")
        link.execute("insert into outbox_position select n, 'projects.0', n from generate_series(5, 9) n")
        link.execute("update consumer_position set position = 7 where partition = 'projects.0'")
    declare(monkeypatch, "new")
    migrate_again(database)
    found: dict[str, int] = dict(ask("select partition, position from consumer_position where consumer = 'new'"))
    assert found == dict.fromkeys(ALL_PARTITIONS, 0) | {"projects.0": 4, "projects.1": 9}
    others = ask("select distinct position from consumer_position where consumer <> 'new' and partition = 'projects.0'")
    assert others == [(7,)], "what a consumer has applied stays as it is"


def test_positions_that_a_migration_has_written_stay_and_the_missing_ones_are_added(
    database: Settings, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    with as_role(database, "postgres") as link:
        link.execute("insert into consumer_position (consumer, partition, position) values ('new', 'users.1', 3)")
    declare(monkeypatch, "new")
    migrate_again(database)
    found: dict[str, int] = dict(ask("select partition, position from consumer_position where consumer = 'new'"))
    assert found == dict.fromkeys(ALL_PARTITIONS, 0) | {"users.1": 3}


def test_a_migrate_that_finds_nothing_to_add_waits_for_no_event(database: Settings) -> None:
    """A relay that is giving positions holds the table."""
    with as_role(database, "postgres") as link:
        link.autocommit = False
        link.execute("insert into outbox_position values (1, 'projects.0', 1)")
        with as_role(database, "postgres") as other:
            other.execute("alter role covenant_owner set lock_timeout = '2s'")
        try:
            migrate_again(database)
        finally:
            link.rollback()
            with as_role(database, "postgres") as other:
                other.execute("alter role covenant_owner reset lock_timeout")


def test_no_event_is_pruned_while_a_new_consumer_is_given_its_positions(
    database: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(monkeypatch, "new")
    with as_role(database, "postgres") as link:
        link.autocommit = False
        link.execute("insert into outbox_position values (1, 'projects.0', 1)")
        with as_role(database, "postgres") as other:
            other.execute("alter role covenant_owner set lock_timeout = '100ms'")
        try:
            with pytest.raises(Exception, match="lock timeout") as refused:
                migrate_again(database)
        finally:
            link.rollback()
            with as_role(database, "postgres") as other:
                other.execute("alter role covenant_owner reset lock_timeout")
    assert isinstance(refused.value.__cause__, psycopg.errors.LockNotAvailable)
