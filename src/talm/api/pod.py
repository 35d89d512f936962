"""What hub and workload agree on about the pod: environment, paths, which ends are final.

The hub writes the pod (spokes/ownjob.py), the workload reads its environment.  What a run tells is
in progress.py.
"""

from __future__ import annotations

import enum
from typing import Final

from .progress import EXIT_CODES, REJECTED_CODE, FailureClass

CONFIG_ENV: Final = "TALM_CONFIG"
STORE_ENV: Final = "TALM_STORE"
PROGRESS_ENV: Final = "TALM_PROGRESS_CONFIGMAP"
RUN_ENV: Final = "TALM_RUN"
HOST_ENV: Final = "TALM_HOST_ROOT"
"""Directory below which the node's own paths are found; unset or "/" outside of a pod."""
PINNED_FOR_ENV: Final = "TALM_PINNED_FOR"
"""The run that pins are kept for, and by whose name they are taken back: the hub's, not the pod's."""
LAST_OF_ENV: Final = "TALM_LAST_OF"
"""The namespace that the pod deletes when its work is done: its own, made for it alone."""
DAEMON_SET_ENV: Final = "TALM_DAEMON_SET"
"""Whose pods must all be ready before that."""
BACKGROUND_ENV: Final = "TALM_BACKGROUND"
"""`true`: leave CPU and disk to others."""
JOB_DEADLINE_ENV: Final = "TALM_JOB_DEADLINE"
"""Seconds, a decimal number: the Job's `activeDeadlineSeconds`.

They count from the Job's start, which is when its first pod was created, not from the start of this
pod: an attempt after the first adds them to the `creationTimestamp` of the oldest pod with its own
label `job-name`, and to its own start only where it cannot list pods.  It is no point in time, since
the hub does not know when a spoke will create the Job, and clocks differ.
"""

NODES_AT_ONCE_ENV: Final = "TALM_NODES_AT_ONCE"
"""How many nodes pull at the same time; for the pod that coordinates them."""
NODES_AT_ONCE: Final = 3
"""The default: nodes of a site share its link, and a few fill it."""

NODE_JOB_ANNOTATION: Final = "talm.ran.openshift.io/node-job"
"""On the Job that coordinates the nodes: the `spec` of one node's Job, as JSON.

Whoever makes it adds what is the node's own: its affinity, its ConfigMap, the time that is left.
"""
NODE_ANNOTATION: Final = "talm.ran.openshift.io/node"
"""On a node's Job and record: the node's name, which may be longer than a label."""
COORDINATOR_LABEL: Final = "talm.ran.openshift.io/coordinator"
"""On a node's Job and record: the uid of the Job that coordinates it."""

CONFIG_DIRECTORY: Final = "/etc/config"
STATE_DIRECTORY: Final = "/var/lib/talm"  # on the node and in the container
HOST_DIRECTORY: Final = "/host"


PINS_LABEL: Final = "talm.ran.openshift.io/pins"
"""On a PinnedImageSet of ours; the run that it is of is in the run's label."""


def image_set_name(run: str) -> str:
    """The name of a run's PinnedImageSet."""
    return f"talm-pre-cache-{run}"


class Nodes(enum.StrEnum):
    """`PreCachingConfig.spec.nodes`: which nodes of a cluster pull."""

    ONE = "one"  # the node on which the Job's pod happens to run
    ALL = "all"


class StoreKind(enum.StrEnum):
    """Where images go, as the operator's setting and a cluster's label name it."""

    OCI_LAYOUT = "oci-layout"
    CONTAINERS_STORAGE = "containers-storage"
    CONTAINERD = "containerd"
    CONTAINERD_K3S = "containerd-k3s"  # k3s and RKE2 bring their own, elsewhere


FINAL_CLASSES: Final = frozenset(
    {
        FailureClass.INVALID_SPEC,
        FailureClass.RELEASE_UNREADABLE,
        FailureClass.CATALOG_UNREADABLE,
        FailureClass.PACKAGE_NOT_FOUND,
        FailureClass.IMAGE_NOT_FOUND,
        FailureClass.UNAUTHORIZED,
        FailureClass.INSUFFICIENT_SPACE,
    }
)
"""Another attempt would end the same way, so that the first one ends the Job.

Not among them: RegistryUnreachable, StoreFailed (with its own code) and Interrupted may pass.
PartlyCached is the Job's deadline, and a Job that is failed for it would end as a failure and not as a
time-out.
"""

FINAL_CODES: Final = frozenset({REJECTED_CODE, *(EXIT_CODES[kind] for kind in FINAL_CLASSES)})
"""The exit codes that end the Job."""
