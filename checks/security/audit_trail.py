"""The facts of the row security.audit: the trail holds, no role may change it, and `verify` finds every kind of change.

What is changed is a copy, in a database of its own; the verifier is the system's, as its operators run it, and compares
with the files that the system has exported to S3. A verifier that finds fault with everything would find every change,
too, so the unchanged copy has to hold before the changes and after them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from checks import NotChecked
from infra.fabric.protocol import Fabric, StartError
from infra.operations.scratch import scratch_database
from infra.parts import postgres
from reports.evidence import Count, RunFolder
from system.wire.observer import AUDIT_TABLE, AUDIT_TRAIL

ROW = "security.audit"
ENTRIES_MIN = 4
"""A trail of fewer has no middle that could be cut out."""
_TOOL = "system.tools.audit"
_HOLDS, _BROKEN = 0, 1
"""Exit codes of `verify`."""
_DATABASE = "covenant_audit_copy"
_KEPT = "kept"
_REFUSED: Mapping[str, type[psycopg.Error]] = MappingProxyType(
    {
        "app": psycopg.errors.InsufficientPrivilege,
        "observer": psycopg.errors.InsufficientPrivilege,
        "load": psycopg.errors.InsufficientPrivilege,
        # The owner has every right, and is refused by the table itself.
        "owner": psycopg.errors.RaiseException,
    }
)
"""Role -> how PostgreSQL refuses it."""
_CHANGES = ("update {} set entry = entry where false", "delete from {} where false", "truncate {}")


class Tampering(NamedTuple):
    """A change of the copy by its superuser. `{audit}` stands for the table, `{middle}` and `{last}`
    for the numbers of entries."""

    what: str
    statement: str


_HASH = "encode(sha256(convert_to({previous} || e'\\n' || {entry}, 'UTF8')), 'hex')"
_ALL_MADE_TO_FIT = f"""do $$
declare
    one record;
    before text;
begin
    for one in select * from {{audit}} where seq >= {{middle}} order by seq loop
        before := coalesce(before, one.previous_hash);
        if one.seq = {{middle}} then one.entry := one.entry || ' '; end if;
        one.hash := {_HASH.format(previous="before", entry="one.entry")};
        update {{audit}} set entry = one.entry, previous_hash = before, hash = one.hash where seq = one.seq;
        before := one.hash;
    end loop;
end $$"""
_OWN_MADE_TO_FIT = _HASH.format(previous="previous_hash", entry="entry || ' '")
_ASIDE = 1_000_000_000
"""Added to the number of an entry while others take its place."""
TAMPERINGS = (
    Tampering("the text of an entry is changed", "update {audit} set entry = entry || ' ' where seq = {middle}"),
    Tampering(
        "the text of an entry is changed, and its hash made to fit",
        f"update {{audit}} set entry = entry || ' ', hash = {_OWN_MADE_TO_FIT} where seq = {{middle}}",
    ),
    Tampering("the text of an entry is changed, and every later hash made to fit", _ALL_MADE_TO_FIT),
    Tampering("the end is cut off", "delete from {audit} where seq >= {last}"),
    Tampering("an entry in the middle is cut out", "delete from {audit} where seq = {middle}"),
    Tampering(
        "an entry in the middle is cut out, and those behind it are numbered anew",
        "delete from {audit} where seq = {middle};"
        f"update {{audit}} set seq = seq + {_ASIDE} where seq > {{middle}};"
        f"update {{audit}} set seq = seq - {_ASIDE} - 1 where seq > {_ASIDE}",
    ),
    Tampering(
        "two entries change places",
        f"update {{audit}} set seq = {_ASIDE} where seq = {{middle}};"
        "update {audit} set seq = {middle} where seq = {middle} + 1;"
        f"update {{audit}} set seq = {{middle}} + 1 where seq = {_ASIDE}",
    ),
    Tampering("all of it is deleted", "delete from {audit}"),
)


_CONTROLS = 2
EXPECTED = {ROW: 1 + len(_REFUSED) * len(_CHANGES) + len(TAMPERINGS) + _CONTROLS}
VERIFIED = {ROW: 1}
"""How many facts `record` and `record_verified` add."""


def record(system: Fabric, folder: RunFolder) -> None:
    """Try all of it, and write a Count for each. NotChecked if the trail could not be exported or copied."""
    try:
        found = [_verified(system), *refusals(system), *tamperings(system)]
    except (psycopg.Error, StartError) as error:
        raise NotChecked(f"the audit trail could not be tried: {error}") from error
    with folder.facts() as facts:
        facts.add(*found)


def record_verified(system: Fabric, folder: RunFolder) -> None:
    """Verify the trail, and write a Count: at the end of a run, after everything that was written and broken."""
    with folder.facts() as facts:
        facts.add(_verified(system))


def _verified(system: Fabric) -> Count:
    return _fact("the trail holds, and continues what was exported", _verify(system) == _HOLDS)


def _verify(system: Fabric, database: Mapping[str, str] = MappingProxyType({})) -> int:
    """The verifier's exit code. NotChecked if it could not do its work."""
    code = system.run_tool(_TOOL, ["verify"], more=database, quiet=True)
    if code not in (_HOLDS, _BROKEN):
        raise NotChecked(f"`./covenant audit verify` ended with exit code {code}: run it to see why")
    return code


def refusals(system: Fabric) -> Iterator[Count]:
    """Every role tries to change the trail. Nothing is changed even if one may."""
    for role, refused in _REFUSED.items():
        url = postgres.dsn(system.place, f"covenant_{role}", system.site.secrets[role])
        for change in _CHANGES:
            statement = sql.SQL(change).format(sql.Identifier(AUDIT_TABLE))
            verb = change.partition(" ")[0]
            yield _fact(f"covenant_{role} may not {verb} the trail", _is_refused(url, statement, refused))


def _is_refused(url: str, statement: sql.Composed, refused: type[psycopg.Error]) -> bool:
    with psycopg.connect(url) as link:
        link.read_only = False
        try:
            link.execute(statement)
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.RaiseException) as error:
            return isinstance(error, refused)
        finally:
            link.rollback()
    return False


def tamperings(system: Fabric) -> Iterator[Count]:
    """Each change of a copy, in the part of it that was exported."""
    last = _exported(system)
    secret = system.site.secrets["postgres"]
    with (
        scratch_database(system, _DATABASE) as database,
        psycopg.connect(postgres.dsn(system.place, "postgres", secret, database=_DATABASE), autocommit=True) as copy,
    ):
        # As root on the machine could: without the trigger that refuses changes.
        copy.execute("set session_replication_role = replica")
        _copy_trail(system, copy)
        yield _control(system, database, copy, "before")
        for each in TAMPERINGS:
            _restore(copy)
            copy.execute(each.statement.format(audit=AUDIT_TABLE, middle=last // 2, last=last).encode())
            yield _fact(f"found on a copy: {each.what}", _verify(system, database) == _BROKEN)
        yield _control(system, database, copy, "after")


def _exported(system: Fabric) -> int:
    """Export the trail. The number of an entry up to which that was certainly done. NotChecked if it is too short."""
    with psycopg.connect(system.target().observer_dsn) as link:
        row = link.execute(f"select max(seq) from {AUDIT_TRAIL}").fetchone()
    last = int(row[0]) if row and row[0] else 0
    if last < ENTRIES_MIN:
        raise NotChecked(f"the audit trail: expected at least {ENTRIES_MIN} entries to change, found {last}")
    if system.run_tool(_TOOL, ["export"], quiet=True) != 0:
        raise NotChecked("the audit trail could not be exported: run `./covenant audit export` to see why")
    return last


def _control(system: Fabric, database: Mapping[str, str], copy: psycopg.Connection[Any], when: str) -> Count:
    _restore(copy)
    return _fact(f"the copy holds unchanged, {when} that", _verify(system, database) == _HOLDS)


def _copy_trail(system: Fabric, copy: psycopg.Connection[Any]) -> None:
    """Copy the trail, and keep another copy beside it."""
    table, kept = sql.Identifier(AUDIT_TABLE), sql.Identifier(_KEPT)
    with (
        psycopg.connect(system.target().observer_dsn) as link,
        link.cursor().copy(sql.SQL("copy {} to stdout").format(table)) as given,
        copy.cursor().copy(sql.SQL("copy {} from stdin").format(table)) as taken,
    ):
        for data in given:
            taken.write(data)
    copy.execute(sql.SQL("create table {} as table {}").format(kept, table))


def _restore(copy: psycopg.Connection[Any]) -> None:
    table, kept = sql.Identifier(AUDIT_TABLE), sql.Identifier(_KEPT)
    copy.execute(sql.SQL("truncate {}").format(table))
    copy.execute(sql.SQL("insert into {} select * from {}").format(table, kept))


def _fact(how: str, ok: bool) -> Count:
    return Count(row=ROW, value=0.0 if ok else 1.0, unit="wrong", how=how, ok=ok)
