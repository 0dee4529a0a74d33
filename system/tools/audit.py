"""`python -m system.tools.audit verify|export|list`: verify the audit trail, export it to S3, list its files.

`verify` follows the hash chain in the database from the first entry to the last, and compares it with every file in S3,
since the chain alone cannot show that it was truncated or rewritten as a whole. `verify --exports` follows the chain
through the files only, without the database.

Exit codes: 0 the trail is intact, or the command is done; 1 the trail is broken; 2 wrong usage or missing settings; 3
the database or S3 is unavailable.
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
"""The most entries in a file: about 70 MB of text, a tenth of that as Parquet."""
_STATEMENT_WITHIN_S = 30
_PROGRESS_EVERY = 100_000
_EXPORT_LOCK = "select pg_try_advisory_lock(hashtext('covenant.audit-export'))"

Progress = Callable[[str], None]
_Expected = dict[int, list[tuple[str, ExportFile]]]
"""Sequence number -> the hashes that the entry must have, each with the file whose metadata says so."""


class ExportBusy(Exception):
    """Another exporter is running; nothing was done."""


def check(pages: Iterable[list[Entry]], anchors: Sequence[Anchor], progress: Progress) -> Tip:
    """Verify a whole trail and compare it with the anchors of its exports. Returns its tip. Broken at the first wrong
    entry, or at the first entry of a file that disagrees with the trail."""
    tip = START
    expected: _Expected = {}
    for anchor in anchors:
        for end in anchor:
            expected.setdefault(end.seq, []).append((end.hash, anchor.file))
    _compare(tip, expected)
    for page in pages:
        for entry in page:
            tip = hash_chain.follow(tip, (entry,))
            _compare(tip, expected)
        if tip.seq // _PROGRESS_EVERY > (tip.seq - len(page)) // _PROGRESS_EVERY:
            progress(f"{tip.seq:,} entries hold so far")
    if expected:
        [(_, file), *_] = expected[max(expected)]
        raise Broken(tip.seq + 1, f"the trail ends with entry {tip.seq}, but {file.key} was exported")
    return tip


def _compare(tip: Tip, expected: _Expected) -> None:
    for known, file in expected.pop(tip.seq, ()):
        if known != tip.hash:
            reason = f"entry {tip.seq} has hash {tip.hash}, but {file.key} says {known or 'nothing'}"
            raise Broken(min(file.first, tip.seq), f"the trail was written anew, at that entry or later: {reason}")


def check_exports(exports: Exports, progress: Progress) -> Tip:
    """Verify the chain in the files in S3 only. Returns its tip. Broken as for `check`."""
    tip = START
    for file in exports.files():
        progress(f"reading {file.key}")
        tip = _follow_file(tip, file, exports.read(file))
        said = exports.anchor(file).last
        if said != tip:
            raise Broken(file.last, f"{file.key} ends with {tip}, but its metadata says {said}")
    return tip


def _follow_file(tip: Tip, file: ExportFile, pages: Iterable[list[Entry]]) -> Tip:
    """The tip after a file. Two exporters may have written the same section, with the longer file after the shorter
    one. The entries that both contain are equal if the last of them has the same hash, since a hash covers all before
    it."""
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
    """Export the entries after the last export, file by file. `connection` is in autocommit mode. ExportBusy if another
    exporter is running; Broken, before anything is written, if the entries do not continue the exported chain."""
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


def export_new(settings: Settings, progress: Progress) -> None:
    """Export new entries, and report each file. Raises what `export` raises, psycopg.Error, and ExportsAway."""
    exports = Exports(settings)
    try:
        with connect(settings, "audit-export", _STATEMENT_WITHIN_S) as connection:
            connection.autocommit = True
            for file in export(connection, exports):
                progress(f"{file.key} written")
    finally:
        exports.close()


def verify(settings: Settings, progress: Progress) -> Tip:
    """Verify the trail in the database, and compare it with its exports. Returns its tip. Broken, psycopg.Error,
    ExportsAway."""
    anchors: list[Anchor] = []
    if settings.s3_endpoint is None:
        progress("COVENANT_S3_ENDPOINT is not set: whether the trail was cut at its end cannot be progress")
    else:
        # Read before the trail, so that the trail is never behind them.
        exports = Exports(settings)
        try:
            anchors = [exports.anchor(file) for file in exports.files()]
        finally:
            exports.close()
    with connect(settings, "audit-verify", _STATEMENT_WITHIN_S) as connection:
        connection.autocommit = True
        return check(trail.pages(connection, 0), anchors, progress)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code."""
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
        tip = verify(settings, _print_progress)
        print(f"the trail holds: {tip.seq} entries, the last hash is {tip.hash}")
        return 0
    exports = Exports(settings)
    try:
        if options.command == "list":
            for file in exports.files():
                print(f"{file.key}  entries {file.first} to {file.last}")
        else:
            tip = check_exports(exports, _print_progress)
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


def _print_progress(line: str) -> None:
    print(f"audit: {line}", file=sys.stderr)


def _end(code: int, line: str) -> int:
    _print_progress(line)
    return code


if __name__ == "__main__":
    sys.exit(main())
