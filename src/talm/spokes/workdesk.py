"""One cluster's ManifestWorks, to look at and to change.

Decided here: which work is the run's, when a work counts as going, and where it is written that a run
has succeeded once its work is gone.  Not here: which requests an effect consists of (workeffects.py).

A work that an agent has seen is not gone when it is deleted: the hub's DELETE event is the proof that
all it made is gone on the spoke, too.  One that no agent has seen goes at once, and nothing of it is
ever carried out.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from talm.api.kinds import MANIFEST_WORK, Kind
from talm.api.ocm import ManagedCluster, ManifestWork
from talm.api.words import (
    APPLY_LABEL,
    AVAILABLE_CONDITION,
    JOB_DEADLINE_ANNOTATION,
    POKE_ANNOTATION,
)
from talm.core.model import Effect, Fact, Sight
from talm.errors import AlreadyExists, NotFound
from talm.spokes.base import Order, PodTerms, Successes
from talm.spokes.desk import Cache
from talm.spokes.ledger import Created, Ledger, Present, number
from talm.spokes.pokes import Pokes
from talm.spokes.workmanifests import diagnosis_name, work_body, work_name, work_spec

# The longest that a deletion of ours is believed without the cache's showing it.
SHOWN_WITHIN: Final = dt.timedelta(seconds=60)
# An action takes an agent 20 to 50 ms, and a busy one some seconds: so long one that was taken back may
# still be carried out.
IN_FLIGHT: Final = dt.timedelta(seconds=3)
BY_CLUSTER: Final = "cluster"


class WorkCache(Cache[ManifestWork], Protocol):
    """What an informer of works knows; `by(BY_CLUSTER, name)` are those of one cluster."""

    def by(self, index: str, value: str) -> list[ManifestWork]: ...


class WorkHub(Protocol):
    """The requests that this transport makes (`talm.kube.client.Client` has them)."""

    async def get(self, kind: Kind, name: str, namespace: str = "") -> dict[str, Any]: ...

    async def create(self, kind: Kind, body: Mapping[str, Any]) -> dict[str, Any]: ...

    async def merge_patch(
        self, kind: Kind, name: str, patch: Mapping[str, Any], namespace: str = ""
    ) -> dict[str, Any]: ...

    async def delete(
        self, kind: Kind, name: str, namespace: str = "", *, uid: str = ""
    ) -> None: ...


class SpokeCheck(Protocol):
    """Another way to a spoke, by which it is proved clean before a work is made."""

    def look(self, cluster: str, order: Order, now: dt.datetime) -> Sight: ...

    async def carry_out(self, cluster: str, effects: tuple[Effect, ...], order: Order) -> None: ...

    def deletes_for(self, cluster: str, order: Order, now: dt.datetime) -> dt.timedelta:
        """How long a deletion of the namespace may yet be carried out once more; zero: it has ended."""
        ...

    async def make_way(self, cluster: str, order: Order) -> bool:
        """Take back all that could meddle with what is about to be made.

        True: a deletion was among it that an agent may be carrying out at this moment.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkOffice:
    """What all clusters share.

    `checked`: whether a cluster's other agents answer, so that `check` can be asked about it.
    `going`: uids of works that we have deleted.  `called_off`: when a deletion of the namespace was taken
    back that the cluster's agent may have been carrying out.
    """

    hub: WorkHub
    works: WorkCache
    clusters: Cache[ManagedCluster]
    check: SpokeCheck
    checked: Callable[[str], bool]
    namespace: str  # of the workload on every spoke
    now: Callable[[], dt.datetime]
    terms: Callable[[str], PodTerms]
    ledger: Ledger
    pokes: Pokes
    going: dict[str, dt.datetime]
    called_off: dict[str, dt.datetime]
    successes: Successes


@dataclass(frozen=True, slots=True)
class WorkDesk:
    """One cluster for one order, as of `now`."""

    office: WorkOffice
    cluster: str
    order: Order
    now: dt.datetime

    # ---- looking -------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The name of the run's work."""
        return work_name(self.order.run)

    def work(self) -> Present[ManifestWork] | None:
        """The run's work as of now; one that the cache does not show yet has no `cached`."""
        return self.find(self.name)

    def find(self, name: str) -> Present[ManifestWork] | None:
        """The work of that name as of now."""
        cached = self.office.works.get(name, self.cluster)
        return self.office.ledger.find(self.cluster, name, cached, self.now)

    def is_going(self, work: ManifestWork) -> bool:
        """Whether somebody has deleted it."""
        if work.metadata.deletion_timestamp is not None:
            return True
        at = self.office.going.get(work.metadata.uid)
        return at is not None and self.now - at <= SHOWN_WITHIN

    def all_works(self) -> list[ManifestWork]:
        """Every work of pre-caching in the cluster, whichever run's."""
        return self.office.works.by(BY_CLUSTER, self.cluster)

    def leftovers(self) -> Sight | None:
        """Works that must have gone before anything is begun; None: there are none."""
        works = self.all_works()
        if not works:
            return None
        if all(self.is_going(work) for work in works):
            return Sight(Fact.LEFTOVERS, "the work of an earlier run is being deleted")
        return Sight(Fact.LEFTOVERS_KEPT, "the work of an earlier run is there")

    def has_succeeded(self) -> bool:
        """Whether it is remembered that the Job of this run had succeeded."""
        return self.office.successes.has_succeeded(self.cluster, self.order.run)

    def back_since(self) -> dt.datetime | None:
        """Since when the cluster is available; None: it is not, or nobody says since when."""
        found = self.office.clusters.get(self.cluster)
        for condition in (found.status.conditions or ()) if found and found.status else ():
            if condition.type == AVAILABLE_CONDITION and condition.status == "True":
                return condition.last_transition_time
        return None

    # ---- writing -------------------------------------------------------------------------------

    async def create(self) -> None:
        """Create the run's work; one that is there already stays."""
        await self.create_work(work_body(self.cluster, self.whole_order(), self.office.namespace))

    async def create_work(self, body: Mapping[str, Any]) -> None:
        """Create a work; one of its name that is there already stays."""
        try:
            made = await self.office.hub.create(MANIFEST_WORK, body)
        except AlreadyExists:
            try:
                name = body["metadata"]["name"]
                made = await self.office.hub.get(MANIFEST_WORK, name, self.cluster)
            except NotFound:
                made = await self.office.hub.create(MANIFEST_WORK, body)
        self._note_created(made)

    async def order_again(self) -> None:
        """Write the whole work anew into the one that is there."""
        order = self.whole_order()
        patch = {
            "metadata": {"annotations": {JOB_DEADLINE_ANNOTATION: str(order.job_deadline_s)}},
            "spec": work_spec(order, self.office.namespace),
        }
        await self._patch(patch)

    async def poke(self, work: ManifestWork) -> None:
        """Have the agent look at what it has made, now."""
        times = _times((work.metadata.annotations or {}).get(POKE_ANNOTATION))
        self.office.pokes.poked(self.cluster, self.now, self.back_since())
        await self._patch({"metadata": {"annotations": {POKE_ANNOTATION: str(times + 1)}}})

    async def apply_again(self, work: ManifestWork) -> None:
        """Have the agent make what is missing, now: a change of the labels has it apply the work."""
        times = _times((work.metadata.labels or {}).get(APPLY_LABEL))
        self.office.pokes.told_to_apply(self.cluster, self.now)
        await self._patch({"metadata": {"labels": {APPLY_LABEL: str(times + 1)}}})

    async def delete(self, work: ManifestWork) -> None:
        """Delete a work unless that was done."""
        if self.is_going(work):
            return
        meta = work.metadata
        with contextlib.suppress(NotFound):
            await self.office.hub.delete(MANIFEST_WORK, meta.name, self.cluster, uid=meta.uid)
        self.office.going[meta.uid] = self.now

    async def delete_ours(self) -> None:
        """Delete the run's works, also those that the cache does not show yet."""
        for name in (diagnosis_name(self.order.run), self.name):
            await self.delete_named(name)

    async def delete_named(self, name: str) -> None:
        """Delete the work of that name, if there is one."""
        found = self.find(name)
        if found is None:
            return
        if found.cached is not None:
            await self.delete(found.cached)
            return
        with contextlib.suppress(NotFound):
            await self.office.hub.delete(MANIFEST_WORK, name, self.cluster, uid=found.uid)
        self.office.going[found.uid] = self.now
        self.office.ledger.deleted(self.cluster, name, found.uid, self.now)

    async def forget_success(self) -> None:
        """The run begins anew."""
        await self.office.successes.forget_success(self.cluster, self.order.run)

    def whole_order(self) -> Order:
        """The order with what only the cluster knows of its pods."""
        pod = replace(self.office.terms(self.cluster), nodes=self.order.pod.nodes)
        return replace(self.order, pod=pod)

    async def _patch(self, patch: Mapping[str, Any]) -> None:
        with contextlib.suppress(NotFound):  # the cache will show that it is gone
            await self.office.hub.merge_patch(MANIFEST_WORK, self.name, patch, self.cluster)

    def _note_created(self, made: Mapping[str, Any]) -> None:
        meta = made["metadata"]
        version = number(meta.get("resourceVersion", ""))
        self.office.ledger.created(
            self.cluster, meta["name"], Created(meta.get("uid", ""), version, self.office.now())
        )


def _times(text: str | None) -> int:
    """A count that we wrote; somebody else's word counts as none."""
    return int(text) if text and text.isdecimal() and len(text) <= 6 else 0  # noqa: PLR2004
