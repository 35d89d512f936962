"""What somebody sees who watches one CGU and its clusters' views from before it exists.

The API server sends every stored version, so a state that was stored is seen, however short it was.
Not here: how it is shown, and whether it is as it should be.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from talm.api import kinds
from talm.api.cgu import CguStatus, ClusterGroupUpgrade
from talm.api.meta import Condition, ObjectMeta, Wire
from talm.api.progress import RECORD_KEY, ProgressRecord
from talm.api.words import FINAL_PHASES, ConditionType, Phase, View
from talm.kube.cache import Key
from talm.kube.client import Client
from talm.kube.watch import Informer


class _Result(Wire, frozen=True, kw_only=True):
    data: dict[str, str] | None = None


class _ViewStatus(Wire, frozen=True, kw_only=True):
    result: _Result | None = None


class _View(Wire, frozen=True, kw_only=True):
    metadata: ObjectMeta
    status: _ViewStatus = _ViewStatus()


@dataclass(frozen=True, slots=True)
class Change:
    """A cluster's state as stored and what the status says beside it, and when that was seen."""

    at: dt.datetime
    cluster: str
    stored: str
    message: str


class CguWatch:
    """`async with CguWatch(...)` watches; the attributes say what has been seen so far."""

    def __init__(self, client: Client, key: Key, clusters: Sequence[str]) -> None:
        self.clusters = tuple(clusters)
        self.states: dict[str, list[Change]] = {name: [] for name in clusters}
        """Of each cluster, the first moment of each state."""
        self.journal: list[Change] = []
        """Every change, of a message too."""
        self.progress: dict[str, ProgressRecord] = {}
        self.new_views: dict[str, set[str]] = {name: set() for name in clusters}
        self.cgu: ClusterGroupUpgrade | None = None
        self.precached_while_disabled = False
        self.updated_while_disabled = False
        self.changed = asyncio.Event()
        """Set at each change; whoever waits clears it."""
        self._client = client
        self._key = key
        self._tasks: list[asyncio.Task[Any]] = []

    # --- what is so now ---

    @property
    def status(self) -> CguStatus:
        """The newest status; empty while there is none."""
        return self.cgu.status if self.cgu else CguStatus()

    def condition(self, name: ConditionType) -> Condition:
        """A condition; an empty one when it is absent."""
        told = {condition.type: condition for condition in self.status.conditions or ()}
        return told.get(name, Condition())

    def state(self, cluster: str) -> str:
        """The state of a cluster, as stored."""
        seen = self.states[cluster]
        return seen[-1].stored if seen else Phase.NOT_STARTED

    def all_are(self, *states: str) -> bool:
        """Whether every cluster is in one of these states."""
        return all(self.state(cluster) in states for cluster in self.clusters)

    @property
    def all_ended(self) -> bool:
        """Whether pre-caching is over on every cluster, well or badly."""
        return self.all_are(*FINAL_PHASES)

    def message(self, cluster: str) -> str:
        """What the status says about a cluster beside its state; "" for nothing."""
        precaching = self.status.precaching
        for failure in (precaching.failures if precaching else None) or ():
            if failure.cluster == cluster:
                return failure.message
        for ended in self.status.clusters or ():
            if ended.name == cluster:
                return f"update {ended.state}"
        rollout = self.status.status
        batch = (rollout.current_batch_remediation_progress if rollout else None) or {}
        return f"update {batch[cluster].state}" if cluster in batch else ""

    def facts(self) -> dict[str, Any]:
        """What was seen, for a record of the run."""
        return {
            "precachedWhileDisabled": self.precached_while_disabled,
            "updatedWhileDisabled": self.updated_while_disabled,
            "states": {c: [change.stored for change in seen] for c, seen in self.states.items()},
            "newViews": {c: _only(View.NAMESPACE, seen) for c, seen in self.new_views.items()},
        }

    # --- watching ---

    async def __aenter__(self) -> CguWatch:
        """Begin; what is on the hub already is not new."""
        cgus = Informer(self._client, kinds.CGU, ClusterGroupUpgrade, self.cgu_changed)
        views = Informer(self._client, kinds.VIEW, _View, self._view_changed)
        self._tasks = [asyncio.ensure_future(informer.run()) for informer in (cgus, views)]
        await asyncio.gather(cgus.synced.wait(), views.synced.wait())
        for seen in self.new_views.values():
            seen.clear()
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cgu_changed(
        self, key: Key, _: ClusterGroupUpgrade | None, new: ClusterGroupUpgrade | None
    ) -> None:
        """Take note of a stored version."""
        if key != self._key or new is None:
            return
        self.cgu = new
        stored = (new.status.precaching.status if new.status.precaching else None) or {}
        now = dt.datetime.now(dt.UTC).astimezone()
        for cluster in self.clusters:
            state = stored.get(cluster) or str(Phase.NOT_STARTED)  # which may be absent
            self._note(Change(now, cluster, state, self.message(cluster)))
        if not new.spec.enable:
            begun = {Phase.PREPARING, Phase.STARTING, Phase.ACTIVE} & set(stored.values())
            self.precached_while_disabled |= bool(begun)
            self.updated_while_disabled |= _updates(new.status)
        self.changed.set()

    def _note(self, change: Change) -> None:
        seen = self.states[change.cluster]
        if not seen or seen[-1].stored != change.stored:
            seen.append(change)
        last = next((c for c in reversed(self.journal) if c.cluster == change.cluster), None)
        if last is None or (last.stored, last.message) != (change.stored, change.message):
            self.journal.append(change)

    def _view_changed(self, key: Key, old: _View | None, new: _View | None) -> None:
        namespace, name = key
        if new is None or namespace not in self.new_views:
            return
        if old is None or old.metadata.uid != new.metadata.uid:
            self.new_views[namespace].add(name)
        if name == View.PROGRESS:
            for record in _records(new):
                self.progress[namespace] = record
                self.changed.set()


def _updates(status: CguStatus) -> bool:
    """Whether the update has begun; its Placements may be there before, with nobody in them."""
    rollout = status.status
    return bool(rollout and (rollout.started_at or rollout.current_batch))


def _only(wanted: str, seen: set[str]) -> str:
    return wanted if wanted in seen else ""


def _records(view: _View) -> Iterator[ProgressRecord]:
    """The workload's record in a view's result, if it is there and can be read."""
    data = (view.status.result.data if view.status.result else None) or {}
    if text := data.get(RECORD_KEY):
        with contextlib.suppress(msgspec.MsgspecError):
            yield msgspec.json.decode(text, type=ProgressRecord)
