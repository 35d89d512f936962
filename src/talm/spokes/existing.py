"""Profile `existing`: what the existing operator puts on a spoke, to the byte and in its order.

For users who keep its workload image, must-gather scripts and policies.  Nothing carries a label.
Source: the existing operator's templates (controllers/templates) and precacheFsm.go.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

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
    spec_data,
)
from talm.spokes.profile import Profile

_DIRECTORY: Final = "Directory"
_FILE: Final = "File"

# Volume, path on the node, hostPath type, read-only; mounted below /host in this order.
_HOST_PATHS: Final = (
    ("host-etc-containers", "/etc/containers", _DIRECTORY, True),
    ("host-etc-pki-ca-trust", "/etc/pki/ca-trust", _DIRECTORY, True),
    ("host-etc-resolv-conf", "/etc/resolv.conf", _FILE, True),
    ("host-lib64", "/lib64", _DIRECTORY, True),
    ("host-proc", "/proc", _DIRECTORY, True),
    ("host-run", "/run", _DIRECTORY, False),
    ("host-tmp", "/tmp", _DIRECTORY, False),  # noqa: S108 - a path on the node
    ("host-usr-bin", "/usr/bin", _DIRECTORY, True),
    ("host-usr-lib", "/usr/lib", _DIRECTORY, True),
    ("host-usr-lib64", "/usr/lib64", _DIRECTORY, True),
    ("host-usr-libexec", "/usr/libexec", _DIRECTORY, True),
    ("host-usr-share-containers", "/usr/share/containers", _DIRECTORY, True),
    ("host-var-lib-cni", "/var/lib/cni", _DIRECTORY, True),
    ("host-var-lib-containers", "/var/lib/containers", _DIRECTORY, False),
    ("host-var-lib-kubelet", "/var/lib/kubelet", _DIRECTORY, True),
    ("host-var-tmp", "/var/tmp", _DIRECTORY, False),  # noqa: S108 - a path on the node
    ("sys-fs-cgroup", "/sys/fs/cgroup", _DIRECTORY, True),
)


def view_interval(view: View, clusters: int) -> int:
    """Seconds between two reads of one view.

    6 s x clusters, at least 30 s, at most 300 s; the namespace's view has none written (the agent
    takes 30 s).
    """
    return 0 if view is View.NAMESPACE else min(max(6 * clusters, 30), 300)


def _kube(action: Action, order: Order, namespace: str) -> Manifest:
    if action is Action.JOB_CREATE:
        return {"resource": "job", "namespace": namespace, "template": _job(order, namespace)}
    resource, template = _template(action, order, namespace)
    return {"resource": resource, "template": template}


def _template(action: Action, order: Order, namespace: str) -> tuple[str, Manifest]:
    match action:
        case Action.NS_CREATE:
            return "namespace", _namespace(namespace)
        case Action.SA_CREATE:
            return "serviceaccount", namespaced("v1", "ServiceAccount", ACCOUNT, namespace)
        case Action.CRB_CREATE:
            return "clusterrolebinding", _binding(namespace)
        case Action.SPEC_CREATE:
            body = namespaced("v1", "ConfigMap", SPEC_CONFIG_MAP, namespace)
            return "configmap", body | {"data": spec_data(order.spec)}
        case _:
            raise Bug(f"profile existing knows no action {action}")


def _namespace(name: str) -> Manifest:
    body = namespaced("v1", "Namespace", name, "")
    body["metadata"] |= {
        "annotations": {"workload.openshift.io/allowed": "management"},
        "labels": {"pod-security.kubernetes.io/enforce": "privileged"},
    }
    return body


def _binding(namespace: str) -> Manifest:
    return namespaced("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", BINDING, "") | {
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": "cluster-admin",
        },
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace}],
    }


def _job(order: Order, namespace: str) -> Manifest:
    body = namespaced("batch/v1", "Job", JOB_NAME, namespace)
    body["metadata"]["annotations"] = dict(MANAGEMENT)
    body["spec"] = {
        "activeDeadlineSeconds": order.job_deadline_s,
        "backoffLimit": 0,
        "template": {
            "metadata": {"name": JOB_NAME, "annotations": dict(MANAGEMENT)},
            "spec": {
                "containers": [_container(order.image)],
                "dnsPolicy": "ClusterFirst",
                "priorityClassName": "system-cluster-critical",
                "restartPolicy": "Never",
                "schedulerName": "default-scheduler",
                "securityContext": {},
                "serviceAccountName": ACCOUNT,
                "volumes": _volumes(),
            },
        },
    }
    return body


def _container(image: str) -> Manifest:
    return {
        "name": CONTAINER_NAME,
        "image": image,
        "command": ["/bin/bash", "-c"],
        "args": ["/opt/precache/precache.sh"],
        "env": [
            {"name": "config_volume_path", "value": "/tmp/precache/config"},  # noqa: S108
            {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        ],
        "resources": {},
        "securityContext": {"privileged": True, "runAsUser": 0},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "volumeMounts": _mounts(),
    }


def _mounts() -> list[Manifest]:
    mounts: list[Manifest] = [
        {"mountPath": "/etc/config", "name": "config-volume", "readOnly": True},
        {"mountPath": "/host", "name": "host"},
    ]
    for volume, path, _, read_only in _HOST_PATHS:
        mount: Manifest = {"mountPath": f"/host{path}", "name": volume}
        mounts.append(mount | {"readOnly": True} if read_only else mount)
    return mounts


def _volumes() -> list[Manifest]:
    config = {"name": SPEC_CONFIG_MAP, "defaultMode": 0o644}  # 420 on the wire
    volumes: list[Manifest] = [
        {"name": "config-volume", "configMap": config},
        {"name": "host", "emptyDir": {}},
    ]
    for volume, path, kind, _ in _HOST_PATHS:
        volumes.append({"name": volume, "hostPath": {"path": path, "type": kind}})
    return volumes


EXISTING: Final = Profile(
    name="existing",
    labelled=False,
    setup=(Action.NS_CREATE, Action.SA_CREATE, Action.CRB_CREATE, Action.SPEC_CREATE),
    setup_views=MappingProxyType(
        {
            View.SPEC: Action.SPEC_CREATE,
            View.ACCOUNT: Action.SA_CREATE,
            View.BINDING: Action.CRB_CREATE,
        }
    ),
    job_views=(View.JOB,),
    kube=_kube,
    interval_s=view_interval,
)
