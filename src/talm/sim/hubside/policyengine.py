"""The hub's policy propagator: child policies per decided cluster, and the root's roll-up.

    root Policy + PlacementBindings + decisions -> which cluster, enforced or not -> children
    children's status -> root status (sorted by cluster)

A cluster is selected by an unrestricted binding only; a restricted one can but turn a
selected cluster to `enforce` (that is how a batch is remediated).  As GPP >= 0.12; hub
templates other than `.ManagedClusterName` are left as they are.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from talm.api import kinds
from talm.api.words import HUB_TEMPLATES_ERROR
from talm.errors import AlreadyExists, NotFound
from talm.sim.agents.base import Hub
from talm.sim.agents.workqueue import SerialQueue
from talm.sim.hubside.placements import PLACEMENT_LABEL, Decision
from talm.sim.hubside.policywire import (
    CLUSTER_LABEL,
    COMPLIANT,
    GROUP,
    NAMESPACE_LABEL,
    NON_COMPLIANT,
    ROOT_LABEL,
    Binding,
    Policy,
)

DELAY_S: Final = 0.2
"""Changes are collected for so long before a root is looked at."""
_CLUSTER_NAME: Final = re.compile(r"\{\{hub\s+\.ManagedClusterName\s+hub\}\}")


class Selection(NamedTuple):
    """What the bindings of a root say."""

    members: frozenset[str]  # get a child
    enforced: frozenset[str]  # of these, by a binding's override
    restricted: frozenset[str]  # named by restricted bindings, selected or not
    placements: list[dict[str, str]]  # for the root's status


class Propagator:
    """One per hub; fed by the fleet's informers.  `is_cluster` tells a cluster's namespace."""

    def __init__(self, hub: Hub, *, is_cluster: Callable[[str], bool]) -> None:
        self._hub = hub
        self._is_cluster = is_cluster
        self.childless: set[str] = set()
        """Clusters that get no child policy, though they are selected."""
        self.unresolved: set[str] = set()
        """Clusters for which hub templates cannot be resolved."""
        self._roots: dict[str, Policy] = {}
        self._children: dict[str, dict[str, Policy]] = {}
        self._bindings: dict[str, Binding] = {}
        self._decisions: dict[str, dict[str, list[str]]] = {}
        self._written: dict[tuple[str, str], tuple[str, int, bool, bool]] = {}
        self._queue = SerialQueue(self._propagate, name="policies")

    def policy_changed(self, namespace: str, name: str, new: Policy | None) -> None:
        """A root or a child is now so."""
        if not self._is_cluster(namespace):
            key = f"{namespace}/{name}"
            if new is None:
                self._roots.pop(key, None)
            else:
                self._roots[key] = new
            self._queue.add_after(key, DELAY_S)
            return
        root = name.replace(".", "/", 1)
        children = self._children.setdefault(root, {})
        if new is None:
            children.pop(namespace, None)
            self._written.pop((root, namespace), None)
        else:
            children[namespace] = new
        self._queue.add_after(root, DELAY_S)

    def binding_changed(self, namespace: str, name: str, new: Binding | None) -> None:
        """A PlacementBinding is now so."""
        if new is None:
            self._bindings.pop(f"{namespace}/{name}", None)
        else:
            self._bindings[f"{namespace}/{name}"] = new
        self._look_at(namespace)

    def decision_changed(self, namespace: str, name: str, new: Decision | None) -> None:
        """A PlacementDecision is now so."""
        known = self._decisions.setdefault(namespace, {})
        if new is None:
            if known.pop(name, None) is None:
                return
        else:
            placement = (new.metadata.labels or {}).get(PLACEMENT_LABEL, "")
            known[name] = [placement, *new.clusters]
        self._look_at(namespace)

    def resolve_again(self) -> None:
        """Look at every root again, as its annotation `trigger-update` has the real one do."""
        for key in self._roots:
            self._queue.add(key)

    def stop(self) -> None:
        """Propagate nothing more."""
        self._queue.stop()

    def _look_at(self, namespace: str) -> None:
        for key in self._roots:
            if key.startswith(f"{namespace}/"):
                self._queue.add_after(key, DELAY_S)

    async def _propagate(self, key: str) -> float | None:
        root = self._roots.get(key)
        children = self._children.get(key, {})
        if root is None:
            await self._all(self._remove(key, cluster) for cluster in list(children))
            return None
        spec = root.open_spec()
        if spec.get("disabled"):
            await self._all(self._remove(key, cluster) for cluster in list(children))
            await self._report(root, {"compliant": None, "placement": None, "status": None})
            return None
        chosen = self._select(root)
        own = str(spec.get("remediationAction", "")).lower() == "enforce"
        gone = [cluster for cluster in children if cluster not in chosen.members]
        await self._all(self._remove(key, cluster) for cluster in gone)
        await self._all(
            self._place(root, spec, cluster, enforce=not own and cluster in chosen.enforced)
            for cluster in sorted(chosen.members - self.childless)
        )
        await self._report(root, roll_up(chosen, self._children.get(key, {})))
        return None

    def _select(self, root: Policy) -> Selection:
        members: set[str] = set()
        enforced: set[str] = set()
        restricted: set[str] = set()
        used: list[dict[str, str]] = []
        namespace = root.metadata.namespace
        named: list[tuple[Binding, set[str]]] = []
        for binding in self._bindings.values():
            if binding.metadata.namespace == namespace and binding.is_about(root.metadata.name):
                named.append((binding, self._decided(namespace, binding.placement_ref.name)))
        for binding, clusters in named:
            if not binding.restricted:
                members |= clusters
        for binding, clusters in sorted(named, key=lambda pair: pair[0].metadata.name):
            if binding.enforces:
                enforced |= clusters & members
            if binding.restricted:
                restricted |= clusters
            if not binding.restricted or clusters & members:
                one = {"placementBinding": binding.metadata.name}
                used.append({**one, "placement": binding.placement_ref.name})
        everywhere = frozenset(restricted)
        return Selection(frozenset(members), frozenset(enforced), everywhere, used)

    def _decided(self, namespace: str, placement: str) -> set[str]:
        found: set[str] = set()
        for owner, *clusters in self._decisions.get(namespace, {}).values():
            if owner == placement:
                found.update(clusters)
        return found

    async def _place(
        self, root: Policy, spec: Mapping[str, Any], cluster: str, *, enforce: bool
    ) -> None:
        meta = root.metadata
        key = f"{meta.namespace}/{meta.name}"
        broken = cluster in self.unresolved
        wanted = (meta.uid, meta.generation, enforce, broken)
        known = cluster in self._children.get(key, {})
        if known and self._written.get((key, cluster)) == wanted:
            return
        body = child_of(root, spec, cluster, enforce=enforce)
        if broken:
            _mark_unresolved(body)
        try:
            if known:
                await self._patch(body)
            else:
                await self._hub.create(kinds.POLICY, body)
        except AlreadyExists:
            await self._patch(body)
        self._written[key, cluster] = wanted

    async def _patch(self, body: Mapping[str, Any]) -> None:
        meta = body["metadata"]
        patch = {"metadata": {"labels": meta["labels"]}, "spec": body["spec"]}
        await self._hub.merge_patch(kinds.POLICY, meta["name"], patch, meta["namespace"])

    async def _remove(self, key: str, cluster: str) -> None:
        try:
            await self._hub.delete(kinds.POLICY, key.replace("/", ".", 1), cluster)
        except NotFound:
            return

    async def _report(self, root: Policy, status: Mapping[str, Any]) -> None:
        now = root.status
        if (
            (status["compliant"] or "") == now.compliant
            and status["status"] == now.status
            and status["placement"] == now.placement
        ):
            return
        meta = root.metadata
        patch = {"status": dict(status)}
        await self._hub.merge_patch(
            kinds.POLICY, meta.name, patch, meta.namespace, subresource="status"
        )

    async def _all(self, writes: Iterable[Any]) -> None:
        """Make all writes; the first failure is raised when the others are done."""
        results = await asyncio.gather(*writes, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result


def child_of(
    root: Policy, spec: Mapping[str, Any], cluster: str, *, enforce: bool
) -> dict[str, Any]:
    """The replicated policy of one cluster."""
    meta = root.metadata
    name = f"{meta.namespace}.{meta.name}"
    labels = {ROOT_LABEL: name, CLUSTER_LABEL: cluster, NAMESPACE_LABEL: cluster}
    annotations = {"argocd.argoproj.io/compare-options": "IgnoreExtraneous"}
    keep = spec.get("copyPolicyMetadata") is not False
    for given, own in ((meta.labels, labels), (meta.annotations, annotations)):
        for word, value in (given or {}).items():
            if keep or word.startswith(f"{GROUP}/"):
                own.setdefault(word, value)
    annotations.pop("kubectl.kubernetes.io/last-applied-configuration", None)
    text = json.dumps({**spec, **({"remediationAction": "enforce"} if enforce else {})})
    return {
        "apiVersion": kinds.POLICY.api_version,
        "kind": kinds.POLICY.kind,
        "metadata": {
            "name": name,
            "namespace": cluster,
            "labels": labels,
            "annotations": annotations,
        },
        "spec": json.loads(_CLUSTER_NAME.sub(cluster, text)),
    }


def _mark_unresolved(child: Mapping[str, Any]) -> None:
    """Say on each template that its hub templates could not be resolved, as the real one does."""
    for template in child["spec"].get("policy-templates") or ():
        meta = template["objectDefinition"].setdefault("metadata", {})
        text = "failed to resolve the template: configmaps not found"
        meta["annotations"] = {**meta.get("annotations", {}), HUB_TEMPLATES_ERROR: text}


def roll_up(chosen: Selection, children: Mapping[str, Policy]) -> dict[str, Any]:
    """The root's status: `compliant` is missing where, and as long as, it is unknown."""
    entries: list[dict[str, str]] = []
    verdicts: set[str] = set()
    for cluster in sorted(chosen.members | chosen.restricted):
        child = children.get(cluster)
        verdict = child.status.compliant if child and cluster in chosen.members else ""
        verdicts.add(verdict)
        entry = {"clustername": cluster, "clusternamespace": cluster}
        entries.append({**entry, "compliant": verdict} if verdict else entry)
    worst = next((v for v in (NON_COMPLIANT, "Pending", "", COMPLIANT) if v in verdicts), "")
    return {"compliant": worst or None, "placement": chosen.placements, "status": entries}
