"""The status of a ClusterGroupUpgrade: what the operator stores, and reads again after a restart.

Nothing here is refused by the schema but a wrong type: a status that cannot be stored would
hold an update for ever.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import msgspec

from .cgu_progress import PrecachingProgress
from .cgu_specification import OtherSpecification, PrecachingSpec
from .meta import Condition, Wire, about, schema_only


class PolicyStatus(Wire, frozen=True, kw_only=True):
    name: Annotated[str, about("Name of the policy.")] = ""
    status: Annotated[str, about("Its compliance on this cluster, such as `NonCompliant`.")] = ""


class ClusterState(Wire, frozen=True, kw_only=True):
    """An entry of `status.clusters`: the final outcome of one cluster."""

    name: Annotated[str, about("Name of the ManagedCluster.")] = ""
    state: Annotated[str, about("`complete` or `timedout`.")] = ""
    current_policy: Annotated[
        PolicyStatus | None,
        about("The policy that the cluster was at when the time ran out."),
    ] = None
    # resourceStatus of the work; its shape belongs to ManifestWork
    current_manifest_work: Annotated[
        dict[str, object] | None,
        about(
            "The template whose ManifestWork the cluster was at when the time ran out, as `name`,"
            " and the work's last word on its resources, as `status`."
        ),
    ] = None


class ClusterRemediationProgress(Wire, frozen=True, kw_only=True):
    state: Annotated[str, about("`NotStarted`, `InProgress` or `Completed`.")] = ""
    policy_index: Annotated[
        int | None,
        about("Position in `managedPoliciesForUpgrade` of the policy being enforced, from 0."),
    ] = None
    manifest_work_index: Annotated[
        int | None,
        about("Position in `manifestWorkTemplates` of the work being rolled out, from 0."),
    ] = None
    first_compliant_at: Annotated[
        dt.datetime | None,
        about("When the current policy was first seen compliant; its soak time counts from here."),
    ] = None


class UpgradeStatus(Wire, frozen=True, kw_only=True):
    """`status.status`."""

    started_at: Annotated[
        dt.datetime | None,
        about("When the update started; `remediationStrategy.timeout` counts from here."),
    ] = None
    completed_at: Annotated[
        dt.datetime | None, about("When the update had ended and was cleaned up, well or badly.")
    ] = None
    current_batch: Annotated[int, about("The batch being updated, from 1.")] = 0
    current_batch_started_at: Annotated[
        dt.datetime | None,
        about(
            "When that batch started; its share of the time counts from here. Absent while its clusters"
            " are asked first whether everything is still cached."
        ),
    ] = None
    current_batch_remediation_progress: Annotated[
        dict[str, ClusterRemediationProgress] | None,
        about("How far each cluster of that batch is, by cluster name."),
    ] = None


class Wait(Wire, frozen=True, kw_only=True):
    """How long clusters have been in their state, of those that have been as long; ours.

    `spent` is in seconds, up to `since`; a missing `since` means that their clocks stand still.
    """

    spent: Annotated[
        int, about("Seconds spent in the state up to `since`; what is over and done with.")
    ] = 0
    since: Annotated[
        dt.datetime | None,
        about(
            "From when on their clocks run; absent while they stand still, because the clusters are"
            " unavailable or silent, or belong to another ClusterGroupUpgrade."
        ),
    ] = None
    clusters: Annotated[tuple[str, ...], about("Names of the ManagedClusters, sorted.")] = ()


class PrecachingFailure(Wire, frozen=True, kw_only=True):
    """Why a cluster failed or waits; ours."""

    cluster: Annotated[str, about("Name of the ManagedCluster.")] = ""
    reason: Annotated[
        str,
        about(
            "One CamelCase word for scripts: the state of a cluster that failed, else why it waits."
        ),
    ] = ""
    message: Annotated[
        str, about("What happened or what is awaited, for people: one line, cut when it is long.")
    ] = ""
    since: Annotated[dt.datetime | None, about("When it was first noticed.")] = None
    failure_class: Annotated[
        str,
        about(
            "Why it failed in the workload's own word, such as `ImageNotFound` or"
            " `InsufficientSpace`; absent where the workload told none."
        ),
    ] = msgspec.field(name="class", default="")
    image: Annotated[
        str, about("The image that could not be had, or that the workload was at.")
    ] = ""
    attempts: Annotated[
        int, about("How many pods of its Job had been started when it told something last.")
    ] = 0


class PrecachingStatus(Wire, frozen=True, kw_only=True):
    spec: Annotated[
        PrecachingSpec | None,
        about(
            "What is downloaded, worked out from the policies; empty while it is not valid. Where hub"
            " templates ask the clusters for different things: what most of them are asked for."
        ),
    ] = None
    specs: Annotated[
        tuple[OtherSpecification, ...] | None,
        about(
            "What is downloaded by clusters that are asked for something else than `spec`; absent"
            " where all clusters agree. Not in the existing operator."
        ),
    ] = None
    status: Annotated[
        dict[str, str] | None,
        about(
            "State of each cluster, by cluster name: `NotStarted`, `PreparingToStart`, `Starting`,"
            " `Active`, and at the end `Succeeded`, `PrecacheTimeout` or `UnrecoverableError`."
        ),
    ] = None
    clusters: Annotated[
        tuple[str, ...] | None, about("The clusters that are pre-cached, in the plan's order.")
    ] = None
    waits: Annotated[
        tuple[Wait, ...] | None,
        about(
            "Clocks of the clusters that are not at their end, those that stand alike together: how"
            " much of the deadline of their state they have used. Not in the existing operator."
        ),
    ] = None
    verifying_since: Annotated[
        dt.datetime | None,
        about(
            "Since when clusters are asked whether everything is still cached, before the update"
            " or their batch starts; absent when nobody is. Not in the existing operator."
        ),
    ] = None
    failures: Annotated[
        tuple[PrecachingFailure, ...] | None,
        about(
            "Why clusters failed, or what they wait for: of at most 100 clusters, those that failed"
            " first. Not in the existing operator."
        ),
    ] = None
    failures_by_class: Annotated[
        dict[str, int] | None,
        about(
            "How many clusters `failures` would name if it named all, by their `class`, or by their"
            " `reason` where they have none. Complete. Not in the existing operator."
        ),
    ] = None
    progress: Annotated[
        PrecachingProgress | None,
        about("How far all clusters are together. Not in the existing operator."),
    ] = None
    spec_hash: Annotated[
        str,
        about(
            "Name of `spec`: changes when something else is to be downloaded, and not when only the"
            " order has changed. Absent while `spec` is empty. Not in the existing operator."
        ),
    ] = ""
    attempt: Annotated[
        int,
        about(
            "How often downloading was begun for all clusters that need it: 1 at first, one more"
            " whenever clusters that had begun or finished go the way again, because something else is"
            " to be downloaded or what they have is verified. The sums of `progress` are of this"
            " attempt. Not in the existing operator."
        ),
    ] = 0


class BackupStatus(Wire, frozen=True, kw_only=True):
    started_at: Annotated[dt.datetime | None, about("When the backups started.")] = None
    status: Annotated[
        dict[str, str] | None,
        about(
            "State of each cluster, by cluster name: `PreparingToStart`, `Starting`, `Active`, and"
            " at the end `Succeeded`, `BackupTimeout` or `UnrecoverableError`."
        ),
    ] = None
    clusters: Annotated[
        tuple[str, ...] | None, about("The clusters that are backed up. Deprecated: see `status`.")
    ] = None


class PolicyRef(Wire, frozen=True, kw_only=True):
    name: Annotated[str, about("Name of the policy.")] = ""
    namespace: Annotated[str, about("Namespace of the policy.")] = ""


class CguStatus(Wire, frozen=True, kw_only=True):
    placements: Annotated[
        tuple[str, ...] | None,
        about("Names of the Placements that say which clusters a policy is enforced on, sorted."),
    ] = None
    placement_bindings: Annotated[
        tuple[str, ...] | None,
        about("Names of the PlacementBindings between those and the policies, sorted."),
    ] = None
    placement_rules: Annotated[
        tuple[str, ...] | None,
        about("Names of the PlacementRules that older operators used. Kept, never written."),
    ] = None
    copied_policies: Annotated[
        tuple[str, ...] | None,
        about("Names of the policy copies that older operators made. Kept, never written."),
    ] = None
    conditions: Annotated[
        tuple[Annotated[Condition, schema_only(required=["type", "status"])], ...] | None,
        about(
            "The verdict on the whole, in the words of the manual, of the existing operator, or"
            " both: the operator's settings say. `kubectl get cgu` prints the last one."
        ),
    ] = None
    remediation_plan: Annotated[
        tuple[tuple[str, ...], ...] | None,
        about("The batches, each a list of clusters: canaries first, then `maxConcurrency` each."),
    ] = None
    managed_policies_ns: Annotated[
        dict[str, str] | None, about("Namespace of each managed policy, by policy name.")
    ] = None
    safe_resource_names: Annotated[
        dict[str, str] | None,
        about(
            "Names of the created objects, which are cut to fit and made unique, by"
            " `NAMESPACE/WANTED-NAME`."
        ),
    ] = None
    managed_policies_for_upgrade: Annotated[
        tuple[PolicyRef, ...] | None,
        about("The managed policies that some cluster does not comply with, in their order."),
    ] = None
    managed_policies_compliant_before_upgrade: Annotated[
        tuple[str, ...] | None,
        about("Names of the managed policies that all clusters complied with beforehand."),
    ] = None
    managed_policies_content: Annotated[
        dict[str, str] | None,
        about(
            "The operator subscriptions that are watched for a pending approval, by policy name,"
            " each a JSON list."
        ),
    ] = None
    clusters: Annotated[
        tuple[ClusterState, ...] | None,
        about("The outcome of each cluster, appended as it is final."),
    ] = None
    status: Annotated[
        UpgradeStatus | None, about("When the update started and which batch it is at.")
    ] = None
    precaching: Annotated[PrecachingStatus | None, about("How far pre-caching is.")] = None
    backup: Annotated[BackupStatus | None, about("How far the backups are.")] = None
    computed_max_concurrency: Annotated[
        int,
        about(
            "The batch size in force: `maxConcurrency`, but no more than the selected clusters,"
            " and all of them when it is 0 or less."
        ),
    ] = 0
