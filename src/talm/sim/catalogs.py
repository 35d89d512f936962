"""Synthetic catalogs of operators: index images as files or as a database, and what they name.

Every package has the same two channels, `stable` and `candidate`; a bundle has its own image and
two related ones.  The same seed gives the same bytes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import random
import sqlite3
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import aiohttp

from talm.sim.images import SyntheticImage, build_image, push_image

INDEX_REPOSITORY: Final = "operators/index"
DATABASE_REPOSITORY: Final = "operators/old-index"
CONFIGS_LABELS: Final = {"operators.operatorframework.io.index.configs.v1": "/configs"}
DATABASE_LABELS: Final = {"operators.operatorframework.io.index.database.v1": "/database/index.db"}
PACKAGES: Final = ("ptp-operator", "sriov-network-operator")
CHANNELS: Final[Mapping[str, Sequence[str]]] = {
    "stable": ("4.10.0", "4.10.1", "4.10.2"),
    "candidate": ("4.11.0", "4.11.1"),
}
_TIMEOUT: Final = aiohttp.ClientTimeout(total=120)
_SCHEMA: Final = """
CREATE TABLE package(name TEXT PRIMARY KEY, default_channel TEXT);
CREATE TABLE channel(name TEXT, package_name TEXT, head_operatorbundle_name TEXT);
CREATE TABLE channel_entry(entry_id INTEGER PRIMARY KEY, channel_name TEXT, package_name TEXT,
  operatorbundle_name TEXT, replaces INTEGER, depth INTEGER);
CREATE TABLE operatorbundle(name TEXT PRIMARY KEY, csv TEXT, bundle TEXT, bundlepath TEXT,
  skiprange TEXT, version TEXT, replaces TEXT, skips TEXT);
CREATE TABLE related_image(image TEXT, operatorbundle_name TEXT);
"""

Blob = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class SyntheticCatalog:
    """An index image and everything that its bundles name, by the bundle's name."""

    index: SyntheticImage
    bundles: Mapping[str, tuple[SyntheticImage, ...]]

    def head(self, package: str, channel: str) -> str:
        """The name of a channel's newest bundle."""
        return f"{package}.v{CHANNELS[channel][-1]}"


def build_catalog(
    registry: str, *, seed: int = 1, database: bool = False, image_kib: int = 32
) -> SyntheticCatalog:
    """Build a catalog whose images are at `registry` (HOST:PORT), each of `image_kib`."""
    chance = random.Random(f"{seed} catalog")
    bundles = {
        f"{package}.v{version}": _bundle_images(chance, package, version, image_kib << 10)
        for package in PACKAGES
        for versions in CHANNELS.values()
        for version in versions
    }
    blobs = {package: package_blobs(registry, package, bundles) for package in PACKAGES}
    if database:
        every = [blob for package in PACKAGES for blob in blobs[package]]
        layers = [{"bin/opm": b"not run"}, {"database/index.db": as_database(every)}]
        index = build_image(DATABASE_REPOSITORY, layers, labels=DATABASE_LABELS)
    else:
        files = {f"configs/{p}/catalog.json": as_json(b) for p, b in blobs.items()}
        layers = [{"bin/opm": b"not run"}, files]
        index = build_image(INDEX_REPOSITORY, layers, labels=CONFIGS_LABELS)
    return SyntheticCatalog(index, bundles)


async def push_catalog(registry: str, catalog: SyntheticCatalog) -> str:
    """Push a catalog and all that it names; returns the index image's pull spec.

    Raises SetupError when the registry does not take it.
    """
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
        for images in catalog.bundles.values():
            for image in images:
                await push_image(session, registry, image)
        await push_image(session, registry, catalog.index)
    return f"{registry}/{catalog.index.repository}@{catalog.index.digest}"


def package_blobs(
    registry: str, package: str, bundles: Mapping[str, tuple[SyntheticImage, ...]]
) -> list[Blob]:
    """Return a package as its file-based catalog has it, each version replacing the one before."""
    blobs: list[Blob] = [{"schema": "olm.package", "name": package, "defaultChannel": "stable"}]
    for channel, versions in CHANNELS.items():
        names = [f"{package}.v{version}" for version in versions]
        entries = [
            {"name": name, **({"replaces": names[n - 1]} if n else {})}
            for n, name in enumerate(names)
        ]
        blobs.append(
            {"schema": "olm.channel", "package": package, "name": channel, "entries": entries}
        )
        for name, version in zip(names, versions, strict=True):
            own, *related = (f"{registry}/{i.repository}@{i.digest}" for i in bundles[name])
            value = {"packageName": package, "version": version}
            blobs.append(
                {
                    "schema": "olm.bundle",
                    "package": package,
                    "name": name,
                    "image": own,
                    "properties": [{"type": "olm.package", "value": value}],
                    "relatedImages": [{"name": "", "image": image} for image in (own, *related)],
                }
            )
    return blobs


def as_json(blobs: Sequence[Blob]) -> bytes:
    """Write blobs as a stream of JSON objects, as `opm render` does."""
    return "".join(f"{json.dumps(blob, indent=4)}\n" for blob in blobs).encode()


def as_database(blobs: Sequence[Blob]) -> bytes:
    """Write blobs as the older catalogs had them, an SQLite database."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "index.db"
        with contextlib.closing(sqlite3.connect(file)) as database:
            database.executescript(_SCHEMA)
            for blob in blobs:
                _insert(database, blob)
            database.commit()
        return file.read_bytes()


def _insert(database: sqlite3.Connection, blob: Blob) -> None:
    match blob["schema"]:
        case "olm.package":
            row = (blob["name"], blob["defaultChannel"])
            database.execute("INSERT INTO package VALUES (?, ?)", row)
        case "olm.channel":
            _insert_channel(database, blob)
        case "olm.bundle":
            version = blob["properties"][0]["value"]["version"]
            database.execute(
                "INSERT INTO operatorbundle(name, bundlepath, version) VALUES (?, ?, ?)",
                (blob["name"], blob["image"], version),
            )
            database.executemany(
                "INSERT INTO related_image VALUES (?, ?)",
                [(related["image"], blob["name"]) for related in blob["relatedImages"]],
            )


def _insert_channel(database: sqlite3.Connection, blob: Blob) -> None:
    """Entries from the oldest on, so that each one's predecessor has its row; the last is head."""
    rows: dict[str, int | None] = {}
    for entry in blob["entries"]:
        cursor = database.execute(
            "INSERT INTO channel_entry(channel_name, package_name, operatorbundle_name, replaces) "
            "VALUES (?, ?, ?, ?)",
            (blob["name"], blob["package"], entry["name"], rows.get(entry.get("replaces", ""))),
        )
        rows[entry["name"]] = cursor.lastrowid
    head = blob["entries"][-1]["name"]
    database.execute("INSERT INTO channel VALUES (?, ?, ?)", (blob["name"], blob["package"], head))


def _bundle_images(
    chance: random.Random, package: str, version: str, size: int
) -> tuple[SyntheticImage, ...]:
    """The bundle's own image, then the operator and what it runs."""
    return tuple(
        build_image(
            f"operators/{package}{suffix}",
            [{f"{package}{suffix}-{version}": chance.randbytes(size)}],
        )
        for suffix in ("-bundle", "", "-daemon")
    )
