"""What `talm explain` prints, against golden files; how it looks at clusters with what may be read."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
import pytest

from talm.api.cacherecord import CacheRecord
from talm.api.cgu import PrecachingFailure, PrecachingSpec, UpgradeStatus
from talm.api.meta import changed
from talm.api.ocm import ManagedCluster, ManagedClusterAction, ManagedClusterView, ManifestWork
from talm.api.words import RUN_LABEL, Phase
from talm.cli.explain import check_member, one_cluster, whole
from talm.cli.inclusters import Found
from talm.cli.layout import plain
from talm.cli.looking import Look, Read, look_at
from talm.core.model import Cluster, Fact, Rules, Sight, Snapshot
from talm.core.placements import run_id
from talm.core.precache_spec import spec_hash
from talm.errors import NoSuchObject
from tests.cli.fleets import (
    NOT_ENABLED,
    NOW,
    SELECTED,
    SMALL,
    VALIDATED,
    a_cgu,
    before,
    record,
    since,
    view_body,
)
from tests.cli.golden import assert_golden

SIGHTS = {
    "spoke-0003": Sight(Fact.JOB_ACTIVE),
    "spoke-0004": Sight(Fact.JOB_ACTIVE),
    "spoke-0006": Sight(Fact.SETTING_UP, "the setup has been asked for"),
    "spoke-0007": Sight(Fact.LEFTOVERS, "the namespace of an earlier run is being deleted"),
    "spoke-0009": Sight(Fact.UNANSWERED, "no answer about the Job yet"),
}


def looked(**more: Any) -> Look:
    """At the small fleet; of one cluster nothing may be read."""
    given: dict[str, Any] = {"cgu": SMALL, "sights": SIGHTS, "clusters": {}, **more}
    seen = Snapshot(now=NOW, rules=Rules(), **given)
    return Look(seen, {"spoke-0010": 'User "alice" cannot get resource "managedclusterviews"'})


def lines_of(pages: Any, width: int | None = None) -> list[str]:
    return [line for page in pages for line in ("", *page.lines(NOW, plain, width))][1:]


def test_a_cgu_is_explained_with_what_its_clusters_wait_for() -> None:
    assert_golden("explain-cgu", lines_of(whole(looked())))


@pytest.mark.parametrize("number", [1, 2, 3, 6, 7, 8, 10, 11])
def test_a_cluster_is_explained(number: int) -> None:
    name = f"spoke-{number:04d}"
    assert_golden(f"explain-{name}", lines_of([one_cluster(looked(), name)]))


def test_on_a_terminal_sentences_go_on_below_themselves() -> None:
    lines = lines_of([one_cluster(looked(), "spoke-0007")], 80)
    assert_golden("explain-spoke-0007-80", lines)
    assert max(map(len, lines)) <= 80


def test_a_closed_gate_is_explained_with_the_command_that_opens_it() -> None:
    ready = a_cgu(
        "ready", {"spoke-0001": "Succeeded"}, conditions=[SELECTED, VALIDATED, NOT_ENABLED]
    )
    assert_golden("explain-gate", lines_of(whole(looked(cgu=ready))))


def test_documents_say_what_pages_say() -> None:
    first, *groups = (page.document() for page in whole(looked()))
    assert first["waitsFor"] == "8 of 11 clusters to be pre-cached"
    assert {"UnrecoverableError", "PrecacheTimeout", "Active"} <= {str(g["state"]) for g in groups}
    clusters = [c for g in groups for c in g["clusters"]]  # type: ignore[attr-defined]
    assert sorted(clusters) == sorted(f"spoke-{n:04d}" for n in range(2, 12))


def test_a_cluster_that_the_cgu_does_not_have_is_no_such_object() -> None:
    check_member(SMALL, "spoke-0001")
    with pytest.raises(NoSuchObject, match=r"no cluster x in its plan; it has spoke-0001, .* …"):
        check_member(SMALL, "x")
    with pytest.raises(NoSuchObject, match="it has none"):
        check_member(a_cgu("new", {}), "x")


# ---- with what was read --------------------------------------------------------------------------------

CGU = a_cgu("up", {"c": "Active", "d": "Starting"}, waits={"c": since(minutes=1)})
LABELS = {RUN_LABEL: run_id(CGU.metadata)}
SCOPE = {"name": "openshift-talm-pre-cache"}


def a_view(name: str, cluster: str, *, labels: Any = LABELS, **status: Any) -> ManagedClusterView:
    meta = {"name": name, "namespace": cluster, "uid": "u", "resourceVersion": "7"}
    body = {"metadata": {**meta, "labels": labels}, "spec": {"scope": SCOPE}, "status": status}
    return msgspec.convert(body, ManagedClusterView)


def was_read(
    *views: ManagedClusterView,
    works: tuple[ManifestWork, ...] = (),
    managed: tuple[ManagedCluster, ...] = (),
    views_why: str = "",
    works_why: str = "",
) -> Read:
    def found(objects: Any, why: str = "") -> Found[Any]:
        return Found({o.metadata.key: o for o in objects}, {"": why} if why else {})

    actions: tuple[ManagedClusterAction, ...] = ()
    return Read(found(views, views_why), found(actions), found(works, works_why), found(managed))


ANSWERED = {"conditions": [{"type": "Processing", "status": "True"}]}
JOB = {"metadata": {"labels": LABELS, "uid": "j"}, "status": {"active": 1}}


def sights(read: Read) -> dict[str, Fact]:
    looked_at = look_at(CGU, ["c", "d"], read, NOW)
    return {c: s.fact for c, s in looked_at.seen.sights.items()}


def test_views_tell_what_the_operator_sees() -> None:
    job = a_view("view-precache-job", "c", **ANSWERED, result=JOB)
    assert sights(was_read(job)) == {"c": Fact.JOB_ACTIVE, "d": Fact.UNASKED}


def test_of_a_job_at_work_the_record_is_told() -> None:
    job = a_view("view-precache-job", "c", **ANSWERED, result=JOB)
    told = record(8, 16, error_class="RegistryUnreachable", error_text="503")
    view = msgspec.convert(view_body(CGU, "c", told), ManagedClusterView)
    sight = look_at(CGU, ["c"], was_read(job, view), NOW).seen.sights["c"]
    assert sight.note == (
        "the Job is active; 12 of 183 images; 8.0/16.0 MiB; last error RegistryUnreachable: 503"
    )


def test_the_existing_workloads_views_have_no_labels() -> None:
    job = a_view(
        "view-precache-job", "c", labels=None, **ANSWERED, result={"status": {"active": 1}}
    )
    assert sights(was_read(job))["c"] is Fact.JOB_ACTIVE


def test_what_holds_a_namespace_is_told_in_the_spokes_words() -> None:
    held = {
        "type": "NamespaceFinalizersRemaining",
        "status": "True",
        "message": "finalizers remain",
    }
    gone = {"type": "NamespaceDeletionDiscoveryFailure", "status": "False", "message": "no"}
    result = {
        "metadata": {"deletionTimestamp": before(minutes=1)},
        "status": {"conditions": [held, gone]},
    }
    view = a_view("view-precache-namespace", "d", **ANSWERED, result=result)
    sight = look_at(CGU, ["d"], was_read(view), NOW).seen.sights["d"]
    assert sight.fact is Fact.LEFTOVERS
    assert sight.note.endswith("; finalizers remain")


def a_work(name: str, cluster: str) -> ManifestWork:
    body = {"metadata": {"name": name, "namespace": cluster, "labels": LABELS}}
    return msgspec.convert(body, ManifestWork)


def test_works_tell_of_the_clusters_that_are_reached_by_them() -> None:
    ours = a_work(f"pre-cache-{run_id(CGU.metadata)}", "c")
    old = a_work("pre-cache-old", "d")
    assert sights(was_read(works=(ours, old))) == {"c": Fact.SETTING_UP, "d": Fact.LEFTOVERS}


def test_what_may_not_be_read_is_no_sight() -> None:
    refused = look_at(CGU, ["c", "d"], was_read(views_why="no views"), NOW)
    assert (refused.seen.sights, refused.unknown) == ({}, {"c": "no views", "d": "no views"})
    # Views that are not there say nothing as long as a work may be.
    half = look_at(CGU, ["c"], was_read(works_why="no works"), NOW)
    assert (half.seen.sights, half.unknown) == ({}, {"c": "no works"})
    job = a_view("view-precache-job", "c", **ANSWERED, result=JOB)
    enough = look_at(CGU, ["c"], was_read(job, works_why="no works"), NOW)
    assert (list(enough.seen.sights), enough.unknown) == (["c"], {})


def test_a_cluster_is_available_unless_the_hub_says_otherwise() -> None:
    condition = {
        "type": "ManagedClusterConditionAvailable",
        "status": "Unknown",
        "lastTransitionTime": before(minutes=4),
    }
    gone = {"metadata": {"name": "c"}, "status": {"conditions": [condition]}}
    read = was_read(
        managed=(
            msgspec.convert(gone, ManagedCluster),
            msgspec.convert({"metadata": {"name": "d"}}, ManagedCluster),
        )
    )
    seen = look_at(CGU, ["c", "d"], read, NOW).seen
    at = NOW - dt.timedelta(minutes=4)
    assert seen.clusters == {
        "c": Cluster("c", available=False, since=at),
        "d": Cluster("d", available=True),
    }


def test_a_view_of_a_namespace_that_is_not_ours_is_no_sight() -> None:
    body = {
        "metadata": {"name": "view-precache-namespace", "namespace": "c", "labels": LABELS},
        "spec": {"scope": {"name": "kube-system"}},
    }
    odd = msgspec.convert(body, ManagedClusterView)
    assert sights(was_read(odd)) == {}


def test_final_states_are_not_looked_at() -> None:
    over = a_cgu("up", {"c": Phase.SUCCEEDED, "d": Phase.FAILED})
    assert look_at(over, ["c", "d"], was_read(), NOW).seen.sights == {}


def test_of_a_cached_cluster_the_hubs_record_is_told() -> None:
    spec = PrecachingSpec(platform_image="registry.example.io/release@sha256:1")
    assert SMALL.status.precaching is not None
    stored = changed(SMALL.status.precaching, spec=spec)
    of = changed(SMALL, status=changed(SMALL.status, precaching=stored))
    name = next(c for c, word in (stored.status or {}).items() if word == "Succeeded")
    known = {
        "spec_hash": spec_hash(spec),
        "at": "2022-01-27T19:00:00Z",
        "result": "Succeeded",
        "pinned": "true",
    }
    for records, text in (
        (
            {name: CacheRecord(**known)},
            "cached for this specification at 2022-01-27T19:00:00Z, pinned",
        ),
        ({name: CacheRecord(**known | {"spec_hash": "another"})}, "pre-cached"),
        ({}, "pre-cached"),
    ):
        page = one_cluster(looked(cgu=of, records=records), name)
        assert page.why.seen.partition(";")[0] == text


def test_a_cluster_that_is_asked_whether_it_is_still_cached_says_so() -> None:
    text = "asked whether everything is still cached before the update starts: it was at T"
    stored = SMALL.status.precaching
    assert stored is not None
    entry = PrecachingFailure(cluster="spoke-0003", reason="VerifyingCache", message=text)
    status = changed(SMALL.status, precaching=changed(stored, failures=(entry,)))
    why = one_cluster(looked(cgu=changed(SMALL, status=status)), "spoke-0003").why
    assert why.seen.startswith(f"{text}; ")
    assert why.waits_for == "the Job to end"


def test_while_a_batch_waits_to_be_verified_its_clusters_are_explained() -> None:
    plan = (("spoke-0001",), ("spoke-0003", "spoke-0007"))
    begun = UpgradeStatus(started_at=NOW, current_batch=2)
    cgu = changed(SMALL, status=changed(SMALL.status, remediation_plan=plan, status=begun))
    pages = whole(looked(cgu=cgu))
    assert pages[0].why.waits_for.startswith("2 clusters of batch 2 of 2 to verify")
    explained = {cluster: page.why.waits_for for page in pages for cluster in page.clusters}
    assert explained["spoke-0007"] == "the spoke to finish deleting the pre-caching namespace"
    running = changed(begun, current_batch_started_at=NOW)
    cgu = changed(cgu, status=changed(cgu.status, status=running))
    assert len(whole(looked(cgu=cgu))) == 1
