"""The older kind of catalog: an SQLite database, `index.db`.

Written by others, so opened for reading alone, with nothing allowed but to select from tables,
and with a bound on the work that a query may cause.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

from talm.agent.catalog.channels import BadCatalog, Bundle, Channel, Entry, Package

_STEPS_A_LOOK: Final = 1_000_000
_MAX_LOOKS: Final = 5_000  # a few minutes of a slow core; real questions take under a second
_MAX_VALUE: Final = 64 << 20  # bytes of one value
_MAX_ROWS: Final = 1_000_000
_MAX_TEXT: Final = 64 << 20  # characters of all answers; real catalogs have 10 MiB of names
_ALLOWED: Final = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ}

_Row = tuple[str, ...]


class _Database:
    """Questions and their answers, which are bounded all together."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._rows_left = _MAX_ROWS
        self._text_left = _MAX_TEXT

    def rows(self, question: str, *values: str) -> list[_Row]:
        """Ask; NULL is "", and anything but text refuses the database."""
        found = []
        for row in self._connection.execute(question, values):
            if not all(value is None or isinstance(value, str) for value in row):
                raise BadCatalog("the database has something else than text where names belong")
            texts = tuple(value or "" for value in row)
            self._rows_left -= 1
            self._text_left -= sum(map(len, texts))
            if self._rows_left < 0 or self._text_left < 0:
                raise BadCatalog("the database has more names than fit into memory")
            found.append(texts)
        return found


def read_packages(database: Path, wanted: frozenset[str]) -> dict[str, Package]:
    """Return the wanted packages that the database has.  Raises BadCatalog."""
    try:
        with _opened(database) as opened:
            return {
                name: _package(opened, name)
                for name in sorted(wanted)
                if opened.rows("SELECT name FROM package WHERE name = ?", name)
            }
    except (sqlite3.Error, UnicodeDecodeError) as exc:
        raise BadCatalog(f"the database cannot be read: {exc}") from exc


def _package(database: _Database, name: str) -> Package:
    heads = database.rows(
        "SELECT name, head_operatorbundle_name FROM channel WHERE package_name = ?",
        name,
    )
    bundles = {row[0]: _bundle(database, row) for row in _bundle_rows(database, name)}
    entries = _entries(database, name)
    channels = {channel: Channel(channel, tuple(entries[channel]), head) for channel, head in heads}
    return Package(name, channels, bundles)


def _bundle_rows(database: _Database, package: str) -> list[_Row]:
    """Name, version and image of each bundle that a channel of the package lists."""
    return database.rows(
        "SELECT name, version, bundlepath FROM operatorbundle WHERE name IN "
        "(SELECT operatorbundle_name FROM channel_entry WHERE package_name = ?)",
        package,
    )


def _bundle(database: _Database, row: _Row) -> Bundle:
    name, version, image = row
    related = database.rows("SELECT image FROM related_image WHERE operatorbundle_name = ?", name)
    return Bundle(name, version, image, tuple(row[0] for row in related if row[0]))


def _entries(database: _Database, package: str) -> dict[str, list[Entry]]:
    """Return each channel's entries; a bundle has one row for each that it replaces or skips."""
    rows = database.rows(
        "SELECT e.channel_name, e.operatorbundle_name, r.operatorbundle_name "
        "FROM channel_entry e LEFT JOIN channel_entry r ON r.entry_id = e.replaces "
        "WHERE e.package_name = ? ORDER BY e.entry_id",
        package,
    )
    followed: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for channel, name, before in rows:
        followed[channel, name][before] = None
    rows = database.rows("SELECT name, skiprange FROM operatorbundle")
    ranges: dict[str, str] = dict((row[0], row[1]) for row in rows)
    entries: dict[str, list[Entry]] = defaultdict(list)
    for (channel, name), all_before in followed.items():
        names = tuple(before for before in all_before if before)
        entries[channel].append(Entry(name, skips=names, skip_range=ranges.get(name, "")))
    return entries


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[_Database]:
    where = f"file:{quote(str(file))}?mode=ro&immutable=1"
    with contextlib.closing(sqlite3.connect(where, uri=True)) as connection:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE)
        connection.set_authorizer(_authorize)
        connection.set_progress_handler(_Looks().another, _STEPS_A_LOOK)
        yield _Database(connection)


def _authorize(action: int, *_: object) -> int:
    """Allow to read; a view or trigger that calls a function or writes is refused."""
    return sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY


class _Looks:
    """Ends a query that does not end."""

    def __init__(self) -> None:
        self._left = _MAX_LOOKS

    def another(self) -> int:
        """Return 1 (interrupt) when the bound is reached."""
        self._left -= 1
        return int(self._left < 0)
