"""What the hub of the demo holds before the walk-through begins, as a site's people would have it:
the policy with the release and the operators, where it applies, and what a broken-off update has left behind.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Final

from talm.api import kinds
from talm.api.kinds import Kind
from talm.api.words import CLUSTER_NAME_LABEL, MANUAL_NAMESPACE, OVERRIDES_CONFIG_MAP, View
from talm.errors import NotFound
from talm.kube.client import Client
from talm.sim.catalogs import PACKAGES
from talm.sim.graph import Release

NAMESPACE: Final = "ztp-group-du-sno"
CGU: Final = "du-upgrade-4918"
POLICY: Final = "du-upgrade-platform-upgrade"

CHANNEL: Final = "stable-4.10"
VERSION: Final = "4.10.9"
OLD_VERSION: Final = "4.9.18"
OLM: Final = "operators.coreos.com/v1alpha1"
CATALOG: Final = {"name": "redhat-operators", "namespace": "openshift-marketplace"}

LEFTOVER: Final = "left-by-an-earlier-update"


def releases(image: str) -> list[Release]:
    """The update graph's content: the version that the clusters have, and the one with `image`."""
    before = image.partition("@")[0] + "@sha256:" + "0" * 64
    return [Release(OLD_VERSION, before, (CHANNEL,)), Release(VERSION, image, (CHANNEL,))]


def policy(upstream: str, index: str) -> dict[str, Any]:
    """The root policy: informs about a ClusterVersion whose release the graph at `upstream` knows,
    and about operators that come from the catalog in the image `index`.
    """
    wanted = [_cluster_version(upstream), *_operators(index)]
    template = {
        "apiVersion": "policy.open-cluster-management.io/v1",
        "kind": "ConfigurationPolicy",
        "metadata": {"name": f"{POLICY}-config"},
        "spec": {
            "remediationAction": "inform",
            "severity": "low",
            "object-templates": [
                {"complianceType": "musthave", "objectDefinition": body} for body in wanted
            ],
        },
    }
    return {
        "metadata": {"name": POLICY, "namespace": NAMESPACE},
        "spec": {
            "disabled": False,
            "remediationAction": "inform",
            "policy-templates": [{"objectDefinition": template}],
        },
    }


def _cluster_version(upstream: str) -> dict[str, Any]:
    return {
        "apiVersion": "config.openshift.io/v1",
        "kind": "ClusterVersion",
        "metadata": {"name": "version"},
        "spec": {
            "upstream": upstream,
            "channel": CHANNEL,
            "desiredUpdate": {"version": VERSION},
        },
    }


def _operators(index: str) -> list[dict[str, Any]]:
    """A CatalogSource, and a Subscription of each of its packages."""
    catalog = {
        "apiVersion": OLM,
        "kind": "CatalogSource",
        "metadata": CATALOG,
        "spec": {"sourceType": "grpc", "image": index},
    }
    source = {"source": CATALOG["name"], "sourceNamespace": CATALOG["namespace"]}
    return [
        catalog,
        *(
            {
                "apiVersion": OLM,
                "kind": "Subscription",
                "metadata": {"name": package, "namespace": namespace_of(package)},
                "spec": {"name": package, "channel": "stable", **source},
            }
            for package in PACKAGES
        ),
    ]


def namespace_of(package: str) -> str:
    """Where an operator is subscribed to on a cluster."""
    return f"openshift-{package}"


def placement() -> dict[str, Any]:
    """Every managed cluster."""
    everyone = {"matchExpressions": [{"key": CLUSTER_NAME_LABEL, "operator": "Exists"}]}
    predicate = {"requiredClusterSelector": {"labelSelector": everyone}}
    return {
        "metadata": {"name": POLICY, "namespace": NAMESPACE},
        "spec": {"predicates": [predicate]},
    }


def binding() -> dict[str, Any]:
    """The policy is on those clusters."""
    return {
        "metadata": {"name": POLICY, "namespace": NAMESPACE},
        "placementRef": {
            "apiGroup": kinds.PLACEMENT.group,
            "kind": kinds.PLACEMENT.kind,
            "name": POLICY,
        },
        "subjects": [{"apiGroup": kinds.POLICY.group, "kind": kinds.POLICY.kind, "name": POLICY}],
    }


def overrides() -> dict[str, Any]:
    """As much free space as this release needs: the default, 35 GiB, is a real one's."""
    return {
        "metadata": {"name": OVERRIDES_CONFIG_MAP, "namespace": NAMESPACE},
        "data": {"precache.spaceRequired": "1 GiB"},
    }


async def write_policy(client: Client, upstream: str, index: str) -> None:
    """Write all of it; raises ApiError."""
    bodies: list[tuple[Kind, Mapping[str, Any]]] = [
        (kinds.NAMESPACE, {"metadata": {"name": NAMESPACE}}),
        (kinds.CONFIG_MAP, overrides()),
        (kinds.POLICY, policy(upstream, index)),
        (kinds.PLACEMENT, placement()),
        (kinds.PLACEMENT_BINDING, binding()),
    ]
    for kind, body in bodies:
        await client.create(kind, body)


async def compliance(client: Client) -> dict[str, str]:
    """What the root policy's status says of each cluster."""
    found = await client.get(kinds.POLICY, POLICY, NAMESPACE)
    entries = (found.get("status") or {}).get("status") or []
    return {entry["clustername"]: entry.get("compliant", "") for entry in entries}


async def any_updated(client: Client) -> bool:
    """Whether the policy has been enforced on some cluster."""
    with contextlib.suppress(NotFound):
        return "Compliant" in (await compliance(client)).values()
    return False


async def leave_behind(hub: Client, spoke: Client, cluster: str) -> str:
    """Leave what an update that was broken off leaves: a namespace there, a view here.

    Returns the view's uid, since a new view has the same name.
    """
    metadata = {"name": LEFTOVER, "namespace": MANUAL_NAMESPACE}
    await spoke.create(kinds.NAMESPACE, {"metadata": {"name": MANUAL_NAMESPACE}})
    await spoke.create(kinds.CONFIG_MAP, {"metadata": metadata})
    scope = {"resource": "jobs", "name": "pre-cache", "namespace": MANUAL_NAMESPACE}
    view = {"metadata": {"name": View.JOB, "namespace": cluster}, "spec": {"scope": scope}}
    made = await hub.create(kinds.VIEW, view)
    return str(made["metadata"]["uid"])


async def leftovers(hub: Client, spoke: Client, cluster: str, *, view_uid: str) -> list[str]:
    """What is still there of what `leave_behind` left."""
    left = []
    with contextlib.suppress(NotFound):
        await spoke.get(kinds.CONFIG_MAP, LEFTOVER, MANUAL_NAMESPACE)
        left.append(f"ConfigMap {LEFTOVER} on {cluster}")
    views = await hub.list(kinds.VIEW, cluster)
    if any(view["metadata"]["uid"] == view_uid for view in views):
        left.append(f"view {cluster}/{View.JOB}")
    return left
