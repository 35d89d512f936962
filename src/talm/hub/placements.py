"""The Placements and PlacementBindings of a remediation: made, changed and deleted as decided.

A restricted binding with an enforce override enforces its policy on exactly the clusters that its
Placement lists; without the binding the policy only informs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

from talm.api import kinds
from talm.api.cgu import ClusterGroupUpgrade
from talm.api.ocm import PlacementBinding
from talm.api.words import (
    APP_LABEL,
    APP_LABEL_VALUE,
    BACKUP_EXCLUDE_LABEL,
    CGU_LABEL,
    CGU_NAMESPACE_LABEL,
    CLUSTER_NAME_LABEL,
    FIELD_MANAGER,
    FOR_POLICY_LABEL,
    RESOURCE_NAME_ANNOTATION,
)
from talm.core.model import WantedPlacement
from talm.errors import ApiError, NotFound
from talm.kube.client import Client

from .store import Store

# A cluster in trouble stays selected: without this its policy would be taken away from it.
TOLERATIONS: Final = (
    {"key": "cluster.open-cluster-management.io/unreachable", "operator": "Exists"},
    {"key": "cluster.open-cluster-management.io/unavailable", "operator": "Exists"},
)


def placement(cgu: ClusterGroupUpgrade, wanted: WantedPlacement) -> dict[str, Any]:
    """The Placement: one predicate that lists the clusters by their label `name`."""
    names = {"key": CLUSTER_NAME_LABEL, "operator": "In", "values": list(wanted.clusters)}
    predicate = {"requiredClusterSelector": {"labelSelector": {"matchExpressions": [names]}}}
    return {
        **_head(cgu, wanted, kinds.PLACEMENT),
        "spec": {"predicates": [predicate], "tolerations": [dict(t) for t in TOLERATIONS]},
    }


def binding(cgu: ClusterGroupUpgrade, wanted: WantedPlacement) -> dict[str, Any]:
    """The PlacementBinding of the same name."""
    return {
        **_head(cgu, wanted, kinds.PLACEMENT_BINDING),
        "bindingOverrides": {"remediationAction": "enforce"},
        "subFilter": "restricted",
        "placementRef": {
            "apiGroup": kinds.PLACEMENT.group,
            "kind": kinds.PLACEMENT.kind,
            "name": wanted.name,
        },
        "subjects": [
            {"apiGroup": kinds.POLICY.group, "kind": kinds.POLICY.kind, "name": wanted.policy.name}
        ],
    }


def _head(cgu: ClusterGroupUpgrade, wanted: WantedPlacement, kind: kinds.Kind) -> dict[str, Any]:
    namespace = wanted.policy.namespace
    labels = {
        APP_LABEL: APP_LABEL_VALUE,
        CGU_LABEL: cgu.metadata.name,
        CGU_NAMESPACE_LABEL: cgu.metadata.namespace,
        FOR_POLICY_LABEL: wanted.policy.name,
        BACKUP_EXCLUDE_LABEL: "true",
    }
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {
            "name": wanted.name,
            "namespace": namespace,
            "labels": labels,
            "annotations": {RESOURCE_NAME_ANNOTATION: f"{namespace}/{wanted.desired}"},
        },
    }


class Placements:
    """Brings the hub's Placements and bindings to what is wanted; unchanged ones cost no request."""

    def __init__(self, client: Client, store: Store) -> None:
        self._client = client
        self._store = store

    async def bring_about(
        self, cgu: ClusterGroupUpgrade, wanted: Iterable[WantedPlacement]
    ) -> None:
        """Create or change what differs.  Raises `ApiError` at the first that fails."""
        for want in wanted:
            for cluster in want.clusters:
                await self._name(cluster)
            there = self._store.placements.get(want.name, want.policy.namespace)
            if there is None or _selected(there.spec) != want.clusters:
                await self._apply(kinds.PLACEMENT, placement(cgu, want))
            bound = binding(cgu, want)
            if not _binds(self._store.bindings.get(want.name, want.policy.namespace), bound):
                await self._apply(kinds.PLACEMENT_BINDING, bound)

    async def delete_all(self, cgu: ClusterGroupUpgrade) -> None:
        """Delete every Placement and binding of this CGU that the hub shows or the status names.

        All are tried; raises the first `ApiError` afterwards.
        """
        refused: ApiError | None = None
        for kind, name, namespace in self._all_of(cgu):
            try:
                await self._client.delete(kind, name, namespace)
            except NotFound:
                pass
            except ApiError as exc:
                refused = refused or exc
        if refused is not None:
            raise refused

    def _all_of(self, cgu: ClusterGroupUpgrade) -> list[tuple[kinds.Kind, str, str]]:
        """Bindings first.  What was made a moment ago may not be in the caches yet."""
        key = "/".join(cgu.metadata.key)
        ours = {*(cgu.status.placements or ()), *(cgu.status.placement_bindings or ())}
        named = {
            (path.partition("/")[0], name)  # NAMESPACE/WANTED-NAME: name
            for path, name in (cgu.status.safe_resource_names or {}).items()
            if name in ours
        }
        found = []
        for kind, informer in (
            (kinds.PLACEMENT_BINDING, self._store.bindings),
            (kinds.PLACEMENT, self._store.placements),
        ):
            shown = [there.metadata for there in informer.by("cgu", key)]
            going = {meta.key for meta in shown if meta.deletion_timestamp is not None}
            keys = named | {meta.key for meta in shown}
            found += [(kind, name, namespace) for namespace, name in sorted(keys - going)]
        return found

    async def _name(self, cluster: str) -> None:
        """Plain Open Cluster Management has no label `name`, which the Placement selects by."""
        known = self._store.clusters.get(cluster)
        if known is not None and known.labels.get(CLUSTER_NAME_LABEL) != cluster:
            labels = {"metadata": {"labels": {CLUSTER_NAME_LABEL: cluster}}}
            with contextlib.suppress(NotFound):  # it has just left the hub
                await self._client.merge_patch(kinds.MANAGED_CLUSTER, cluster, labels)

    async def _apply(self, kind: kinds.Kind, body: dict[str, Any]) -> None:
        await self._client.apply(kind, body, field_manager=FIELD_MANAGER)


def _binds(there: PlacementBinding | None, wanted: Mapping[str, Any]) -> bool:
    """Whether the binding is there and still enforces: an edited one may enforce on the whole fleet."""
    if there is None:
        return False
    found = {
        "bindingOverrides": there.bindingOverrides,
        "subFilter": there.subFilter,
        "placementRef": there.placementRef,
        "subjects": list(there.subjects or ()),
    }
    return all(found[name] == wanted[name] for name in found)


def _selected(spec: dict[str, Any] | None) -> tuple[str, ...] | None:
    """The clusters that a Placement of ours lists; None when it is not of our shape."""
    try:
        predicates = (spec or {})["predicates"]
        selector = predicates[0]["requiredClusterSelector"]["labelSelector"]
        return tuple(selector["matchExpressions"][0].get("values") or ())
    except (KeyError, IndexError, TypeError):
        return None
