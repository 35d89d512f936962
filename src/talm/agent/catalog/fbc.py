"""File-based catalogs: streams of JSON objects, or YAML documents, one package over many files.

Of each blob only what names images and their order is kept, and only of the packages asked for:
the rest of a catalog is hundreds of MiB of descriptions.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, TypeVar

import msgspec
import yaml

from talm.agent.catalog.channels import BadCatalog, Bundle, Channel, Entry, Package

SUFFIXES: Final = (".json", ".yaml", ".yml")
_MAX_DEPTH: Final = 100  # the deepest of real catalogs, a CSV's schemas, has 30
_MERGE: Final = "tag:yaml.org,2002:merge"
_VERSION_PROPERTY: Final = "olm.package"

T = TypeVar("T")


class _WireEntry(msgspec.Struct, rename="camel"):
    name: str
    replaces: str | None = None
    skips: list[str] | None = None
    skip_range: str | None = None


class _Related(msgspec.Struct):
    image: str | None = None


class _Property(msgspec.Struct):
    type: str = ""
    value: Any = None


class _Blob(msgspec.Struct, rename="camel"):
    """Any of olm.package, olm.channel, olm.bundle; other schemas have no images."""

    schema: str = ""
    name: str = ""
    package: str = ""
    image: str | None = None
    entries: list[_WireEntry] | None = None
    properties: list[_Property] | None = None
    related_images: list[_Related | None] | None = None


class Collector:
    """The wanted packages of one catalog, file by file."""

    def __init__(self, wanted: frozenset[str]) -> None:
        self._wanted = wanted
        self._spellings = tuple(name.encode() for name in wanted)
        self._packages: set[str] = set()
        self._channels: dict[tuple[str, str], Channel] = {}
        self._bundles: dict[tuple[str, str], Bundle] = {}

    def add(self, path: str, content: bytes) -> None:
        """Take what matters of one file.  Raises BadCatalog that names the file."""
        # A file that does not contain the name of a wanted package is not worth parsing; names
        # of packages need no escapes in either language.
        if not any(spelling in content for spelling in self._spellings):
            return
        try:
            for raw in _documents(content):
                self._take(msgspec.convert(raw, _Blob))
        except (ValueError, yaml.YAMLError, RecursionError) as exc:
            raise BadCatalog(f"{path}: {exc}") from exc

    def packages(self) -> dict[str, Package]:
        """Return the packages that were found."""
        named = self._packages | {package for package, _ in (*self._channels, *self._bundles)}
        return {
            name: Package(
                name,
                {c: channel for (package, c), channel in self._channels.items() if package == name},
                {b: bundle for (package, b), bundle in self._bundles.items() if package == name},
            )
            for name in named
        }

    def _take(self, blob: _Blob) -> None:
        if blob.schema == "olm.package" and blob.name in self._wanted:
            self._packages.add(blob.name)
        if blob.package not in self._wanted:
            return
        key = (blob.package, blob.name)
        if blob.schema == "olm.channel":
            _once(self._channels, key, _channel(blob), "channel")
        elif blob.schema == "olm.bundle":
            _once(self._bundles, key, _bundle(blob), "bundle")


def _once(known: dict[tuple[str, str], T], key: tuple[str, str], value: T, what: str) -> None:
    if key in known and known[key] != value:
        raise ValueError(f"{what} {key[1]} of package {key[0]} is there twice, with other content")
    known[key] = value


def _channel(blob: _Blob) -> Channel:
    entries = tuple(
        Entry(e.name, e.replaces or "", tuple(e.skips or ()), e.skip_range or "")
        for e in blob.entries or ()
    )
    return Channel(blob.name, entries)


def _bundle(blob: _Blob) -> Bundle:
    versions = [
        str(p.value["version"])
        for p in blob.properties or ()
        if p.type == _VERSION_PROPERTY and isinstance(p.value, dict) and "version" in p.value
    ]
    related = tuple(r.image for r in blob.related_images or () if r is not None and r.image)
    return Bundle(blob.name, versions[0] if versions else "", blob.image or "", related)


def _documents(content: bytes) -> Iterator[object]:
    """Yield the objects of a file; what begins with a brace is JSON, as the catalogs' tool has it."""
    text = content.decode("utf-8-sig")
    if text.lstrip()[:1] == "{":
        yield from _json_stream(text)
    else:
        _check_depth(text)
        yield from (document for document in yaml.load_all(text, _Loader) if document is not None)


def _check_depth(text: str) -> None:
    """Refuse YAML that nests without end: the loader calls itself and would crash the process."""
    depth = 0
    for event in yaml.parse(text, _Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _MAX_DEPTH:
            raise ValueError(f"it is nested more than {_MAX_DEPTH} deep")


def _json_stream(text: str) -> Iterator[object]:
    decoder = json.JSONDecoder()
    at = _next(text, 0)
    while at < len(text):
        found, at = decoder.raw_decode(text, at)
        yield found
        at = _next(text, at)


def _next(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


class _Loader(yaml.CSafeLoader):
    """Without merge keys: a few lines of them grow without a bound."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        for key, _ in node.value:
            if key.tag == _MERGE:
                raise yaml.YAMLError("merge keys (<<) are not read")
