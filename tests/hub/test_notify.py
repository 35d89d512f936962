"""Events of a CGU as dashboards of the existing operator read them."""

from __future__ import annotations

from typing import Any

from talm.api import kinds
from talm.core.model import EventNote
from talm.hub.notify import EventNotifier
from talm.kube.events import EventRecorder
from tests.hub.fakehub import FakeHub
from tests.hub.given import cgu

TYPE = "cgu.openshift.io/event-type"


async def sent(*notes: EventNote) -> list[dict[str, Any]]:
    hub = FakeHub()
    recorder = EventRecorder(hub.client, controller="ClusterGroupUpgrade", instance="talm-0")
    EventNotifier(recorder).notify(cgu(), notes)
    await recorder.flush()
    return [hub.truth(kinds.EVENT, name, "ztp") for name in hub.names(kinds.EVENT)]


async def test_an_event_of_the_whole_is_global_and_about_the_cgu() -> None:
    (event,) = await sent(EventNote("CguStarted", "RemediationStarted", "it has started"))
    assert (event["reason"], event["action"], event["note"], event["type"]) == (
        "CguStarted",
        "RemediationStarted",
        "it has started",
        "Normal",
    )
    assert event["regarding"]["kind"] == "ClusterGroupUpgrade"
    assert event["regarding"]["uid"] == "uid-of-du-upgrade"
    assert event["metadata"]["annotations"] == {TYPE: "global"}
    assert "related" not in event


async def test_an_event_of_one_cluster_is_related_to_it() -> None:
    details = {"cgu.openshift.io/cluster-name": "c1"}
    (event,) = await sent(EventNote("CguSuccess", "x", "done", cluster="c1", annotations=details))
    assert event["metadata"]["annotations"] == {TYPE: "cluster", **details}
    assert event["related"] == {
        "apiVersion": "cluster.open-cluster-management.io/v1",
        "kind": "ManagedCluster",
        "name": "c1",
    }


async def test_a_note_may_say_itself_that_it_is_about_a_batch() -> None:
    note = EventNote("CguTimedout", "x", "late", warning=True, annotations={TYPE: "batch"})
    (event,) = await sent(note)
    assert event["metadata"]["annotations"] == {TYPE: "batch"}
    assert event["type"] == "Warning"


async def test_a_validation_failure_has_no_type() -> None:
    missing = {"cgu.openshift.io/missing-policies": "upgrade"}
    (event,) = await sent(EventNote("CguValidationFailure", "x", "no", annotations=missing))
    assert event["metadata"]["annotations"] == missing


async def test_equal_notes_of_different_clusters_are_different_events() -> None:
    events = await sent(
        *(EventNote("CguSuccess", "x", "done", cluster=cluster) for cluster in ("c1", "c2", "c2"))
    )
    assert sorted((e["related"]["name"], "series" in e) for e in events) == [
        ("c1", False),
        ("c2", True),
    ]
