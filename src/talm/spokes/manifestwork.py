"""Reaching spokes through ManifestWorks: one per cluster and run, on any Open Cluster Management hub.

    cache of works ──► WorkDesk (with our own writes) ──► workfacts.work_fact ──► Sight
    Effect ──► workeffects.WORK_EFFECTS ──► create, patch or delete of one work

The work's agent makes what the Job needs and the Job, tells the Job's status and the workload's record
back, and takes all of it away when the work is deleted.  The hub owns the informer and tells this
transport what it has heard.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import replace

from talm.api.ocm import ManagedCluster, ManifestWork
from talm.core.due import Due
from talm.core.model import Effect, Fact, Sight
from talm.core.removal import Removal
from talm.spokes.base import Order, PodTerms, Successes
from talm.spokes.desk import Cache
from talm.spokes.diagnosis import Stalls
from talm.spokes.dues import due_in_work
from talm.spokes.hearing import Hearing
from talm.spokes.ledger import Ledger, Present
from talm.spokes.manifests import check_spoke_namespace
from talm.spokes.patience import DEFAULT, Patience
from talm.spokes.pokes import Pokes
from talm.spokes.workdesk import (
    IN_FLIGHT,
    SpokeCheck,
    WorkCache,
    WorkDesk,
    WorkHub,
    WorkOffice,
)
from talm.spokes.workdiagnosis import diagnosed
from talm.spokes.workeffects import WORK_EFFECTS, drop_works
from talm.spokes.workfacts import has_begun, is_watched, record_text, work_fact
from talm.spokes.workmanifests import diagnosis_name, is_diagnosis, work_name

Key = tuple[str, str]  # (namespace = cluster, name)


class ManifestWorkTransport:
    """A `Transport`.  `namespace` is the workload's on every spoke; BadSpec when it may not be used.

    `successes`, `check` and `checked`: see `WorkOffice`.  `terms` is asked for a cluster's pod each
    time when a work is made there.
    """

    def __init__(  # noqa: PLR0913 (what all clusters share)
        self,
        client: WorkHub,
        works: WorkCache,
        clusters: Cache[ManagedCluster],
        *,
        successes: Successes,
        check: SpokeCheck,
        checked: Callable[[str], bool],
        namespace: str,
        now: Callable[[], dt.datetime],
        terms: Callable[[str], PodTerms] = lambda _: PodTerms(),
        patience: Patience = DEFAULT,
    ) -> None:
        self._office = WorkOffice(
            hub=client,
            works=works,
            clusters=clusters,
            check=check,
            checked=checked,
            namespace=check_spoke_namespace(namespace),
            now=now,
            terms=terms,
            ledger=Ledger(),
            pokes=Pokes(),
            going={},
            called_off={},
            successes=successes,
        )
        self._hearing = Hearing()
        self._patience = patience
        self._stalls = Stalls()
        self._listeners: list[Callable[[str], None]] = []

    def look(self, cluster: str, order: Order, now: dt.datetime) -> Sight:
        """Tell what the caches know of this cluster; no request is made."""
        desk = WorkDesk(self._office, cluster, order, now)
        if desk.has_succeeded():
            return Sight(Fact.JOB_SUCCEEDED, "the Job had succeeded when the work was deleted")
        found = desk.work()
        if found is not None:
            return self._work_seen(desk, found)
        left = desk.leftovers()
        if left is not None:
            return left
        if self._office.checked(cluster):
            return self._checked(cluster, order, now)
        return Sight(Fact.CLEAN, "no work of pre-caching is there")

    def _checked(self, cluster: str, order: Order, now: dt.datetime) -> Sight:
        """What the cluster's other agents show, clean only when they delete nothing any more.

        The work agent does not wait for them: a deletion that is carried out twice, since its end got
        lost, would take what the work has made.
        """
        sight = self._office.check.look(cluster, order, now)
        called_off = self._office.called_off.get(cluster)
        left = called_off + IN_FLIGHT - now if called_off is not None else dt.timedelta()
        if left <= dt.timedelta() and sight.fact is Fact.CLEAN:
            left = self._office.check.deletes_for(cluster, order, now)
        if left <= dt.timedelta():
            return sight
        return Sight(Fact.UNANSWERED, "waiting for the end of the deletion", left)

    def leftovers(self, cluster: str, order: Order, now: dt.datetime) -> Sight | None:
        """Works of whichever run that must have gone first; None: there are none."""
        return WorkDesk(self._office, cluster, order, now).leftovers()

    async def drop(self, cluster: str, order: Order) -> None:
        """Delete the works of all runs.  Raises `ApiError`."""
        await drop_works(WorkDesk(self._office, cluster, order, self._office.now()))

    def has_work(self, cluster: str, run: str) -> bool:
        """Whether the run has a work there."""
        return self._office.works.get(work_name(run), cluster) is not None

    def remembers(self, cluster: str, run: str) -> bool:
        """Whether it is remembered that the run's Job has succeeded there, whatever is left on the hub."""
        return self._office.successes.has_succeeded(cluster, run)

    async def carry_out(self, cluster: str, effects: tuple[Effect, ...], order: Order) -> None:
        """Carry the effects out in order.  Raises `ApiError` at the first request that fails."""
        for effect in effects:
            await WORK_EFFECTS[effect](WorkDesk(self._office, cluster, order, self._office.now()))

    def removals(
        self, _order: Order, _now: dt.datetime, _asks: Callable[[str], bool]
    ) -> Mapping[str, Removal]:
        """See Transport.  A work's agent goes on deleting by itself until everything is gone."""
        return {}

    def watch(self, on_change: Callable[[str], None]) -> None:
        """Call `on_change(cluster)` whenever a work of pre-caching has changed."""
        self._listeners.append(on_change)

    def work_changed(self, key: Key, old: ManifestWork | None, new: ManifestWork | None) -> None:
        """Take in what the hub's informer of works has heard; it follows those with a run's label."""
        cluster, name = key
        office = self._office
        old_meta, new_meta = old.metadata if old else None, new.metadata if new else None
        office.ledger.heard(cluster, name, old=old_meta, new=new_meta, at=office.now())
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            office.going.pop(old.metadata.uid, None)
        self._hear(key, old, new)
        if is_diagnosis(name):
            self.cluster_changed(cluster)  # pokes are about the run's own work
            return
        if new is None:
            office.pokes.forget(cluster)
        else:
            office.pokes.heard(cluster, new.metadata.uid, begun=has_begun(new), now=office.now())
        self.cluster_changed(cluster)

    def cluster_changed(self, cluster: str) -> None:
        """Something that `look` reads has changed: a work, or the cluster's availability."""
        for on_change in self._listeners:
            on_change(cluster)

    def _hear(self, key: Key, old: ManifestWork | None, new: ManifestWork | None) -> None:
        """Take note of what the agent tells; what we write ourselves is no news, but asks anew."""
        if new is None:
            self._hearing.forget(key)
            return
        if old is not None and old.metadata.uid != new.metadata.uid:
            self._hearing.forget(key)
            old = None
        asks = old is not None and old.metadata.generation != new.metadata.generation
        if old is not None and not asks and old.status == new.status:
            return
        now = self._office.now()
        asked = self._office.pokes.is_answer(key[0], now)
        self._hearing.news(key, now, record=record_text(new), asked=asked)

    def _due(self, desk: WorkDesk, work: ManifestWork, sight: Sight) -> Due | None:
        """What must be told next: by the run's work, else by the one that asks about its pod."""
        heard = self._hearing.of((desk.cluster, work.metadata.name))
        due = due_in_work(work, sight, heard, self._patience)
        if due is not None or sight.fact is not Fact.JOB_ACTIVE:
            return due
        second = desk.find(diagnosis_name(desk.order.run))
        if second is None or second.cached is None:
            return None
        heard = self._hearing.of((desk.cluster, second.cached.metadata.name))
        return due_in_work(second.cached, Sight(Fact.SETTING_UP), heard, self._patience)

    def _work_seen(self, desk: WorkDesk, found: Present[ManifestWork]) -> Sight:
        work = found.cached
        if work is None:
            return Sight(Fact.SETTING_UP, "the work has been made")
        if desk.is_going(work):
            return Sight(Fact.LEFTOVERS, "what the work has made is being deleted")
        sight = work_fact(work, desk.order)
        sight = replace(sight, due=self._due(desk, work, sight))
        pokes = self._office.pokes
        if sight.fact is Fact.JOB_MISSING:
            left = pokes.is_applying(desk.cluster, desk.now)
            if left > dt.timedelta(0):
                waiting = "waiting for the cluster's work agent to make the Job again"
                return Sight(Fact.SETTING_UP, waiting, left)
            return sight
        wait = pokes.wait(
            desk.cluster,
            sight,
            watched=is_watched(work),
            back_since=desk.back_since(),
            now=desk.now,
        )
        if wait == dt.timedelta(0):
            return replace(sight, fact=Fact.STALE, note=sight.note or "news of the Job is due")
        return diagnosed(replace(sight, recheck=wait), work, desk, self._stalls)
