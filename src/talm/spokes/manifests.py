"""The hub's side of every profile: ManagedClusterViews and -Actions as plain dicts.

Decided here: which object of the spoke each view asks about, how an action is wrapped, which labels
mark a run, and which namespaces may be used (the namespace is deleted on every spoke).
Not here: what is created on a spoke (existing.py, own.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from talm.api.cgu import PrecachingSpec
from talm.api.kinds import ACTION, VIEW, Kind
from talm.api.progress import PROGRESS_CONFIG_MAP
from talm.api.words import (
    CGU_LABEL,
    CGU_NAMESPACE_LABEL,
    EXISTING_NAMESPACE,
    MANUAL_NAMESPACE,
    OWN_NAMESPACE_PREFIX,
    RUN_LABEL,
    Action,
    View,
)
from talm.errors import BadSpec, Bug
from talm.spokes.base import Order

Manifest = dict[str, Any]

JOB_NAME: Final = "pre-cache"
DIAGNOSIS_POD: Final = "pre-cache-diagnose"
CONTAINER_NAME: Final = "pre-cache-container"
ACCOUNT: Final = "pre-cache-agent"
BINDING: Final = "pre-cache-crb"
SPEC_CONFIG_MAP: Final = "pre-cache-spec"
MANAGEMENT: Final = {
    "target.workload.openshift.io/management": '{"effect":"PreferredDuringScheduling"}'
}

# View -> resource (as the existing operator spells it), name on the spoke, whether in the namespace.
_SCOPES: Final[Mapping[View, tuple[str, str, bool]]] = {
    View.SPEC: ("configmap", SPEC_CONFIG_MAP, True),
    View.ACCOUNT: ("serviceaccounts", ACCOUNT, True),
    View.BINDING: ("clusterrolebinding", BINDING, False),
    View.JOB: ("jobs", JOB_NAME, True),
    View.PROGRESS: ("configmap", PROGRESS_CONFIG_MAP, True),
    View.DIAGNOSE: ("pods", DIAGNOSIS_POD, True),
}

_DNS_LABEL: Final = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_MAX_LABEL: Final = 63


def check_spoke_namespace(namespace: str) -> str:
    """Return `namespace` when the workload may live in it on the spokes.

    It is deleted there with all that is in it, so only names that can be nobody else's pass.
    Raises BadSpec.
    """
    own = namespace.startswith(OWN_NAMESPACE_PREFIX) and _DNS_LABEL.fullmatch(namespace)
    if own or namespace in (MANUAL_NAMESPACE, EXISTING_NAMESPACE):
        return namespace
    raise BadSpec(
        f"the spoke namespace is {namespace!r}; it is deleted on every spoke, therefore it may only be "
        f"{MANUAL_NAMESPACE}, {EXISTING_NAMESPACE} or a name that begins with {OWN_NAMESPACE_PREFIX}"
    )


def run_labels(order: Order) -> dict[str, str]:
    """Labels of everything that one run makes; a CGU's name may be longer than a label."""
    return {
        RUN_LABEL: order.run,
        CGU_LABEL: order.cgu[:_MAX_LABEL].rstrip("-."),
        CGU_NAMESPACE_LABEL: order.cgu_namespace,
    }


def node_reader(namespace: str) -> str:
    """The name of the ClusterRole that lists nodes, and of its binding.

    Outside of the namespace and yet nobody else's, since the namespace can be nobody else's; what it
    may do and who has it follows from its name, so that one that was left behind serves as well.
    """
    return f"{namespace}-nodes"


def spec_data(spec: PrecachingSpec) -> dict[str, str]:
    """The six keys of ConfigMap `pre-cache-spec`: lists by line, no newline at the end."""
    return {
        "operators.indexes": "\n".join(spec.operators_indexes),
        "operators.packagesAndChannels": "\n".join(spec.operators_packages_and_channels),
        "platform.image": spec.platform_image,
        "excludePrecachePatterns": "\n".join(spec.exclude_precache_patterns),
        "additionalImages": "\n".join(spec.additional_images),
        "spaceRequired": spec.space_required,
    }


def view_body(view: View, cluster: str, namespace: str, interval_s: int) -> Manifest:
    """A ManagedClusterView without labels; `interval_s` 0 leaves the agent its own 30 s."""
    return _hub_object(VIEW, view.value, cluster) | {
        "spec": {"scope": _scope(view, namespace) | {"updateIntervalSeconds": interval_s}}
    }


def action_body(name: str, cluster: str, kind: str, kube: Manifest) -> Manifest:
    """A ManagedClusterAction without labels; `kind` is Create or Delete."""
    return _hub_object(ACTION, name, cluster) | {"spec": {"actionType": kind, "kube": kube}}


def deletion(action: Action, namespace: str) -> Manifest:
    """What a deletion is about: the same whoever has made it, since leftovers are deleted, too."""
    match action:
        case Action.NS_DELETE:
            return {"resource": "namespace", "name": namespace}
        case Action.CRB_DELETE:  # made by profile existing, left by the existing operator
            return {"resource": "clusterrolebinding", "name": BINDING}
        case Action.NODE_BINDING_DELETE:
            return {"resource": "clusterrolebinding", "name": node_reader(namespace)}
        case Action.NODE_READER_DELETE:
            return {"resource": "clusterrole", "name": node_reader(namespace)}
        case Action.DIAGNOSE_DELETE:
            return {"resource": "pod", "name": DIAGNOSIS_POD, "namespace": namespace}
        case _:
            raise Bug(f"{action} deletes nothing")


def namespaced(api_version: str, kind: str, name: str, namespace: str) -> Manifest:
    """The beginning of an object on a spoke; `namespace` "" for cluster-scoped ones."""
    metadata = {"name": name, "namespace": namespace} if namespace else {"name": name}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}


def _hub_object(kind: Kind, name: str, cluster: str) -> Manifest:
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {"name": name, "namespace": cluster},
    }


def _scope(view: View, namespace: str) -> Manifest:
    if view is View.NAMESPACE:
        return {"resource": "namespaces", "name": namespace}
    if view is View.NODE_READER:
        return {"resource": "clusterrole", "name": node_reader(namespace)}
    resource, name, inside = _SCOPES[view]
    return {"resource": resource, "name": name} | ({"namespace": namespace} if inside else {})
