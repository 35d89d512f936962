"""How clusters are reached: what the hub serves and what it knows of their agents.

setting transport ── view-action | manifest-work ──► that one
        └──── auto ──► views and actions where the cluster has the agents for them, else works
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from talm.api.words import VIEW_ADD_ON
from talm.kube.client import Client
from talm.spokes.base import PodTerms, Transport
from talm.spokes.bycluster import ByCluster, Way
from talm.spokes.manifestwork import ManifestWorkTransport
from talm.spokes.pinning import PinningTransport
from talm.spokes.profiles import PROFILES
from talm.spokes.viewaction import ViewActionTransport

from .settings import Settings
from .store import Store

AUTO: Final = "auto"


@dataclass(frozen=True, slots=True)
class Ways:
    """The transports, to be told what informers have heard, and the one that is used."""

    views: ViewActionTransport
    works: ManifestWorkTransport
    used: Transport


def open_ways(
    client: Client,
    store: Store,
    settings: Settings,
    *,
    now: Callable[[], dt.datetime],
    terms: Callable[[str], PodTerms],
) -> Ways:
    """Make the transports that the settings ask for."""
    views = ViewActionTransport(
        client,
        store.views,
        store.actions,
        profile=PROFILES[settings.profile],
        namespace=settings.spoke_namespace,
        now=now,
        terms=terms,
    )
    works = ManifestWorkTransport(
        client,
        store.works,
        store.managed_clusters,
        check=views,
        checked=lambda cluster: answers_views(store, cluster),
        namespace=settings.spoke_namespace,
        now=now,
        terms=terms,
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
    return Ways(views, works, used)


def choose_way(store: Store, settings: Settings, cluster: str) -> Way:
    """The way to a cluster whose run begins now.

    Profile `existing` is the existing operator's choreography of views and actions.
    """
    if settings.transport != AUTO:
        return Way(settings.transport)
    if settings.profile != "talm" or not store.works.present or answers_views(store, cluster):
        return Way.VIEW_ACTION
    return Way.MANIFEST_WORK


def answers_views(store: Store, cluster: str) -> bool:
    """Whether the cluster has the agents for views and actions, as far as the hub knows.

    A hub that serves no add-ons says nothing of them.  An add-on that is away is still the cluster's.
    """
    if not (store.views.present and store.actions.present):
        return False
    return not store.add_ons.present or store.add_ons.get(VIEW_ADD_ON, cluster) is not None
