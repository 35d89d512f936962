"""Profile `talm`: our own workload with the least it needs on a spoke.

An account that may patch one ConfigMap and list the pods of its namespace; the specification; a
ConfigMap for the record; the Job.  Everything carries the run's labels.  The store is an OCI layout
on the node; stores of a container runtime need more of the host than is mounted here.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Mapping
from typing import Final

from talm.api.progress import PROGRESS_CONFIG_MAP
from talm.api.words import Action, View
from talm.errors import Bug
from talm.spokes.base import Order
from talm.spokes.manifests import (
    ACCOUNT,
    BINDING,
    CONTAINER_NAME,
    JOB_NAME,
    MANAGEMENT,
    SPEC_CONFIG_MAP,
    Manifest,
    namespaced,
    run_labels,
    spec_data,
)
from talm.spokes.profile import Profile

CONFIG_DIRECTORY: Final = "/etc/config"
STATE_DIRECTORY: Final = "/var/lib/talm"  # on the node and in the container
IMAGE_STORE: Final = f"oci-layout:{STATE_DIRECTORY}/images"

_RBAC: Final = "rbac.authorization.k8s.io"
_READS_PER_S: Final = 50
_SHORTEST_S: Final = 2
_LONGEST_S: Final = 300


def view_interval(view: View, clusters: int) -> int:
    """Seconds between two reads of one view.

    Every read is a status PUT on the hub.  The views of one name are read at most 50 times a second
    over all clusters: clusters / 50 s.  At least 2 s, since one cluster's read costs the hub some
    milliseconds and no person sees the difference; at most 300 s, reached at 15,000 clusters.
    """
    return min(max(_SHORTEST_S, math.ceil(clusters / _READS_PER_S)), _LONGEST_S)


def _kube(action: Action, order: Order, namespace: str) -> Manifest:
    if action is Action.NS_DELETE:
        return {"resource": "namespace", "name": namespace}
    if action is Action.CRB_DELETE:
        # Never made by this profile, but a leftover of the existing operator.
        return {"resource": "clusterrolebinding", "name": BINDING}
    if action not in _MAKERS:
        raise Bug(f"profile talm knows no action {action}")
    resource, make = _MAKERS[action]
    template = make(order, namespace)
    template["metadata"].setdefault("labels", {}).update(run_labels(order))
    return {"resource": resource, "template": template}


def _namespace(_: Order, namespace: str) -> Manifest:
    body = namespaced("v1", "Namespace", namespace, "")
    body["metadata"] |= {
        "annotations": {
            "workload.openshift.io/allowed": "management",
            "openshift.io/node-selector": "",  # a cluster-wide default must not keep the pod away
        },
        # The pod mounts a directory of the node, which every stricter level forbids.
        "labels": {"pod-security.kubernetes.io/enforce": "privileged"},
    }
    return body


def _account(_: Order, namespace: str) -> Manifest:
    return namespaced("v1", "ServiceAccount", ACCOUNT, namespace)


def _role(_: Order, namespace: str) -> Manifest:
    return namespaced(f"{_RBAC}/v1", "Role", ACCOUNT, namespace) | {
        "rules": [
            {
                "apiGroups": [""],
                "resources": ["configmaps"],
                "resourceNames": [PROGRESS_CONFIG_MAP],
                "verbs": ["patch"],
            },
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
        ]
    }


def _role_binding(_: Order, namespace: str) -> Manifest:
    return namespaced(f"{_RBAC}/v1", "RoleBinding", ACCOUNT, namespace) | {
        "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": ACCOUNT},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace}],
    }


def _spec(order: Order, namespace: str) -> Manifest:
    body = namespaced("v1", "ConfigMap", SPEC_CONFIG_MAP, namespace)
    return body | {"data": spec_data(order.spec)}


def _progress(_: Order, namespace: str) -> Manifest:
    """Empty: the workload may patch it, and create nothing."""
    return namespaced("v1", "ConfigMap", PROGRESS_CONFIG_MAP, namespace)


def _job(order: Order, namespace: str) -> Manifest:
    body = namespaced("batch/v1", "Job", JOB_NAME, namespace)
    body["metadata"]["annotations"] = dict(MANAGEMENT)
    body["spec"] = {
        "activeDeadlineSeconds": order.job_deadline_s,
        "backoffLimit": 0,
        "template": {
            "metadata": {"labels": run_labels(order), "annotations": dict(MANAGEMENT)},
            "spec": {
                "containers": [_container(order, namespace)],
                "priorityClassName": "system-cluster-critical",
                "restartPolicy": "Never",
                "serviceAccountName": ACCOUNT,
                "tolerations": [{"operator": "Exists"}],
                "volumes": [
                    {"name": "config", "configMap": {"name": SPEC_CONFIG_MAP}},
                    # type "": a missing path would hang the pod until its deadline; it is made.
                    {"name": "state", "hostPath": {"path": STATE_DIRECTORY, "type": ""}},
                ],
            },
        },
    }
    return body


def _container(order: Order, namespace: str) -> Manifest:
    """Run the workload as root (the directory is the node's), but with no right beyond files."""
    pod_uid = {"fieldRef": {"fieldPath": "metadata.uid"}}
    return {
        "name": CONTAINER_NAME,
        "image": order.image,
        "command": ["talm", "agent", "pull"],
        "env": [
            {"name": "TALM_CONFIG", "value": CONFIG_DIRECTORY},
            {"name": "TALM_STORE", "value": IMAGE_STORE},
            {"name": "TALM_PROGRESS_CONFIGMAP", "value": f"{namespace}/{PROGRESS_CONFIG_MAP}"},
            {"name": "TALM_RUN", "valueFrom": pod_uid},
            {"name": "TALM_JOB_DEADLINE", "value": str(order.job_deadline_s)},
        ],
        "resources": {
            "requests": {"cpu": "10m", "memory": "64Mi"},
            "limits": {"memory": "512Mi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsUser": 0,
        },
        "terminationMessagePolicy": "File",
        "volumeMounts": [
            {"name": "config", "mountPath": CONFIG_DIRECTORY, "readOnly": True},
            {"name": "state", "mountPath": STATE_DIRECTORY},
        ],
    }


_MAKERS: Final[Mapping[Action, tuple[str, Callable[[Order, str], Manifest]]]] = {
    Action.NS_CREATE: ("namespace", _namespace),
    Action.SA_CREATE: ("serviceaccount", _account),
    Action.ROLE_CREATE: ("role", _role),
    Action.ROLE_BINDING_CREATE: ("rolebinding", _role_binding),
    Action.SPEC_CREATE: ("configmap", _spec),
    Action.PROGRESS_CREATE: ("configmap", _progress),
    Action.JOB_CREATE: ("job", _job),
}

TALM: Final = Profile(
    name="talm",
    labelled=True,
    setup=tuple(_MAKERS),  # an agent carries them out in this order
    # Progress first: where it is asked about and the Job is not, the setup was through.
    job_views=(View.PROGRESS, View.JOB),
    kube=_kube,
    interval_s=view_interval,
    # The action agent is serial and takes 20-50 ms an action; seven of them fit well.
    hold_off=dt.timedelta(seconds=2),
)
