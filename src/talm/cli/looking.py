"""A look at clusters with the operator's own eyes: views, actions, works -> facts, as far as may be read.

The reasoning is the transports' (`spokes/viewaction.py`, `spokes/workfacts.py`), fed with what this user
could read instead of the operator's caches.  How actions ended that are gone again only the operator
remembers.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from talm.api import kinds
from talm.api.cgu import ClusterGroupUpgrade
from talm.api.ocm import ManagedCluster, ManagedClusterAction, ManagedClusterView, ManifestWork
from talm.api.words import (
    AVAILABLE_CONDITION,
    FINAL_PHASES,
    MANUAL_NAMESPACE,
    RUN_LABEL,
    Action,
    View,
)
from talm.cli.inclusters import Found, Key, Selected, read, read_managed
from talm.cli.reading import Reader
from talm.cli.told import WORKS, order_of
from talm.core.fleet import stored_phases
from talm.core.model import Cluster, Fact, Rules, Sight, Snapshot
from talm.errors import BadSpec
from talm.spokes.base import Order
from talm.spokes.profile import Profile
from talm.spokes.profiles import PROFILES
from talm.spokes.viewaction import ViewActionTransport
from talm.spokes.workfacts import work_fact
from talm.spokes.workmanifests import work_name

T = TypeVar("T")
_VIEWS: Final = [Selected.named(kinds.VIEW, ManagedClusterView, view) for view in View]
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


async def look(reader: Reader, cgu: ClusterGroupUpgrade, clusters: Collection[str]) -> Look:
    """Look at the open ones of these clusters.  Raises ApiError for what is not just forbidden."""
    phases = stored_phases(cgu.status)
    wanted = [c for c in clusters if c in phases and phases[c] not in FINAL_PHASES]
    views, actions, works, managed = await asyncio.gather(
        read(reader.client, wanted, *_VIEWS),
        read(reader.client, wanted, *_ACTIONS),
        read(reader.client, wanted, WORKS),
        read_managed(reader.client, wanted),
    )
    now = dt.datetime.now(dt.UTC)
    order = order_of(cgu)
    by_work = _by_works(works.objects, order)
    readable = [c for c in wanted if c not in by_work and not (views.why(c) or actions.why(c))]
    by_view = {
        cluster: sight
        for cluster, sight in _by_views(
            reader, views.objects, actions.objects, order, readable, now
        ).items()
        # A work that may not be read may say more than views that are not there.
        if sight.fact is not Fact.UNASKED or not works.why(cluster)
    }
    seen = Snapshot(
        now=now,
        rules=Rules(),
        cgu=cgu,
        clusters=_clusters(managed, wanted),
        sights=by_view | by_work,
    )
    whys = {c: views.why(c) or actions.why(c) or works.why(c) for c in wanted}
    return Look(seen, {c: why for c, why in whys.items() if why and c not in seen.sights})


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
            sights[cluster] = work_fact(work, order)
        elif cluster not in sights:
            sights[cluster] = Sight(
                Fact.LEFTOVERS, f"ManifestWork {name} of an earlier run is there"
            )
    return sights


def _by_views(
    reader: Reader,
    views: Mapping[Key, ManagedClusterView],
    actions: Mapping[Key, ManagedClusterAction],
    order: Order,
    clusters: Iterable[str],
    now: dt.datetime,
) -> dict[str, Sight]:
    """What views and actions show of these clusters."""
    try:
        transport = ViewActionTransport(
            reader.client,
            _Cache(views),
            _Cache(actions),
            profile=_profile(views),
            namespace=_namespace(views),
            now=lambda: now,
        )
    except BadSpec:  # a view of this name that is not the operator's
        return {}
    sights = {c: transport.look(c, order, now) for c in clusters}
    return {c: _with_holders(s, views.get((c, View.NAMESPACE))) for c, s in sights.items()}


def _profile(views: Mapping[Key, ManagedClusterView]) -> Profile:
    """Which workload profile the operator runs: only `existing` makes some views, and no labels."""
    names = {name for _, name in views}
    unlabelled = any(RUN_LABEL not in (view.metadata.labels or {}) for view in views.values())
    return PROFILES["existing" if names & _EXISTING_VIEWS or unlabelled else "talm"]


def _namespace(views: Mapping[Key, ManagedClusterView]) -> str:
    """The pre-caching namespace on the spokes, as the views ask about it."""
    asked = (v.spec.scope.name for (_, name), v in views.items() if name == View.NAMESPACE)
    return next((name for name in asked if name), MANUAL_NAMESPACE)


def _with_holders(sight: Sight, view: ManagedClusterView | None) -> Sight:
    """Of a namespace that does not go, what the spoke says is left in it."""
    if sight.fact is not Fact.LEFTOVERS or view is None or view.status is None:
        return sight
    result = view.status.result
    conditions = (result.status.conditions if result and result.status else None) or ()
    held = "; ".join(c.message for c in conditions if c.status == "True" and c.message)
    return Sight(sight.fact, f"{sight.note}; {held}" if held else sight.note)
