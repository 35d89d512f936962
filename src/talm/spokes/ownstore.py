"""Which image store a node has, and what of the node its workload must see for it.

    setting ── one kind ──────────────────────────────► that one
        └──── auto ──► the cluster's label ──► its claims ──► containers-storage | containerd

Stores of a container runtime are the node's own business, so that whoever may fill one is root
there: containerd's socket starts any container, containers-storage takes a privileged pod.  Their
lists of paths are short for tidiness, not for security.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

import structlog

from talm.api.ocm import ManagedCluster
from talm.api.pod import HOST_DIRECTORY, STATE_DIRECTORY, StoreKind
from talm.spokes.base import PodTerms

log = structlog.get_logger(__name__)

AUTO: Final = "auto"
STORE_LABEL: Final = "talm.ran.openshift.io/image-store"
"""On a ManagedCluster: one of `StoreKind`, where its claims would lead to another."""

_KINDS: Final = frozenset(StoreKind)
_PRODUCT: Final = "product.open-cluster-management.io"
_VERSION: Final = "kubeversion.open-cluster-management.io"
_MANAGED: Final = frozenset({"OpenShift", "OpenShiftDedicated", "ROSA", "ARO"})
_CRIO: Final = _MANAGED | {"ROKS", "MicroShift"}  # the latter have no machine config operator
_RANCHER: Final = ("+k3s", "+rke2")  # v1.34.4+k3s1: product claims of these name the cloud


@dataclass(frozen=True, slots=True)
class HostPath:
    """A path of the node that the pod sees below `base`."""

    path: str
    read_only: bool = True
    base: str = HOST_DIRECTORY

    @property
    def volume(self) -> str:
        """The name of its volume."""
        return f"host{self.path.replace('/', '-').replace('.', '-')}"

    @property
    def inside(self) -> str:
        """Where the container has it."""
        return f"{self.base}{self.path}"


@dataclass(frozen=True, slots=True)
class NodeStore:
    """`place`: the workload's `--store`.

    `chroots`: it is filled by a program of the node that runs with `HOST_DIRECTORY` as its root.  That
    takes a privileged pod, and a root that is a mount point, since containers/storage remounts it.
    `signals`: the runtime is told to read its configuration again, for which its process must be seen.
    """

    place: str
    paths: tuple[HostPath, ...] = ()
    chroots: bool = False
    signals: bool = False


# Mirrors, certificates, proxy and the kubelet's file are all over /etc, on each system elsewhere; a
# path that a node lacks would be made there by its runtime.
_CONFIGURATION: Final = (HostPath("/etc"), HostPath("/var/lib/kubelet"))


def _containerd(run: str, root: str, *more: HostPath) -> NodeStore:
    """The socket's directory, since containerd makes a new socket when it starts, and its root.

    Both where the node has them, as containerd itself names its root.  Connecting is no writing to a
    file system, so that read-only does.
    """
    paths = (*_CONFIGURATION, *more, HostPath(run, base=""), HostPath(root, base=""))
    return NodeStore(f"containerd:{run}/containerd.sock", paths)


STORES: Final[Mapping[StoreKind, NodeStore]] = MappingProxyType(
    {
        StoreKind.OCI_LAYOUT: NodeStore(f"oci-layout:{STATE_DIRECTORY}/images"),
        StoreKind.CONTAINERS_STORAGE: NodeStore(
            f"containers-storage:{HOST_DIRECTORY}",
            (
                *_CONFIGURATION,
                # The node's skopeo and what it is linked with; arm64's loader is in /lib.
                *(HostPath(path) for path in ("/dev", "/lib", "/lib64", "/proc", "/usr")),
                HostPath("/run/crio"),  # where CRI-O is asked what is pinned
                *(
                    HostPath(path, read_only=False)
                    for path in ("/run/containers", "/tmp", "/var/lib/containers")  # noqa: S108
                ),
            ),
            chroots=True,
        ),
        StoreKind.CONTAINERD: _containerd("/run/containerd", "/var/lib/containerd"),
        StoreKind.CONTAINERD_K3S: _containerd(
            # There the kubelet's file is below the same directory, and is looked for as elsewhere.
            "/run/k3s/containerd",
            "/var/lib/rancher",
            HostPath("/var/lib/rancher"),
        ),
    }
)


# CRI-O's own configuration, where nobody else writes it: its pins are a file among the others.  The one
# writable part of /etc; a node without it gets an empty directory from its runtime.
_CRIO_PINS: Final = HostPath("/etc/crio/crio.conf.d", read_only=False)


def node_store(terms: PodTerms) -> NodeStore:
    """The store of a cluster's nodes, with what pinning takes there."""
    store = STORES[terms.store]
    if terms.store is not StoreKind.CONTAINERS_STORAGE or terms.image_sets:
        return store
    return replace(store, paths=(*store.paths, _CRIO_PINS), signals=True)


def has_image_sets(cluster: ManagedCluster | None, store: StoreKind) -> bool:
    """Tell whether a machine config operator manages the cluster's CRI-O, as its claims have it.

    Where they say nothing, the workload looks for itself, and pins nothing where it finds one.
    """
    return store is StoreKind.CONTAINERS_STORAGE and _claims(cluster).get(_PRODUCT) in _MANAGED


def _claims(cluster: ManagedCluster | None) -> dict[str, str]:
    status = cluster.status if cluster else None
    return {claim.name: claim.value for claim in (status and status.cluster_claims) or ()}


def choose_store(cluster: ManagedCluster | None, setting: str) -> StoreKind:
    """Tell the store of a cluster's nodes; `setting` is `auto` or a `StoreKind` for all of them.

    A label with an unknown value counts as none (logged).
    """
    if setting != AUTO:
        return StoreKind(setting)
    if cluster is None:
        return StoreKind.CONTAINERD
    label = (cluster.metadata.labels or {}).get(STORE_LABEL, "")
    if label in _KINDS:
        return StoreKind(label)
    if label:
        log.warning("unknown image store", cluster=cluster.metadata.name, label=label)
    claims = _claims(cluster)
    if claims.get(_PRODUCT) in _CRIO:
        return StoreKind.CONTAINERS_STORAGE
    is_rancher = any(mark in claims.get(_VERSION, "") for mark in _RANCHER)
    return StoreKind.CONTAINERD_K3S if is_rancher else StoreKind.CONTAINERD
