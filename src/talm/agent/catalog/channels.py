"""What a catalog says of a package, and what follows: the head of a channel, the way to it.

Frozen values and pure functions.  Reading catalogs is not here (fbc.py, sqlitecatalog.py).  The
rules are those of the operator framework: an entry is followed by the entries that replace it,
that skip it by name, or whose `skipRange` its version lies in.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Final

from talm.agent.catalog.versions import BadVersion, Range, Version, parse_range, parse_version

_FEW: Final = 5


class BadCatalog(Exception):
    """The catalog contradicts itself or cannot be read; the message says where."""


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
    if channel.recorded_head:
        return bundle_of(package, channel, channel.recorded_head)
    followed = {name for e in channel.entries for name in (e.replaces, *e.skips) if name != ""}
    heads = sorted({entry.name for entry in channel.entries} - followed)
    if len(heads) > 1:
        heads = [name for name in heads if not _is_in_a_range(package, channel, name)]
    if len(heads) != 1:
        said = f"{len(heads)} heads ({', '.join(heads[:_FEW])})" if heads else "no head"
        raise BadCatalog(f"channel {channel.name} of package {package.name} has {said}")
    return bundle_of(package, channel, heads[0])


def path_to(package: Package, channel: Channel, start: str) -> tuple[Bundle, ...]:
    """Return the bundles from `start` (itself included) to the head, by the fewest steps.

    Raises BadCatalog when `start` is not in the channel or no way leads from it to the head.
    """
    head = head_of(package, channel).name
    if start not in {entry.name for entry in channel.entries}:
        raise BadCatalog(f"channel {channel.name} of package {package.name} has no entry {start!r}")
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
        raise BadCatalog(
            f"channel {channel.name} of package {package.name}: no way from {start} to {head}"
        )
    way = [head]
    while way[-1] != start:
        way.append(came_from[way[-1]])
    return tuple(bundle_of(package, channel, name) for name in reversed(way))


def bundles_for(package: Package, channel: Channel, wanted: Wanted) -> tuple[Bundle, ...]:
    """Return the head alone, or with a start all on the way to it.  Raises BadCatalog."""
    if not wanted.start or (wanted.if_there and not has_start(channel, wanted)):
        return (head_of(package, channel),)
    return path_to(package, channel, wanted.start)


def has_start(channel: Channel, wanted: Wanted) -> bool:
    """Tell whether the start is an entry of the channel."""
    return any(entry.name == wanted.start for entry in channel.entries)


def bundle_of(package: Package, channel: Channel, name: str) -> Bundle:
    """Return the bundle of an entry.  Raises BadCatalog when the catalog does not have it."""
    bundle = package.bundles.get(name)
    if bundle is None:
        raise BadCatalog(
            f"channel {channel.name} of package {package.name} leads to {name!r}, "
            "which is no bundle of the catalog"
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
        return parse_range(entry.skip_range)
    except BadVersion as exc:
        raise BadCatalog(f"skipRange of {entry.name}: {exc}") from exc


def _version(package: Package, name: str) -> Version | None:
    """Return the version of an entry; None when the catalog does not say it."""
    bundle = package.bundles.get(name)
    if bundle is None or not bundle.version:
        return None
    try:
        return parse_version(bundle.version)
    except BadVersion as exc:
        raise BadCatalog(f"bundle {name}: {exc}") from exc
