"""ClusterGroupUpgrade, `ran.openshift.io/v1alpha1`: every field of the existing operator's.

Here: the object and its spec; `cgu_status.py` has the status, importable from here as well.
The descriptions become the CRD's, and so what `kubectl explain` and the reference page say.
What `about` adds beside the text is checked by the API server alone, so that whatever is
stored can be read.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from .cgu_progress import FinishedSums, PrecachingProgress
from .cgu_specification import OtherSpecification, PrecachingSpec
from .cgu_status import (
    BackupStatus,
    CguStatus,
    ClusterRemediationProgress,
    ClusterState,
    PolicyRef,
    PolicyStatus,
    PrecachingFailure,
    PrecachingStatus,
    UpgradeStatus,
    Wait,
)
from .meta import ObjectMeta, Wire, about, schema_only
from .words import BatchTimeoutAction

__all__ = [
    "Actions",
    "AfterCompletion",
    "BackupStatus",
    "BeforeEnable",
    "CguSpec",
    "CguStatus",
    "ClusterChanges",
    "ClusterGroupUpgrade",
    "ClusterRemediationProgress",
    "ClusterState",
    "FinishedSums",
    "LabelSelector",
    "LabelSelectorRequirement",
    "NamespacedName",
    "OtherSpecification",
    "PolicyRef",
    "PolicyStatus",
    "PrecachingFailure",
    "PrecachingProgress",
    "PrecachingSpec",
    "PrecachingStatus",
    "RemediationStrategy",
    "UpgradeStatus",
    "Wait",
]

Name = Annotated[str, schema_only(minLength=1)]

# Minutes beyond this are no date any more; `format: int32` alone is not checked.
_INT32_MAX: Final = 2**31 - 1
# The bounds are for the API server's cost estimate of the rule alone; no YAML comes near them.
_SELECTORS: Final = 1_000
_EXPRESSIONS: Final = 100
_BATCH_TIMEOUT_ACTIONS: Final = [*(action.value for action in BatchTimeoutAction), ""]
_VALUES_FIT_OPERATOR: Final = {
    "rule": "self.operator in ['In', 'NotIn']"
    " ? has(self.values) && size(self.values) > 0"
    " : !has(self.values) || size(self.values) == 0",
    "message": "In and NotIn need values, Exists and DoesNotExist take none",
}


class NamespacedName(Wire, frozen=True, kw_only=True):
    name: Annotated[str, about("Name of the object.")] = ""
    namespace: Annotated[str, about("Namespace of the object.")] = ""


class LabelSelectorRequirement(Wire, frozen=True, kw_only=True):
    key: Annotated[str, about("Label key that the expression is about.")] = ""
    operator: Annotated[
        str,
        about(
            "`In` and `NotIn` compare with `values`; `Exists` and `DoesNotExist` ask for the key.",
            enum=["In", "NotIn", "Exists", "DoesNotExist"],
        ),
    ] = ""
    values: Annotated[
        tuple[str, ...] | None,
        about("Values for `In` and `NotIn`, at least one; none for the other operators."),
    ] = None


class LabelSelector(Wire, frozen=True, kw_only=True):
    match_labels: Annotated[
        dict[str, str] | None,
        about("Labels that must all be there with exactly these values."),
    ] = None
    match_expressions: Annotated[
        tuple[
            Annotated[
                LabelSelectorRequirement,
                schema_only(
                    required=["key", "operator"],
                    **{"x-kubernetes-validations": [_VALUES_FIT_OPERATOR]},
                ),
            ],
            ...,
        ]
        | None,
        about("Expressions that must all hold, besides `matchLabels`.", maxItems=_EXPRESSIONS),
    ] = None


class RemediationStrategy(Wire, frozen=True, kw_only=True):
    canaries: Annotated[
        tuple[Name, ...] | None,
        about(
            "Clusters to update first, each in a batch of its own; when one of them runs out of"
            " time, the update ends there. They must be among the selected clusters."
        ),
    ] = None
    max_concurrency: Annotated[
        int,
        about(
            "How many clusters a batch has at most. 0 or less means all at once. Pre-caching is"
            " not bound by it."
        ),
    ]
    timeout: Annotated[
        int,
        about(
            "Minutes that the whole update may take, counted from its start and shared by the"
            " batches. The pre-caching Job of each cluster has the same number of minutes, its"
            " own. 0 ends an enabled update at once.",
            minimum=0,
            maximum=_INT32_MAX,
        ),
    ] = 240


class ClusterChanges(Wire, frozen=True, kw_only=True):
    """Labels and annotations to change on ManagedClusters."""

    add_cluster_labels: Annotated[
        dict[str, str] | None, about("Labels to set on the ManagedClusters.")
    ] = None
    delete_cluster_labels: Annotated[
        dict[str, str] | None,
        about(
            "Labels to remove from the ManagedClusters; only the keys count."
            " Deprecated: use `removeClusterLabels`."
        ),
    ] = None
    remove_cluster_labels: Annotated[
        tuple[str, ...] | None, about("Keys of labels to remove from the ManagedClusters.")
    ] = None
    add_cluster_annotations: Annotated[
        dict[str, str] | None, about("Annotations to set on the ManagedClusters.")
    ] = None
    remove_cluster_annotations: Annotated[
        tuple[str, ...] | None, about("Keys of annotations to remove from the ManagedClusters.")
    ] = None


class BeforeEnable(ClusterChanges, frozen=True, kw_only=True):
    """`actions.beforeEnable`."""


class AfterCompletion(ClusterChanges, frozen=True, kw_only=True):
    delete_objects: Annotated[
        bool,
        about(
            "Whether the Placements, bindings, views and actions that the update created on the"
            " hub are deleted when it has ended. `false` keeps them until the"
            " ClusterGroupUpgrade is deleted."
        ),
    ] = True


class Actions(Wire, frozen=True, kw_only=True):
    before_enable: Annotated[
        BeforeEnable | None,
        about("What to do with the clusters of the remediation plan when the update starts."),
    ] = None
    after_completion: Annotated[
        AfterCompletion | None,
        about("What to do with each cluster as it completes, and with what was created for it."),
    ] = None


class CguSpec(Wire, frozen=True, kw_only=True):
    backup: Annotated[
        bool,
        about(
            "Whether each cluster makes a backup of itself before it is updated. Deprecated by"
            " the existing operator in favor of image-based updates."
        ),
    ] = False
    pre_caching: Annotated[
        bool,
        about(
            "Whether the images of the update are downloaded to the clusters beforehand. Starts"
            " at once, whatever `enable` says; the update then waits for it, and goes on without"
            " the clusters where it failed."
        ),
    ] = False
    pre_caching_config_ref: Annotated[
        NamespacedName | None,
        about(
            "The PreCachingConfig that fine-tunes pre-caching; without it the managed policies"
            " alone say what is downloaded. An empty namespace is that of this object."
        ),
    ] = None
    enable: Annotated[
        bool,
        about(
            "Whether the update may start. Set it to `true` when the maintenance window opens."
            " Validation and pre-caching do not wait for it."
        ),
    ] = True
    clusters: Annotated[
        tuple[Name, ...] | None,
        about(
            "Names of ManagedClusters to update, in this order; duplicates count once. Clusters"
            " that the selectors find come after them."
        ),
    ] = None
    cluster_selector: Annotated[
        tuple[str, ...] | None,
        about(
            "Labels of ManagedClusters to update, each `key=value`, or `key` for one with an"
            " empty value; one match is enough. Deprecated: use `clusterLabelSelectors`."
        ),
    ] = None
    cluster_label_selectors: Annotated[
        tuple[
            Annotated[LabelSelector, schema_only(**{"x-kubernetes-map-type": "atomic"})],
            ...,
        ]
        | None,
        about(
            "Label selectors for ManagedClusters to update; one match is enough. What they find"
            " is sorted by name.",
            maxItems=_SELECTORS,
        ),
    ] = None
    remediation_strategy: Annotated[
        RemediationStrategy,
        about("In which batches the clusters are updated, and how long it may take."),
    ]
    managed_policies: Annotated[
        tuple[Name, ...] | None,
        about(
            "Names of the policies to enforce, in this order. Without a namespace: each must be"
            " unique on the hub. Policies that already enforce by themselves are passed over."
        ),
    ] = None
    manifest_work_templates: Annotated[
        tuple[Name, ...] | None,
        about(
            "Names of ManifestWorkReplicaSets in this object's namespace to roll out, in this"
            " order, instead of policies."
        ),
    ] = None
    blocking_crs: Annotated[
        tuple[
            Annotated[
                NamespacedName,
                schema_only(
                    required=["name", "namespace"],
                    properties={"name": {"minLength": 1}, "namespace": {"minLength": 1}},
                ),
            ],
            ...,
        ]
        | None,
        about(
            "Other ClusterGroupUpgrades that must have succeeded before this update starts;"
            " pre-caching does not wait for them."
        ),
    ] = msgspec.field(name="blockingCRs", default=None)
    actions: Annotated[
        Actions | None,
        about("Labels and annotations to change on the ManagedClusters around the update."),
    ] = None
    batch_timeout_action: Annotated[
        str,
        about(
            "What happens when a batch has used up its share of the time: `Continue` (also when"
            " empty) goes on with the next one, `Abort` ends the update. Canaries always end it.",
            enum=_BATCH_TIMEOUT_ACTIONS,
        ),
    ] = ""


class ClusterGroupUpgrade(Wire, frozen=True, kw_only=True):
    """Pre-caches the next release on a group of clusters, then updates them batch by batch."""

    metadata: ObjectMeta
    spec: Annotated[
        CguSpec, about("Which clusters get which policies, when, and how many at a time.")
    ]
    status: Annotated[CguStatus, about("How far the update is; written by the operator alone.")] = (
        CguStatus()
    )
