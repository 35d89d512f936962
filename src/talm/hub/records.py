"""What became of pre-caching on each cluster, kept on the hub where it outlives the CGU.

    a cluster ends ──► record ──► one server-side apply of `precache-record` in its namespace
    informer of that name ──► Records ──► Snapshot.records

Nothing is read for a write, and a write that is repeated changes nothing but the time.  It comes before
the clean-up that belongs to the same end: a process that dies between the two repeats both.
Decided here: an API server that fails has the whole end tried again; one that refuses (no such
namespace, no right, no room) holds nobody up.  Then the hub has no record, and only this process
knows that the cluster is cached.
"""

from __future__ import annotations

import math
from typing import Any, Final, Protocol

import msgspec
import structlog

from talm.api.cacherecord import CACHE_RECORD, CacheRecord, RecordMap
from talm.api.kinds import CONFIG_MAP, Kind
from talm.api.meta import changed
from talm.api.words import FIELD_MANAGER, Phase
from talm.core.model import UNSEEN, Move, Snapshot
from talm.core.verification import ends, record_of
from talm.errors import ApiError, Forbidden, Invalid, NotFound
from talm.spokes.base import Order

log = structlog.get_logger(__name__)

_REFUSALS: Final = (Forbidden, Invalid, NotFound)
_NO_VERSION: Final = math.inf  # of a record that the hub refused: nothing there is newer


class RecordHub(Protocol):
    """The one request (`talm.kube.client.Client` has it)."""

    async def apply(
        self, kind: Kind, body: dict[str, Any], *, field_manager: str
    ) -> dict[str, Any]: ...


class RecordCache(Protocol):
    """What an informer of the records knows."""

    def get(self, name: str, namespace: str = "") -> RecordMap | None: ...


class Records:
    """The records of all clusters: the informer's, and our own until it has caught up."""

    def __init__(self, hub: RecordHub, cache: RecordCache) -> None:
        self._hub = hub
        self._cache = cache
        self._own: dict[str, tuple[float, CacheRecord]] = {}
        self._refused = False

    def get(self, cluster: str) -> CacheRecord | None:
        """The record of a cluster, at least as new as our own last write of it; None: it has none."""
        own = self._own.get(cluster)
        if own is not None:
            return own[1]
        found = self._cache.get(CACHE_RECORD, cluster)
        return found.data if found is not None else None

    def has_succeeded(self, cluster: str, run: str) -> bool:
        """Whether the last run on this cluster was this one, and had succeeded."""
        found = self.get(cluster)
        return found is not None and found.run == run and found.result == Phase.SUCCEEDED

    async def forget_success(self, cluster: str, run: str) -> None:
        """The run begins anew: what was cached stays on record, but no longer as its success.

        Raises `ApiError` where another try may succeed.
        """
        found = self.get(cluster)
        if found is not None and self.has_succeeded(cluster, run):
            await self._write(cluster, changed(found, run=""))

    def heard(self, cluster: str, new: RecordMap | None) -> None:
        """The informer has heard of a record."""
        own = self._own.get(cluster)
        if own is not None and (new is None or _version(new.metadata.resource_version) >= own[0]):
            del self._own[cluster]

    async def note(self, seen: Snapshot, move: Move, order: Order) -> None:
        """Write the record of a cluster that this move ends; nothing for other moves.

        `order` is the cluster's own.  Raises `ApiError` where another try may succeed.
        """
        if not ends(seen, move):
            return
        record = record_of(
            move,
            spec=order.spec,
            run=order.run,
            cgu=f"{order.cgu_namespace}/{order.cgu}",
            now=seen.now,
            told=seen.sights.get(move.cluster, UNSEEN).record,
        )
        await self._write(move.cluster, record)

    async def _write(self, cluster: str, record: CacheRecord) -> None:
        body = {
            "metadata": {"name": CACHE_RECORD, "namespace": cluster},
            "data": msgspec.to_builtins(record),
        }
        try:
            made = await self._hub.apply(CONFIG_MAP, body, field_manager=FIELD_MANAGER)
        except _REFUSALS as exc:
            self._own[cluster] = (_NO_VERSION, record)
            self._tell(cluster, exc)
            return
        self._refused = False
        version = _version(made["metadata"].get("resourceVersion", ""))
        cached = self._cache.get(CACHE_RECORD, cluster)
        if cached is None or _version(cached.metadata.resource_version) < version:
            self._own[cluster] = (version, record)
        else:
            self._own.pop(cluster, None)

    def _tell(self, cluster: str, exc: ApiError) -> None:
        """One line for a row of refusals: a missing right meets thousands of clusters."""
        say = log.debug if self._refused else log.warning
        say("record refused", cluster=cluster, error=str(exc))
        self._refused = True


def _version(text: str) -> float:
    return int(text) if text.isdecimal() else 0
