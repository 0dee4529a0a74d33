"""`python -m system.tools.audit verify|export|list`: check the audit trail, write it to S3, name what is there.

verify follows the chain in the database from its first entry to its last, and compares it with every file in S3:
the chain alone could not tell that its end was cut off, or that all of it was written anew. `verify --exports`
follows the chain through the files alone, and needs no database.

Exit code: 0 it holds, or it is done; 1 it does not hold; 2 wrong usage or settings are missing; 3 it could not be
checked or done, because the database or S3 is away.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence

import psycopg

from system import settings as settings_
from system.domain import hash_chain
from system.domain.hash_chain import START, Broken, Entry, Tip
from system.settings import Settings
from system.store.audit import trail
from system.store.audit.exports import Anchor, ExportedAlready, ExportFile, Exports, ExportsAway
from system.store.blocking import Connection, connect

FILE_ENTRIES_MAX = 50_000
"""Entries a file: about 70 MB of text, a tenth of that as Parquet."""
_STATEMENT_WITHIN_S = 30
_TELL_EVERY = 100_000
_EXPORT_LOCK = "select pg_try_advisory_lock(hashtext('covenant.audit-export'))"

Told = Callable[[str], None]
_Expected = dict[int, list[tuple[str, ExportFile]]]
"""Which hash the entries at the ends of files must have."""


class ExportBusy(Exception):
    """Another exporter is at work; nothing was done."""


def check(pages: Iterable[list[Entry]], anchors: Sequence[Anchor], told: Told) -> Tip:
    """Follow a whole trail and compare it with the anchors of its exports; its tip. Broken at the first entry that
    is not what it must be, or with the first entry of a file that it disagrees with."""
    tip = START
    expected: _Expected = {}
    for anchor in anchors:
        for end in anchor:
            expected.setdefault(end.seq, []).append((end.hash, anchor.file))
    _agree(tip, expected)
    for page in pages:
        for entry in page:
            tip = hash_chain.follow(tip, (entry,))
            _agree(tip, expected)
        if tip.seq // _TELL_EVERY > (tip.seq - len(page)) // _TELL_EVERY:
            told(f"{tip.seq:,} entries hold so far")
    if expected:
        [(_, file), *_] = expected[max(expected)]
        raise Broken(tip.seq + 1, f"the trail ends with entry {tip.seq}, but {file.key} was exported")
    return tip


def _agree(tip: Tip, expected: _Expected) -> None:
    for known, file in expected.pop(tip.seq, ()):
        if known != tip.hash:
            reason = f"entry {tip.seq} has hash {tip.hash}, but {file.key} says {known or 'nothing'}"
            raise Broken(min(file.first, tip.seq), f"the trail was written anew, at that entry or later: {reason}")


def check_exports(exports: Exports, told: Told) -> Tip:
    """Follow the chain through the files in S3 alone; its tip. Broken as in `check`."""
    tip = START
    for file in exports.files():
        told(f"reading {file.key}")
        tip = _follow_file(tip, file, exports.read(file))
        said = exports.anchor(file).last
        if said != tip:
            raise Broken(file.last, f"{file.key} ends with {tip}, but its metadata says {said}")
    return tip


def _follow_file(tip: Tip, file: ExportFile, pages: Iterable[list[Entry]]) -> Tip:
    """Two exporters may have written the same piece, the longer file behind the shorter one: the entries that both
    have are the same if the last of them has the same hash, since a hash covers all before it."""
    own: Tip | None = None
    for page in pages:
        for entry in page:
            before = tip if entry.seq > tip.seq else own
            if before is None:
                before = Tip(entry.seq - 1, entry.previous_hash)
            own = hash_chain.follow(before, (entry,))
            if own.seq == tip.seq and own.hash != tip.hash:
                raise Broken(file.first, f"{file.key} is not the chain of the file before it")
            tip = own if own.seq > tip.seq else tip
    if own is None or own.seq != file.last or tip.seq != file.last:
        raise Broken(tip.seq + 1, f"{file.key} ends with entry {own.seq if own else 'none'}")
    return tip


def export(connection: Connection, exports: Exports) -> Iterator[ExportFile]:
    """Write what is behind the last export, file by file; `connection` is in autocommit. ExportBusy if another
    exporter is at work; Broken before anything is written that does not follow on what was exported."""
    [(mine,)] = connection.execute(_EXPORT_LOCK).fetchall()
    if not mine:
        raise ExportBusy("another exporter is at work")
    files = exports.files()
    tip = exports.anchor(files[-1]).last if files else START
    while True:
        try:
            anchor = exports.write(_followed(tip, trail.pages(connection, tip.seq, FILE_ENTRIES_MAX)))
        except ExportedAlready as error:
            raise ExportBusy(f"another exporter has just written {error}") from None
        if anchor is None:
            return
        yield anchor.file
        tip = anchor.last


def _followed(tip: Tip, pages: Iterable[list[Entry]]) -> Iterator[list[Entry]]:
    for page in pages:
        tip = hash_chain.follow(tip, page)
        yield page


def export_new(settings: Settings, told: Told) -> None:
    """Write what is behind the last export and tell each file. Raises as `export`, psycopg.Error and ExportsAway."""
    exports = Exports(settings)
    try:
        with connect(settings, "audit-export", _STATEMENT_WITHIN_S) as connection:
            connection.autocommit = True
            for file in export(connection, exports):
                told(f"{file.key} written")
    finally:
        exports.close()


def verify(settings: Settings, told: Told) -> Tip:
    """Check the trail in the database against itself and against its exports; its tip."""
    anchors: list[Anchor] = []
    if settings.s3_endpoint is None:
        told("COVENANT_S3_ENDPOINT is not set: whether the trail was cut at its end cannot be told")
    else:
        # Before the trail is read, so that it is never behind them.
        exports = Exports(settings)
        try:
            anchors = [exports.anchor(file) for file in exports.files()]
        finally:
            exports.close()
    with connect(settings, "audit-verify", _STATEMENT_WITHIN_S) as connection:
        connection.autocommit = True
        return check(trail.pages(connection, 0), anchors, told)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit codes as the module says."""
    options = _parser().parse_args(arguments)
    try:
        settings = settings_.load()
    except settings_.SettingsError as error:
        return _end(2, f"{error}")
    if settings.s3_endpoint is None and (options.command != "verify" or options.exports):
        return _end(2, "COVENANT_S3_ENDPOINT is not set: say where S3 is")
    try:
        return _run(options, settings)
    except Broken as broken:
        return _end(1, f"it does not hold: {broken}")
    except (ExportsAway, ExportBusy, psycopg.Error) as error:
        return _end(3, f"not done: {' '.join(str(error).split())}; try again when that is mended")


def _run(options: argparse.Namespace, settings: Settings) -> int:
    if options.command == "export":
        export_new(settings, print)
        return _end(0, "everything is exported")
    if options.command == "verify" and not options.exports:
        tip = verify(settings, _tell)
        print(f"the trail holds: {tip.seq} entries, the last hash is {tip.hash}")
        return 0
    exports = Exports(settings)
    try:
        if options.command == "list":
            for file in exports.files():
                print(f"{file.key}  entries {file.first} to {file.last}")
        else:
            tip = check_exports(exports, _tell)
            print(f"the exported trail holds: {tip.seq} entries, the last hash is {tip.hash}")
    finally:
        exports.close()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m system.tools.audit", description="Check and export the audit trail."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    checked = commands.add_parser("verify", help="whether the trail is complete and unchanged")
    checked.add_argument("--exports", action="store_true", help="check the files in S3 alone, without the database")
    commands.add_parser("export", help="write what is not in S3 yet")
    commands.add_parser("list", help="the files in S3")
    return parser


def _tell(line: str) -> None:
    print(f"audit: {line}", file=sys.stderr)


def _end(code: int, line: str) -> int:
    _tell(line)
    return code


if __name__ == "__main__":
    sys.exit(main())
