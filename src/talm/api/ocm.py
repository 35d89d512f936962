"""The hub's foreign objects, as far as they are read.  Everything is optional: see
views of other rigs whose result is as little as `{status: {active: 1}}`."""

from __future__ import annotations

from typing import Any

import msgspec

from .meta import Condition, ObjectMeta, Wire


class ConditionedStatus(Wire, frozen=True, kw_only=True):
    conditions: tuple[Condition, ...] | None = None


class ClusterClaim(Wire, frozen=True, kw_only=True):
    name: str = ""
    value: str = ""


class ManagedClusterStatus(Wire, frozen=True, kw_only=True):
    conditions: tuple[Condition, ...] | None = None
    cluster_claims: tuple[ClusterClaim, ...] | None = None


class ManagedCluster(Wire, frozen=True, kw_only=True):
    metadata: ObjectMeta = ObjectMeta()
    status: ManagedClusterStatus | None = None


class ViewScope(Wire, frozen=True, kw_only=True):
    resource: str = ""
    name: str = ""
    namespace: str = ""
    update_interval_seconds: int = 0


class ViewSpec(Wire, frozen=True, kw_only=True):
    scope: ViewScope = ViewScope()


class JobStatus(Wire, frozen=True, kw_only=True):
    active: int | None = None
    ready: int | None = None
    succeeded: int | None = None
    failed: int | None = None
    terminating: int | None = None
    conditions: tuple[Condition, ...] | None = None


class StateDetail(Wire, frozen=True, kw_only=True):
    """Why a container waits, or how it ended."""

    reason: str = ""
    message: str = ""
    exit_code: int | None = None


class ContainerState(Wire, frozen=True, kw_only=True):
    waiting: StateDetail | None = None
    terminated: StateDetail | None = None


class ContainerStatus(Wire, frozen=True, kw_only=True):
    state: ContainerState = ContainerState()


class ViewedStatus(JobStatus, frozen=True, kw_only=True):
    """The status of a Job, a Namespace (conditions) or a Pod."""

    phase: str = ""
    reason: str = ""
    message: str = ""
    container_statuses: tuple[ContainerStatus, ...] | None = None


class ViewedObject(Wire, frozen=True, kw_only=True):
    """`status.result` of a view: whatever object was asked for, read leniently."""

    metadata: ObjectMeta = ObjectMeta()
    data: dict[str, str] | None = None  # ConfigMap
    status: ViewedStatus | None = None


class ViewStatus(Wire, frozen=True, kw_only=True):
    conditions: tuple[Condition, ...] | None = None
    result: ViewedObject | None = None


class ManagedClusterView(Wire, frozen=True, kw_only=True):
    metadata: ObjectMeta = ObjectMeta()
    spec: ViewSpec = ViewSpec()
    status: ViewStatus | None = None


class ActionTemplateSpec(Wire, frozen=True, kw_only=True):
    """The `spec` of what an action creates, as far as it can change after the action was made."""

    active_deadline_seconds: int | None = None  # Job


class ActionTemplate(Wire, frozen=True, kw_only=True):
    spec: ActionTemplateSpec | None = None


class ActionTarget(Wire, frozen=True, kw_only=True):
    """`spec.kube`: `name` is what a Delete is about, `template` what a Create makes."""

    name: str = ""
    namespace: str = ""
    template: ActionTemplate | None = None


class ActionSpec(Wire, frozen=True, kw_only=True):
    kube: ActionTarget = ActionTarget()


class ManagedClusterAction(Wire, frozen=True, kw_only=True):
    """Which step it is, is told by its name; whose it is, by its run label."""

    metadata: ObjectMeta = ObjectMeta()
    spec: ActionSpec = ActionSpec()
    status: ConditionedStatus | None = None


class FieldValue(Wire, frozen=True, kw_only=True):
    """One of these, by its type; lists and objects cannot be fed back."""

    integer: int | None = None
    string: str | None = None
    boolean: bool | None = None


class FeedbackValue(Wire, frozen=True, kw_only=True):
    name: str = ""
    field_value: FieldValue = FieldValue()


class StatusFeedback(Wire, frozen=True, kw_only=True):
    values: tuple[FeedbackValue, ...] | None = None


class ManifestMeta(Wire, frozen=True, kw_only=True):
    resource: str = ""
    name: str = ""


class ManifestCondition(Wire, frozen=True, kw_only=True):
    """What a work's agent tells of one of its manifests."""

    resource_meta: ManifestMeta = ManifestMeta()
    conditions: tuple[Condition, ...] | None = None
    status_feedback: StatusFeedback = StatusFeedback()


class ResourceStatus(Wire, frozen=True, kw_only=True):
    manifests: tuple[ManifestCondition, ...] | None = None


class WorkStatus(Wire, frozen=True, kw_only=True):
    conditions: tuple[Condition, ...] | None = None
    resource_status: ResourceStatus = ResourceStatus()


class ManifestConfig(Wire, frozen=True, kw_only=True):
    """`feedback_scrape_type` is absent where the hub's CRD is older than the field."""

    feedback_scrape_type: str = ""


class WorkSpec(Wire, frozen=True, kw_only=True):
    manifest_configs: tuple[ManifestConfig, ...] | None = None


class ManifestWork(Wire, frozen=True, kw_only=True):
    """Whose it is, is told by its run label; its manifests are never read back."""

    metadata: ObjectMeta = ObjectMeta()
    spec: WorkSpec = WorkSpec()
    status: WorkStatus | None = None


class ManagedClusterAddOn(Wire, frozen=True, kw_only=True):
    """An agent of a cluster: that it is installed there, and whether its lease is renewed."""

    metadata: ObjectMeta = ObjectMeta()
    status: ConditionedStatus | None = None


class ClusterCompliance(Wire, frozen=True, kw_only=True):
    clustername: str = ""
    compliant: str = ""


class RootPolicyStatus(Wire, frozen=True, kw_only=True):
    compliant: str = ""
    status: tuple[ClusterCompliance, ...] | None = None


class PolicySpec(Wire, frozen=True, kw_only=True):
    disabled: bool = False
    remediation_action: str = ""
    policy_templates: tuple[dict[str, Any], ...] | None = msgspec.field(
        name="policy-templates", default=None
    )
    dependencies: tuple[dict[str, Any], ...] | None = None


class Policy(Wire, frozen=True, kw_only=True):
    """A root policy: templates and the compliance of every cluster."""

    metadata: ObjectMeta = ObjectMeta()
    spec: PolicySpec = PolicySpec()
    status: RootPolicyStatus | None = None


class ChildPolicy(Wire, frozen=True, kw_only=True):
    """A replicated policy in a cluster's namespace: only that it is there."""

    metadata: ObjectMeta = ObjectMeta()


class PlacementStatus(Wire, frozen=True, kw_only=True):
    conditions: tuple[Condition, ...] | None = None


class Placement(Wire, frozen=True, kw_only=True):
    metadata: ObjectMeta = ObjectMeta()
    spec: dict[str, Any] | None = None
    status: PlacementStatus | None = None


class PlacementBinding(Wire, frozen=True, kw_only=True):
    metadata: ObjectMeta = ObjectMeta()
    bindingOverrides: dict[str, Any] | None = None
    placementRef: dict[str, Any] | None = None
    subjects: tuple[dict[str, Any], ...] | None = None
    subFilter: str = ""


class ConfigMap(Wire, frozen=True, kw_only=True):
    metadata: ObjectMeta = ObjectMeta()
    data: dict[str, str] | None = None
