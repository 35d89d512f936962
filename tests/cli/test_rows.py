"""What a cluster's state, cause and rank are."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec

from talm.api.cgu import ClusterGroupUpgrade
from talm.api.ocm import ManagedClusterView, ManifestWork
from talm.api.progress import ProgressRecord
from talm.api.words import Phase
from talm.cli.rows import NOTHING_TOLD, ClusterRow, Rank, cgu_row, row_of, telling_clusters
from talm.cli.told import Told, told_by
from talm.core.placements import run_id
from tests.cli.fleets import (
    NOW,
    SMALL,
    SMALL_TOLD,
    a_cgu,
    failure,
    record,
    since,
    summed,
    view_body,
)


def test_failed_clusters_come_first_then_those_that_do_not_get_on() -> None:
    ranks = [row.rank for row in cgu_row(SMALL, SMALL_TOLD, {}, NOW).clusters]
    assert ranks == sorted(ranks)
    assert ranks[:2] == [Rank.FAILED, Rank.FAILED]


def test_only_clusters_at_work_are_added_up() -> None:
    row = cgu_row(SMALL, SMALL_TOLD, {}, NOW)
    assert row.tally.records == 3
    assert "spoke-0002" in telling_clusters(SMALL), "its last words are kept"
    assert "spoke-0001" not in telling_clusters(SMALL)


def test_the_sums_that_the_operator_has_stored_count_with_those_that_finished() -> None:
    row = cgu_row(summed(SMALL), SMALL_TOLD, {}, NOW)
    assert (row.tally.records, row.tally.bytes_done) == (4, 26 * 2**30)
    assert (row.tally.eta_s, row.tally.unestimated) == (600, 2)


def test_a_reason_for_not_knowing_is_told_of_clusters_at_work_alone() -> None:
    row = cgu_row(SMALL, {}, {"": "not allowed", "spoke-0003": "not there"}, NOW)
    unknown = {r.cluster: r.unknown for r in row.clusters if r.unknown}
    assert unknown == {
        "spoke-0003": "not there",
        **dict.fromkeys(["spoke-0004", "spoke-0009", "spoke-0010", "spoke-0011"], "not allowed"),
    }
    assert row.notes == (
        "progress of 4 clusters unknown: not allowed",
        "progress of 1 cluster unknown: not there",
    )
    assert cgu_row(SMALL, SMALL_TOLD, {}, NOW).notes == (), "to have told nothing yet is no news"
    quiet = [r for r in cgu_row(SMALL, SMALL_TOLD, {}, NOW).clusters if r.unknown]
    assert {r.unknown for r in quiet} == {NOTHING_TOLD}


def test_a_setup_is_stuck_when_half_its_time_is_over() -> None:
    def rank(minutes: float) -> Rank:
        cgu = a_cgu("up", {"c": "Starting"}, waits={"c": since(minutes=minutes)})
        return cgu_row(cgu, {}, {}, NOW).clusters[0].rank

    assert (rank(14), rank(16)) == (Rank.BEGINNING, Rank.STUCK)


def at_work(**more: object) -> ClusterRow:
    cgu = a_cgu("up", {"c": "Active"}, waits={"c": since(minutes=3)})
    return cgu_row(cgu, {"c": Told(record(1, 2, **more))}, {}, NOW).clusters[0]


def test_a_workload_to_which_nothing_arrives_is_stuck() -> None:
    row = at_work(error_class="RegistryUnreachable", error_text="503", bytes_per_s=0)
    assert row.rank is Rank.STUCK
    assert row.cause == "nothing arrives, trying again after RegistryUnreachable: 503"


def test_an_error_that_has_passed_is_told_and_makes_nobody_stuck() -> None:
    row = at_work(error_class="RegistryUnreachable", error_text="503")
    assert (row.rank, row.cause) == (Rank.AT_WORK, "last error RegistryUnreachable: 503")
    assert at_work().cause == at_work(heartbeat=None).cause == ""
    # The end of a file is imported, the next one is not asked for yet: no byte, no error.
    assert at_work(bytes_per_s=0).rank is Rank.AT_WORK


def test_a_spoke_whose_clock_is_wrong_is_not_taken_for_a_silent_one() -> None:
    for minutes in (-10, 10):
        row = at_work(heartbeat=NOW + dt.timedelta(minutes=minutes))
        assert (row.rank, row.cause) == (Rank.AT_WORK, "")


def test_a_cluster_that_the_operator_calls_silent_is_stuck_though_its_record_is_of_full_swing() -> (
    None
):
    entry = failure("c", "ClusterSilent", "silent since T: its workload tells nothing new")
    cgu = a_cgu("up", {"c": "Active"}, failures=[entry])
    row = cgu_row(cgu, {"c": Told(record(1, 2))}, {}, NOW).clusters[0]
    assert (row.rank, row.cause) == (Rank.STUCK, entry["message"])


def test_a_record_counts_for_its_own_run_alone() -> None:
    told = record(1, 2)
    view = msgspec.convert(view_body(SMALL, "spoke-0003", told), ManagedClusterView)
    found = told_by(view, run_id(SMALL.metadata))
    assert found == Told(told)
    assert told_by(view, "another run") is None
    assert told_by(ManagedClusterView(), run_id(SMALL.metadata)) is None
    body = view_body(SMALL, "spoke-0003", told)
    body["status"]["result"]["data"] = {"record": "{cut"}
    odd = msgspec.convert(body, ManagedClusterView)
    assert told_by(odd, run_id(SMALL.metadata)) is None
    body["status"]["result"].pop("data")
    assert told_by(msgspec.convert(body, ManagedClusterView), run_id(SMALL.metadata)) is None


class Records:
    """Views and works by cluster; a `Records`."""

    def __init__(self, *, views: Any = (), works: Any = ()) -> None:
        self.views = {v.metadata.namespace: v for v in views}
        self.works = {w.metadata.key: w for w in works}

    def view(self, cluster: str) -> ManagedClusterView | None:
        return self.views.get(cluster)

    def work(self, cluster: str, name: str) -> ManifestWork | None:
        return self.works.get((cluster, name))

    def why(self, cluster: str) -> str:
        return f"{cluster} is closed"


def a_work(cgu: ClusterGroupUpgrade, cluster: str, told: ProgressRecord) -> ManifestWork:
    run = run_id(cgu.metadata)
    values = {"run": run, "uid": "u", "record": msgspec.json.encode(told).decode()}
    feedback = [
        {"name": name, "fieldValue": {"type": "String", "string": value}}
        for name, value in values.items()
    ]
    entry = {
        "resourceMeta": {"resource": "configmaps", "name": "pre-cache-progress"},
        "statusFeedback": {"values": feedback},
    }
    body = {
        "metadata": {"name": f"pre-cache-{run}", "namespace": cluster},
        "status": {"resourceStatus": {"manifests": [entry]}},
    }
    return msgspec.convert(body, ManifestWork)


def test_a_record_is_found_by_either_way_to_a_cluster() -> None:
    told = record(1, 2)
    view = msgspec.convert(view_body(SMALL, "spoke-0003", told), ManagedClusterView)
    work = a_work(SMALL, "spoke-0004", record(2, 2))
    row = row_of(SMALL, Records(views=[view], works=[work]), NOW)
    known = {r.cluster: r.record.bytes_done for r in row.clusters if r.record}
    assert known == {"spoke-0003": 2**20, "spoke-0004": 2 * 2**20}
    closed = {r.cluster for r in row.clusters if r.unknown == f"{r.cluster} is closed"}
    assert closed == {"spoke-0009", "spoke-0010", "spoke-0011"}


def test_counts_by_state_are_complete() -> None:
    row = cgu_row(SMALL, {}, {}, NOW)
    assert row.total == 11
    assert row.states[Phase.ACTIVE] == 5
