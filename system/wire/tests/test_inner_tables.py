"""No SQL outside `system` names one of its tables: observers read views, and tables may change behind them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]
ROOMS = ("infra", "ledger", "loadtests", "chaos", "checks", "e2e", "commands")
# Other implementations of the same, which the benchmarks compare the system's own with on its tables.
PEERS = {"loadtests/benchmarks/fastapi_peer.py", "loadtests/benchmarks/inbox_peer.py"}

MIGRATIONS = "".join(path.read_text() for path in (PROJECT / "system/store/migrations/versions").glob("*.py"))
INNER = sorted(set(re.findall(r"create (?:table|view|function) (\w+)\b(?!\.)", MIGRATIONS)))
SQL = re.compile(r"\b(select|insert|update|delete|grant|revoke|lock|drop|alter|truncate|copy|create)\b", re.IGNORECASE)
NAMES_INNER = re.compile(
    rf"\b(?:from|join|into|update|table|on|using|truncate|lock|copy)\s+(?:only\s+)?(?:public\.)?({'|'.join(INNER)})\b"
    rf"|\b({'|'.join(name for name in INNER if '_' in name)})\(",
    re.IGNORECASE,
)


def strings(source: str) -> Iterator[tuple[int, str]]:
    """(line, text) of every string that is no docstring or comment; the fields of an f-string as `{}`."""
    tree = ast.parse(source)
    within = {
        id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)
    } - {id(node) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)}  # fmt: skip
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if id(node) in within or id(node) in alone:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        elif isinstance(node, ast.JoinedStr):
            parts = [str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values]
            yield node.lineno, "".join(parts)


def inner_tables(source: str) -> list[tuple[int, str]]:
    """(line, name) of every inner table that the SQL in a module names."""
    return [
        (line, found[1] or found[2])
        for line, text in strings(source)
        if SQL.search(text)
        for found in NAMES_INNER.finditer(text)
    ]


def modules() -> list[Path]:
    found = [path for room in ROOMS for path in (PROJECT / room).rglob("*.py") if "tests" not in path.parts]
    return [*found, PROJECT / "conftest.py", PROJECT / "covenant.py"]


def test_no_sql_outside_the_system_names_an_inner_table() -> None:
    wrong = [
        f"{path.relative_to(PROJECT)}:{line} names the table {name}: read a view of system/wire/observer.py instead"
        for path in modules()
        if str(path.relative_to(PROJECT)) not in PEERS
        for line, name in inner_tables(path.read_text())
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('A = "SELECT count(*) FROM Outbox"', ["Outbox"]),
        ('A = f"select {columns} from {view} join public.audit_log using (id)"', ["audit_log"]),
        ('A = """\ninsert into\n    outbox (id) values (1)"""', ["outbox"]),
        ('ask("grant insert on relay_partition to role")', ["relay_partition"]),
        ("ask(\"select outbox_partition('projects', 'x')\")", ["outbox_partition"]),
        ('A = f"select projects from {observer.ROLLUPS}"', []),
        ('A = "select id from observer.projects"', []),
        ('"""What to select from projects."""', []),
        ('help = "events come from projects"', []),
    ],
)
def test_a_name_is_found_where_sql_has_it(source: str, found: list[str]) -> None:
    assert [name for _, name in inner_tables(source)] == found


def test_the_tables_that_are_looked_for_are_the_migrations() -> None:
    assert {"projects", "outbox", "outbox_events", "consumer_position", "rollup", "user_secret"} <= set(INNER)
    assert "observer" not in INNER
