"""What the account of profile `talm` may do on a spoke.

    one node    patch one ConfigMap, list the pods of its namespace
    all nodes   also there: list and create Jobs, list, create and patch ConfigMaps;
                on the cluster: list nodes

Never a subresource of nodes: `nodes/proxy` permits commands in every pod.  Nothing is read by name or
watched, since a list does.  Names of ConfigMaps cannot be given where every node has one of its own,
and a rule that creates knows no names.
"""

from __future__ import annotations

from typing import Final

from talm.api.pod import Nodes
from talm.api.progress import PROGRESS_CONFIG_MAP
from talm.spokes.base import Order
from talm.spokes.manifests import ACCOUNT, Manifest, namespaced, node_reader

_RBAC: Final = "rbac.authorization.k8s.io"


def role(order: Order, namespace: str) -> Manifest:
    """What the account may do in its namespace."""
    rules = [
        _rule("", "configmaps", "patch", names=(PROGRESS_CONFIG_MAP,)),
        _rule("", "pods", "list"),
        # OpenShift admits a pod that mounts the node's directories by this alone; elsewhere nobody
        # serves the group.
        _rule("security.openshift.io", "securitycontextconstraints", "use", names=("privileged",)),
    ]
    if order.pod.nodes is Nodes.ALL:
        rules[0] = _rule("", "configmaps", "create", "list", "patch")
        rules.append(_rule("batch", "jobs", "create", "list"))
    return namespaced(f"{_RBAC}/v1", "Role", ACCOUNT, namespace) | {"rules": rules}


def role_binding(_: Order, namespace: str) -> Manifest:
    """Give it to the account."""
    body = namespaced(f"{_RBAC}/v1", "RoleBinding", ACCOUNT, namespace)
    return body | _binds("Role", ACCOUNT, namespace)


def node_reader_role(_: Order, namespace: str) -> Manifest:
    """The one right outside of the namespace."""
    body = namespaced(f"{_RBAC}/v1", "ClusterRole", node_reader(namespace), "")
    return body | {"rules": [_rule("", "nodes", "list")]}


def node_reader_binding(_: Order, namespace: str) -> Manifest:
    """Give it to the account."""
    name = node_reader(namespace)
    body = namespaced(f"{_RBAC}/v1", "ClusterRoleBinding", name, "")
    return body | _binds("ClusterRole", name, namespace)


def _rule(group: str, resource: str, *verbs: str, names: tuple[str, ...] = ()) -> Manifest:
    rule: Manifest = {"apiGroups": [group], "resources": [resource]}
    if names:
        rule["resourceNames"] = list(names)
    return rule | {"verbs": list(verbs)}


def _binds(kind: str, name: str, namespace: str) -> Manifest:
    return {
        "roleRef": {"apiGroup": _RBAC, "kind": kind, "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace}],
    }
