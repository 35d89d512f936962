from __future__ import annotations

from typing import Any

import pytest

from talm.sim.node.podwire import may_go_to

LABELS = {"kubernetes.io/os": "linux", "zone": "a"}


def affinity(*terms: dict[str, Any]) -> dict[str, Any]:
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [*terms]}}
    return {"affinity": {"nodeAffinity": required}}


def named(*names: str, key: str = "metadata.name") -> dict[str, Any]:
    return {"matchFields": [{"key": key, "operator": "In", "values": [*names]}]}


@pytest.mark.parametrize(
    "spec, may",
    [
        ({}, True),
        ({"nodeSelector": {"zone": "a"}}, True),
        ({"nodeSelector": {"zone": "b"}}, False),
        ({"affinity": {}}, True),
        (affinity(named("n")), True),
        (affinity(named("other", "n")), True),
        (affinity(named("other")), False),
        (affinity(named("other"), named("n")), True),
        (affinity(named("n", key="metadata.uid")), False),
        (affinity(named("n") | {"matchExpressions": [{"key": "zone"}]}), False),
        (affinity({}), False),
        (affinity(named("n")) | {"nodeSelector": {"zone": "b"}}, False),
    ],
)
def test_a_pod_goes_where_selector_and_affinity_let_it(spec: dict[str, Any], may: bool) -> None:
    assert may_go_to(spec, "n", LABELS) is may
