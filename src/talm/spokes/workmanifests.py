"""The ManifestWork of one run on one cluster, as a plain dict.

    namespace, account, role, binding, specification      kept as they are here
    ConfigMap of the record, Job                          made once (CreateOnly), told back

Decided here: what is fed back, and what the work's agent must never do to the Job.  What the objects
themselves are: own.py.  Source of the rules: OCM's work agent; the paths run over the whole object,
carry whole numbers, strings and booleans alone, and give nothing where a field is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from talm.api.kinds import MANIFEST_WORK
from talm.api.progress import PROGRESS_CONFIG_MAP, RECORD_KEY
from talm.api.words import JOB_DEADLINE_ANNOTATION, RUN_LABEL
from talm.spokes.base import Order
from talm.spokes.manifests import JOB_NAME, Manifest, run_labels
from talm.spokes.own import TALM

WATCH: Final = "Watch"
_DIAGNOSIS: Final = "pre-cache-diagnose-"
_RUN_PATH: Final = ".metadata.labels." + RUN_LABEL.replace(".", r"\.")


def condition_path(kind: str, field: str) -> str:
    """The path of a field of one of the object's conditions."""
    return f'.status.conditions[?(@.type=="{kind}")].{field}'


JOB_PATHS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "uid": ".metadata.uid",
        "run": _RUN_PATH,
        "active": ".status.active",
        "ready": ".status.ready",
        "succeeded": ".status.succeeded",
        "failed": ".status.failed",
        "terminating": ".status.terminating",
        "complete": condition_path("Complete", "status"),
        "failedReason": condition_path("Failed", "reason"),
        "failedMessage": condition_path("Failed", "message"),
        # A Job that is going to fail says so while its pods still end (Kubernetes >= 1.31).
        "targetReason": condition_path("FailureTarget", "reason"),
        "targetMessage": condition_path("FailureTarget", "message"),
    }
)
RECORD_PATHS: Final[Mapping[str, str]] = MappingProxyType(
    {"uid": ".metadata.uid", "run": _RUN_PATH, "record": f".data.{RECORD_KEY}"}
)


def work_name(run: str) -> str:
    """The name of a run's work, the same on every cluster."""
    return f"pre-cache-{run}"


def diagnosis_name(run: str) -> str:
    """The name of the work that makes the pod which tells why the Job's does not get ready."""
    return f"{_DIAGNOSIS}{run}"


def is_diagnosis(name: str) -> bool:
    """Whether a work of pre-caching is such a one; a run's own name never begins so."""
    return name.startswith(_DIAGNOSIS)


def work_body(cluster: str, order: Order, namespace: str) -> Manifest:
    """The work; `order.pod` says what the cluster's pod is like."""
    return {
        "apiVersion": MANIFEST_WORK.api_version,
        "kind": MANIFEST_WORK.kind,
        "metadata": {
            "name": work_name(order.run),
            "namespace": cluster,
            "labels": run_labels(order),
            "annotations": {JOB_DEADLINE_ANNOTATION: str(order.job_deadline_s)},
        },
        "spec": work_spec(order, namespace),
    }


def work_spec(order: Order, namespace: str) -> Manifest:
    """What is put on the cluster, and what is told of it."""
    setup = TALM.for_nodes(order.pod.nodes).setup
    manifests = [TALM.kube(action, order, namespace)["template"] for action in setup]
    job = told_object("batch", "jobs", JOB_NAME, namespace, JOB_PATHS)
    # Without it a finished Job that somebody deletes is made again at the agent's next resync.
    job["conditionRules"] = [{"type": "WellKnownConditions", "condition": "Complete"}]
    record = told_object("", "configmaps", PROGRESS_CONFIG_MAP, namespace, RECORD_PATHS)
    return {
        "deleteOption": {"propagationPolicy": "Foreground"},
        "manifestConfigs": [job, record],
        "workload": {"manifests": manifests},
    }


def told_object(
    group: str, resource: str, name: str, namespace: str, paths: Mapping[str, str]
) -> dict[str, Any]:
    """An object that is made once, never overwritten, and watched where agent and CRD know how."""
    return {
        "resourceIdentifier": {
            "group": group,
            "resource": resource,
            "namespace": namespace,
            "name": name,
        },
        "updateStrategy": {"type": "CreateOnly"},
        "feedbackScrapeType": WATCH,
        "feedbackRules": [
            {
                "type": "JSONPaths",
                "jsonPaths": [{"name": key, "path": path} for key, path in paths.items()],
            }
        ],
    }
