"""What a catalog says of a package, and what follows: the head of a channel, the way to it.

Frozen values and pure functions.  Reading catalogs is not here (fbc.py, sqlite.py).  The
rules are those of the operator framework: an entry is followed by the entries that replace it,
that skip it by name, or whose `skipRange` its version lies in.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import re
from collections.abc import Mapping
from typing import Final

from talm.agent.catalog.versions import BadVersion, Range, Version, parse_range, parse_version

_FEW: Final = 5
_MOST_ENTRIES: Final = 2000  # of one channel; the longest have 300, and ways take their square
_VERSION_IN_NAME: Final = re.compile(r"\.v?(?P<version>[0-9]+\.[0-9]+\.[0-9]+.*)")

_read_range = functools.lru_cache(maxsize=2 * _MOST_ENTRIES)(parse_range)
_read_version = functools.lru_cache(maxsize=2 * _MOST_ENTRIES)(parse_version)


class BadCatalog(Exception):
    """The catalog contradicts itself or cannot be read; the message says where."""


class NoStart(BadCatalog):
    """The channel has not got the bundle to start from, and none that follows it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One step of a channel: the name of a bundle and the bundles that it follows."""

    name: str
    replaces: str = ""
    skips: tuple[str, ...] = ()
    skip_range: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Channel:
    """The entries in no order.  `recorded_head`: what an SQLite catalog has computed; "" else."""

    name: str
    entries: tuple[Entry, ...]
    recorded_head: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Bundle:
    """One version of an operator.  `image` is the bundle's own; `related`: all that it runs."""

    name: str
    version: str = ""
    image: str = ""
    related: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Package:
    """All that a catalog says of one operator."""

    name: str
    channels: Mapping[str, Channel]
    bundles: Mapping[str, Bundle]


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """One channel of one package; `start` is the installed bundle, "" to take the head alone.

    `if_there`: where the channel does not have the start (any more), the head alone will do.
    """

    package: str
    channel: str
    start: str = ""
    if_there: bool = False

    def __str__(self) -> str:
        return f"{self.package}:{self.channel}"


def head_of(package: Package, channel: Channel) -> Bundle:
    """Return the bundle that nothing in the channel follows.

    Raises BadCatalog when there is none (a circle), more than one, or the head has no bundle.
    """
    if len(channel.entries) > _MOST_ENTRIES:
        raise BadCatalog(f"{_title(package, channel)} has more than {_MOST_ENTRIES} entries")
    if channel.recorded_head:
        return bundle_of(package, channel, channel.recorded_head)
    followed = {name for e in channel.entries for name in (e.replaces, *e.skips) if name != ""}
    heads = sorted({entry.name for entry in channel.entries} - followed)
    if len(heads) > 1:
        heads = [name for name in heads if not _is_in_a_range(package, channel, name)]
    if len(heads) != 1:
        said = f"{len(heads)} heads ({', '.join(heads[:_FEW])})" if heads else "no head"
        raise BadCatalog(f"{_title(package, channel)} has {said}")
    return bundle_of(package, channel, heads[0])


def path_to(package: Package, channel: Channel, start: str) -> tuple[Bundle, ...]:
    """Return the bundles from `start` to the head, by the fewest steps.

    `start` is one of them when the catalog has it.  It need not: the entry that an operator of
    another channel is upgraded to names it, or covers its version.  Raises NoStart when neither
    is so, BadCatalog when the way does not reach the head.
    """
    head = head_of(package, channel).name
    if not has_start(package, channel, start):
        raise NoStart(f"{_title(package, channel)} has no entry {start!r} and none that follows it")
    came_from = {start: ""}
    reached = [start]
    for name in reached:  # grows while it is walked
        if name == head:
            break
        for entry in channel.entries:
            if entry.name not in came_from and _follows(package, entry, name):
                came_from[entry.name] = name
                reached.append(entry.name)
    if head not in came_from:
        raise BadCatalog(f"{_title(package, channel)}: no way from {start} to {head}")
    way = [head]
    while way[-1] != start:
        way.append(came_from[way[-1]])
    if start not in package.bundles:
        way.pop()  # it is installed, and the catalog has dropped it
    return tuple(bundle_of(package, channel, name) for name in reversed(way))


def bundles_for(package: Package, channel: Channel, wanted: Wanted) -> tuple[Bundle, ...]:
    """Return the head alone, or with a start all on the way to it.  Raises BadCatalog, NoStart."""
    if not wanted.start or (wanted.if_there and not has_start(package, channel, wanted.start)):
        return (head_of(package, channel),)
    return path_to(package, channel, wanted.start)


def has_start(package: Package, channel: Channel, start: str) -> bool:
    """Tell whether an upgrade in the channel can begin at `start`: an entry, or one is next to it."""
    return any(e.name == start or _follows(package, e, start) for e in channel.entries)


def bundle_of(package: Package, channel: Channel, name: str) -> Bundle:
    """Return the bundle of an entry.  Raises BadCatalog when the catalog does not have it."""
    bundle = package.bundles.get(name)
    if bundle is None:
        raise BadCatalog(
            f"{_title(package, channel)} leads to {name!r}, which is no bundle of the catalog"
        )
    return bundle


def images_of(bundle: Bundle) -> tuple[str, ...]:
    """Return the bundle's own image and the related ones, each once, empty entries left out.

    Raises BadCatalog for a bundle that names nothing it runs: to cache its own image alone would
    be called a success and leave the operator to be pulled in the update.
    """
    related = [image.strip() for image in bundle.related if image.strip()]
    if not related:
        raise BadCatalog(f"bundle {bundle.name} names no related images")
    own = [bundle.image.strip()] if bundle.image.strip() else []
    return tuple(dict.fromkeys([*own, *related]))


def _is_in_a_range(package: Package, channel: Channel, name: str) -> bool:
    """Tell whether a newer entry's `skipRange` covers the version of `name`."""
    version = _version(package, name)
    if version is None:
        return False
    for entry in channel.entries:
        newer = _version(package, entry.name)
        if newer is not None and newer > version and _covers(entry, version):
            return True
    return False


def _follows(package: Package, entry: Entry, name: str) -> bool:
    if name == entry.replaces or name in entry.skips:
        return True
    version = _version(package, name)
    return version is not None and entry.name != name and _covers(entry, version)


def _covers(entry: Entry, version: Version) -> bool:
    return bool(entry.skip_range) and _range(entry)(version)


def _range(entry: Entry) -> Range:
    try:
        return _read_range(entry.skip_range)
    except BadVersion as exc:
        raise BadCatalog(f"skipRange of {entry.name}: {exc}") from exc


def _version(package: Package, name: str) -> Version | None:
    """Return the version of an entry; None when neither catalog nor name say it.

    Catalogs drop old bundles and still name them; names end in `.vVERSION` by custom.
    """
    bundle = package.bundles.get(name)
    if bundle is None:
        match = _VERSION_IN_NAME.search(name)
        with contextlib.suppress(BadVersion):
            return _read_version(match["version"]) if match else None
        return None
    if not bundle.version:
        return None
    try:
        return _read_version(bundle.version)
    except BadVersion as exc:
        raise BadCatalog(f"bundle {name}: {exc}") from exc


def _title(package: Package, channel: Channel) -> str:
    return f"channel {channel.name} of package {package.name}"
