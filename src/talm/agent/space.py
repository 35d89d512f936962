"""Will it fit?  Pure: file systems and the kubelet's limits in, shortages and warnings out.

Filling a node up to its last byte would be worse than not pulling: from the image GC threshold on
the kubelet removes images (the new ones first, nobody uses them yet), below an eviction limit it
ends pods.  So what counts as free is what is free *under* these limits.
Not here: reading the file systems (nodefacts.py) and the kubelet's file (kubelet.py).
"""

from __future__ import annotations

import dataclasses
import enum
import heapq
from collections.abc import Mapping, Sequence
from typing import Final

from talm.agent.plan import UNPACKED_FACTOR, Plan
from talm.agent.stores.turns import AT_ONCE

# mke2fs' own guess of a file's mean size (one inode per 16 KiB); layers do not tell their files.
_BYTES_PER_FILE: Final = 16 << 10


class Role(enum.StrEnum):
    """What a file system is to a run."""

    IMAGES = "image store"
    SPOOL = "spool"
    IMPORTS = "imports"  # copies of the layers of images that are being put into the store
    KUBELET = "kubelet"


@dataclasses.dataclass(frozen=True, slots=True)
class FileSystem:
    """One file system, with all the roles that it plays.  Bytes; `inodes` 0: it has no limit."""

    place: str
    roles: frozenset[Role]
    size: int
    free: int
    inodes: int = 0
    inodes_free: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Limit:
    """What must stay free: a share of the whole (0 to 1) and an amount, whichever is more."""

    share: float = 0.0
    amount: int = 0

    def of(self, whole: int) -> int:
        """Return the amount for a file system of `whole`."""
        return max(round(whole * self.share), self.amount)

    def __or__(self, other: Limit) -> Limit:
        """Both must hold (a hard and a soft limit)."""
        return Limit(max(self.share, other.share), max(self.amount, other.amount))


@dataclasses.dataclass(frozen=True, slots=True)
class Rules:
    """The kubelet's limits, as its configuration says; without one these are its defaults.

    Source of the defaults: kubelet's `imageGCHighThresholdPercent` and `evictionHard`.
    """

    gc_high_percent: int = 85
    nodefs: Limit = Limit(0.10)
    nodefs_inodes: Limit = Limit(0.05)
    imagefs: Limit = Limit(0.15)
    imagefs_inodes: Limit = Limit(0.05)
    source: str = "the kubelet's defaults"

    def kept_bytes(self, system: FileSystem) -> int:
        """How many bytes of `system` must stay free."""
        kept = [0]
        if Role.IMAGES in system.roles:
            gc = Limit((100 - self.gc_high_percent) / 100)
            kept += [gc.of(system.size), self.imagefs.of(system.size)]
        if Role.KUBELET in system.roles:
            kept.append(self.nodefs.of(system.size))
        return max(kept)

    def kept_inodes(self, system: FileSystem) -> int:
        """How many inodes of `system` must stay free."""
        kept = [0]
        if Role.IMAGES in system.roles:
            kept.append(self.imagefs_inodes.of(system.inodes))
        if Role.KUBELET in system.roles:
            kept.append(self.nodefs_inodes.of(system.inodes))
        return max(kept)


NO_KUBELET: Final = Rules(100, Limit(), Limit(), Limit(), Limit(), "no kubelet here")


@dataclasses.dataclass(frozen=True, slots=True)
class Footprint:
    """What a store makes of a layer: it keeps the bytes as served, unpacks them, or both."""

    compressed: bool
    unpacked: bool

    def of(self, size: int) -> int:
        """Return the estimated size in the store of `size` compressed bytes."""
        return size * (self.compressed + self.unpacked * UNPACKED_FACTOR)


# By the word before the colon of the store's name; an unknown kind is taken to do both.
FOOTPRINTS: Final[Mapping[str, Footprint]] = {
    "oci-layout": Footprint(compressed=True, unpacked=False),
    "containers-storage": Footprint(compressed=False, unpacked=True),
    "containerd": Footprint(compressed=True, unpacked=True),
}
BOTH: Final = Footprint(compressed=True, unpacked=True)


@dataclasses.dataclass(frozen=True, slots=True)
class Needs:
    """The peak of one run: all of it downloaded, all of it in the store, layers counted once.

    Imports may lag behind the link, so the spool may hold everything at one moment.
    `imports`: what the images that are put in at one moment have in copies, where a store makes any.
    `required`: what the user wants to see free, less what of it is here already.
    """

    spool: int = 0
    store: int = 0
    imports: int = 0
    spool_files: int = 0
    store_files: int = 0
    required: int = 0
    moves: bool = False
    """Blobs are renamed into the store where spool and store share a file system."""

    def bytes_on(self, system: FileSystem) -> int:
        """How many bytes the run takes of `system` at its peak."""
        copies = self.imports if Role.IMPORTS in system.roles else 0
        return self._sum(system, self.spool, self.store) + copies

    def files_on(self, system: FileSystem) -> int:
        """How many inodes it takes there; copies that are being imported are few."""
        return self._sum(system, self.spool_files, self.store_files)

    def _sum(self, system: FileSystem, spool: int, store: int) -> int:
        parts = []
        if Role.SPOOL in system.roles:
            parts.append(spool)
        if Role.IMAGES in system.roles and not (self.moves and parts):
            parts.append(store)
        return sum(parts)


def needs_of(plan: Plan, kind: str, required_gib: int) -> Needs:
    """Return what `plan` needs for a store of `kind`; nothing when nothing is missing.

    `required_gib` is for the whole of the images: what a run before has brought is taken off, so
    that an attempt that goes on is not refused for what the first one has used.
    """
    if not plan.missing:
        return Needs()
    footprint = FOOTPRINTS.get(kind, BOTH)
    present = footprint.of(plan.total_bytes - plan.missing_bytes) + plan.spooled_bytes
    unpacked = plan.unpacked_bytes // _BYTES_PER_FILE if footprint.unpacked else 0
    return Needs(
        spool=plan.download_bytes,
        store=footprint.of(plan.missing_bytes),
        imports=_at_once(plan),
        spool_files=len(plan.missing),
        store_files=len(plan.missing) * footprint.compressed + unpacked,
        required=max(0, (required_gib << 30) - present),
        moves=not footprint.unpacked,
    )


def _at_once(plan: Plan) -> int:
    """Return the bytes of the largest images that may be put into the store at the same time.

    Measured with skopeo: it keeps a copy, as served, of every layer that the store lacks until the
    image is through.
    """
    sizes = (sum(blob.size for blob in planned.missing) for planned in plan.images)
    return sum(heapq.nlargest(AT_ONCE, sizes))


def shortages(needs: Needs, systems: Sequence[FileSystem], rules: Rules) -> tuple[str, ...]:
    """Say of each file system that is too small what is needed, free, and kept free by a limit."""
    found = []
    for system in systems:
        needed = needs.bytes_on(system)
        if Role.IMAGES in system.roles:
            needed = max(needed, needs.required)
        usable = max(0, system.free - rules.kept_bytes(system))
        if needed > usable:
            found.append(
                f"{_title(system)}: {_gib(needed)} needed, {_gib(usable)} free"
                f"{_bytes_limit(system, rules)}"
            )
        files = needs.files_on(system) if system.inodes else 0
        usable = max(0, system.inodes_free - rules.kept_inodes(system))
        if files > usable:
            found.append(
                f"{_title(system)}: about {files} inodes needed, {usable} free"
                f" above the eviction limit of {rules.kept_inodes(system)} ({rules.source})"
            )
    return tuple(found)


def warnings(systems: Sequence[FileSystem], rules: Rules) -> tuple[str, ...]:
    """Say of each file system that is beyond a limit of the kubelet what may happen now."""
    found = []
    for system in systems:
        if system.size and system.free < rules.kept_bytes(system):
            full = 100 - system.free * 100 / system.size
            found.append(
                f"{_title(system)}: {full:.0f} % full, {_gib(system.free)} free"
                f"{_bytes_limit(system, rules)}: images may be removed again, or pods evicted"
            )
        if system.inodes and system.inodes_free < rules.kept_inodes(system):
            found.append(
                f"{_title(system)}: {system.inodes_free} inodes free, the eviction limit is"
                f" {rules.kept_inodes(system)} ({rules.source})"
            )
    return tuple(found)


def _bytes_limit(system: FileSystem, rules: Rules) -> str:
    kept = rules.kept_bytes(system)
    if not kept:
        return ""
    threshold = 100 - kept * 100 / system.size if system.size else 0
    return (
        f" under the kubelet's threshold of {threshold:.0f} %"
        f" ({_gib(kept)} of {_gib(system.size)} stay free; {rules.source})"
    )


def _title(system: FileSystem) -> str:
    roles = " and ".join(role for role in Role if role in system.roles)
    return f"{system.place} ({roles})"


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"
