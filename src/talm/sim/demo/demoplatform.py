"""What an OpenShift cluster has that the demo's policy asks about: the release it is on, and OLM's kinds.

Nobody acts on these objects: a policy controller compares and writes what they hold, and that is
all that compliance means here.  Their definitions take any content.
"""

from __future__ import annotations

from typing import Any, Final

from talm.api import kinds
from talm.api.kinds import Kind
from talm.kube.client import Client
from talm.sim.catalogs import PACKAGES
from talm.sim.demo.demohub import CATALOG, CHANNEL, OLD_VERSION, OLM, namespace_of
from talm.sim.plane import foreign_crds
from talm.sim.plane.foreign_crds import Definition

CLUSTER_VERSION: Final = Kind(
    "config.openshift.io", "v1", "ClusterVersion", "clusterversions", namespaced=False
)
_VERSION: Final = OLM.partition("/")
CATALOG_SOURCE: Final = Kind(_VERSION[0], _VERSION[2], "CatalogSource", "catalogsources")
SUBSCRIPTION: Final = Kind(_VERSION[0], _VERSION[2], "Subscription", "subscriptions")


async def install(client: Client) -> None:
    """Let the cluster be on the old release, with none of the operators; raises ApiError, SetupError."""
    kinds_there = (CLUSTER_VERSION, CATALOG_SOURCE, SUBSCRIPTION)
    await foreign_crds.define(client, [Definition(_body(kind), kind) for kind in kinds_there])
    namespaces = [CATALOG["namespace"], *map(namespace_of, PACKAGES)]
    for name in namespaces:
        await client.create(kinds.NAMESPACE, {"metadata": {"name": name}})
    release = {"channel": CHANNEL, "desiredUpdate": {"version": OLD_VERSION}}
    await client.create(CLUSTER_VERSION, {"metadata": {"name": "version"}, "spec": release})


def _body(kind: Kind) -> dict[str, Any]:
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": kind.version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": anything},
        "subresources": {"status": {}},
    }
    return {
        "metadata": {"name": kind.resource},
        "spec": {
            "group": kind.group,
            "names": {"kind": kind.kind, "plural": kind.plural, "singular": kind.kind.lower()},
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "versions": [version],
        },
    }
