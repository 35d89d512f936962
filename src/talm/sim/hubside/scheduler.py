"""Placement decisions: what each Placement selects, kept up to date in chunks of 100.

Placement + ManagedClusters -> choose -> PlacementDecision <placement>-decision-<k>
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from talm.api import kinds
from talm.api.meta import ObjectMeta
from talm.errors import AlreadyExists, NotFound
from talm.sim.agents.base import Hub
from talm.sim.agents.workqueue import SerialQueue
from talm.sim.clock import Clock
from talm.sim.hubside.placements import (
    PLACEMENT_LABEL,
    Cluster,
    Decision,
    Placement,
    SetBinding,
    choose,
)

CHUNK: Final = 100
DELAY_S: Final = 0.2
"""Changes are collected for so long; a real scheduler answers within a second."""
_GROUP: Final = "cluster.open-cluster-management.io/decision-group"


class Scheduler:
    """Keeps the decisions of all Placements; fed by the fleet's informers.

    `require_set_binding`: without a ManagedClusterSetBinding in its namespace a Placement
    selects nothing and says NoManagedClusterSetBindings, as a real hub does.  `clusters` are
    known to be clusters before the hub says so.
    """

    def __init__(
        self,
        hub: Hub,
        clock: Clock,
        clusters: Sequence[str] = (),
        *,
        require_set_binding: bool = False,
    ) -> None:
        self._hub = hub
        self._clock = clock
        self._expected = frozenset(clusters)
        self._require = require_set_binding
        self._clusters: dict[str, Cluster] = {}
        self._placements: dict[str, Placement] = {}
        self._decisions: dict[str, dict[str, Decision]] = {}
        self._bindings: dict[str, set[str]] = {}
        self._said: dict[str, tuple[str, Sequence[str], str]] = {}
        self._queue = SerialQueue(self._schedule, name="scheduler")

    def cluster_changed(self, _namespace: str, name: str, new: Cluster | None) -> None:
        """A ManagedCluster is now so; what does not matter to decisions is ignored."""
        old = self._clusters.get(name)
        if new is None:
            self._clusters.pop(name, None)
        else:
            self._clusters[name] = new
        if _matters(old) != _matters(new):
            self._all()

    def placement_changed(self, namespace: str, name: str, new: Placement | None) -> None:
        """A Placement is now so."""
        key = f"{namespace}/{name}"
        if new is None:
            self._placements.pop(key, None)
            self._said.pop(key, None)
        else:
            self._placements[key] = new
        self._queue.add_after(key, DELAY_S)

    def decision_changed(self, namespace: str, name: str, new: Decision | None) -> None:
        """A PlacementDecision is now so."""
        known = self._decisions.setdefault(namespace, {})
        if new is None:
            known.pop(name, None)
        else:
            known[name] = new

    def binding_changed(self, namespace: str, name: str, new: SetBinding | None) -> None:
        """A ManagedClusterSetBinding came or went."""
        sets = self._bindings.setdefault(namespace, set())
        (sets.discard if new is None else sets.add)(name)
        if self._require:
            self._all()

    def knows(self, name: str) -> bool:
        """A cluster (and therefore the namespace of a cluster) has this name."""
        return name in self._clusters or name in self._expected

    def stop(self) -> None:
        """Decide nothing more."""
        self._queue.stop()

    def _all(self) -> None:
        for key in self._placements:
            self._queue.add_after(key, DELAY_S)

    async def _schedule(self, key: str) -> None:
        placement = self._placements.get(key)
        namespace, _, name = key.partition("/")
        if placement is None:
            await self._drop(namespace, name, keep=0)
            return
        bound = sorted(self._bindings.get(namespace, ())) if self._require else None
        unbound = bound is not None and not bound
        chosen = choose(placement.spec, list(self._clusters.values()), bound)
        chunks = [chosen[i : i + CHUNK] for i in range(0, len(chosen), CHUNK)]
        if not chunks and not unbound:
            chunks = [[]]
        for number, names in enumerate(chunks, start=1):
            await self._write(placement, f"{name}-decision-{number}", number, names)
        await self._drop(namespace, name, keep=len(chunks))
        await self._say(placement, chosen, unbound=unbound)

    async def _write(
        self, placement: Placement, name: str, number: int, clusters: Sequence[str]
    ) -> None:
        meta = placement.metadata
        old = self._decisions.get(meta.namespace, {}).get(name)
        if old is not None and old.clusters == list(clusters):
            return
        if old is None:
            try:
                body = _decision(meta, name, number)
                await self._hub.create(kinds.PLACEMENT_DECISION, body)
            except AlreadyExists:
                pass  # ours, from a moment ago: the watch has not said so yet
        entries = [{"clusterName": cluster, "reason": ""} for cluster in clusters]
        patch = {"status": {"decisions": entries}}
        await self._hub.merge_patch(
            kinds.PLACEMENT_DECISION, name, patch, meta.namespace, subresource="status"
        )

    async def _drop(self, namespace: str, placement: str, *, keep: int) -> None:
        for name, decision in list(self._decisions.get(namespace, {}).items()):
            labels = decision.metadata.labels or {}
            number = name.rpartition("-")[2]
            if labels.get(PLACEMENT_LABEL) == placement and int(number) > keep:
                try:
                    await self._hub.delete(kinds.PLACEMENT_DECISION, name, namespace)
                except NotFound:
                    continue

    async def _say(self, placement: Placement, chosen: Sequence[str], *, unbound: bool) -> None:
        meta = placement.metadata
        status, reason, text = _verdict(chosen, unbound=unbound)
        said = (meta.uid, tuple(chosen), reason)
        if self._said.get(f"{meta.namespace}/{meta.name}") == said:
            return
        satisfied = {
            "type": "PlacementSatisfied",
            "status": status,
            "reason": reason,
            "message": text,
            "lastTransitionTime": self._clock.stamp(),
        }
        body = {"numberOfSelectedClusters": len(chosen), "conditions": [satisfied]}
        await self._hub.merge_patch(
            kinds.PLACEMENT, meta.name, {"status": body}, meta.namespace, subresource="status"
        )
        self._said[f"{meta.namespace}/{meta.name}"] = said


def _matters(cluster: Cluster | None) -> object:
    if cluster is None:
        return None
    meta = cluster.metadata
    claims = cluster.status.cluster_claims
    return (meta.labels or {}, meta.deletion_timestamp is None, cluster.spec.taints, claims)


def _verdict(chosen: Sequence[str], *, unbound: bool) -> tuple[str, str, str]:
    if unbound:
        text = "No valid ManagedClusterSetBindings found in placement namespace"
        return "False", "NoManagedClusterSetBindings", text
    if not chosen:
        text = "No ManagedCluster matches any of the cluster predicate"
        return "False", "NoManagedClusterMatched", text
    return "True", "AllDecisionsScheduled", "All cluster decisions scheduled"


def _decision(placement: ObjectMeta, name: str, number: int) -> Mapping[str, Any]:
    kind = kinds.PLACEMENT
    owner = {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "name": placement.name,
        "uid": placement.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    labels = {
        PLACEMENT_LABEL: placement.name,
        f"{_GROUP}-index": "0",
        f"{_GROUP}-name": "",
    }
    meta = {"name": name, "namespace": placement.namespace, "labels": labels}
    return {"metadata": {**meta, "ownerReferences": [owner]}}
