"""The single writer of a CGU's status: one merge patch per pass, and none when nothing changed.

Only what differs is sent, so others may write conditions too.  What comes back is remembered: a pass
never acts on a status older than its own last write, and an older CRD that prunes our optional
fields does not make us send them again and again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from talm.api import kinds
from talm.api.cgu import (
    CguStatus,
    ClusterGroupUpgrade,
    PrecachingSpec,
    PrecachingStatus,
    UpgradeStatus,
    Wait,
)
from talm.api.meta import changed
from talm.kube.client import Client

from .store import Key, Store

Json = dict[str, Any]
_DECODER: Final = msgspec.json.Decoder(ClusterGroupUpgrade)


class Persister:
    """Stores statuses, and remembers per CGU what the API server would not keep."""

    def __init__(self, client: Client, store: Store) -> None:
        self._client = client
        self._store = store
        self._pruned: dict[Key, tuple[str, Json]] = {}
        self._waits: dict[Key, tuple[str, dict[str, Wait]]] = {}
        # as kept, as it was meant
        self._specs: dict[Key, tuple[str, PrecachingSpec | None, PrecachingSpec | None]] = {}

    async def persist(self, cgu: ClusterGroupUpgrade, status: CguStatus) -> bool:
        """Store the status; False when there was nothing to store.

        Raises `NotFound` when the CGU is gone, and every other `ApiError`.
        """
        key, uid = cgu.metadata.key, cgu.metadata.uid
        patch = difference(to_wire(cgu.status), to_wire(status))
        if not patch or self._pruned.get(key) == (uid, patch):
            return False
        path = kinds.CGU.path(key[0], key[1], "status")
        answer = await self._client.request(
            "PATCH",
            path,
            body={"status": patch},
            content_type="application/merge-patch+json",
        )
        stored = _DECODER.decode(answer)
        self._store.wrote(stored)
        self._remember(stored, status)
        return True

    def recall(self, cgu: ClusterGroupUpgrade) -> ClusterGroupUpgrade:
        """The CGU with the clocks and the specification as they were before an older CRD pruned them."""
        key, uid = cgu.metadata.key, cgu.metadata.uid
        precaching = whole = cgu.status.precaching
        if precaching is None or whole is None:
            return cgu
        owner, waits = self._waits.get(key, ("", {}))
        if owner == uid and precaching.waits is None:
            whole = changed(whole, waits=waits)
        owner, kept, meant = self._specs.get(key, ("", None, None))
        if owner == uid and precaching.spec == kept:
            whole = changed(whole, spec=meant)
        if whole is precaching:
            return cgu
        return changed(cgu, status=changed(cgu.status, precaching=whole))

    def forget(self, key: Key) -> None:
        """The CGU is gone."""
        self._pruned.pop(key, None)
        self._waits.pop(key, None)
        self._specs.pop(key, None)

    def _remember(self, stored: ClusterGroupUpgrade, wanted: CguStatus) -> None:
        key, uid = stored.metadata.key, stored.metadata.uid
        lost = difference(to_wire(stored.status), to_wire(wanted))
        self.forget(key)
        if not lost:
            return
        self._pruned[key] = (uid, lost)
        waits = wanted.precaching.waits if wanted.precaching else None
        kept = stored.status.precaching or PrecachingStatus()
        if waits and not kept.waits:
            self._waits[key] = (uid, waits)
        meant = wanted.precaching.spec if wanted.precaching else None
        if meant != kept.spec:
            self._specs[key] = (uid, kept.spec, meant)


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
