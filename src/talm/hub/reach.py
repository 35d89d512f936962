"""How clusters are reached: what the hub serves and what it knows of their agents.

setting transport ── view-action | manifest-work ──► that one
        └──── auto ──► works where the hub serves them and the cluster's work agent lives,
                       else views and actions
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from talm.api.meta import Condition
from talm.api.ocm import ConditionedStatus, ManagedClusterAddOn, ManagedClusterStatus
from talm.api.words import (
    ADD_ON_AVAILABLE_CONDITION,
    AVAILABLE_CONDITION,
    JOINED_CONDITION,
    VIEW_ADD_ON,
)
from talm.kube.client import Client
from talm.spokes.base import PodTerms, Transport
from talm.spokes.bycluster import ByCluster, Way
from talm.spokes.manifestwork import ManifestWorkTransport
from talm.spokes.pinning import PinningTransport
from talm.spokes.profiles import PROFILES
from talm.spokes.viewaction import ViewActionTransport

from .addons import AddOns
from .settings import Settings
from .store import Store

AUTO: Final = "auto"


@dataclass(frozen=True, slots=True)
class Ways:
    """The transports, to be told what informers have heard, and the one that is used."""

    views: ViewActionTransport
    works: ManifestWorkTransport
    used: Transport
    add_ons: AddOns

    def add_on_changed(self, cluster: str, add_on: ManagedClusterAddOn | None) -> bool:
        """Take in what was heard of an add-on; whether it may matter to anybody."""
        if not self.add_ons.changed(cluster, add_on):
            return False
        self.views.agent_changed(cluster)
        return True


def open_ways(
    client: Client,
    store: Store,
    settings: Settings,
    *,
    now: Callable[[], dt.datetime],
    terms: Callable[[str], PodTerms],
) -> Ways:
    """Make the transports that the settings ask for."""
    add_ons = AddOns(now)
    views = ViewActionTransport(
        client,
        store.views,
        store.actions,
        profile=PROFILES[settings.profile],
        namespace=settings.spoke_namespace,
        now=now,
        terms=terms,
        successes=store.records,
        patience=settings.patience,
        away=add_ons.away_since,
    )
    works = ManifestWorkTransport(
        client,
        store.works,
        store.managed_clusters,
        successes=store.records,
        check=views,
        checked=lambda cluster: answers_views(store, cluster),
        namespace=settings.spoke_namespace,
        now=now,
        terms=terms,
        patience=settings.patience,
    )
    used: Transport = ByCluster(views, works, lambda cluster: choose_way(store, settings, cluster))
    if settings.rules.unpins:
        used = PinningTransport(
            used,
            client,
            answers=lambda cluster: answers_views(store, cluster),
            terms=terms,
            namespace=settings.spoke_namespace,
        )
    return Ways(views, works, used, add_ons)


def choose_way(store: Store, settings: Settings, cluster: str) -> Way:
    """The way to a cluster whose run begins now.

    Profile `existing` is the existing operator's choreography of views and actions.  Where neither
    agent is said to live it is a work: the one object that, deleted, is never carried out late.
    """
    if settings.transport != AUTO:
        return Way(settings.transport)
    if settings.profile != "talm" or not store.works.present:
        return Way.VIEW_ACTION
    if not work_agent_lives(store, cluster) and view_agent_lives(store, cluster):
        return Way.VIEW_ACTION
    return Way.MANIFEST_WORK


def work_agent_lives(store: Store, cluster: str) -> bool:
    """Whether the cluster's work agent lives, as far as the hub knows.

    It is a part of the klusterlet and has no lease of its own: it counts as alive where the klusterlet
    has joined and its cluster is available.
    """
    found = store.managed_clusters.get(cluster)
    status = found.status if found is not None else None
    return _is_true(status, JOINED_CONDITION) and _is_true(status, AVAILABLE_CONDITION)


def view_agent_lives(store: Store, cluster: str) -> bool:
    """Whether the hub says that the cluster's agent for views and actions lives."""
    if not answers_views(store, cluster) or not store.add_ons.present:
        return False
    found = store.add_ons.get(VIEW_ADD_ON, cluster)
    return found is not None and _is_true(found.status, ADD_ON_AVAILABLE_CONDITION)


def answers_views(store: Store, cluster: str) -> bool:
    """Whether the cluster has the agents for views and actions, as far as the hub knows.

    A hub that serves no add-ons says nothing of them.  An add-on that is away is still the cluster's.
    """
    if not (store.views.present and store.actions.present):
        return False
    return not store.add_ons.present or store.add_ons.get(VIEW_ADD_ON, cluster) is not None


def _is_true(status: ManagedClusterStatus | ConditionedStatus | None, kind: str) -> bool:
    conditions: tuple[Condition, ...] = (status.conditions if status is not None else None) or ()
    return any(c.type == kind and c.status == "True" for c in conditions)
