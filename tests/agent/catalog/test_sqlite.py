"""Databases: what real ones have, what malicious ones try."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from talm.agent.catalog import sqlite
from talm.agent.catalog.channels import BadCatalog, head_of, path_to
from talm.agent.catalog.sqlite import read_packages

SCHEMA = """
CREATE TABLE package(name TEXT PRIMARY KEY, default_channel TEXT);
CREATE TABLE channel(name TEXT, package_name TEXT, head_operatorbundle_name TEXT);
CREATE TABLE channel_entry(entry_id INTEGER PRIMARY KEY, channel_name TEXT, package_name TEXT,
  operatorbundle_name TEXT, replaces INTEGER, depth INTEGER);
CREATE TABLE operatorbundle(name TEXT PRIMARY KEY, csv TEXT, bundle TEXT, bundlepath TEXT,
  skiprange TEXT, version TEXT, replaces TEXT, skips TEXT);
CREATE TABLE related_image(image TEXT, operatorbundle_name TEXT);
"""
# ptp.v1.2 replaces v1.1, which replaces v1.0; v1.2 skips v1.1.5, which the catalog has dropped.
PTP = """
INSERT INTO package VALUES('ptp', 'stable'), ('other', 'stable');
INSERT INTO channel VALUES('stable', 'ptp', 'ptp.v1.2.0'), ('stable', 'other', 'other.v1');
INSERT INTO channel_entry VALUES
  (1, 'stable', 'ptp', 'ptp.v1.0.0', NULL, 3), (2, 'stable', 'ptp', 'ptp.v1.1.0', 1, 2),
  (3, 'stable', 'ptp', 'ptp.v1.1.5', NULL, 2), (4, 'stable', 'ptp', 'ptp.v1.2.0', 2, 0),
  (5, 'stable', 'ptp', 'ptp.v1.2.0', 3, 1), (6, 'stable', 'other', 'other.v1', NULL, 0);
INSERT INTO operatorbundle(name, bundlepath, version, skiprange) VALUES
  ('ptp.v1.0.0', 'r/ptp:1.0.0', '1.0.0', NULL), ('ptp.v1.1.0', 'r/ptp:1.1.0', '1.1.0', ''),
  ('ptp.v1.2.0', 'r/ptp:1.2.0', '1.2.0', '<1.2.0'), ('other.v1', 'r/other', NULL, NULL);
INSERT INTO related_image VALUES('r/a', 'ptp.v1.2.0'), ('', 'ptp.v1.2.0'), (NULL, 'ptp.v1.2.0');
"""
ASKED = frozenset({"ptp", "absent"})


def database(directory: Path, *scripts: str) -> Path:
    file = directory / "index.db"
    with contextlib.closing(sqlite3.connect(file)) as connection:
        for script in scripts:
            connection.executescript(script)
        connection.commit()
    return file


def test_a_package_has_its_channels_bundles_and_images(tmp_path: Path) -> None:
    (package,) = read_packages(database(tmp_path, SCHEMA, PTP), ASKED).values()
    channel = package.channels["stable"]
    assert (head_of(package, channel).name, head_of(package, channel).related) == (
        "ptp.v1.2.0",
        ("r/a",),
    )
    ways = {
        "ptp.v1.1.0": ["ptp.v1.1.0", "ptp.v1.2.0"],
        "ptp.v1.1.5": ["ptp.v1.2.0"],
        "ptp.v0.5.0": ["ptp.v1.2.0"],  # by its range
    }
    for start, names in ways.items():
        assert [bundle.name for bundle in path_to(package, channel, start)] == names


def test_the_file_is_neither_changed_nor_has_company_afterwards(tmp_path: Path) -> None:
    file = database(tmp_path, "PRAGMA journal_mode = wal", SCHEMA, PTP)
    file.chmod(0o444)
    before = file.read_bytes()
    assert read_packages(file, ASKED)
    assert [path.name for path in tmp_path.iterdir()] == ["index.db"]
    assert file.read_bytes() == before


MANY = """INSERT INTO package WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 99)
  SELECT 'p' || x, '' FROM n;"""
EVIL = {
    "a function": "CREATE VIEW channel AS SELECT upper('x') AS name, '' AS package_name, "
    "'' AS head_operatorbundle_name",
    "a file": "CREATE VIEW channel AS SELECT readfile('/etc/passwd') AS name, "
    "'ptp' AS package_name, '' AS head_operatorbundle_name",
    "a recursion": "CREATE VIEW channel AS WITH RECURSIVE r(name) AS (SELECT 'x' UNION ALL "
    "SELECT name FROM r) SELECT name, 'ptp' AS package_name, '' AS head_operatorbundle_name FROM r",
    "a join without end": "CREATE VIEW channel AS SELECT a.name, 'ptp' AS package_name, "
    "'' AS head_operatorbundle_name FROM package a, package b, package c, package d "
    "WHERE a.name || b.name || c.name || d.name = 'x'",
    "rows without end": "CREATE VIEW channel AS SELECT a.name, 'ptp' AS package_name, "
    "'' AS head_operatorbundle_name FROM package a, package b, package c, package d",
    "a pragma": "CREATE VIEW channel AS SELECT file AS name, 'ptp' AS package_name, "
    "'' AS head_operatorbundle_name FROM pragma_database_list",
    "a number": "CREATE TABLE channel AS SELECT 7 AS name, 'ptp' AS package_name, "
    "'' AS head_operatorbundle_name",
    "bytes": "CREATE TABLE channel AS SELECT x'ff' AS name, 'ptp' AS package_name, "
    "'' AS head_operatorbundle_name",
    "no text": "CREATE TABLE channel AS SELECT CAST(x'ff' AS TEXT) AS name, "
    "'ptp' AS package_name, '' AS head_operatorbundle_name",
    "nothing": "",
}


@pytest.mark.parametrize("name", EVIL)
def test_a_database_that_does_more_than_answer_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(sqlite, "_MAX_LOOKS", 20)
    file = database(tmp_path, SCHEMA, PTP, MANY, "DROP TABLE channel;", EVIL[name])
    with pytest.raises(BadCatalog, match="database"):
        read_packages(file, ASKED)


def test_names_that_do_not_fit_into_memory_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_MAX_TEXT", 10_000)
    large = f"INSERT INTO related_image VALUES('{'x' * 6000}', 'ptp.v1.2.0');"
    assert read_packages(database(tmp_path, SCHEMA, PTP, large), ASKED)
    with pytest.raises(BadCatalog, match="more names than fit into memory"):
        read_packages(database(tmp_path, large), ASKED)


@pytest.mark.parametrize("offset", [0, 18, 100, 4096, 8192])
def test_a_damaged_database_is_read_or_refused(tmp_path: Path, offset: int) -> None:
    file = database(tmp_path, SCHEMA, PTP)
    content = bytearray(file.read_bytes())
    content[offset : offset + 64] = b"\xff" * 64
    file.write_bytes(content)
    with contextlib.suppress(BadCatalog):
        read_packages(file, ASKED)
