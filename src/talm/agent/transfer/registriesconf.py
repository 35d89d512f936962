"""`registries.conf` (version 2): where podman, CRI-O and skopeo look for an image.

    name ──► entry with the longest prefix ──► its mirrors (by digest, by tag), its location
                                               └─► each as it is written there, unless blocked

Rules of containers/image, sysregistriesv2: `blocked` and `insecure` of an entry hold for what is
really asked, so that a blocked source with mirrors is read from the mirrors alone.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from talm.agent.content.references import Reference
from talm.agent.transfer.endpoints import is_authority
from talm.agent.transfer.nodefiles import read_toml, refused

_OWN_HELPER: Final = "containers-auth.json"  # stands for the usual auth.json
_WILD: Final = "*."
_PATH: Final = re.compile(r"[a-zA-Z0-9._/-]+")


class PullFrom(enum.StrEnum):
    """Which references a mirror may serve."""

    ALL = "all"
    DIGEST_ONLY = "digest-only"
    TAG_ONLY = "tag-only"


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """A location (HOST[:PORT][/PATH]; "" under a wildcard: the name itself)."""

    location: str
    insecure: bool = False
    pull_from: PullFrom = PullFrom.ALL

    def serves(self, reference: Reference) -> bool:
        """Tell whether this mirror is asked for the reference."""
        match self.pull_from:
            case PullFrom.ALL:
                return True
            case PullFrom.DIGEST_ONLY:
                return bool(reference.digest)
            case PullFrom.TAG_ONLY:
                return not reference.digest


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One `[[registry]]`."""

    prefix: str
    source: Place
    mirrors: tuple[Place, ...] = ()
    blocked: bool = False

    def match(self, name: str) -> int:
        """Return how many characters of `name` the prefix covers; -1: it does not match.

        A colon ends a prefix too: `example.com` covers `example.com:5000` for the runtimes.
        """
        end = len(self.prefix)
        if self.prefix.startswith(_WILD):
            host = name.partition("/")[0]
            found = name.find(self.prefix[1:])
            if not 0 <= found < len(host):
                return -1
            end += found - 1
        elif not name.startswith(self.prefix):
            return -1
        return end if name[end : end + 1] in ("", "/", ":") else -1


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """One name to ask instead of the written one, in full."""

    registry: str
    path: str
    insecure: bool


@dataclasses.dataclass(frozen=True, slots=True)
class RegistriesConf:
    """All entries, by prefix.  `helpers` would know credentials, and are programs."""

    entries: Mapping[str, Entry] = dataclasses.field(default_factory=dict)
    helpers: tuple[str, ...] = ()

    def find(self, name: str) -> Entry | None:
        """Return the entry with the longest prefix of `registry/path`."""
        fitting = [entry for entry in self.entries.values() if entry.match(name) >= 0]
        return max(fitting, key=lambda entry: len(entry.prefix), default=None)

    def sources(self, reference: Reference) -> tuple[Source, ...] | None:
        """Return what to ask, in order; None: nothing is said about it; empty: it is blocked.

        Raises ValueError when an entry turns the name into something that is none.
        """
        name = f"{reference.registry}/{reference.path}"
        entry = self.find(name)
        if entry is None:
            return None
        places = [place for place in entry.mirrors if place.serves(reference)]
        return tuple(self._allowed(entry, name, [*places, entry.source]))

    def _allowed(self, entry: Entry, name: str, places: Iterable[Place]) -> Iterable[Source]:
        for place in places:
            new = place.location + name[entry.match(name) :] if place.location else name
            registry, _, path = new.partition("/")
            if not is_authority(registry) or not path:
                raise ValueError(f"prefix {entry.prefix!r} turns {name} into {new!r}")
            there = self.find(new)
            if there is None or not there.blocked:
                insecure = place.insecure or (there is not None and there.source.insecure)
                yield Source(registry, path, insecure)


class _Mirror(msgspec.Struct, rename="kebab"):
    location: str = ""
    insecure: bool = False
    pull_from_mirror: str = ""


class _Registry(msgspec.Struct, rename="kebab"):
    prefix: str = ""
    location: str = ""
    insecure: bool = False
    blocked: bool = False
    mirror_by_digest_only: bool = False
    mirror: list[_Mirror] = []


class _File(msgspec.Struct, rename="kebab"):
    registry: list[_Registry] = []
    registries: dict[str, Any] | None = None
    credential_helpers: list[str] = []


def read_registries_conf(directory: Path) -> RegistriesConf:
    """Read `registries.conf` and then `registries.conf.d/*.conf` of `directory`, by name.

    A later file's entry replaces an earlier one of the same prefix whole.  Raises AgentError
    (InvalidSpec) that names the file and the key.
    """
    entries: dict[str, Entry] = {}
    helpers: list[str] = []
    files = [directory / "registries.conf"]
    files += sorted((directory / "registries.conf.d").glob("*.conf"))
    for file in files:
        if (read := read_toml(file, _File)) is not None:
            entries |= _entries(file, read)
            named = [name for name in read.credential_helpers if name != _OWN_HELPER]
            helpers += [f"credential-helpers of {file} ({', '.join(named)})"] if named else []
    return RegistriesConf(entries, tuple(helpers))


def _entries(file: Path, read: _File) -> dict[str, Entry]:
    if read.registries is not None:
        raise refused(file, "[registries] is version 1 of the format; version 2 is read")
    entries: dict[str, Entry] = {}
    for number, written in enumerate(read.registry):
        try:
            entry = _entry(written)
        except ValueError as exc:
            raise refused(file, f"registry[{number}]: {exc}") from exc
        entries.setdefault(entry.prefix, entry)  # within one file the first one counts
    return entries


def _entry(written: _Registry) -> Entry:
    wild = written.prefix.startswith(_WILD)
    source = Place(_location("location", written.location, may_lack=wild), written.insecure)
    prefix = _WILD + _location("prefix", written.prefix[len(_WILD) :]) if wild else ""
    if written.prefix and not wild:
        prefix = _location("prefix", written.prefix)
    mirrors = []
    for number, mirror in enumerate(written.mirror):
        location = _location(f"mirror[{number}].location", mirror.location)
        pull_from = _pull_from(number, mirror, written.mirror_by_digest_only)
        mirrors.append(Place(location, mirror.insecure, pull_from))
    return Entry(prefix or source.location, source, tuple(mirrors), written.blocked)


def _pull_from(number: int, mirror: _Mirror, digest_only: bool) -> PullFrom:
    key = f"mirror[{number}].pull-from-mirror"
    if not mirror.pull_from_mirror:
        return PullFrom.DIGEST_ONLY if digest_only else PullFrom.ALL
    if digest_only:
        raise ValueError(f"{key}: it contradicts mirror-by-digest-only")
    if mirror.pull_from_mirror not in tuple(PullFrom):
        raise ValueError(f"{key}: it is none of {', '.join(PullFrom)}")
    return PullFrom(mirror.pull_from_mirror)


def _location(key: str, text: str, *, may_lack: bool = False) -> str:
    """Check HOST[:PORT][/PATH]."""
    text = text.rstrip("/")
    if not text and may_lack:
        return ""
    if not text:
        raise ValueError(f"{key}: it is missing")
    registry, slash, path = text.partition("/")
    if not is_authority(registry) or (slash and not _PATH.fullmatch(path)):
        raise ValueError(f"{key}: it is not HOST[:PORT][/PATH]")
    return text
