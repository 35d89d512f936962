"""The agent that carries out ManifestWorks, as OCM's klusterlet does it.

    hub's work ──► finalizer ──► apply in order ──► Applied ──► resync after 4 to 6 min
                                                       │
          every event, timer, watch of the spoke ──────┴──► read all of it ──► Available, feedback
    deleted ──► Deleting ──► delete what was made, until it is gone ──► finalizer off

Two controllers on one cache: one applies, one reads.  Habits to live with: a finished Job that is
deleted is made again at the next resync, unless a rule has frozen the work; feedback keeps the last
value of what has gone; a deletion on the spoke is noticed by the poll alone; nothing is a heartbeat.
Source: OCM's work agent.  Not here: what is read (workreading.py),
what a work owns on the spoke (belongings.py).
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from talm.api import kinds
from talm.api.kinds import Kind
from talm.errors import ApiError, Conflict, NotFound, TalmError
from talm.sim.agents.base import Post
from talm.sim.agents.belongings import Belongings
from talm.sim.agents.restmapper import NoMapping
from talm.sim.agents.wire import AgentCondition, find, set_condition
from talm.sim.agents.workqueue import SerialQueue
from talm.sim.agents.workreading import read_manifest, summarize, with_applied
from talm.sim.agents.workwire import (
    WORK_FINALIZER,
    Manifest,
    Work,
    config_of,
    status_of,
    with_status,
    without,
)

RESYNC_S: Final = (240.0, 360.0)
MOST_WATCHES: Final = 50


@dataclasses.dataclass(frozen=True, slots=True)
class WorkHabits:
    """What differs between agents: version and the kind of cluster that they run on.

    `poll_s`: the bounds of the pause between two reads; on a cluster with one control-plane node
    (60, 114).  `watches`: feedback by events (OCM >= 1.2).  `freezes`: condition rules are known
    (OCM >= 1.0).  `mutes`: names in feedback rules for which nothing is ever told, as where the
    object lacks the field.
    """

    poll_s: tuple[float, float] = (10.0, 19.0)
    resync_s: tuple[float, float] = RESYNC_S
    watches: bool = True
    freezes: bool = True
    mutes: frozenset[str] = frozenset()


class NotDone(TalmError):
    """Something of a work could not be carried out; it is tried again after the back-off."""


class WorkAgent:
    """One spoke's work agent.  What it has made outlives a restart, as it is written on the spoke."""

    def __init__(self, post: Post, habits: WorkHabits | None = None) -> None:
        self.post = post
        self.habits = habits or WorkHabits()
        self.cache: dict[str, Work] = {}
        self.applying = SerialQueue(self._apply, name=f"works {post.cluster}")
        self.reading = SerialQueue(self._read, name=f"feedback {post.cluster}")
        self._dice = random.Random(f"works {post.cluster}")
        self._belongings = Belongings(post.spoke)
        self._watches: dict[tuple[Kind, str], Callable[[], None]] = {}
        self.number = post.link.connect(self)

    # -- the cache ------------------------------------------------------------------------------

    def deliver(self, name: str, obj: Work | None) -> None:
        """See links.Receiver.  Only a change of spec, labels or finalizers is applied."""
        old = self.cache.get(name)
        if obj is None:
            self.cache.pop(name, None)
        else:
            self.cache[name] = obj
        if old is None or obj is None or _identity(old) != _identity(obj):
            self.applying.forget(name)
            self.applying.add(name)
        self.reading.add(name)

    def relist(self, objects: Iterable[tuple[str, Work]]) -> None:
        """See links.Receiver."""
        gone = set(self.cache)
        self.cache.clear()
        for name, obj in objects:
            self.cache[name] = obj
            gone.discard(name)
            self._look_after(name)
        for name in sorted(gone):
            self._look_after(name)

    def _look_after(self, name: str) -> None:
        self.applying.add(name)
        self.reading.add(name)

    def crash(self) -> None:
        """The process ends; what it has made is written on the spoke."""
        self.applying.reset()
        self.reading.reset()
        self._unwatch()
        self.cache.clear()

    def stop(self) -> None:
        """End for good."""
        self.applying.stop()
        self.reading.stop()
        self._unwatch()

    # -- applying -------------------------------------------------------------------------------

    async def _apply(self, name: str) -> float | None:
        work = self.cache.get(name)
        if work is None:
            return None
        meta = work.metadata
        if meta.deletion_timestamp is not None:
            await self._finalize(work)
            return None
        if WORK_FINALIZER not in (meta.finalizers or ()):
            await self._set_finalizers(work, (*(meta.finalizers or ()), WORK_FINALIZER))
            return None
        if self._is_frozen(work):
            return None
        errors = await self._apply_all(work)
        if errors:
            raise NotDone("; ".join(errors))
        return self._dice.uniform(*self.habits.resync_s)

    def _is_frozen(self, work: Work) -> bool:
        complete = find(work.status.conditions, "Complete")
        return self.habits.freezes and complete is not None and complete.status == "True"

    async def _apply_all(self, work: Work) -> list[str]:
        """Apply every manifest in order, each whatever became of the others; then tell it."""
        manifests = await self._manifests(work)
        errors: dict[int, str] = {}
        for manifest in manifests:
            try:
                await self._belongings.apply(work.metadata.name, manifest)
            except ApiError as exc:
                errors[manifest.ordinal] = exc.message
        await self._belongings.keep_only(work.metadata.name, {m.key for m in manifests})
        await self._tell(with_applied(work, manifests, errors, self._condition))
        return list(errors.values())

    async def _manifests(self, work: Work) -> list[Manifest]:
        found = []
        for ordinal, body in enumerate(work.spec.workload.manifests or ()):
            group, _, version = str(body.get("apiVersion", "")).rpartition("/")
            try:
                served = await self.post.mapper.for_kind(group, version, str(body.get("kind", "")))
            except NoMapping as exc:
                raise NotDone(str(exc)) from exc
            config = without(config_of(work.spec, served.kind, body), self.habits.mutes)
            found.append(Manifest(ordinal, served.kind, body, config))
        return found

    # -- reading --------------------------------------------------------------------------------

    async def _read(self, name: str) -> float | None:
        work = self.cache.get(name)
        if work is None or work.metadata.deletion_timestamp is not None:
            return None
        if find(work.status.conditions, "Applied") is None:
            return None
        manifests = {m.ordinal: m for m in await self._manifests(work)}
        entries = []
        for entry in work.status.resource_status.manifests or ():
            manifest = manifests.get(int(entry.resource_meta.get("ordinal", -1)))
            if manifest is None:
                entries.append(entry)
                continue
            self._watch_for(manifest)
            entries.append(
                await read_manifest(
                    work,
                    entry,
                    manifest,
                    self.post.spoke,
                    self._condition,
                    freezes=self.habits.freezes,
                )
            )
        conditions = work.status.conditions or ()
        for said in summarize(work, entries, self._condition):
            conditions = set_condition(conditions, said)
        await self._tell(with_status(work, conditions, tuple(entries)))
        return self._dice.uniform(*self.habits.poll_s)

    def _watch_for(self, manifest: Manifest) -> None:
        """One watch for each kind and namespace, for all works that have something there."""
        where = (manifest.kind, manifest.namespace)
        wanted = manifest.config.feedback_scrape_type == "Watch" and self.habits.watches
        if not wanted or where in self._watches or len(self._watches) >= MOST_WATCHES:
            return
        self._watches[where] = self.post.spoke.follow(*where, self._seen_on_spoke(*where))

    def _seen_on_spoke(self, kind: Kind, namespace: str) -> Callable[[str], None]:
        def seen(name: str) -> None:
            for work in self._belongings.owners((kind, namespace, name)):
                self.reading.add(work)

        return seen

    def _unwatch(self) -> None:
        for end in self._watches.values():
            end()
        self._watches.clear()

    # -- ending ---------------------------------------------------------------------------------

    async def _finalize(self, work: Work) -> None:
        name, meta = work.metadata.name, work.metadata
        if WORK_FINALIZER not in (meta.finalizers or ()):
            return
        said = self._condition("Deleting", "True", "WorkDeleting", "ManifestWork is being deleted")
        conditions = set_condition(work.status.conditions, said)
        manifests = work.status.resource_status.manifests or ()
        await self._tell(with_status(work, conditions, manifests))
        left = await self._belongings.delete(name)
        if left:
            raise NotDone(f"{left} resources are not gone yet")
        now = self.cache.get(name, work)
        others = tuple(f for f in now.metadata.finalizers or () if f != WORK_FINALIZER)
        await self._set_finalizers(now, others)

    # -- the hub --------------------------------------------------------------------------------

    async def _tell(self, work: Work) -> None:
        """Patch the status when it is news, against the version that was read; raises ApiError."""
        meta = work.metadata
        known = self.cache.get(meta.name)
        if known is None or status_of(known) == status_of(work):
            return
        await self._patch(work, {"status": status_of(work)}, subresource="status")

    async def _set_finalizers(self, work: Work, finalizers: tuple[str, ...]) -> None:
        await self._patch(work, {}, finalizers=list(finalizers))

    async def _patch(
        self, work: Work, patch: Mapping[str, Any], *, subresource: str = "", **metadata: Any
    ) -> None:
        meta = work.metadata
        body = {**patch, "metadata": {**metadata, "resourceVersion": meta.resource_version}}
        try:
            await self.post.link.call(
                lambda: self.post.hub.merge_patch(
                    kinds.MANIFEST_WORK, meta.name, body, meta.namespace, subresource=subresource
                )
            )
        except NotFound:
            return
        except Conflict as exc:  # news is on its way
            raise NotDone(str(exc)) from exc

    def _condition(self, kind: str, status: str, reason: str, message: str) -> AgentCondition:
        return AgentCondition(
            type=kind,
            status=status,
            reason=reason,
            message=message,
            last_transition_time=self.post.clock.now().replace(microsecond=0),
        )


def _identity(work: Work) -> tuple[object, ...]:
    """What the applying half looks at: a poke (an annotation) is none of it, nor is the status."""
    meta = work.metadata
    return meta.uid, meta.generation, meta.labels, meta.finalizers, meta.deletion_timestamp
