"""A stack of layers: which files it shows, found from the top down.

    top layer ──► what it hides ──► next layer ──► … until nothing below can be seen any more

Whiteouts are honored as runtimes do.  Links are not followed.  What is kept in mind of paths is
bounded, since all of it was written by others.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from talm.agent.content.archive import BadLayer, EntryKind, Limits, Member, members

_WHITEOUT: Final = ".wh."
_OPAQUE: Final = ".wh..wh..opq"


class Overlay:
    """What upper layers hide of the lower ones, at and below `root`; layers come from the top."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._hidden: set[str] = set()  # the path and all below
        self._opaque: set[str] = set()  # all below, not the path
        self._directories: set[str] = set()  # hides what is no directory there
        self._names = 0  # how many characters all of them have

    @property
    def is_closed(self) -> bool:
        """Whether no lower layer can show anything any more."""
        ways = set(_ways(self.root))
        return bool(ways & self._hidden or ways & self._opaque)

    def visible(self, layer: Path, limits: Limits) -> Iterator[Member]:
        """Yield the files of the next lower layer that are at or below the root and not hidden.

        Raises BadLayer, also for a link in a place that is looked at.
        """
        below = Overlay(self.root)
        listed: set[str] = set()
        for member in members(layer, limits):
            if not self._concerns(member.path):
                continue
            if self._names + below._names > limits.names:
                raise BadLayer(f"its paths have more than {limits.names} characters")
            if _is_whiteout(member.path):
                below._hide(member.path)
                continue
            if self._hides(member):
                continue
            below._note(member)
            if member.kind is EntryKind.LINK:
                raise BadLayer(f"{member.path} is a link, which is not followed")
            at_or_below = f"{member.path}/".startswith(f"{self.root}/")
            if member.kind is EntryKind.FILE and at_or_below:
                if member.path in listed:
                    raise BadLayer(f"it lists {member.path} twice")
                listed.add(member.path)
                yield member
        self._hidden |= below._hidden
        self._opaque |= below._opaque
        self._directories |= below._directories
        self._names += below._names

    def _concerns(self, path: str) -> bool:
        """Tell whether an entry can matter: at, below or above the root, or a whiteout there."""
        if _is_whiteout(path):
            where, _, name = path.rpartition("/")
            path = where if name == _OPAQUE else _whited(path)
        root = self.root
        return path in ("", root) or path.startswith(f"{root}/") or root.startswith(f"{path}/")

    def _hides(self, member: Member) -> bool:
        ways = _ways(member.path)
        if any(way in self._hidden for way in ways) or any(w in self._opaque for w in ways[:-1]):
            return True
        return member.kind is not EntryKind.DIRECTORY and member.path in self._directories

    def _hide(self, path: str) -> None:
        where, _, name = path.rpartition("/")
        if name == _OPAQUE:
            self._remember(self._opaque, where)
        elif not name.startswith(".wh..wh."):  # aufs' own bookkeeping
            self._remember(self._hidden, _whited(path))

    def _note(self, member: Member) -> None:
        directory = member.path
        if member.kind is not EntryKind.DIRECTORY:
            self._remember(self._hidden, member.path)
            directory = member.path.rpartition("/")[0]
        # Archives may leave out directories: an entry implies all above it.
        while directory not in self._directories:
            self._remember(self._directories, directory)
            directory = directory.rpartition("/")[0]

    def _remember(self, names: set[str], path: str) -> None:
        if path not in names:
            names.add(path)
            self._names += len(path) + 1


def _ways(path: str) -> tuple[str, ...]:
    """Return "" (the root of all), then every directory down to `path` itself."""
    parts = path.split("/") if path else []
    return "", *("/".join(parts[: n + 1]) for n in range(len(parts)))


def _is_whiteout(path: str) -> bool:
    return path.rpartition("/")[2].startswith(_WHITEOUT)


def _whited(path: str) -> str:
    where, slash, name = path.rpartition("/")
    return f"{where}{slash}{name.removeprefix(_WHITEOUT)}"
