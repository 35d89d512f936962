"""ClusterGroupUpgrade, `ran.openshift.io/v1alpha1`: every field of the existing operator's."""

from __future__ import annotations

import datetime as dt

import msgspec

from .meta import Condition, ObjectMeta, Wire


class NamespacedName(Wire, frozen=True, kw_only=True):
    name: str = ""
    namespace: str = ""


class LabelSelectorRequirement(Wire, frozen=True, kw_only=True):
    key: str = ""
    operator: str = ""
    values: tuple[str, ...] | None = None


class LabelSelector(Wire, frozen=True, kw_only=True):
    match_labels: dict[str, str] | None = None
    match_expressions: tuple[LabelSelectorRequirement, ...] | None = None


class RemediationStrategy(Wire, frozen=True, kw_only=True):
    canaries: tuple[str, ...] | None = None
    max_concurrency: int
    timeout: int = 240  # minutes


class BeforeEnable(Wire, frozen=True, kw_only=True):
    add_cluster_labels: dict[str, str] | None = None
    delete_cluster_labels: dict[str, str] | None = None
    remove_cluster_labels: tuple[str, ...] | None = None
    add_cluster_annotations: dict[str, str] | None = None
    remove_cluster_annotations: tuple[str, ...] | None = None


class AfterCompletion(Wire, frozen=True, kw_only=True):
    add_cluster_labels: dict[str, str] | None = None
    delete_cluster_labels: dict[str, str] | None = None
    remove_cluster_labels: tuple[str, ...] | None = None
    add_cluster_annotations: dict[str, str] | None = None
    remove_cluster_annotations: tuple[str, ...] | None = None
    delete_objects: bool = True


class Actions(Wire, frozen=True, kw_only=True):
    before_enable: BeforeEnable | None = None
    after_completion: AfterCompletion | None = None


class CguSpec(Wire, frozen=True, kw_only=True):
    backup: bool = False
    pre_caching: bool = False
    pre_caching_config_ref: NamespacedName | None = None
    enable: bool = True
    clusters: tuple[str, ...] | None = None
    cluster_selector: tuple[str, ...] | None = None
    cluster_label_selectors: tuple[LabelSelector, ...] | None = None
    remediation_strategy: RemediationStrategy
    managed_policies: tuple[str, ...] | None = None
    manifest_work_templates: tuple[str, ...] | None = None
    blocking_crs: tuple[NamespacedName, ...] | None = msgspec.field(
        name="blockingCRs", default=None
    )
    actions: Actions | None = None
    batch_timeout_action: str = ""


class PolicyStatus(Wire, frozen=True, kw_only=True):
    name: str = ""
    status: str = ""


class ClusterState(Wire, frozen=True, kw_only=True):
    """An entry of `status.clusters`: the final outcome of one cluster."""

    name: str = ""
    state: str = ""
    current_policy: PolicyStatus | None = None
    # resourceStatus of the work; its shape belongs to ManifestWork
    current_manifest_work: dict[str, object] | None = None


class ClusterRemediationProgress(Wire, frozen=True, kw_only=True):
    state: str = ""
    policy_index: int | None = None
    manifest_work_index: int | None = None
    first_compliant_at: dt.datetime | None = None


class UpgradeStatus(Wire, frozen=True, kw_only=True):
    """`status.status`."""

    started_at: dt.datetime | None = None
    completed_at: dt.datetime | None = None
    current_batch: int = 0
    current_batch_started_at: dt.datetime | None = None
    current_batch_remediation_progress: dict[str, ClusterRemediationProgress] | None = None


class PrecachingSpec(Wire, frozen=True, kw_only=True):
    platform_image: str = ""
    operators_indexes: tuple[str, ...] = ()
    operators_packages_and_channels: tuple[str, ...] = ()
    exclude_precache_patterns: tuple[str, ...] = ()
    space_required: str = ""
    additional_images: tuple[str, ...] = ()


class Wait(Wire, frozen=True, kw_only=True):
    """How long a cluster has been in its state; ours.

    `spent` is in seconds, up to `since`; a missing `since` means that the clock stands still.
    """

    spent: int = 0
    since: dt.datetime | None = None


class PrecachingFailure(Wire, frozen=True, kw_only=True):
    """Why a cluster failed or waits; ours."""

    cluster: str = ""
    reason: str = ""
    message: str = ""
    since: dt.datetime | None = None


class PrecachingStatus(Wire, frozen=True, kw_only=True):
    spec: PrecachingSpec | None = None
    status: dict[str, str] | None = None
    clusters: tuple[str, ...] | None = None
    waits: dict[str, Wait] | None = None
    failures: tuple[PrecachingFailure, ...] | None = None


class BackupStatus(Wire, frozen=True, kw_only=True):
    started_at: dt.datetime | None = None
    status: dict[str, str] | None = None
    clusters: tuple[str, ...] | None = None


class PolicyRef(Wire, frozen=True, kw_only=True):
    name: str = ""
    namespace: str = ""


class CguStatus(Wire, frozen=True, kw_only=True):
    placements: tuple[str, ...] | None = None
    placement_bindings: tuple[str, ...] | None = None
    placement_rules: tuple[str, ...] | None = None
    copied_policies: tuple[str, ...] | None = None
    conditions: tuple[Condition, ...] | None = None
    remediation_plan: tuple[tuple[str, ...], ...] | None = None
    managed_policies_ns: dict[str, str] | None = None
    safe_resource_names: dict[str, str] | None = None
    managed_policies_for_upgrade: tuple[PolicyRef, ...] | None = None
    managed_policies_compliant_before_upgrade: tuple[str, ...] | None = None
    managed_policies_content: dict[str, str] | None = None
    clusters: tuple[ClusterState, ...] | None = None
    status: UpgradeStatus | None = None
    precaching: PrecachingStatus | None = None
    backup: BackupStatus | None = None
    computed_max_concurrency: int = 0


class ClusterGroupUpgrade(Wire, frozen=True, kw_only=True):
    metadata: ObjectMeta
    spec: CguSpec
    status: CguStatus = CguStatus()
