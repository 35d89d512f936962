"""What the operator knows of the hub: one informer per kind, and its own last writes.

Reading is always from memory; nothing here makes a request but the informers' lists and watches.
A pass must not act on a status older than the one it wrote last: `cgu` returns the newer of cache and
own write (resourceVersions of one kind grow and may be compared as numbers).
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from talm.api import kinds, ocm
from talm.api.cacherecord import CACHE_RECORD, RecordMap
from talm.api.cgu import ClusterGroupUpgrade
from talm.api.meta import Condition, ObjectMeta
from talm.api.precaching import PreCachingConfig
from talm.api.words import (
    AVAILABLE_CONDITION,
    CGU_LABEL,
    CGU_NAMESPACE_LABEL,
    OVERRIDES_CONFIG_MAP,
    ROOT_POLICY_LABEL,
    RUN_LABEL,
    VIEW_ADD_ON,
)
from talm.core.model import Cluster, RootPolicy
from talm.kube.client import Client
from talm.kube.watch import Informer
from talm.spokes.workdesk import BY_CLUSTER
from talm.spokes.workfacts import trimmed

from .children import Children
from .policyreader import read_policy
from .records import Records

Key = tuple[str, str]
# Two informers follow policies; this is the one for those in clusters' namespaces.
CHILD_POLICIES: Final = "childpolicies"
# And two follow ConfigMaps: this is the one for what was cached where.
CACHE_RECORDS: Final = "cacherecords"
# kind of the informer (its plural), key, old, new
OnEvent = Callable[[str, Key, Any, Any], None]


class Store:
    """The hub in memory.  `run` keeps it up to date; `on_event` hears of every change.

    `now`: our own clock, for when something was heard (None: nobody asks).
    """

    def __init__(
        self, client: Client, on_event: OnEvent, *, now: Callable[[], dt.datetime] | None = None
    ) -> None:
        self._on_event = on_event
        self._now = now
        self._own: dict[Key, ClusterGroupUpgrade] = {}
        self._policies: dict[Key, tuple[str, RootPolicy]] = {}
        self._informers: dict[str, Informer[Any]] = {}
        self.clusters: dict[str, Cluster] = {}

        def informer(kind: kinds.Kind, struct: Any, **options: Any) -> Informer[Any]:
            name = options.pop("name", kind.plural)
            made = Informer(client, kind, struct, self._hear(name), **options)
            self._informers[name] = made
            return made

        self.cgus: Informer[ClusterGroupUpgrade] = informer(kinds.CGU, ClusterGroupUpgrade)
        self.managed_clusters: Informer[ocm.ManagedCluster] = informer(
            kinds.MANAGED_CLUSTER, ocm.ManagedCluster
        )
        self.views: Informer[ocm.ManagedClusterView] = informer(
            kinds.VIEW, ocm.ManagedClusterView, optional=True
        )
        self.actions: Informer[ocm.ManagedClusterAction] = informer(
            kinds.ACTION, ocm.ManagedClusterAction, optional=True
        )
        # Works of pre-caching alone: other controllers' may be many, and big.
        self.works: Informer[ocm.ManifestWork] = informer(
            kinds.MANIFEST_WORK, ocm.ManifestWork, optional=True,
            label_selector=RUN_LABEL, indexes={BY_CLUSTER: _by_namespace}, trim=trimmed,
        )  # fmt: skip
        self.add_ons: Informer[ocm.ManagedClusterAddOn] = informer(
            kinds.ADD_ON, ocm.ManagedClusterAddOn, optional=True,
            field_selector=f"metadata.name={VIEW_ADD_ON}",
        )  # fmt: skip
        self.roots: Informer[ocm.Policy] = informer(
            kinds.POLICY, ocm.Policy, optional=True,
            label_selector=f"!{ROOT_POLICY_LABEL}", indexes={"name": _by_name},
        )  # fmt: skip
        self.children: Informer[ocm.ChildPolicy] = informer(
            kinds.POLICY, ocm.ChildPolicy, optional=True, name=CHILD_POLICIES,
            label_selector=ROOT_POLICY_LABEL, indexes={"name": _by_name},
        )  # fmt: skip
        self.resolved = Children(client, self._hear(CHILD_POLICIES))
        self.placements: Informer[ocm.Placement] = informer(
            kinds.PLACEMENT, ocm.Placement, optional=True, indexes={"cgu": _by_cgu}
        )
        self.bindings: Informer[ocm.PlacementBinding] = informer(
            kinds.PLACEMENT_BINDING, ocm.PlacementBinding, optional=True, indexes={"cgu": _by_cgu}
        )
        self.configs: Informer[PreCachingConfig] = informer(
            kinds.PRE_CACHING_CONFIG, PreCachingConfig
        )
        self.overrides: Informer[ocm.ConfigMap] = informer(
            kinds.CONFIG_MAP, ocm.ConfigMap,
            field_selector=f"metadata.name={OVERRIDES_CONFIG_MAP}",
        )  # fmt: skip
        record_maps: Informer[RecordMap] = informer(
            kinds.CONFIG_MAP, RecordMap, name=CACHE_RECORDS,
            field_selector=f"metadata.name={CACHE_RECORD}",
        )  # fmt: skip
        self.records = Records(client, record_maps)

    @property
    def informers(self) -> Mapping[str, Informer[Any]]:
        """All informers by the name that `on_event` gives."""
        return self._informers

    async def run(self) -> None:
        """Follow the hub until cancelled."""
        async with asyncio.TaskGroup() as group:
            for name, informer in self.informers.items():
                group.create_task(informer.run(), name=f"informer {name}")
            group.create_task(self.resolved.run(), name="resolved children")

    async def wait_synced(self) -> None:
        """Return once every kind was listed (or found missing)."""
        for informer in self.informers.values():
            await informer.synced.wait()

    def cgu(self, key: Key) -> ClusterGroupUpgrade | None:
        """One CGU, at least as new as our own last write of it."""
        cached = self.cgus.get(key[1], key[0])
        own = self._own.get(key)
        if cached is None or own is None or own.metadata.uid != cached.metadata.uid:
            return cached
        return own if _version(own.metadata) > _version(cached.metadata) else cached

    def wrote(self, cgu: ClusterGroupUpgrade) -> None:
        """Remember what the API server answered to our write."""
        cached = self.cgus.get(cgu.metadata.name, cgu.metadata.namespace)
        # What the cache has caught up with, or has seen deleted, need not be remembered.
        if cached is not None and _version(cgu.metadata) > _version(cached.metadata):
            self._own[cgu.metadata.key] = cgu

    def live_cgus(self) -> Iterator[ClusterGroupUpgrade]:
        """All CGUs, each as new as known."""
        for key in self.cgus.cache:
            cgu = self.cgu(key)
            if cgu is not None:
                yield cgu

    def root_policies(self, name: str, selected: frozenset[str]) -> tuple[RootPolicy, ...]:
        """The root policies of this name that have a child on a selected cluster.

        A child's name is its root's namespace, a dot, and the root's name (policy propagator).
        """
        found = []
        for root in self.roots.by("name", name):
            child = f"{root.metadata.namespace}.{name}"
            children = self.children.by("name", child)
            if any(c.metadata.namespace in selected for c in children):
                found.append(self._read(root))
        return tuple(found)

    def _read(self, root: ocm.Policy) -> RootPolicy:
        """A policy is parsed once per version."""
        key, version = root.metadata.key, root.metadata.resource_version
        known = self._policies.get(key)
        if known is None or known[0] != version:
            known = self._policies[key] = (version, read_policy(root))
        return known[1]

    def _hear(self, name: str) -> Callable[[Key, Any, Any], None]:
        def hear(key: Key, old: Any, new: Any) -> None:
            if name == CACHE_RECORDS:
                self.records.heard(key[0], new)
                return  # nobody waits for one
            match name:
                case kinds.MANAGED_CLUSTER.plural:
                    if not self._cluster_changed(key, new):
                        return
                case kinds.CGU.plural:
                    self._caught_up(key, new)
                case kinds.POLICY.plural if new is None:
                    self._policies.pop(key, None)
                    self.resolved.forget(key)
                case _:
                    pass
            self._on_event(name, key, old, new)

        return hear

    def _caught_up(self, key: Key, new: ClusterGroupUpgrade | None) -> None:
        own = self._own.get(key)
        if own is None:
            return
        if new is None or _version(own.metadata) <= _version(new.metadata):
            del self._own[key]

    def _cluster_changed(self, key: Key, new: ocm.ManagedCluster | None) -> bool:
        """Keep the value that decisions see; False when nothing that decides has changed."""
        before = self.clusters.get(key[1])
        if new is None:
            self.clusters.pop(key[1], None)
            return True
        after = read_cluster(new)
        if before is not None and before.available == after.available:
            after = replace(after, heard=before.heard)
        elif self._now is not None:
            after = replace(after, heard=self._now())
        self.clusters[key[1]] = after
        return after != before


def read_cluster(cluster: ocm.ManagedCluster) -> Cluster:
    """A ManagedCluster as decisions see it; without an availability condition it is available."""
    meta = cluster.metadata
    conditions: tuple[Condition, ...] = (cluster.status.conditions or ()) if cluster.status else ()
    found = next((c for c in conditions if c.type == AVAILABLE_CONDITION), None)
    return Cluster(
        name=meta.name,
        labels=meta.labels or {},
        available=found is None or found.status == "True",
        since=found.last_transition_time if found is not None else None,
    )


def _version(meta: ObjectMeta) -> int:
    return int(meta.resource_version) if meta.resource_version.isdecimal() else 0


def _by_name(obj: ocm.Policy | ocm.ChildPolicy) -> tuple[str, ...]:
    return (obj.metadata.name,)


def _by_namespace(obj: ocm.ManifestWork) -> tuple[str, ...]:
    return (obj.metadata.namespace,)


def _by_cgu(obj: ocm.Placement | ocm.PlacementBinding) -> tuple[str, ...]:
    labels: Mapping[str, str] = obj.metadata.labels or {}
    name, namespace = labels.get(CGU_LABEL), labels.get(CGU_NAMESPACE_LABEL)
    return (f"{namespace}/{name}",) if name and namespace else ()
