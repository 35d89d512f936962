"""The Job of profile `talm` for one node: one pod, tried again as long as that may help.

    exit code of a final class ──► FailJob, at once
    evicted, drained, preempted ──► another pod, no attempt lost
    anything else (a reboot, a crash, a registry that was away) ──► another pod, one attempt less

A spoke older than Kubernetes 1.26 does not know the policy and tries final classes again, too: some
ten minutes until it gives up.  Which store and which paths: ownstore.py; all nodes: ownnodes.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from talm.api import pod
from talm.api.pod import CONFIG_DIRECTORY, FINAL_CODES, HOST_DIRECTORY, STATE_DIRECTORY
from talm.api.progress import PROGRESS_CONFIG_MAP
from talm.spokes.base import Order
from talm.spokes.manifests import (
    ACCOUNT,
    CONTAINER_NAME,
    JOB_NAME,
    MANAGEMENT,
    SPEC_CONFIG_MAP,
    Manifest,
    namespaced,
    run_labels,
)
from talm.spokes.ownstore import NodeStore, node_store

ATTEMPTS_MORE: Final = (
    6  # Kubernetes' default; with its pauses they are over after 10 min of crashes
)
_WRONG_FLAG: Final = 2  # click's; the command line is the same in the next pod
_NOBODY: Final = 65534
_ROOT: Final = "host"
_CONFIG_MOUNT: Final = {"name": "config", "mountPath": CONFIG_DIRECTORY, "readOnly": True}


def job(order: Order, namespace: str) -> Manifest:
    """The Job for the node's store that `order.pod` names."""
    body = namespaced("batch/v1", "Job", JOB_NAME, namespace)
    body["metadata"]["annotations"] = dict(MANAGEMENT)
    body["spec"] = {
        "activeDeadlineSeconds": order.job_deadline_s,
        "backoffLimit": ATTEMPTS_MORE,
        "podFailurePolicy": failure_policy(FINAL_CODES),
        "template": {
            "metadata": {"labels": run_labels(order), "annotations": dict(MANAGEMENT)},
            "spec": _pod(order, namespace),
        },
    }
    return body


def failure_policy(final: Iterable[int]) -> Manifest:
    """Say which ends of a pod end the Job at once (exit codes `final`), and which do not count."""
    codes = {
        "containerName": CONTAINER_NAME,
        "operator": "In",
        "values": sorted([_WRONG_FLAG, *final]),
    }
    return {
        "rules": [
            # First, since a pod that was sent away may end with any exit code.
            {
                "action": "Ignore",
                "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
            },
            {"action": "FailJob", "onExitCodes": codes},
        ]
    }


def shared_pod(order: Order) -> Manifest:
    """What pods are like whatever their work is."""
    spec: Manifest = {
        "priorityClassName": "system-cluster-critical",  # admitted on a full node; it asks for little
        "restartPolicy": "Never",
        "serviceAccountName": ACCOUNT,
        "tolerations": [{"operator": "Exists"}],
    }
    if order.pod.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in order.pod.pull_secrets]
    return spec


def _pod(order: Order, namespace: str) -> Manifest:
    store = node_store(order.pod)
    container = node_container(order, store, "pull", _environment(order, namespace, store))
    container["volumeMounts"].insert(0, _CONFIG_MOUNT)
    spec = node_pod(order, store, container)
    spec["volumes"].insert(0, {"name": "config", "configMap": {"name": SPEC_CONFIG_MAP}})
    return spec


def node_pod(order: Order, store: NodeStore, container: Manifest) -> Manifest:
    """What a pod is like that works on a node's store."""
    processes = {"hostPID": True} if store.signals else {}
    return (
        shared_pod(order)
        | processes
        | {
            "containers": [container],
            # Names are resolved and routes taken as the node's runtime does it.
            "dnsPolicy": "Default",
            "hostNetwork": True,
            "volumes": _volumes(store),
        }
    )


def node_container(
    order: Order, store: NodeStore, command: str, environment: list[Manifest]
) -> Manifest:
    """The container of such a pod."""
    return {
        "name": CONTAINER_NAME,
        "image": order.image,
        "command": ["talm", "agent", command],
        "env": environment,
        # The requested share is all the CPU it gets while others want it.
        "resources": {
            "requests": {"cpu": "10m", "memory": "64Mi"},
            "limits": {"memory": "512Mi"},
        },
        "securityContext": _rights(store),
        "terminationMessagePolicy": "File",
        "volumeMounts": _mounts(store),
    }


def api_container(order: Order, command: str, environment: list[Manifest]) -> Manifest:
    """A container that asks the API server and nobody else: nothing of the node, no right."""
    rights: Manifest = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "runAsUser": _NOBODY,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return {
        "name": CONTAINER_NAME,
        "image": order.image,
        "command": ["talm", "agent", command],
        "env": environment,
        "resources": {
            "requests": {"cpu": "10m", "memory": "64Mi"},
            "limits": {"memory": "256Mi"},
        },
        "securityContext": rights,
        "terminationMessagePolicy": "File",
    }


def _environment(order: Order, namespace: str, store: NodeStore) -> list[Manifest]:
    values = {
        pod.CONFIG_ENV: CONFIG_DIRECTORY,
        pod.STORE_ENV: store.place,
        pod.PROGRESS_ENV: f"{namespace}/{PROGRESS_CONFIG_MAP}",
        pod.JOB_DEADLINE_ENV: str(order.job_deadline_s),
        pod.BACKGROUND_ENV: "true",
    }
    return variables(values | store_values(order, store))


def store_values(order: Order, store: NodeStore) -> dict[str, str]:
    """The part of the environment that says where the store is, and whose the pins in it are."""
    values = {pod.STORE_ENV: store.place}
    if store.paths:
        values |= {pod.HOST_ENV: HOST_DIRECTORY, pod.PINNED_FOR_ENV: order.run}
    return values


def variables(values: Mapping[str, str]) -> list[Manifest]:
    """The environment with these values, and the pod's uid as the name of its run."""
    pod_uid = {"fieldRef": {"fieldPath": "metadata.uid"}}
    return [
        *({"name": name, "value": value} for name, value in values.items()),
        {"name": pod.RUN_ENV, "valueFrom": pod_uid},
    ]


def _rights(store: NodeStore) -> Manifest:
    """Root, since the directories are the node's root's; no capability where files are all it needs.

    `spc_t` is SELinux' type for a container that may touch the node's files; a privileged one has it.
    """
    if store.chroots:
        return {"privileged": True, "runAsUser": 0}
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsUser": 0,
        "seLinuxOptions": {"type": "spc_t"},
    }


def _volumes(store: NodeStore) -> list[Manifest]:
    """Host paths have type "": a check that fails would hang the pod until its deadline, and the
    workload says what it misses.
    """
    paths = {"state": STATE_DIRECTORY} | {host.volume: host.path for host in store.paths}
    root: list[Manifest] = [{"name": _ROOT, "emptyDir": {}}] if store.chroots else []
    return [
        *root,
        *({"name": name, "hostPath": {"path": p, "type": ""}} for name, p in paths.items()),
    ]


def _mounts(store: NodeStore) -> list[Manifest]:
    mounts: list[Manifest] = [
        {"name": "state", "mountPath": STATE_DIRECTORY},
    ]
    if store.chroots:
        mounts.append({"name": _ROOT, "mountPath": HOST_DIRECTORY})
        # What the node's program copies on its way is in the spool, where it is counted and found again.
        mounts.append({"name": "state", "mountPath": f"{HOST_DIRECTORY}{STATE_DIRECTORY}"})
    for host in store.paths:
        mount: Manifest = {"name": host.volume, "mountPath": host.inside}
        mounts.append(mount | {"readOnly": True} if host.read_only else mount)
    return mounts
