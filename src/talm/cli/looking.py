"""A look at clusters with the operator's own eyes: views and actions -> facts, as far as they may be read.

The reasoning is the transport's (`spokes/viewaction.py`), fed with what this user could read instead of the
operator's caches.  How actions ended that are gone again only the operator remembers.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic

from talm.api import kinds
from talm.api.cgu import ClusterGroupUpgrade, PrecachingSpec
from talm.api.ocm import ManagedCluster, ManagedClusterAction, ManagedClusterView
from talm.api.words import (
    AVAILABLE_CONDITION,
    FINAL_PHASES,
    MANUAL_NAMESPACE,
    RUN_LABEL,
    Action,
    View,
)
from talm.cli.reading import Found, Key, Reader, S
from talm.core.fleet import stored_phases
from talm.core.model import Cluster, Fact, Rules, Sight, Snapshot
from talm.core.placements import run_id
from talm.errors import BadSpec
from talm.spokes.base import Order
from talm.spokes.profile import Profile
from talm.spokes.profiles import PROFILES
from talm.spokes.viewaction import ViewActionTransport

_EXISTING_VIEWS: Final = frozenset({View.SPEC.value, View.ACCOUNT.value, View.BINDING.value})


@dataclass(frozen=True, slots=True)
class Look:
    """A snapshot of what could be read, and why a cluster could not be looked at."""

    seen: Snapshot
    unknown: Mapping[str, str] = field(default_factory=dict)
    views: Mapping[Key, ManagedClusterView] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Cache(Generic[S]):
    objects: Mapping[Key, S]

    def get(self, name: str, namespace: str = "") -> S | None:
        return self.objects.get((namespace, name))


async def look(reader: Reader, cgu: ClusterGroupUpgrade, clusters: Collection[str]) -> Look:
    """Look at the open ones of these clusters.  Raises ApiError for what is not just forbidden."""
    phases = stored_phases(cgu.status)
    wanted = [c for c in clusters if c in phases and phases[c] not in FINAL_PHASES]
    views, actions, managed = await asyncio.gather(
        reader.of_clusters(kinds.VIEW, ManagedClusterView, [v.value for v in View], wanted),
        reader.of_clusters(kinds.ACTION, ManagedClusterAction, [a.value for a in Action], wanted),
        reader.managed(wanted),
    )
    now = dt.datetime.now(dt.UTC)
    seen = Snapshot(
        now=now,
        rules=Rules(),
        cgu=cgu,
        clusters=_clusters(managed, wanted),
        sights=_sights(reader, cgu, wanted, views, actions, now=now),
    )
    unknown = {c: why for c in wanted if (why := views.why(c) or actions.why(c))}
    return Look(seen, unknown, views.objects)


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


def _sights(
    reader: Reader,
    cgu: ClusterGroupUpgrade,
    wanted: Collection[str],
    views: Found[ManagedClusterView],
    actions: Found[ManagedClusterAction],
    *,
    now: dt.datetime,
) -> dict[str, Sight]:
    """What each cluster shows; those that could not be read whole are absent."""
    readable = [c for c in wanted if not views.why(c) and not actions.why(c)]
    try:
        transport = ViewActionTransport(
            reader.client,
            _Cache(views.objects),
            _Cache(actions.objects),
            profile=_profile(views.objects),
            namespace=_namespace(views.objects),
            now=lambda: now,
        )
    except BadSpec:  # a view of this name that is not the operator's
        return {}
    order = _order(cgu)
    sights = {c: transport.look(c, order, now) for c in readable}
    return {c: _with_holders(s, views.objects.get((c, View.NAMESPACE))) for c, s in sights.items()}


def _order(cgu: ClusterGroupUpgrade) -> Order:
    """As far as a look needs it: which run, which deadline, which specification."""
    stored = cgu.status.precaching
    return Order(
        run=run_id(cgu.metadata),
        cgu=cgu.metadata.name,
        cgu_namespace=cgu.metadata.namespace,
        spec=(stored.spec if stored else None) or PrecachingSpec(),
        job_deadline_s=cgu.spec.remediation_strategy.timeout * 60,
        clusters=len(stored_phases(cgu.status)),
        image="",
    )


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
