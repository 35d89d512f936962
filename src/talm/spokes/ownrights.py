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
        rule("", "configmaps", "patch", names=(PROGRESS_CONFIG_MAP,)),
        rule("", "pods", "list"),
        # OpenShift admits a pod that mounts the node's directories by this alone; elsewhere nobody
        # serves the group.
        rule("security.openshift.io", "securitycontextconstraints", "use", names=("privileged",)),
    ]
    if order.pod.nodes is Nodes.ALL:
        rules[0] = rule("", "configmaps", "create", "list", "patch")
        rules.append(rule("batch", "jobs", "create", "list"))
    return namespaced(f"{_RBAC}/v1", "Role", ACCOUNT, namespace) | {"rules": rules}


def role_binding(_: Order, namespace: str) -> Manifest:
    """Give it to the account."""
    body = namespaced(f"{_RBAC}/v1", "RoleBinding", ACCOUNT, namespace)
    return body | _binds("Role", ACCOUNT, namespace)


def node_reader_role(_: Order, namespace: str) -> Manifest:
    """The one right outside of the namespace."""
    body = namespaced(f"{_RBAC}/v1", "ClusterRole", node_reader(namespace), "")
    return body | {"rules": [rule("", "nodes", "list")]}


def node_reader_binding(_: Order, namespace: str) -> Manifest:
    """Give it to the account."""
    name = node_reader(namespace)
    body = namespaced(f"{_RBAC}/v1", "ClusterRoleBinding", name, "")
    return body | _binds("ClusterRole", name, namespace)


def rule(group: str, resource: str, *verbs: str, names: tuple[str, ...] = ()) -> Manifest:
    """One rule of a role; without `names` for all objects."""
    body: Manifest = {"apiGroups": [group], "resources": [resource]}
    if names:
        body["resourceNames"] = list(names)
    return body | {"verbs": list(verbs)}


def account_of(name: str, namespace: str) -> Manifest:
    """A ServiceAccount, as a binding names it."""
    return {"kind": "ServiceAccount", "name": name, "namespace": namespace}


def binding_of(kind: str, name: str, account: Manifest) -> Manifest:
    """What of a binding gives the role to the account."""
    return {
        "roleRef": {"apiGroup": _RBAC, "kind": kind, "name": name},
        "subjects": [account],
    }


def _binds(kind: str, name: str, namespace: str) -> Manifest:
    return binding_of(kind, name, account_of(ACCOUNT, namespace))
