"""A look at clusters with the operator's own eyes: views, actions, works -> facts, as far as may be read.

The reasoning is the transports' (`spokes/viewaction.py`, `spokes/workfacts.py`), fed with what this user
could read instead of the operator's caches.  How actions ended that are gone again only the operator
remembers.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Generic, TypeVar

from talm.api import kinds
from talm.api.cacherecord import CACHE_RECORD, RecordMap
from talm.api.cgu import ClusterGroupUpgrade
from talm.api.kinds import Kind
from talm.api.ocm import ManagedCluster, ManagedClusterAction, ManagedClusterView, ManifestWork
from talm.api.progress import read_record
from talm.api.words import (
    AVAILABLE_CONDITION,
    FINAL_PHASES,
    MANUAL_NAMESPACE,
    RUN_LABEL,
    Action,
    View,
)
from talm.cli.inclusters import Found, Key, Selected, read, read_managed
from talm.cli.told import WORKS, order_of
from talm.cli.words import part
from talm.core.fleet import stored_phases
from talm.core.model import Cluster, Fact, Rules, Sight, Snapshot
from talm.errors import BadSpec, Bug
from talm.kube.client import Client
from talm.spokes.base import Order
from talm.spokes.profile import Profile
from talm.spokes.profiles import PROFILES
from talm.spokes.viewaction import ViewActionTransport
from talm.spokes.workdiagnosis import told_with
from talm.spokes.workfacts import work_fact
from talm.spokes.workmanifests import diagnosis_name, work_name

T = TypeVar("T")
_VIEWS: Final = [Selected.named(kinds.VIEW, ManagedClusterView, view) for view in View]
_RECORDS: Final = Selected.named(kinds.CONFIG_MAP, RecordMap, CACHE_RECORD)
_ACTIONS: Final = [Selected.named(kinds.ACTION, ManagedClusterAction, action) for action in Action]
_EXISTING_VIEWS: Final = frozenset({View.SPEC.value, View.ACCOUNT.value, View.BINDING.value})


@dataclass(frozen=True, slots=True)
class Look:
    """A snapshot of what could be read, and why a cluster could not be looked at."""

    seen: Snapshot
    unknown: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Cache(Generic[T]):
    objects: Mapping[Key, T]

    def get(self, name: str, namespace: str = "") -> T | None:
        return self.objects.get((namespace, name))


@dataclass(frozen=True, slots=True)
class Read:
    """What could be read of some clusters."""

    views: Found[ManagedClusterView]
    actions: Found[ManagedClusterAction]
    works: Found[ManifestWork]
    managed: Found[ManagedCluster]

    def why(self, cluster: str) -> str:
        """Why not everything of a cluster is known; "" when it is."""
        return self.views.why(cluster) or self.actions.why(cluster) or self.works.why(cluster)


async def look(client: Client, cgu: ClusterGroupUpgrade, clusters: Collection[str]) -> Look:
    """Read what shows the open ones of these clusters, and look at it.

    Raises ApiError for what is not just forbidden.
    """
    wanted = _open(cgu, clusters)
    views, actions, works, managed = await asyncio.gather(
        read(client, wanted, *_VIEWS),
        read(client, wanted, *_ACTIONS),
        read(client, wanted, WORKS),
        read_managed(client, wanted),
    )
    return look_at(cgu, wanted, Read(views, actions, works, managed), dt.datetime.now(dt.UTC))


async def with_record(client: Client, looked: Look, cluster: str) -> Look:
    """The look with what the hub says is cached on this cluster, as far as it may be read."""
    found = await read(client, [cluster], _RECORDS)
    records = {key[0]: made.data for key, made in found.objects.items() if made.data is not None}
    return replace(looked, seen=replace(looked.seen, records=records))


def _open(cgu: ClusterGroupUpgrade, clusters: Iterable[str]) -> list[str]:
    phases = stored_phases(cgu.status)
    return [c for c in clusters if c in phases and phases[c] not in FINAL_PHASES]


def look_at(
    cgu: ClusterGroupUpgrade, clusters: Iterable[str], found: Read, now: dt.datetime
) -> Look:
    """What the operator would see of the open ones of these clusters; those that could not be read whole
    are unknown."""
    wanted = _open(cgu, clusters)
    order = order_of(cgu)
    sights = _by_works(found.works.objects, order)
    rest = [c for c in wanted if c not in sights]
    readable = [c for c in rest if not (found.views.why(c) or found.actions.why(c))]
    for cluster, sight in _by_views(found, order, readable, now).items():
        # A work that may not be read may say more than views that are not there.
        if sight.fact is not Fact.UNASKED or not found.works.why(cluster):
            sights[cluster] = sight
    for cluster, sight in sights.items():
        sights[cluster] = _with_record(sight)
    seen = Snapshot(
        now=now,
        rules=Rules(),
        cgu=cgu,
        clusters=_clusters(found.managed, wanted),
        sights=sights,
    )
    unknown = {c: why for c in wanted if c not in sights and (why := found.why(c))}
    return Look(seen, unknown)


def _clusters(managed: Found[ManagedCluster], wanted: Collection[str]) -> dict[str, Cluster]:
    found = {}
    for name in wanted:
        cluster = managed.objects.get(("", name))
        if cluster is None:
            continue
        conditions = (cluster.status.conditions if cluster.status else None) or ()
        said = next((c for c in conditions if c.type == AVAILABLE_CONDITION), None)
        found[name] = Cluster(
            name,
            available=said is None or said.status == "True",
            since=said.last_transition_time if said else None,
        )
    return found


def _by_works(works: Mapping[Key, ManifestWork], order: Order) -> dict[str, Sight]:
    """Clusters that are reached by a work of this run, or that have one of an earlier run."""
    sights = {}
    for (cluster, name), work in works.items():
        if name == work_name(order.run):
            second = works.get((cluster, diagnosis_name(order.run)))
            sights[cluster] = told_with(work_fact(work, order), work, second)
        elif cluster not in sights:
            sights[cluster] = Sight(
                Fact.LEFTOVERS, f"ManifestWork {name} of an earlier run is there"
            )
    return sights


def _by_views(
    found: Read, order: Order, clusters: Iterable[str], now: dt.datetime
) -> dict[str, Sight]:
    """What views and actions show of these clusters."""
    views = found.views.objects
    try:
        transport = ViewActionTransport(
            _NoHub(),
            _Cache(views),
            _Cache(found.actions.objects),
            profile=_profile(views),
            namespace=_namespace(views),
            now=lambda: now,
        )
    except BadSpec:  # a view of this name that is not the operator's
        return {}
    return {c: transport.look(c, order, now) for c in clusters}


class _NoHub:
    """To look needs no requests, and nothing but looking is done here."""

    async def get(self, kind: Kind, name: str, namespace: str = "") -> dict[str, Any]:
        raise Bug(f"a look reads {kind} {namespace}/{name}")

    async def create(self, kind: Kind, body: Mapping[str, Any]) -> dict[str, Any]:
        raise Bug(f"a look creates {kind} {body.get('metadata')}")

    async def delete(self, kind: Kind, name: str, namespace: str = "", *, uid: str = "") -> None:
        raise Bug(f"a look deletes {kind} {namespace}/{name} {uid}")


def _profile(views: Mapping[Key, ManagedClusterView]) -> Profile:
    """Which workload profile the operator runs: only `existing` makes some views, and no labels."""
    names = {name for _, name in views}
    unlabelled = any(RUN_LABEL not in (view.metadata.labels or {}) for view in views.values())
    return PROFILES["existing" if names & _EXISTING_VIEWS or unlabelled else "talm"]


def _namespace(views: Mapping[Key, ManagedClusterView]) -> str:
    """The pre-caching namespace on the spokes, as the views ask about it."""
    asked = (v.spec.scope.name for (_, name), v in views.items() if name == View.NAMESPACE)
    return next((name for name in asked if name), MANUAL_NAMESPACE)


def _with_record(sight: Sight) -> Sight:
    """Of a Job at work, what its workload has told."""
    told = read_record(sight.progress)
    if sight.fact is not Fact.JOB_ACTIVE or told is None:
        return sight
    parts = [
        sight.note or sight.fact.value,
        f"{told.images_done} of {told.images_total or '?'} images",
    ]
    if told.bytes_total:
        parts.append(part(told.bytes_done, told.bytes_total))
    if told.error_class:
        parts.append(f"last error {told.error_class}: {told.error_text}")
    return replace(sight, note="; ".join(parts))
