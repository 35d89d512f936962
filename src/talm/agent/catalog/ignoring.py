"""`.indexignore`: files that lie in a catalog's directory and are no part of it.

The rules are those of `.gitignore` as the catalogs' own tool reads them (opm, by go-git): the last
line that matches a file, or a directory above it, decides, whichever file it is written in.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final

from talm.agent.catalog.channels import BadCatalog

FILE_NAME: Final = ".indexignore"
_MAX_BYTES: Final = 64 << 10
_ESCAPE: Final = re.compile(r"\\(.)")


@dataclasses.dataclass(frozen=True, slots=True)
class _Pattern:
    """One line of the file in the directory `where`."""

    where: tuple[str, ...]
    parts: tuple[str, ...]
    takes_back: bool
    only_directories: bool

    def matches(self, path: Sequence[str]) -> bool:
        """Tell whether it is about the file `path`, or about a directory above it."""
        if len(path) <= len(self.where) or tuple(path[: len(self.where)]) != self.where:
            return False
        path = path[len(self.where) :]
        if len(self.parts) > 1:
            return self._matches_path(path)
        above = path[:-1] if self.only_directories else path
        return any(fnmatchcase(name, self.parts[0]) for name in above)

    def _matches_path(self, path: Sequence[str]) -> bool:
        """Walk both from the left; `**` passes over any number of directories."""
        left = list(path)
        anywhere = False
        for number, part in enumerate(self.parts):
            if part == "**":
                anywhere = number < len(self.parts) - 1
                continue
            while anywhere and left and not fnmatchcase(left[0], part):
                left.pop(0)
            if not left or not fnmatchcase(left.pop(0), part):
                return False
            anywhere = False
        return bool(left) or not self.only_directories


class Ignoring:
    """All `.indexignore` files of one catalog, by the directory that they are in."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._patterns = [
            pattern for where in sorted(files) for pattern in _patterns(where, files[where])
        ]

    def ignores(self, path: str) -> bool:
        """Tell whether the file `path` is to be left out."""
        names = path.split("/")
        for pattern in reversed(self._patterns):
            if pattern.matches(names):
                return not pattern.takes_back
        return False


def _patterns(where: str, content: bytes) -> list[_Pattern]:
    if len(content) > _MAX_BYTES:
        raise BadCatalog(f"{where}/{FILE_NAME} has {len(content)} bytes")
    lines = content.decode(errors="replace").splitlines()
    return [_pattern(where, line) for line in lines if line.strip() and not line.startswith("#")]


def _pattern(where: str, line: str) -> _Pattern:
    text = line.removeprefix("!")
    text = text if text.endswith("\\ ") else text.rstrip(" ")
    only_directories = text.endswith("/")
    text = text.removesuffix("/")
    is_anchored = "/" in text
    parts = tuple(_glob(part) for part in text.split("/") if part)
    if is_anchored and len(parts) == 1:
        parts = (*parts, "**")  # about this directory alone, and all that is below the name
    directory = tuple(name for name in where.split("/") if name)
    return _Pattern(directory, parts or ("",), line.startswith("!"), only_directories)


def _glob(part: str) -> str:
    """Write a part as fnmatch reads it: `[!a]` for `[^a]`, `[x]` for `\\x`."""
    return part if part == "**" else _ESCAPE.sub(r"[\1]", part).replace("[^", "[!")
