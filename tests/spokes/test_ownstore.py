from __future__ import annotations

import pytest

from talm.api.meta import ObjectMeta
from talm.api.ocm import ClusterClaim, ManagedCluster, ManagedClusterStatus
from talm.api.pod import StoreKind
from talm.spokes.base import PodTerms
from talm.spokes.ownstore import AUTO, STORE_LABEL, choose_store, has_image_sets, node_store

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


@pytest.mark.parametrize(
    ("seen", "store", "sets"),
    [
        (cluster(product="OpenShift"), StoreKind.CONTAINERS_STORAGE, True),
        (cluster(product="ROSA"), StoreKind.CONTAINERS_STORAGE, True),
        (cluster(product="MicroShift"), StoreKind.CONTAINERS_STORAGE, False),
        (cluster(), StoreKind.CONTAINERS_STORAGE, False),
        (None, StoreKind.CONTAINERS_STORAGE, False),
        (cluster(product="OpenShift"), StoreKind.OCI_LAYOUT, False),
    ],
)
def test_image_sets_are_where_the_claims_tell_of_a_machine_config_operator(
    seen: ManagedCluster | None, store: StoreKind, sets: bool
) -> None:
    assert has_image_sets(seen, store) is sets


@pytest.mark.parametrize("store", StoreKind)
@pytest.mark.parametrize("sets", [True, False])
def test_a_pod_reaches_crio_s_configuration_only_where_that_is_what_pins(
    store: StoreKind, sets: bool
) -> None:
    found = node_store(PodTerms(store, image_sets=sets))
    writable = {path.path for path in found.paths if not path.read_only}
    pins_by_file = store is StoreKind.CONTAINERS_STORAGE and not sets
    assert ("/etc/crio/crio.conf.d" in writable) is pins_by_file
    assert found.signals is pins_by_file
    assert not any(path.startswith("/etc") for path in writable - {"/etc/crio/crio.conf.d"})
