"""An order is one value for a thousand clusters, and yet each gets its own specification."""

from __future__ import annotations

from dataclasses import replace

from talm.api.cgu import PrecachingSpec

from .world import ORDER

OTHER = PrecachingSpec(platform_image="quay.io/other@sha256:" + "1" * 64)


def test_where_all_clusters_agree_one_order_serves_them_all() -> None:
    assert ORDER.for_cluster("c1") is ORDER


def test_a_cluster_whose_own_specification_is_another_one_gets_that() -> None:
    order = replace(ORDER, others={"c2": OTHER})
    assert order.for_cluster("c1").spec == ORDER.spec
    assert order.for_cluster("c2") == replace(ORDER, spec=OTHER)
