"""Every wire string once: states, conditions, labels, annotations, object names.

Spelling is copied from the manual and from the existing operator, misspellings included, because
users' scripts compare these strings.
"""

from __future__ import annotations

import enum
from typing import Final


class Phase(enum.StrEnum):
    """Values of `.status.precaching.status.<cluster>`; the manual's names have `Precache` in front."""

    NOT_STARTED = "NotStarted"
    PREPARING = "PreparingToStart"
    STARTING = "Starting"
    ACTIVE = "Active"
    SUCCEEDED = "Succeeded"
    TIMED_OUT = "PrecacheTimeout"
    FAILED = "UnrecoverableError"


FINAL_PHASES: Final = frozenset({Phase.SUCCEEDED, Phase.TIMED_OUT, Phase.FAILED})
BAD_PHASES: Final = frozenset({Phase.TIMED_OUT, Phase.FAILED})


class Hindrance(enum.StrEnum):
    """Reasons of entries of `.status.precaching.failures` about clusters that wait; ours."""

    POD_NOT_READY = "PodNotReady"  # the Job has no ready pod for a minute or longer
    REQUEST_REFUSED = "RequestRefused"  # the spoke did not do what an agent asked of it
    NAMESPACE_STUCK = "NamespaceStuck"  # something keeps the namespace from going


class ConditionType(enum.StrEnum):
    """Condition types of both vocabularies."""

    # the manual's
    READY = "Ready"
    PRECACHING_DONE = "PrecachingDone"
    # both
    PRECACHE_SPEC_VALID = "PrecacheSpecValid"
    # the existing operator's current ones
    CLUSTERS_SELECTED = "ClustersSelected"
    VALIDATED = "Validated"
    PRECACHING_SUCCEEDED = "PrecachingSuceeded"  # sic, kept for ever: scripts wait for it
    BACKUP_SUCCEEDED = "BackupSuceeded"  # sic
    PROGRESSING = "Progressing"
    SUCCEEDED = "Succeeded"


class Reason(enum.StrEnum):
    """Condition reasons of both vocabularies, and the few that are ours."""

    # the manual's
    PRECACHING_REQUIRED = "PrecachingRequired"
    PRECACHING_NOT_DONE = "PrecachingNotDone"
    UPGRADE_NOT_STARTED = "UpgradeNotStarted"
    UPGRADE_CANNOT_START = "UpgradeCannotStart"
    UPGRADE_NOT_COMPLETED = "UpgradeNotCompleted"
    UPGRADE_TIMED_OUT = "UpgradeTimedOut"
    UPGRADE_COMPLETED = "UpgradeCompleted"
    SPEC_IS_INCOMPLETE = "PrecacheSpecIsIncomplete"
    # both
    PRECACHING_COMPLETED = "PrecachingCompleted"
    SPEC_IS_WELL_FORMED = "PrecacheSpecIsWellFormed"
    # current
    CLUSTER_SELECTION_COMPLETED = "ClusterSelectionCompleted"
    CLUSTER_NOT_FOUND = "ClusterNotFound"
    VALIDATION_COMPLETED = "ValidationCompleted"
    NOT_ALL_MANAGED_POLICIES_EXIST = "NotAllManagedPoliciesExist"
    AMBIGUOUS_POLICY_NAMES = "AmbiguousManagedPoliciesNames"
    INVALID_PLATFORM_IMAGE = "InvalidPlatformImage"
    UNRESOLVABLE_DEPENDENCY = "UnresolvableDenpendency"  # sic
    SPEC_INCOMPLETE = "PrecacheSpecIncomplete"
    IN_PROGRESS = "InProgress"
    FAILED = "Failed"
    PARTIALLY_DONE = "PartiallyDone"
    NOT_ENABLED = "NotEnabled"
    MISSING_BLOCKING_CR = "MissingBlockingCR"
    INCOMPLETE_BLOCKING_CR = "IncompleteBlockingCR"
    WAITING_FOR_PLACEMENT = "WaitingForPlacement"
    COMPLETED = "Completed"
    TIMED_OUT = "TimedOut"
    # ours
    UNSUPPORTED = "Unsupported"


class ClusterOutcome(enum.StrEnum):
    """`.status.clusters[].state`."""

    COMPLETE = "complete"
    TIMED_OUT = "timedout"


class RemediationState(enum.StrEnum):
    """`.status.status.currentBatchRemediationProgress.<cluster>.state`."""

    NOT_STARTED = "NotStarted"
    IN_PROGRESS = "InProgress"
    COMPLETED = "Completed"


class Compliance(enum.StrEnum):
    """A cluster's `compliant` in a root policy's status; absent means unknown."""

    COMPLIANT = "Compliant"
    NON_COMPLIANT = "NonCompliant"
    PENDING = "Pending"


class BatchTimeoutAction(enum.StrEnum):
    CONTINUE = "Continue"
    ABORT = "Abort"


FINALIZER: Final = "ran.openshift.io/cleanup-finalizer"
NAME_SUFFIX_ANNOTATION: Final = "cluster-group-upgrades-operator/name-suffix"
RESOURCE_NAME_ANNOTATION: Final = "cluster-group-upgrades-operator/rname"
BLOCKING_MODE_ANNOTATION: Final = "ran.openshift.io/blocking-cgu-completion-mode"
BLOCKING_MODE_PARTIAL: Final = "partial"

CGU_LABEL: Final = "openshift-cluster-group-upgrades/clusterGroupUpgrade"
CGU_NAMESPACE_LABEL: Final = "openshift-cluster-group-upgrades/clusterGroupUpgradeNamespace"
FOR_POLICY_LABEL: Final = "openshift-cluster-group-upgrades/forPolicy"
APP_LABEL: Final = "app"
APP_LABEL_VALUE: Final = "openshift-cluster-group-upgrades"
BACKUP_EXCLUDE_LABEL: Final = "velero.io/exclude-from-backup"
# Ours: which run of which CGU an object on hub or spoke belongs to.
RUN_LABEL: Final = "talm.ran.openshift.io/run"
ATTEMPT_ANNOTATION: Final = "talm.ran.openshift.io/attempt"
# Ours, on a work: the Job's deadline in seconds; how often its agent was asked to look, or to apply, again.
JOB_DEADLINE_ANNOTATION: Final = "talm.ran.openshift.io/job-deadline"
POKE_ANNOTATION: Final = "talm.ran.openshift.io/poke"
APPLY_LABEL: Final = "talm.ran.openshift.io/apply"
# Ours, on the action that deletes the namespace at the end: the run whose Job had succeeded when that was
# requested.
SUCCEEDED_ANNOTATION: Final = "talm.ran.openshift.io/succeeded"

# On Kubernetes Events, as the existing operator writes them.
EVENT_TYPE_ANNOTATION: Final = "cgu.openshift.io/event-type"  # global, batch or cluster
EVENT_TRUNCATED_ANNOTATION: Final = "cgu.openshift.io/truncated"

ROOT_POLICY_LABEL: Final = "policy.open-cluster-management.io/root-policy"
HUB_TEMPLATES_ERROR: Final = "policy.open-cluster-management.io/hub-templates-error"
CLUSTER_NAME_LABEL: Final = "name"

# The add-on that answers a cluster's views and carries out its actions.
VIEW_ADD_ON: Final = "work-manager"

AVAILABLE_CONDITION: Final = "ManagedClusterConditionAvailable"
JOINED_CONDITION: Final = "ManagedClusterJoined"
ADD_ON_AVAILABLE_CONDITION: Final = "Available"

OVERRIDES_CONFIG_MAP: Final = "cluster-group-upgrade-overrides"
EXISTING_OPERATOR_LEASE: Final = "9a2365a3.openshift.io"
OPERATOR_LEASE: Final = "talm-operator"
FIELD_MANAGER: Final = "talm"

MANUAL_NAMESPACE: Final = "openshift-talm-pre-cache"
EXISTING_NAMESPACE: Final = "openshift-talo-pre-cache"
OWN_NAMESPACE_PREFIX: Final = "talm-"


class View(enum.StrEnum):
    """ManagedClusterViews of pre-caching, by name."""

    NAMESPACE = "view-precache-namespace"
    SPEC = "view-precache-spec-configmap"
    ACCOUNT = "view-precache-service-acct"
    BINDING = "view-precache-cluster-role-binding"
    JOB = "view-precache-job"
    PROGRESS = "view-precache-progress"  # ours
    NODE_READER = "view-precache-node-reader"  # ours, where every node pulls
    DIAGNOSE = "view-precache-diagnose"  # ours, where the Job's pod does not get ready


class Action(enum.StrEnum):
    """ManagedClusterActions of pre-caching, by name."""

    NS_DELETE = "precache-ns-delete"
    CRB_DELETE = "precache-crb-delete"
    NS_CREATE = "precache-ns-create"
    SA_CREATE = "precache-sa-create"
    CRB_CREATE = "precache-crb-create"
    SPEC_CREATE = "precache-spec-cm-create"
    JOB_CREATE = "precache-job-create"
    ROLE_CREATE = "precache-role-create"  # ours
    ROLE_BINDING_CREATE = "precache-rb-create"  # ours
    PROGRESS_CREATE = "precache-progress-cm-create"  # ours
    # ours, where every node pulls: a ClusterRole that lists nodes, and its binding
    NODE_BINDING_DELETE = "precache-node-reader-crb-delete"
    NODE_READER_DELETE = "precache-node-reader-delete"
    NODE_READER_CREATE = "precache-node-reader-create"
    NODE_BINDING_CREATE = "precache-node-reader-crb-create"
    # ours, where the Job's pod does not get ready: a pod that tells why
    DIAGNOSE_CREATE = "precache-diagnose-create"
    DIAGNOSE_DELETE = "precache-diagnose-delete"
