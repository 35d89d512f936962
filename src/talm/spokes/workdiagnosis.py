"""The pod that tells why the Job's does not get ready, through a work of its own.

A second work, since the first one is as it was ordered: its agent does not apply it again once the
Job has ended.  It goes before the first one does, and with it the pod.
Decided here: what the work carries and what its feedback says.  When it is made: diagnosis.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from talm.api.kinds import MANIFEST_WORK, POD
from talm.api.meta import Condition
from talm.api.ocm import (
    ContainerState,
    ContainerStatus,
    ManifestWork,
    StateDetail,
    ViewedStatus,
)
from talm.api.words import Action
from talm.core.model import Sight
from talm.spokes.base import Order
from talm.spokes.diagnosis import (
    NO_DIAGNOSIS,
    Diagnosis,
    Stalls,
    concerns,
    is_unready,
    of_pod,
    of_refusal,
    with_diagnosis,
)
from talm.spokes.manifests import CONTAINER_NAME, DIAGNOSIS_POD, Manifest, run_labels
from talm.spokes.own import TALM
from talm.spokes.workdesk import WorkDesk
from talm.spokes.workfacts import Values, feedback, refusal, told_job
from talm.spokes.workmanifests import condition_path, diagnosis_name, told_object

_STATE: Final = f'.status.containerStatuses[?(@.name=="{CONTAINER_NAME}")].state'
POD_PATHS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "phase": ".status.phase",
        "reason": ".status.reason",
        "message": ".status.message",
        "scheduled": condition_path("PodScheduled", "status"),
        "scheduledReason": condition_path("PodScheduled", "reason"),
        "scheduledMessage": condition_path("PodScheduled", "message"),
        "waitingReason": f"{_STATE}.waiting.reason",
        "waitingMessage": f"{_STATE}.waiting.message",
        "exitCode": f"{_STATE}.terminated.exitCode",
        "endReason": f"{_STATE}.terminated.reason",
        "endMessage": f"{_STATE}.terminated.message",
    }
)


def diagnosis_body(cluster: str, order: Order, namespace: str) -> Manifest:
    """The work; `order.pod` says what the cluster's pod is like."""
    return {
        "apiVersion": MANIFEST_WORK.api_version,
        "kind": MANIFEST_WORK.kind,
        "metadata": {
            "name": diagnosis_name(order.run),
            "namespace": cluster,
            "labels": run_labels(order),
        },
        "spec": {
            "deleteOption": {"propagationPolicy": "Foreground"},
            "manifestConfigs": [told_object("", POD.plural, DIAGNOSIS_POD, namespace, POD_PATHS)],
            "workload": {
                "manifests": [TALM.kube(Action.DIAGNOSE_CREATE, order, namespace)["template"]]
            },
        },
    }


def diagnosed(sight: Sight, work: ManifestWork, desk: WorkDesk, stalls: Stalls) -> Sight:
    """What is seen by the run's work, with why the Job's pod does not get ready where that takes long."""
    if not concerns(sight):
        return sight
    status = _job_status(work)
    if not is_unready(sight, status):
        stalls.over(desk.cluster)
        return with_diagnosis(sight, status, find_diagnosis(desk))
    unready_for = stalls.seen(desk.cluster, desk.order.run, desk.now)
    return with_diagnosis(sight, status, find_diagnosis(desk), unready_for)


def told_with(sight: Sight, work: ManifestWork, second: ManifestWork | None) -> Sight:
    """What is seen by the run's work, with what the second one tells; for whoever looks but once."""
    found = told_diagnosis(second) if second is not None else NO_DIAGNOSIS
    return with_diagnosis(sight, _job_status(work), found)


def find_diagnosis(desk: WorkDesk) -> Diagnosis:
    """What the second work tells; one that is going tells nothing, and none is made until it is gone."""
    found = desk.find(diagnosis_name(desk.order.run))
    if found is None:
        return NO_DIAGNOSIS
    if found.cached is None:
        return of_pod(None)
    return told_diagnosis(found.cached)


def told_diagnosis(work: ManifestWork) -> Diagnosis:
    """What the feedback of the second work tells."""
    words = refusal(work)
    if words:
        return of_refusal(words)
    values = feedback(work, POD.plural, DIAGNOSIS_POD)
    return of_pod(_pod_status(values) if values else None)


async def diagnose(desk: WorkDesk) -> None:
    """Make the second work; one that is there stays."""
    if desk.find(diagnosis_name(desk.order.run)) is None:
        body = diagnosis_body(desk.cluster, desk.whole_order(), desk.office.namespace)
        await desk.create_work(body)


async def drop_diagnosis(desk: WorkDesk) -> None:
    """Delete the second work."""
    await desk.delete_named(diagnosis_name(desk.order.run))


def _job_status(work: ManifestWork) -> ViewedStatus | None:
    job = told_job(work)
    return job.status if job else None


def _pod_status(values: Values) -> ViewedStatus:
    scheduled = Condition(
        type="PodScheduled",
        status=_text(values, "scheduled"),
        reason=_text(values, "scheduledReason"),
        message=_text(values, "scheduledMessage"),
    )
    waiting, ended = None, None
    if "waitingReason" in values:
        words = _text(values, "waitingMessage")
        waiting = StateDetail(reason=_text(values, "waitingReason"), message=words)
    if "exitCode" in values:
        words, code = _text(values, "endMessage"), values["exitCode"]
        ended = StateDetail(
            reason=_text(values, "endReason"),
            message=words,
            exit_code=code if isinstance(code, int) else None,
        )
    return ViewedStatus(
        phase=_text(values, "phase"),
        reason=_text(values, "reason"),
        message=_text(values, "message"),
        conditions=(scheduled,) if scheduled.status else None,
        container_statuses=(
            ContainerStatus(state=ContainerState(waiting=waiting, terminated=ended)),
        ),
    )


def _text(values: Values, name: str) -> str:
    return str(values.get(name, ""))
