"""What works own on a spoke: made or adopted when they are applied, deleted when they end.

It outlives a restart of the agent, as OCM's agent keeps its books on the spoke (AppliedManifestWork).
What several works own goes with the last of them.
"""

from __future__ import annotations

from collections.abc import Iterator

from talm.api.kinds import Kind
from talm.errors import NotFound
from talm.sim.agents.mergepatch import apply_patch
from talm.sim.agents.workwire import Manifest
from talm.sim.spoke.spokes import SpokeApi

Key = tuple[Kind, str, str]  # kind, namespace, name


class Belongings:
    """By work: the objects that it owns, each with the uid that it had."""

    def __init__(self, spoke: SpokeApi) -> None:
        self._spoke = spoke
        self._owned: dict[str, dict[Key, str]] = {}

    async def apply(self, work: str, manifest: Manifest) -> None:
        """Make the object or mend it; what was there before is owned from now on, too.

        Raises ApiError.
        """
        kind, namespace, name = manifest.key
        try:
            there = await self._spoke.get(kind, namespace, name)
        except NotFound:
            await self._spoke.create(kind, namespace, manifest.body)
            there = await self._spoke.get(kind, namespace, name)
        else:
            wanted = {key: value for key, value in manifest.body.items() if key != "status"}
            if not manifest.creates_only and apply_patch(there, wanted) != there:
                await self._spoke.merge_patch(kind, namespace, name, wanted)
        self._owned.setdefault(work, {})[manifest.key] = str(there["metadata"]["uid"])

    async def keep_only(self, work: str, wanted: set[Key]) -> None:
        """Delete what the work does not name any more.  Raises ApiError."""
        for key in [key for key in self._owned.get(work, {}) if key not in wanted]:
            await self._delete(work, key)
            self._owned[work].pop(key)

    async def delete(self, work: str) -> int:
        """Delete all that the work owns; how many objects are still there.  Raises ApiError."""
        order = sorted(self._owned.get(work, {}), key=_deletion_order)
        left = [key for key in order if await self._delete(work, key)]
        if not left:
            self._owned.pop(work, None)
        return len(left)

    def owners(self, key: Key) -> Iterator[str]:
        """The works that own this object."""
        return (work for work, owned in self._owned.items() if key in owned)

    async def _delete(self, work: str, key: Key) -> bool:
        """Delete what only this work owns; whether it is still there."""
        if any(owner != work for owner in self.owners(key)):
            return False
        kind, namespace, name = key
        try:
            there = await self._spoke.get(kind, namespace, name)
            if there["metadata"]["uid"] != self._owned[work][key]:
                return False
            await self._spoke.delete(kind, namespace, name, "Background")
        except NotFound:
            return False
        return True


def _deletion_order(key: Key) -> tuple[str, ...]:
    kind, namespace, name = key
    return kind.group, kind.version, kind.plural, namespace, name
