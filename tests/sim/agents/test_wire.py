"""What an agent puts back is whole."""

from __future__ import annotations

from talm.api import kinds
from talm.api.meta import ObjectMeta
from talm.sim.agents.wire import status_body


def test_a_status_is_put_with_the_metadata_that_somebody_owns() -> None:
    # without them the API server drops the fields from their owner's managedFields: one more event
    owned = ObjectMeta(
        name="v",
        namespace="cnfdb1",
        uid="u",
        resource_version="7",
        labels={"run": "1"},
        annotations={"poked": "2"},
        finalizers=("talm.example/hold",),
    )
    assert status_body(kinds.VIEW, owned, (), None)["metadata"] == {
        "name": "v",
        "namespace": "cnfdb1",
        "uid": "u",
        "resourceVersion": "7",
        "labels": {"run": "1"},
        "annotations": {"poked": "2"},
        "finalizers": ("talm.example/hold",),
    }


def test_what_is_not_there_is_not_sent() -> None:
    bare = ObjectMeta(name="v", namespace="cnfdb1", uid="u", resource_version="7")
    assert set(status_body(kinds.VIEW, bare, (), None)["metadata"]) == {
        "name",
        "namespace",
        "uid",
        "resourceVersion",
    }
