"""Which CGUs must look again when something on the hub has changed.

A change is routed to the CGUs that could decide otherwise because of it, and to no others: a view of a
cluster to those that have it in their plan, a policy to those that manage it, a CGU also to those that
share a cluster with it (whose turn it is) or are blocked by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from talm.api import kinds
from talm.api.cgu import ClusterGroupUpgrade
from talm.api.words import CGU_LABEL, CGU_NAMESPACE_LABEL
from talm.core.fleet import stored_phases

from . import store
from .store import Key


class Routes:
    """An index from clusters, policies and blockers to CGU keys, kept from the CGUs' own events."""

    def __init__(self) -> None:
        self._by_cluster: dict[str, set[Key]] = {}
        self._by_policy: dict[str, set[Key]] = {}
        self._by_blocker: dict[Key, set[Key]] = {}
        self._by_namespace: dict[str, set[Key]] = {}
        self._selecting: set[Key] = set()
        self._clusters: dict[Key, frozenset[str]] = {}
        self._links: dict[Key, list[set[Key]]] = {}

    def sharing(self, cluster: str) -> frozenset[Key]:
        """The CGUs that have this cluster."""
        return frozenset(self._by_cluster.get(cluster, ()))

    def heard(self, kind: str, key: Key, old: Any, new: Any) -> Iterable[Key]:
        """The CGUs to look at after this change."""
        match kind:
            case kinds.CGU.plural:
                return self._cgu_changed(key, new)
            case kinds.VIEW.plural | kinds.ACTION.plural:
                return self._by_cluster.get(key[0], ())
            case kinds.MANAGED_CLUSTER.plural:
                return self._by_cluster.get(key[1], set()) | self._selecting
            case kinds.POLICY.plural:
                return self._by_policy.get(key[1], ())
            case store.CHILD_POLICIES:
                return self._by_policy.get(key[1].partition(".")[2], ())
            case kinds.PRE_CACHING_CONFIG.plural:
                return tuple(self._links)
            case kinds.CONFIG_MAP.plural:
                return self._by_namespace.get(key[0], ())
            case kinds.PLACEMENT.plural | kinds.PLACEMENT_BINDING.plural:
                return tuple(_owner(new if new is not None else old))
            case _:
                return ()

    def take_part(self, key: Key, clusters: Iterable[str]) -> None:
        """A pass has found out which clusters the CGU has (a selector may have chosen them)."""
        now = self._clusters.get(key, frozenset()) | frozenset(clusters)
        for cluster in now - self._clusters.get(key, frozenset()):
            self._by_cluster.setdefault(cluster, set()).add(key)
        self._clusters[key] = now

    def _cgu_changed(self, key: Key, new: ClusterGroupUpgrade | None) -> set[Key]:
        affected = {key} | self._by_blocker.get(key, set())
        before = self._clusters.get(key, frozenset())
        after = frozenset(_clusters_of(new)) if new is not None else frozenset()
        for cluster in before | after:
            affected |= self._by_cluster.get(cluster, set())
        self._forget(key)
        if new is not None:
            self._link(key, new)
            self.take_part(key, after)
        return affected

    def _forget(self, key: Key) -> None:
        for keys in self._links.pop(key, ()):
            keys.discard(key)
        for cluster in self._clusters.pop(key, ()):
            keys = self._by_cluster[cluster]
            keys.discard(key)
            if not keys:
                del self._by_cluster[cluster]
        self._selecting.discard(key)

    def _link(self, key: Key, cgu: ClusterGroupUpgrade) -> None:
        spec = cgu.spec
        links = [self._by_namespace.setdefault(key[0], set())]
        links += [self._by_policy.setdefault(p, set()) for p in spec.managed_policies or ()]
        links += [
            self._by_blocker.setdefault((b.namespace, b.name), set())
            for b in spec.blocking_crs or ()
        ]
        if spec.cluster_selector or spec.cluster_label_selectors:
            links.append(self._selecting)
        for keys in links:
            keys.add(key)
        self._links[key] = links


def _clusters_of(cgu: ClusterGroupUpgrade) -> Iterator[str]:
    yield from cgu.spec.clusters or ()
    yield from stored_phases(cgu.status)
    for batch in cgu.status.remediation_plan or ():
        yield from batch


def _owner(placement: Any) -> Iterator[Key]:
    labels = placement.metadata.labels or {}
    name, namespace = labels.get(CGU_LABEL), labels.get(CGU_NAMESPACE_LABEL)
    if name and namespace:
        yield (namespace, name)
