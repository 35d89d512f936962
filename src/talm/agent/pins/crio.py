"""Pins in a CRI-O that nobody else manages: a file of ours among its configuration.

    crio.conf ──► crio.conf.d, in the order of names ──► the last list of `pinned_images` counts, whole

So ours comes last and repeats the list that would count without it.  It is there before the first
image, so that each is pinned from the moment of its import.  CRI-O reads its files again on SIGHUP;
what is asked back is what it then tells the kubelet of each image.
Source of the rules: CRI-O 1.34, crio.conf(5) and pkg/config (a later file's list replaces an earlier
one's; files of the directory are taken whatever their names' endings, in subdirectories too; an exact
entry must be the whole of one of the image's names).
"""

from __future__ import annotations

import asyncio
import json
import os
import time
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol

from talm.agent.content.manifests import Image
from talm.agent.failures import failure
from talm.agent.pins.base import PINNED, Verdict, unpinned
from talm.agent.stores.names import names_of
from talm.agent.transfer.spool import storage_errors
from talm.api.progress import FailureClass

CONFIGURATION: Final = Path("etc/crio/crio.conf")  # below the node's root
DIRECTORY: Final = Path("etc/crio/crio.conf.d")
OURS: Final = "zzz-talm-pinned-images.conf"
_FRESH: Final = f"{OURS}.new"
_HEAD: Final = """\
# Written by talm: images that were cached for an upgrade stay until it is over (talm agent unpin).
# The list of the other files is repeated here, since CRI-O takes the last one whole.
"""
_RELOADED_WITHIN_S: Final = 10.0
_LOOK_S: Final = 0.5


class Runtime(Protocol):
    """CRI-O itself."""

    async def reload(self) -> None:
        """Have it read its configuration again; that may take it a moment."""
        ...

    async def pinned(self, name: str = "") -> frozenset[str]:
        """Ask which names of images it reports as pinned; `name`: of this image only."""
        ...


class CrioPins:
    """The file of ours on the node whose root is at `root`."""

    def __init__(
        self, root: Path, runtime: Runtime, patience_s: float = _RELOADED_WITHIN_S
    ) -> None:
        self._root = root
        self._runtime = runtime
        self._patience_s = patience_s

    async def expect(self, images: Sequence[Image]) -> None:
        """Pin the names, beside those that an earlier run has pinned."""
        await self._list([*own_list(self._root), *_names(images)])

    async def pin(self, image: Image) -> Verdict:
        """Ask whether the image is pinned, as it should be by its name."""
        return await self._asked([image])

    async def conclude(self, images: Sequence[Image]) -> Verdict:
        """Pin these names and no others of ours."""
        await self._list(_names(images))
        return await self._asked(images)

    async def release(self, run: str = "") -> int:
        """Remove the file, whosever it is: the note says so."""
        count = len(own_list(self._root))
        ours = self._root / DIRECTORY / OURS
        with storage_errors(ours):
            there = ours.exists()
            ours.unlink(missing_ok=True)
        if there:
            await self._runtime.reload()
        return count

    async def _list(self, names: Sequence[str]) -> None:
        """Write the file when it says something else, and have it read."""
        with storage_errors(self._root / DIRECTORY):
            changed = write_list(self._root, names)
        if changed:
            await self._runtime.reload()

    async def _asked(self, images: Sequence[Image]) -> Verdict:
        """Ask until CRI-O says so; it reads its files a moment after it was told to."""
        wanted = _names(images)
        which = wanted[0] if len(images) == 1 else ""
        give_up_at = time.monotonic() + self._patience_s
        while True:
            lost = set(wanted) - await self._runtime.pinned(which)
            if not lost:
                return PINNED
            if time.monotonic() >= give_up_at:
                text = f"CRI-O does not report {len(lost)} of {len(wanted)} images as pinned"
                return unpinned(f"{text}, such as {min(lost)}{overruled(self._root)}")
            await asyncio.sleep(_LOOK_S)


def _names(images: Sequence[Image]) -> list[str]:
    """The name by digest of each image: a tag may come to mean another one."""
    return [names_of(image)[0] for image in images]


def own_list(root: Path) -> list[str]:
    """Return the names that our file adds to the others' list; empty when there is none."""
    ours = root / DIRECTORY / OURS
    theirs = set(effective_list(root))
    return [name for name in _listed(ours) or () if name not in theirs] if ours.exists() else []


def effective_list(root: Path) -> list[str]:
    """Return what `pinned_images` is without our file.

    Raises AgentError (StoreFailed) for a file that cannot be read: CRI-O could not, either.
    """
    found: list[str] = []
    for file in _files(root):
        listed = _listed(file)
        found = found if listed is None else listed
    return found


def overruled(root: Path) -> str:
    """Name the file that CRI-O reads after ours and that has a list of its own; "" for none."""
    directory = root / DIRECTORY
    with storage_errors(directory):
        for file in _walk(directory):
            place = file.relative_to(directory)
            if _in_order(place.parts[0]) > _in_order(_FRESH) and _listed(file) is not None:
                return f"; /{DIRECTORY / place} is read later and has a list of its own"
    return ""


def write_list(root: Path, names: Sequence[str]) -> bool:
    """Write our file with the others' list and `names`; False: it says so already.  Raises OSError.

    It is replaced at one moment.  The fresh one lies in the same directory, as no other one is
    writable, and is written at once: whole or still empty, CRI-O can read it.
    """
    ours = root / DIRECTORY / OURS
    listed = list(dict.fromkeys([*effective_list(root), *names]))
    if ours.exists() and _listed(ours) == listed:
        return False
    entries = "".join(f"  {json.dumps(name)},\n" for name in listed)
    text = f"{_HEAD}[crio.image]\npinned_images = [\n{entries}]\n"
    fresh = ours.with_name(_FRESH)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        os.write(descriptor, text.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    fresh.replace(ours)
    return True


def _files(root: Path) -> Iterator[Path]:
    """Yield the configuration in the order in which CRI-O reads it, without what is ours."""
    if (root / CONFIGURATION).exists():
        yield root / CONFIGURATION
    with storage_errors(root / DIRECTORY):
        yield from (f for f in _walk(root / DIRECTORY) if f.name not in (OURS, _FRESH))


def _walk(directory: Path) -> Iterator[Path]:
    """Yield the files as Go's filepath.Walk does: by name, a directory's at its place."""
    for entry in sorted(directory.iterdir(), key=lambda path: _in_order(path.name)):
        if entry.is_dir() and not entry.is_symlink():
            yield from _walk(entry)
        else:
            yield entry


def _in_order(name: str) -> bytes:
    return os.fsencode(name)


def _listed(file: Path) -> list[str] | None:
    """Return the file's `pinned_images`; None where it says nothing of them."""
    with storage_errors(file):
        try:
            content = tomllib.loads(file.read_text())
        except ValueError as exc:
            raise _damaged(file, str(exc)) from exc
    image = (content.get("crio") or {}).get("image") or {}
    listed = image.get("pinned_images")
    if listed is None:
        return None
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise _damaged(file, "pinned_images is no list of strings")
    return listed


def _damaged(file: Path, why: str) -> Exception:
    return failure(FailureClass.STORE_FAILED, f"{file} is damaged: {why}")
