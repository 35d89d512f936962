"""File-based catalogs: streams of JSON objects, or YAML documents, one package over many files.

Of each blob only what names images and their order is kept, and only of the packages asked for:
the rest of a catalog is hundreds of MiB of descriptions.  Blobs of schemas that name no images
(deprecations, a vendor's own) may look as they like.  What one blob may take is bounded, since
all of it was written by others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, TypeVar

import msgspec
import yaml

from talm.agent.catalog.channels import BadCatalog, Bundle, Channel, Entry, Package
from talm.agent.catalog.ignoring import FILE_NAME, Ignoring
from talm.agent.transfer.nodefiles import YAML_ERRORS

_MAX_DEPTH: Final = 100  # the deepest of real catalogs, a CSV's schemas, has 30
_MAX_BLOB: Final = 8 << 20  # twice what a catalog can send to the cluster in one message
_MAX_NODES: Final = 100_000  # of one YAML document, about 1 KiB of memory each
_MAX_KEPT: Final = 500_000  # entries and images of all wanted packages
_SNIFFED: Final = 4096  # bytes that decide between the languages
_MERGE: Final = "tag:yaml.org,2002:merge"
_VERSION_PROPERTY: Final = "olm.package"
_CHANNEL: Final = "olm.channel"
_BUNDLE: Final = "olm.bundle"
# A string of JSON (to its end, or the file's), or what opens or closes an object or a list.
_TOKEN: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\Z)|[{}\[\]]', re.DOTALL)

T = TypeVar("T")
_Found = tuple[str, Channel | Bundle | None]


class _Head(msgspec.Struct):
    schema: str = ""
    name: str = ""
    package: str = ""


class _WireEntry(msgspec.Struct, rename="camel"):
    name: str
    replaces: str | None = None
    skips: list[str] | None = None
    skip_range: str | None = None


class _WireChannel(msgspec.Struct):
    name: str
    entries: list[_WireEntry] | None = None


class _Related(msgspec.Struct):
    image: str | None = None


class _Property(msgspec.Struct):
    type: str = ""
    value: Any = None


class _WireBundle(msgspec.Struct, rename="camel"):
    name: str
    image: str | None = None
    properties: list[_Property] | None = None
    related_images: list[_Related | None] | None = None


class Collector:
    """The wanted packages of one catalog, file by file, in any order."""

    def __init__(self, wanted: frozenset[str]) -> None:
        self._wanted = wanted
        self._spellings = tuple(name.encode() for name in wanted)
        self._files: dict[str, list[_Found] | BadCatalog] = {}
        self._ignoring: dict[str, bytes] = {}
        self._kept = 0

    def add(self, path: str, content: bytes) -> None:
        """Take what matters of one file; `path` is below the catalog's directory.

        What is wrong with a file is raised in the end: the file may be one that is ignored.
        """
        where, _, name = path.rpartition("/")
        if name == FILE_NAME:
            self._ignoring[where] = content
            return
        # A file that does not contain the name of a wanted package is not worth parsing; names
        # of packages need no escapes in either language.
        if not any(spelling in content for spelling in self._spellings):
            return
        try:
            self._files[path] = list(self._found(content))
        except YAML_ERRORS as exc:
            self._files[path] = BadCatalog(f"{path}: {exc}")

    def packages(self) -> dict[str, Package]:
        """Return the packages that were found.  Raises BadCatalog that names the file."""
        ignoring = Ignoring(self._ignoring)
        channels: dict[str, dict[str, Channel]] = {}
        bundles: dict[str, dict[str, Bundle]] = {}
        for path in sorted(self._files):
            if ignoring.ignores(path):
                continue
            found = self._files[path]
            if isinstance(found, BadCatalog):
                raise found
            for package, item in found:
                of_channels = channels.setdefault(package, {})
                of_bundles = bundles.setdefault(package, {})
                if isinstance(item, Channel):
                    _once(of_channels, item.name, item, f"{path}: channel", package)
                elif item:
                    _once(of_bundles, item.name, item, f"{path}: bundle", package)
        return {name: Package(name, channels[name], bundles[name]) for name in channels}

    def _found(self, content: bytes) -> Iterator[_Found]:
        is_json = content[:_SNIFFED].removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{"
        for document in _json_documents(content) if is_json else _yaml_documents(content):
            head = _typed(document, _Head)
            if head.schema == "olm.package" and head.name in self._wanted:
                yield head.name, None
            if head.package not in self._wanted or head.schema not in (_CHANNEL, _BUNDLE):
                continue
            try:
                yield head.package, self._item(head.schema, document)
            except ValueError as exc:
                raise ValueError(f"{head.schema} {head.name}: {exc}") from exc

    def _item(self, schema: str, document: object) -> Channel | Bundle:
        if schema == _CHANNEL:
            channel = _channel(_typed(document, _WireChannel))
            self._keep(sum(1 + len(entry.skips) for entry in channel.entries))
            return channel
        bundle = _bundle(_typed(document, _WireBundle))
        self._keep(len(bundle.related))
        return bundle

    def _keep(self, count: int) -> None:
        self._kept += 1 + count
        if self._kept > _MAX_KEPT:
            raise ValueError(f"more than {_MAX_KEPT} entries and images")


def _once(known: dict[str, T], name: str, value: T, what: str, package: str) -> None:
    if name in known and known[name] != value:
        raise BadCatalog(f"{what} {name} of package {package} is there twice, with other content")
    known[name] = value


def _channel(wire: _WireChannel) -> Channel:
    entries = tuple(
        Entry(e.name, e.replaces or "", tuple(e.skips or ()), e.skip_range or "")
        for e in wire.entries or ()
    )
    return Channel(wire.name, entries)


def _bundle(wire: _WireBundle) -> Bundle:
    versions = [
        p.value.get("version", "")
        for p in wire.properties or ()
        if p.type == _VERSION_PROPERTY and isinstance(p.value, dict)
    ]
    if not all(isinstance(version, str) for version in versions):
        raise ValueError("its version is no text")
    related = tuple(r.image for r in wire.related_images or () if r is not None and r.image)
    return Bundle(wire.name, versions[0] if versions else "", wire.image or "", related)


def _typed(document: object, kind: type[T]) -> T:
    if isinstance(document, memoryview):
        return msgspec.json.decode(document, type=kind)
    return msgspec.convert(document, kind)


def _json_documents(content: bytes) -> Iterator[memoryview]:
    """Yield each object's bytes: only what is wanted of it will be decoded."""
    whole = memoryview(content)
    end = 3 if content.startswith(b"\xef\xbb\xbf") else 0
    start, depth = end, 0
    for token in _TOKEN.finditer(content):
        at = token.start()
        if content[at] in b"{[":
            if not depth:
                start = at
                _check_blank(content[end:start])
            depth += 1
        elif content[at] in b"}]":
            depth -= 1
        if depth > _MAX_DEPTH or depth < 0 or token.end() - start > _MAX_BLOB:
            raise ValueError(f"the object at byte {start} is too deep, too large or not closed")
        if not depth and content[at] in b"}]":
            end = token.end()
            yield whole[start:end]
    _check_blank(content[end:])


def _check_blank(between: bytes) -> None:
    if between.strip():
        raise ValueError(f"{between.strip()[:40]!r} is between objects or after them")


def _yaml_documents(content: bytes) -> Iterator[object]:
    text = content.decode("utf-8-sig")
    _check_nodes(text)
    yield from (document for document in yaml.load_all(text, _Loader) if document is not None)


def _check_nodes(text: str) -> None:
    """Refuse what nests without end, where the loader would crash the process, or is too large."""
    depth = nodes = 0
    for event in yaml.parse(text, _Loader):
        if isinstance(event, yaml.DocumentStartEvent):
            nodes = 0
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.NodeEvent):
            nodes += 1
            depth += isinstance(event, yaml.CollectionStartEvent)
        if depth > _MAX_DEPTH or nodes > _MAX_NODES:
            raise ValueError(f"it is nested more than {_MAX_DEPTH} deep, or too large")


class _Loader(yaml.CSafeLoader):
    """Without merge keys: a few lines of them grow without a bound."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        for key, _ in node.value:
            if key.tag == _MERGE:
                raise yaml.YAMLError("merge keys (<<) are not read")
