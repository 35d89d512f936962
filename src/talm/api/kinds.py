"""Every kind that the project talks to: group, version, plural, scope.  One place, no behaviour but paths."""

from __future__ import annotations

import dataclasses
from typing import Final
from urllib.parse import quote


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """One served resource.  `group` is "" for the core API."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """The `apiVersion` of an object of this kind."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """`plural.group`, as kubectl and RBAC write it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """URL path; namespace "" of a namespaced kind means all namespaces (list and watch only)."""
        parts = ["/apis", self.group, self.version] if self.group else ["/api", self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        if name:
            parts.append(quote(name, safe=""))
        if subresource:
            parts.append(subresource)
        return "/".join(parts)

    def __str__(self) -> str:
        return self.resource


_RAN = "ran.openshift.io"
_OCM_CLUSTER = "cluster.open-cluster-management.io"
_POLICY = "policy.open-cluster-management.io"
_MACHINE_CONFIG = "machineconfiguration.openshift.io"
_RBAC = "rbac.authorization.k8s.io"

CGU: Final = Kind(_RAN, "v1alpha1", "ClusterGroupUpgrade", "clustergroupupgrades")
PRE_CACHING_CONFIG: Final = Kind(_RAN, "v1alpha1", "PreCachingConfig", "precachingconfigs")

MANAGED_CLUSTER: Final = Kind(_OCM_CLUSTER, "v1", "ManagedCluster", "managedclusters", False)
PLACEMENT: Final = Kind(_OCM_CLUSTER, "v1beta1", "Placement", "placements")
PLACEMENT_DECISION: Final = Kind(_OCM_CLUSTER, "v1beta1", "PlacementDecision", "placementdecisions")
CLUSTER_SET: Final = Kind(_OCM_CLUSTER, "v1beta2", "ManagedClusterSet", "managedclustersets", False)
CLUSTER_SET_BINDING: Final = Kind(
    _OCM_CLUSTER, "v1beta2", "ManagedClusterSetBinding", "managedclustersetbindings"
)
ADD_ON: Final = Kind(
    "addon.open-cluster-management.io", "v1alpha1", "ManagedClusterAddOn", "managedclusteraddons"
)
VIEW: Final = Kind(
    "view.open-cluster-management.io", "v1beta1", "ManagedClusterView", "managedclusterviews"
)
ACTION: Final = Kind(
    "action.open-cluster-management.io", "v1beta1", "ManagedClusterAction", "managedclusteractions"
)
MANIFEST_WORK: Final = Kind(
    "work.open-cluster-management.io", "v1", "ManifestWork", "manifestworks"
)
POLICY: Final = Kind(_POLICY, "v1", "Policy", "policies")
PLACEMENT_BINDING: Final = Kind(_POLICY, "v1", "PlacementBinding", "placementbindings")

NAMESPACE: Final = Kind("", "v1", "Namespace", "namespaces", False)
CONFIG_MAP: Final = Kind("", "v1", "ConfigMap", "configmaps")
SERVICE_ACCOUNT: Final = Kind("", "v1", "ServiceAccount", "serviceaccounts")
SECRET: Final = Kind("", "v1", "Secret", "secrets")
POD: Final = Kind("", "v1", "Pod", "pods")
NODE: Final = Kind("", "v1", "Node", "nodes", False)
DAEMON_SET: Final = Kind("apps", "v1", "DaemonSet", "daemonsets")
JOB: Final = Kind("batch", "v1", "Job", "jobs")
LEASE: Final = Kind("coordination.k8s.io", "v1", "Lease", "leases")
EVENT: Final = Kind("events.k8s.io", "v1", "Event", "events")
CRD: Final = Kind(
    "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", False
)
ROLE: Final = Kind(_RBAC, "v1", "Role", "roles")
ROLE_BINDING: Final = Kind(_RBAC, "v1", "RoleBinding", "rolebindings")
CLUSTER_ROLE: Final = Kind(_RBAC, "v1", "ClusterRole", "clusterroles", False)
CLUSTER_ROLE_BINDING: Final = Kind(_RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings", False)

MACHINE_CONFIG_POOL: Final = Kind(
    _MACHINE_CONFIG, "v1", "MachineConfigPool", "machineconfigpools", False
)
PINNED_IMAGE_SET: Final = Kind(_MACHINE_CONFIG, "v1", "PinnedImageSet", "pinnedimagesets", False)
