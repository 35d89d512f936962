"""Which CGUs must look again when something on the hub has changed.

A change is routed to the CGUs that could decide otherwise because of it, and to no others: a view of a
cluster to those that have it in their plan, a policy to those that manage it, a CGU also to those that
share a cluster with it (whose turn it is) or are blocked by it.  A CGU that is over looks again only
when it is itself changed or deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from typing import Any, Final, TypeVar

from talm.api import kinds
from talm.api.cgu import CguSpec, ClusterGroupUpgrade
from talm.api.words import CGU_LABEL, CGU_NAMESPACE_LABEL
from talm.core.decide import is_over
from talm.core.fleet import stored_phases

from . import store
from .store import Key

By = TypeVar("By", str, Key)
Index = dict[By, set[Key]]
NONE: Final[frozenset[str]] = frozenset()
NOBODY: Final[frozenset[Key]] = frozenset()


class Routes:
    """An index from clusters, policies and blockers to CGU keys, kept from the CGUs' own events."""

    def __init__(self) -> None:
        self._by_cluster: Index[str] = {}
        self._by_policy: Index[str] = {}
        self._by_blocker: Index[Key] = {}
        self._by_config: Index[Key] = {}
        self._by_namespace: Index[str] = {}
        self._selecting: set[Key] = set()
        self._named: dict[Key, frozenset[str]] = {}  # clusters that the object itself names
        self._chosen: dict[Key, frozenset[str]] = {}  # those that the last pass found selected
        self._followers: Index[str] = {}
        self._following: dict[Key, frozenset[str]] = {}
        self._specs: dict[Key, CguSpec] = {}  # of those that are not over

    def sharing(self, cluster: str) -> Set[Key]:
        """The CGUs that have this cluster; changes while you await."""
        return self._by_cluster.get(cluster, NOBODY)

    def heard(self, kind: str, key: Key, old: Any, new: Any) -> Iterable[Key]:
        """The CGUs to look at after this change."""
        match kind:
            case kinds.CGU.plural:
                return self._cgu_changed(key, new)
            case (
                kinds.VIEW.plural
                | kinds.ACTION.plural
                | kinds.MANIFEST_WORK.plural
                | kinds.ADD_ON.plural
            ):
                return self._concerned(key[0])
            case kinds.MANAGED_CLUSTER.plural:
                return self._concerned(key[1]) | self._selecting
            case kinds.POLICY.plural:
                return self._by_policy.get(key[1], ())
            case store.CHILD_POLICIES:
                return self._by_policy.get(key[1].partition(".")[2], ())
            case kinds.PRE_CACHING_CONFIG.plural:
                return self._by_config.get(key, ())
            case kinds.CONFIG_MAP.plural:
                return self._by_namespace.get(key[0], ())
            case kinds.PLACEMENT.plural | kinds.PLACEMENT_BINDING.plural:
                return tuple(_owner(new if new is not None else old))
            case _:
                return ()

    def _concerned(self, cluster: str) -> Set[Key]:
        found, more = self.sharing(cluster), self._followers.get(cluster)
        return found | more if more else found

    def follow(self, key: Key, clusters: Iterable[str]) -> None:
        """These alone matter to a CGU that is over; none: nothing does."""
        before, now = self._following.pop(key, NONE), frozenset(clusters)
        for cluster in before - now:
            _drop(self._followers, cluster, key)
        for cluster in now - before:
            _add(self._followers, cluster, key)
        if now:
            self._following[key] = now

    def take_part(self, key: Key, clusters: Iterable[str]) -> None:
        """A pass has found out which clusters the CGU selects: its selectors may have chosen more."""
        if key in self._specs:
            self._set_clusters(key, self._named.get(key, NONE), frozenset(clusters))

    def _clusters(self, key: Key) -> frozenset[str]:
        return self._named.get(key, NONE) | self._chosen.get(key, NONE)

    def _set_clusters(self, key: Key, named: frozenset[str], chosen: frozenset[str]) -> None:
        if (named, chosen) == (self._named.get(key, NONE), self._chosen.get(key, NONE)):
            return
        before, now = self._clusters(key), named | chosen
        for cluster in now - before:
            _add(self._by_cluster, cluster, key)
        for cluster in before - now:
            _drop(self._by_cluster, cluster, key)
        for clusters, kept in ((named, self._named), (chosen, self._chosen)):
            if clusters:
                kept[key] = clusters
            else:
                kept.pop(key, None)

    def _cgu_changed(self, key: Key, new: ClusterGroupUpgrade | None) -> set[Key]:
        affected = {key} | self._by_blocker.get(key, set())
        if new is None:
            self.follow(key, ())
        running = new if new is not None and not is_over(new.status) else None
        named = frozenset(_clusters_of(running)) if running is not None else NONE
        for cluster in self._clusters(key) | named:
            affected |= self.sharing(cluster)
        spec = running.spec if running is not None else None
        if self._specs.get(key) != spec:
            self._unlink(key)
            if spec is not None:
                self._link(key, spec)
        # What a selector chose is in no object before it is stored; until then the last pass knows.
        self._set_clusters(key, named, self._chosen.get(key, NONE))
        return affected

    def _unlink(self, key: Key) -> None:
        self._set_clusters(key, self._named.get(key, NONE), NONE)
        spec = self._specs.pop(key, None)
        if spec is None:
            return
        for policy in spec.managed_policies or ():
            _drop(self._by_policy, policy, key)
        for blocker in _blockers(spec):
            _drop(self._by_blocker, blocker, key)
        for config in _configs(key, spec):
            _drop(self._by_config, config, key)
        _drop(self._by_namespace, key[0], key)
        self._selecting.discard(key)

    def _link(self, key: Key, spec: CguSpec) -> None:
        self._specs[key] = spec
        for policy in spec.managed_policies or ():
            _add(self._by_policy, policy, key)
        for blocker in _blockers(spec):
            _add(self._by_blocker, blocker, key)
        for config in _configs(key, spec):
            _add(self._by_config, config, key)
        _add(self._by_namespace, key[0], key)
        if spec.cluster_selector or spec.cluster_label_selectors:
            self._selecting.add(key)


def _add(index: Index[By], value: By, key: Key) -> None:
    index.setdefault(value, set()).add(key)


def _drop(index: Index[By], value: By, key: Key) -> None:
    keys = index.get(value, set())
    keys.discard(key)
    if not keys:
        index.pop(value, None)


def _blockers(spec: CguSpec) -> Iterator[Key]:
    for blocker in spec.blocking_crs or ():
        yield blocker.namespace, blocker.name


def _configs(key: Key, spec: CguSpec) -> Iterator[Key]:
    ref = spec.pre_caching_config_ref
    if ref is not None and ref.name:
        yield ref.namespace or key[0], ref.name


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
