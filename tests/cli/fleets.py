"""CGUs and what their clusters have told, at one moment: what the tests of the command line show."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from talm.api.cgu import (
    ClusterGroupUpgrade,
    FinishedSums,
    OtherSpecification,
    PrecachingProgress,
    PrecachingSpec,
)
from talm.api.meta import changed
from talm.api.progress import RECORD_KEY, ProgressRecord
from talm.api.words import FINALIZER, RUN_LABEL, View
from talm.cli.told import Told
from talm.core.placements import run_id
from talm.core.precache_spec import spec_hash

NOW = dt.datetime(2026, 1, 2, 3, 30, 0, tzinfo=dt.UTC)
NAMESPACE = "ztp-group-du-sno"
GIB = 2**30
MIB = 2**20


def before(**span: float) -> str:
    """A moment before NOW, as on the wire."""
    return f"{NOW - dt.timedelta(**span):%Y-%m-%dT%H:%M:%SZ}"


def condition(kind: str, status: str, reason: str, message: str, **ago: float) -> dict[str, str]:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": before(**(ago or {"minutes": 20})),
    }


SELECTED = condition("ClustersSelected", "True", "ClusterSelectionCompleted", "All")
VALIDATED = condition("Validated", "True", "ValidationCompleted", "Completed validation")
SPEC_VALID = condition("PrecacheSpecValid", "True", "PrecacheSpecIsWellFormed", "valid")
NOT_ENABLED = condition("Progressing", "False", "NotEnabled", "Not enabled", hours=2)


def a_cgu(
    name: str,
    states: Mapping[str, str],
    *,
    waits: Mapping[str, Mapping[str, Any]] | None = None,
    failures: Sequence[Mapping[str, str]] = (),
    conditions: Sequence[Mapping[str, str]] = (SELECTED, VALIDATED, SPEC_VALID),
    namespace: str = NAMESPACE,
    **status: Any,
) -> ClusterGroupUpgrade:
    """A CGU in mid-life; `status` adds to its status, by wire names."""
    body = cgu_body(
        name,
        states,
        waits=waits,
        failures=failures,
        conditions=conditions,
        namespace=namespace,
        **status,
    )
    return msgspec.convert(body, ClusterGroupUpgrade)


def cgu_body(  # what is stored
    name: str,
    states: Mapping[str, str],
    *,
    waits: Mapping[str, Mapping[str, Any]] | None = None,
    failures: Sequence[Mapping[str, str]] = (),
    conditions: Sequence[Mapping[str, str]] = (SELECTED, VALIDATED, SPEC_VALID),
    namespace: str = NAMESPACE,
    **status: Any,
) -> dict[str, Any]:
    """The same as on the wire."""
    precaching: dict[str, Any] = {"clusters": list(states), "status": dict(states)}
    if waits:
        precaching["waits"] = [{**wait, "clusters": [c]} for c, wait in waits.items()]
    if failures:
        precaching["failures"] = [dict(f) for f in failures]
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-of-{name}",
            "creationTimestamp": before(minutes=25),
            "finalizers": [FINALIZER],
        },
        "spec": {
            "preCaching": True,
            "enable": False,
            "clusters": list(states),
            "managedPolicies": ["du-upgrade-platform-upgrade"],
            "remediationStrategy": {"maxConcurrency": 2, "timeout": 240},
        },
        "status": {
            "conditions": [dict(c) for c in conditions],
            "remediationPlan": [list(states)],
            "precaching": precaching,
            "status": {},
            **status,
        },
    }


def failure(cluster: str, reason: str, message: str, **ago: float) -> dict[str, str]:
    """An entry of `failures`."""
    return {"cluster": cluster, "reason": reason, "message": message, "since": before(**ago)}


def since(**ago: float) -> dict[str, Any]:
    """A clock that has been running for so long."""
    return {"since": before(**ago)}


def record(done: int, total: int, **more: Any) -> ProgressRecord:
    """A record of a download in full swing, in MiB."""
    given: dict[str, Any] = {
        "run": "pod",
        "phase": "Downloading",
        "images_done": 12,
        "images_total": 183,
        "bytes_done": done * MIB,
        "bytes_total": total * MIB,
        "bytes_per_s": 2 * MIB,
        "eta_s": (total - done) // 2,
        "current_image": "quay.io/openshift-release-dev/ocp-v4.0-art-dev@sha256:0123abcd",
        "heartbeat": NOW - dt.timedelta(seconds=4),
    }
    return ProgressRecord(**{**given, **more})


def view_body(
    cgu: ClusterGroupUpgrade, cluster: str, told: ProgressRecord, *, uid: str = ""
) -> dict[str, Any]:
    """The view of the record as the hub has it; `uid` is the CGU's where that is not the sample's."""
    meta = changed(cgu.metadata, uid=uid or cgu.metadata.uid)
    labels = {RUN_LABEL: run_id(meta)}
    return {
        "metadata": {"name": View.PROGRESS.value, "namespace": cluster, "labels": labels},
        "spec": {"scope": {"updateIntervalSeconds": 2}},
        "status": {
            "conditions": [
                condition("Processing", "True", "GetResourceProcessing", "Watching resources")
            ],
            "result": {
                "metadata": {"name": "pre-cache-progress", "labels": labels},
                "data": {RECORD_KEY: msgspec.json.encode(told).decode()},
            },
        },
    }


def summed(cgu: ClusterGroupUpgrade) -> ClusterGroupUpgrade:
    """The same CGU, whose operator has summed up what its clusters have told."""
    assert cgu.status.precaching is not None
    sums = PrecachingProgress(
        clusters={"Active": 5, "Succeeded": 1},
        told=4,
        images_done=207,
        images_total=549,
        bytes_done=26 * GIB,
        bytes_total=48 * GIB,
        bytes_per_s=4 * MIB,
        eta_s=600,
        without_estimate=2,
        finished=FinishedSums(
            clusters=1, images_done=183, images_total=183, bytes_done=16 * GIB, bytes_total=16 * GIB
        ),
        updated_at=NOW - dt.timedelta(seconds=3),
    )
    block = changed(
        cgu.status.precaching,
        progress=sums,
        failures_by_class={"ImageNotFound": 1},
        spec_hash="0123456789abcdef",
        attempt=2,
    )
    return changed(cgu, status=changed(cgu.status, precaching=block))


# ---- a small fleet: one of everything ----------------------------------------------------------------

SILENT = "silent since 2026-01-02T03:23:00Z: its workload tells nothing new"
SMALL = a_cgu(
    "night-1",
    {
        "spoke-0001": "Succeeded",
        "spoke-0002": "UnrecoverableError",
        "spoke-0003": "Active",
        "spoke-0004": "Active",
        "spoke-0005": "PrecacheTimeout",
        "spoke-0006": "Starting",
        "spoke-0007": "PreparingToStart",
        "spoke-0008": "NotStarted",
        "spoke-0009": "Active",
        "spoke-0010": "Active",
        "spoke-0011": "Active",
    },
    waits={
        "spoke-0003": {"spent": 60, **since(minutes=10)},
        "spoke-0004": since(minutes=11),
        "spoke-0006": since(seconds=42),
        "spoke-0007": since(minutes=19),
        "spoke-0009": since(minutes=11),
        "spoke-0010": since(seconds=5),
        "spoke-0011": {"spent": 100},
    },
    failures=[
        failure("spoke-0002", "UnrecoverableError", "PodFailurePolicy: ImageNotFound: x: 404", minutes=3),
        failure("spoke-0005", "PrecacheTimeout", "DeadlineExceeded: Job was active longer", hours=1),
        failure("spoke-0008", "WaitingForOtherCGU", "waiting for ztp-group-du-sno/night-0", minutes=20),
        failure("spoke-0009", "ClusterSilent", SILENT, minutes=5),
        failure("spoke-0011", "ClusterUnavailable", "unavailable since 2026-01-02T03:20:00Z", minutes=9),
    ],
)  # fmt: skip
MOST: Final = PrecachingSpec(platform_image="quay.io/ocp-release:4.14.1", space_required="35")
MORE: Final = changed(MOST, operators_packages_and_channels=("sriov:stable",))


def asked_for_more(cgu: ClusterGroupUpgrade, *clusters: str) -> ClusterGroupUpgrade:
    """The same where hub templates ask these clusters for an operator more."""
    assert cgu.status.precaching is not None
    other = OtherSpecification(
        hash=spec_hash(MORE), spec=MORE, clusters=len(clusters), begun=clusters
    )
    block = changed(cgu.status.precaching, spec=MOST, specs=(other,))
    return changed(cgu, status=changed(cgu.status, precaching=block))


SMALL_TOLD = {
    "spoke-0002": Told(record(100, 16_000, bytes_per_s=0, eta_s=None, phase="Failed")),
    "spoke-0003": Told(
        record(1_229, 16_384, attempt=2, error_class="RegistryUnreachable", error_text="503")
    ),
    "spoke-0004": Told(record(0, 0, images_done=0, images_total=0, bytes_per_s=0, eta_s=None)),
    "spoke-0009": Told(record(8_192, 16_384, heartbeat=NOW - dt.timedelta(minutes=7))),
}


def large(clusters: int = 3500) -> tuple[ClusterGroupUpgrade, dict[str, Told]]:
    """A CGU of thousands, two of which failed and one of which is stuck."""
    words = {}
    waits = {}
    told = {}
    for number in range(1, clusters + 1):
        name = f"spoke-{number:04d}"
        words[name] = ("Active", "Succeeded", "Active", "Starting", "NotStarted")[number % 5]
        if words[name] == "Active":
            waits[name] = since(minutes=number % 50)
            told[name] = Told(record(number, 16_384))
    words |= {"spoke-0777": "UnrecoverableError", "spoke-2222": "PrecacheTimeout"}
    failures = [
        failure("spoke-0777", "UnrecoverableError", "StoreFailed: disk", minutes=3),
        failure("spoke-2222", "PrecacheTimeout", "DeadlineExceeded: long", minutes=4),
        failure("spoke-3003", "RequestFailed", "CREATE x: 500: no", minutes=5),
    ]
    return a_cgu("night-2", words, waits=waits, failures=failures), told
