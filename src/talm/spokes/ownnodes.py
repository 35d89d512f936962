"""The Job of profile `talm` where every node pulls: its pod makes one Job for each node and adds up.

It asks the API server and nobody else: no path of the node, no right beyond its account's.  What a
node's Job is like stands in its annotation, word for word the Job for one node.
"""

from __future__ import annotations

import json
from typing import Final

from talm.api import pod
from talm.api.progress import EXIT_CODES, PROGRESS_CONFIG_MAP, FailureClass
from talm.spokes.base import Order
from talm.spokes.manifests import MANAGEMENT, Manifest, run_labels
from talm.spokes.ownjob import (
    ATTEMPTS_MORE,
    api_container,
    failure_policy,
    job,
    shared_pod,
    variables,
)

# Each node's Job has had its attempts by then, so that another look would end the same way; but a pod
# that was itself interrupted, or that waits for the Job's deadline, has said nothing about the nodes.
_FINAL: Final = frozenset(FailureClass) - {FailureClass.PARTLY_CACHED, FailureClass.INTERRUPTED}


def coordinating_job(order: Order, namespace: str) -> Manifest:
    """The Job that coordinates the nodes' Jobs."""
    body = job(order, namespace)
    of_a_node = json.dumps(body["spec"], separators=(",", ":"))
    body["metadata"]["annotations"] = {**MANAGEMENT, pod.NODE_JOB_ANNOTATION: of_a_node}
    body["spec"] = {
        "activeDeadlineSeconds": order.job_deadline_s,
        "backoffLimit": ATTEMPTS_MORE,
        "podFailurePolicy": failure_policy(EXIT_CODES[kind] for kind in _FINAL),
        "template": {
            "metadata": {"labels": run_labels(order), "annotations": dict(MANAGEMENT)},
            "spec": shared_pod(order)
            | {
                "containers": [_container(order, namespace)],
                "nodeSelector": {"kubernetes.io/os": "linux"},
            },
        },
    }
    return body


def _container(order: Order, namespace: str) -> Manifest:
    values = {
        pod.PROGRESS_ENV: f"{namespace}/{PROGRESS_CONFIG_MAP}",
        pod.JOB_DEADLINE_ENV: str(order.job_deadline_s),
        pod.NODES_AT_ONCE_ENV: str(order.pod.nodes_at_once),
    }
    return api_container(order, "nodes", variables(values))
