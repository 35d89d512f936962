"""The hub's policy propagator: child policies per decided cluster, and the root's roll-up.

    root Policy + PlacementBindings + decisions -> which cluster, enforced or not -> children
    children's status -> root status (sorted by cluster)

A cluster is selected by an unrestricted binding only; a restricted one can but turn a
selected cluster to `enforce` (that is how a batch is remediated).  As GPP >= 0.12; hub
templates other than `.ManagedClusterName` are left as they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from talm.api import kinds
from talm.errors import AlreadyExists, NotFound
from talm.sim.agents.base import Hub
from talm.sim.agents.workqueue import SerialQueue
from talm.sim.hubside.placements import PLACEMENT_LABEL, Decision
from talm.sim.hubside.policychildren import change_into, child_of, mark_unresolved
from talm.sim.hubside.policywire import COMPLIANT, NON_COMPLIANT, Binding, Policy

DELAY_S: Final = 0.2
"""Changes are collected for so long before a root is looked at."""


class Selection(NamedTuple):
    """What the bindings of a root say."""

    members: frozenset[str]  # get a child
    enforced: Mapping[str, str]  # of these, by a binding's override: which spells it in its own way
    restricted: frozenset[str]  # named by restricted bindings, selected or not
    placements: list[dict[str, str]]  # for the root's status


class _Written(NamedTuple):
    """Of what a child was made, and its generation then."""

    of: tuple[str, int, str, str, bool]
    generation: int


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
        self._written: dict[tuple[str, str], _Written] = {}
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
            placements = self._select(root).placements
            told = {"compliant": None, "placement": placements or None, "status": None}
            await self._report(root, told)
            return None
        chosen = self._select(root)
        own = str(spec.get("remediationAction", "")).lower() == "enforce"
        gone = [cluster for cluster in children if cluster not in chosen.members]
        await self._all(self._remove(key, cluster) for cluster in gone)
        await self._all(
            self._place(root, spec, cluster, action="" if own else chosen.enforced.get(cluster, ""))
            for cluster in sorted(chosen.members - self.childless)
        )
        await self._report(root, roll_up(chosen, self._children.get(key, {})))
        return None

    def _select(self, root: Policy) -> Selection:
        members: set[str] = set()
        enforced: dict[str, str] = {}
        restricted: set[str] = set()
        used: list[dict[str, str]] = []
        namespace = root.metadata.namespace
        named: list[tuple[Binding, set[str] | None]] = []
        for binding in self._bindings.values():
            if binding.metadata.namespace == namespace and binding.is_about(root.metadata.name):
                named.append((binding, self._decided(namespace, binding.placement_ref.name)))
        for binding, clusters in named:
            if not binding.restricted:
                members |= clusters or set()
        for binding, decided in sorted(named, key=lambda pair: pair[0].metadata.name):
            clusters = decided or set()
            if binding.enforces:
                word = binding.binding_overrides.remediation_action
                enforced |= dict.fromkeys(clusters & members, word)
            if binding.restricted:
                restricted |= clusters
            if not binding.restricted or clusters & members:
                one = {"placementBinding": binding.metadata.name}
                is_there = decided is not None
                used.append({**one, "placement": binding.placement_ref.name} if is_there else one)
        return Selection(frozenset(members), enforced, frozenset(restricted), used)

    def _decided(self, namespace: str, placement: str) -> set[str] | None:
        """Whom a Placement has chosen; None when there is none: one that chooses nobody says so."""
        decisions = self._decisions.get(namespace, {}).values()
        found = [clusters for owner, *clusters in decisions if owner == placement]
        return set().union(*found) if found else None

    async def _place(
        self, root: Policy, spec: Mapping[str, Any], cluster: str, *, action: str
    ) -> None:
        """Write a cluster's child unless it is so; one that was changed by hand is put right.

        A change of its labels or annotations by hand is not noticed.
        """
        meta = root.metadata
        key = f"{meta.namespace}/{meta.name}"
        broken = cluster in self.unresolved
        copied = repr((meta.labels, meta.annotations))  # no part of the generation
        wanted = (meta.uid, meta.generation, copied, action, broken)
        child = self._children.get(key, {}).get(cluster)
        written = self._written.get((key, cluster))
        is_so = written is not None and written.of == wanted
        if child and written and is_so and child.metadata.generation <= written.generation:
            return
        body = child_of(root, spec, cluster, action=action)
        if broken:
            mark_unresolved(body)
        stored = await self._write(body, child)
        self._written[key, cluster] = _Written(wanted, stored["metadata"]["generation"])

    async def _write(self, body: Mapping[str, Any], child: Policy | None) -> Mapping[str, Any]:
        """Create a child, or change it into this; what the hub has then."""
        if child is None:
            try:
                return await self._hub.create(kinds.POLICY, body)
            except AlreadyExists:  # the watch has not said so yet
                pass
        meta = body["metadata"]
        patch = body if child is None else change_into(child, body)
        return await self._hub.merge_patch(kinds.POLICY, meta["name"], patch, meta["namespace"])

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
    placements = chosen.placements or None  # what is empty is left out
    return {"compliant": worst or None, "placement": placements, "status": entries or None}
