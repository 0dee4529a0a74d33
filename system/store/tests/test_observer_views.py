"""The observer's views: what they are declared to be, who may read them, and that their tables stay free."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from system.settings import Settings
from system.store.tests.test_outbox_tables import as_role
from system.wire import observer
from system.wire.observer import View

Ask = Callable[[str], list[tuple[Any, ...]]]


def test_the_views_are_those_that_are_declared(ask: Ask) -> None:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for view, column in ask(
        f"""select table_name, column_name from information_schema.columns
        where table_schema = '{observer.SCHEMA}' order by table_name, ordinal_position"""
    ):
        found[view].append(column)
    assert found == {view.name: list(view.columns) for view in observer.VIEWS}


@pytest.mark.parametrize("view", observer.VIEWS, ids=lambda view: view.name)
def test_only_the_observer_reads_a_view(database: Settings, view: View) -> None:
    with as_role(database, "covenant_observer") as link:
        link.execute(f"select {', '.join(view.columns)} from {view}")
    for read in (f"select from {view}", f"select from {observer.SCHEMA}.read_{view.name}()"):
        with as_role(database, "covenant_app") as link, pytest.raises(psycopg.errors.InsufficientPrivilege):
            link.execute(read)


@pytest.mark.parametrize("view", observer.VIEWS, ids=lambda view: view.name)
def test_a_query_of_a_view_is_planned_as_one_of_its_table(database: Settings, view: View) -> None:
    with as_role(database, "covenant_observer") as link:
        plan = "\n".join(row[0] for row in link.execute(f"explain select * from {view}"))
    assert "Function Scan" not in plan


def test_a_table_is_dropped_set_aside_and_made_again_and_its_view_shows_the_one_that_is_there(
    database: Settings, ask: Ask
) -> None:
    assert len(ask(f"select id from {observer.PROJECTS}")) > 1
    with as_role(database, "covenant_owner") as link:
        link.execute("create schema aside")
        link.execute("alter table projects set schema aside")
        link.execute("create table projects as select * from aside.projects limit 1")
    assert len(ask(f"select id from {observer.PROJECTS}")) == 1
    with as_role(database, "covenant_owner") as link:
        link.execute("drop table projects")
    with pytest.raises(psycopg.errors.UndefinedTable, match=r'"public\.projects" does not exist'):
        ask(f"select id from {observer.PROJECTS}")
