from __future__ import annotations

import pytest

from talm.api.meta import ObjectMeta
from talm.api.ocm import ClusterClaim, ManagedCluster, ManagedClusterStatus
from talm.api.pod import StoreKind
from talm.spokes.ownstore import AUTO, STORE_LABEL, choose_store

PRODUCT = "product.open-cluster-management.io"
VERSION = "kubeversion.open-cluster-management.io"


def cluster(label: str = "", **claims: str) -> ManagedCluster:
    names = {"product": PRODUCT, "version": VERSION}
    made = tuple(ClusterClaim(name=names[name], value=value) for name, value in claims.items())
    return ManagedCluster(
        metadata=ObjectMeta(name="spoke1", labels={STORE_LABEL: label} if label else None),
        status=ManagedClusterStatus(cluster_claims=made),
    )


@pytest.mark.parametrize(
    "seen, kind",
    [
        (None, StoreKind.CONTAINERD),
        (ManagedCluster(), StoreKind.CONTAINERD),
        (cluster(), StoreKind.CONTAINERD),
        (cluster(product="OpenShift"), StoreKind.CONTAINERS_STORAGE),
        (cluster(product="MicroShift"), StoreKind.CONTAINERS_STORAGE),
        (cluster(product="Other", version="v1.34.4"), StoreKind.CONTAINERD),
        (cluster(product="Other", version="v1.34.4+k3s1"), StoreKind.CONTAINERD_K3S),
        (cluster(product="AKS", version="v1.34.4+rke2r1"), StoreKind.CONTAINERD_K3S),
        (cluster("oci-layout", product="OpenShift"), StoreKind.OCI_LAYOUT),
        (cluster("containerd", version="v1.34.4+k3s1"), StoreKind.CONTAINERD),
        (cluster("docker", product="OpenShift"), StoreKind.CONTAINERS_STORAGE),
    ],
)
def test_a_cluster_s_label_goes_before_its_claims(
    seen: ManagedCluster | None, kind: StoreKind
) -> None:
    assert choose_store(seen, AUTO) is kind


def test_the_operator_s_setting_counts_for_all_clusters() -> None:
    labelled = cluster("containerd", product="OpenShift")
    assert choose_store(labelled, "oci-layout") is StoreKind.OCI_LAYOUT
