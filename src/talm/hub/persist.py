"""The single writer of a CGU's status: one merge patch per pass, and none when nothing changed.

Only what differs is sent, so others may write conditions too.  What comes back is remembered: a pass
never acts on a status older than its own last write.  What an older CRD prunes of our optional fields goes
on from memory while this process lives; it is sent again with whatever else there is to write (the CRD may
be a newer one by now), and never for its own sake.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from talm.api import kinds
from talm.api.cgu import CguStatus, ClusterGroupUpgrade, PrecachingStatus, UpgradeStatus
from talm.api.meta import changed
from talm.kube.client import Client

from .store import Key, Store

Json = dict[str, Any]
_DECODER: Final = msgspec.json.Decoder(ClusterGroupUpgrade)
_NOTHING: Final = PrecachingStatus()


@dataclass(frozen=True, slots=True)
class _Lost:
    """What the API server did not keep of the last status: `meant` is what should be there.

    `absent` are the fields of pre-caching (wire names) that it keeps nothing of, `again` is what sending
    the same once more would send, but for those.
    """

    uid: str
    kept: PrecachingStatus
    meant: PrecachingStatus
    absent: frozenset[str]
    again: Json


class Persister:
    """Stores statuses, and remembers per CGU what the API server would not keep, and its size."""

    def __init__(self, client: Client, store: Store) -> None:
        self._client = client
        self._store = store
        self._lost: dict[Key, _Lost] = {}
        self._sizes: dict[Key, int] = {}

    async def persist(self, cgu: ClusterGroupUpgrade, status: CguStatus) -> bool:
        """Store the status; False when there was nothing to store.

        Raises `NotFound` when the CGU is gone, and every other `ApiError`.
        """
        if status == cgu.status:
            return False
        key = cgu.metadata.key
        lost = self._of(cgu)
        absent = lost.absent if lost is not None else frozenset()
        wanted = to_wire(status)
        patch = difference(_without(to_wire(cgu.status), absent), wanted)
        news = _without(patch, absent)
        if not news or (lost is not None and news == lost.again):
            if lost is not None:
                self._lost[key] = replace(lost, meant=status.precaching or _NOTHING)
            return False
        answer = await self._client.request(
            "PATCH",
            kinds.CGU.path(key[0], key[1], "status"),
            body={"status": patch},
            content_type="application/merge-patch+json",
        )
        stored = _DECODER.decode(answer)
        self._sizes[key] = len(answer)
        self._store.wrote(stored)
        self._remember(stored, status, wanted)
        return True

    def recall(self, cgu: ClusterGroupUpgrade) -> ClusterGroupUpgrade:
        """The CGU with what an older CRD has pruned of its pre-caching."""
        lost, precaching = self._of(cgu), cgu.status.precaching
        if lost is None or precaching is None:
            return cgu
        fields = {
            name: getattr(lost.meant, name)
            for name in PrecachingStatus.__struct_fields__
            if getattr(precaching, name) == getattr(lost.kept, name) != getattr(lost.meant, name)
        }
        if not fields:
            return cgu
        whole = changed(precaching, **fields)
        return changed(cgu, status=changed(cgu.status, precaching=whole))

    def size(self, key: Key) -> int:
        """How many bytes the CGU had after our last write; 0: there was none yet."""
        return self._sizes.get(key, 0)

    def forget(self, key: Key) -> None:
        """The CGU is gone."""
        self._lost.pop(key, None)
        self._sizes.pop(key, None)

    def _of(self, cgu: ClusterGroupUpgrade) -> _Lost | None:
        lost = self._lost.get(cgu.metadata.key)
        return lost if lost is not None and lost.uid == cgu.metadata.uid else None

    def _remember(self, stored: ClusterGroupUpgrade, wanted: CguStatus, should_be: Json) -> None:
        """`should_be`: what was wanted, as it goes over the wire."""
        key, uid = stored.metadata.key, stored.metadata.uid
        if stored.status == wanted:
            self._lost.pop(key, None)
            return
        is_there = to_wire(stored.status)
        missing = difference(is_there, should_be)
        if not missing:
            self._lost.pop(key, None)
            return
        kept = is_there.get("precaching") or {}
        absent = frozenset(name for name in missing.get("precaching", {}) if name not in kept)
        self._lost[key] = _Lost(
            uid,
            kept=stored.status.precaching or _NOTHING,
            meant=wanted.precaching or _NOTHING,
            absent=absent,
            again=_without(missing, absent),
        )


def _without(status: Json, fields: Iterable[str]) -> Json:
    """A status, or a patch of it, without these fields of pre-caching."""
    block = status.get("precaching")
    if not fields or not block:
        return status
    left = {name: value for name, value in block.items() if name not in fields}
    rest = {name: value for name, value in status.items() if name != "precaching"}
    return {**rest, "precaching": left} if left else rest


def to_wire(status: CguStatus) -> Json:
    """The status as JSON values; `status.status` is always there, `{}` before the start."""
    wire: Json = msgspec.to_builtins(status)
    if status.status == UpgradeStatus():
        wire["status"] = {}
    return wire


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> Json:
    """The JSON merge patch (RFC 7386) from one to the other; lists are replaced as a whole."""
    patch: Json = {name: None for name in before if name not in after}
    for name, value in after.items():
        old = before.get(name)
        if name in before and old == value:
            continue
        if isinstance(value, dict) and isinstance(old, dict):
            patch[name] = difference(old, value)
        else:
            patch[name] = value
    return patch
