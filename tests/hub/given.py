"""CGUs and what is around them as they are on the wire, for the tests of the hub."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from talm.api import kinds
from talm.api.cgu import ClusterGroupUpgrade
from talm.api.words import FINALIZER, ROOT_POLICY_LABEL
from tests.hub.fakehub import FakeHub

Json = dict[str, Any]
NAMESPACE = "ztp"


def cgu_wire(
    name: str = "du-upgrade",
    namespace: str = NAMESPACE,
    *,
    clusters: Iterable[str] = (),
    phases: Mapping[str, str] | None = None,
    created: str = "2022-01-27T19:00:00Z",
    status: Json | None = None,
    finalizers: Iterable[str] = (FINALIZER,),
    **spec: Any,
) -> Json:
    """The body of a CGU; `phases` are its clusters' stored states of pre-caching."""
    found = dict(status or {})
    if phases is not None:
        found["precaching"] = {"status": dict(phases), "clusters": list(phases)}
    meta = {
        "name": name,
        "namespace": namespace,
        "uid": f"uid-of-{name}",
        "resourceVersion": "7",
        "creationTimestamp": created,
        "finalizers": list(finalizers),
    }
    wanted = {"clusters": list(clusters), "remediationStrategy": {"maxConcurrency": 1}, **spec}
    return {"metadata": meta, "spec": wanted, "status": found}


def decoded(body: Json) -> ClusterGroupUpgrade:
    return msgspec.json.decode(msgspec.json.encode(body), type=ClusterGroupUpgrade)


def cgu(*args: Any, **more: Any) -> ClusterGroupUpgrade:
    """The same, decoded."""
    return decoded(cgu_wire(*args, **more))


def put_cgu(hub: FakeHub, *args: Any, **more: Any) -> ClusterGroupUpgrade:
    """The same, on a hub."""
    body = cgu_wire(*args, **more)
    meta = body["metadata"]
    del meta["resourceVersion"]
    fields = {"metadata": meta, "spec": body["spec"], "status": body["status"]}
    return decoded(hub.put(kinds.CGU, meta["name"], meta["namespace"], **fields))


def put_cluster(hub: FakeHub, name: str, *, available: str = "", **labels: str) -> None:
    """A ManagedCluster; `available`: the status of its availability condition ("": it has none)."""
    conditions = [
        {
            "type": "ManagedClusterConditionAvailable",
            "status": available,
            "lastTransitionTime": "2022-01-27T18:00:00Z",
        }
    ]
    status = {"conditions": conditions} if available else {}
    meta = {"labels": {"name": name, **labels}}
    hub.put(kinds.MANAGED_CLUSTER, name, metadata=meta, status=status)


def put_policy(hub: FakeHub, name: str, clusters: Iterable[str], namespace: str = "pol") -> None:
    """A root policy and its children; all clusters are NonCompliant."""
    named = list(clusters)
    status = [{"clustername": c, "compliant": "NonCompliant"} for c in named]
    hub.put(kinds.POLICY, name, namespace, spec={}, status={"status": status})
    for cluster in named:
        meta = {"labels": {ROOT_POLICY_LABEL: f"{namespace}.{name}"}}
        hub.put(kinds.POLICY, f"{namespace}.{name}", cluster, metadata=meta)
