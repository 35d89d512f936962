"""Metrics: what is scraped is the truth of that moment, small, and what the page says."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from talm.api import kinds
from talm.api.progress import ProgressRecord
from talm.api.words import Phase
from talm.core.decide import Decision, Stage
from talm.core.fleet import FleetDecision
from talm.core.model import Fact, Move, Outcomes, Sight
from talm.hub.metricnames import CATALOG, to_markdown
from talm.hub.metrics import Metrics
from talm.hub.store import Store
from tests.core.given import cgu, snapshot, status
from tests.hub.fakehub import FakeHub, followed
from tests.hub.given import put_cgu, put_cluster

OVER = {"status": {"completedAt": "2022-01-27T20:00:00Z"}}


@pytest.fixture
def hub() -> FakeHub:
    return FakeHub()


@pytest.fixture
async def store(hub: FakeHub) -> AsyncIterator[Store]:
    async with followed(hub, Store(hub.client, lambda *_: None)) as following:
        yield following


@pytest.fixture
def metrics(store: Store) -> Metrics:
    made = Metrics()
    made.follow(store, lambda: 3, lambda: 17)
    made.follow_lease(lambda: True)
    return made


def scraped(metrics: Metrics) -> dict[str, Metric]:
    return {f.name: f for f in text_string_to_metric_families(metrics.text().decode())}


def values(metrics: Metrics, name: str) -> dict[str, float]:
    """Of a metric with one label."""
    return {next(iter(s.labels.values())): s.value for s in scraped(metrics)[name].samples}


async def test_totals_are_those_of_the_statuses_at_the_scrape(
    hub: FakeHub, metrics: Metrics
) -> None:
    assert set(values(metrics, "talm_precache_clusters").values()) == {0.0}
    put_cgu(hub, "a", phases={"c1": "Active", "c2": "Active", "c3": "Succeeded"})
    put_cgu(hub, "b", phases={"c1": "PrecacheTimeout", "c9": "odd"}, status=OVER)
    await hub.heard()
    assert values(metrics, "talm_precache_clusters") == {
        "NotStarted": 1.0,
        "PreparingToStart": 0.0,
        "Starting": 0.0,
        "Active": 2.0,
        "Succeeded": 1.0,
        "PrecacheTimeout": 1.0,
        "UnrecoverableError": 0.0,
    }
    assert values(metrics, "talm_cgus") == {"open": 1.0, "over": 1.0}
    hub.remove(kinds.CGU, "a", "ztp")
    await hub.heard()
    assert values(metrics, "talm_cgus") == {"open": 0.0, "over": 1.0}


async def test_how_far_and_why_not_is_told_as_the_statuses_tell_it(
    hub: FakeHub, metrics: Metrics
) -> None:
    sums = {"told": 2, "imagesDone": 3, "imagesTotal": 7, "bytesDone": 30, "bytesTotal": 70}
    for name, classes in (("a", {"ImageNotFound": 2}), ("b", {"ImageNotFound": 1, "Silent": 4})):
        block = {
            "progress": sums | {"bytesPerS": 5},
            "failuresByClass": classes,
            "attempt": 1 + (name == "b"),
        }
        put_cgu(hub, name, status={"precaching": block})
    await hub.heard()
    assert values(metrics, "talm_precache_failures") == {"ImageNotFound": 3.0, "Silent": 4.0}
    assert values(metrics, "talm_precache_images") == {"done": 6.0, "total": 14.0}
    assert values(metrics, "talm_precache_bytes") == {"done": 60.0, "total": 140.0}
    found = scraped(metrics)
    for name, value in (("bytes_per_second", 10), ("clusters_told", 4), ("attempts", 3)):
        assert [s.value for s in found[f"talm_precache_{name}"].samples] == [value]


async def test_our_own_write_counts_before_the_cache_shows_it(
    hub: FakeHub, store: Store, metrics: Metrics
) -> None:
    put_cgu(hub, phases={"c1": "Active"})
    await hub.heard()
    hub.news_flow.clear()
    store.wrote(put_cgu(hub, phases={"c1": "Succeeded"}))
    assert values(metrics, "talm_precache_clusters")["Succeeded"] == 1.0


async def test_what_is_in_memory_waits_and_could_not_be_read_is_told(
    hub: FakeHub, metrics: Metrics
) -> None:
    put_cluster(hub, "c1")
    put_cluster(hub, "c2")
    hub.put(kinds.MANAGED_CLUSTER, "odd", metadata={"labels": "no map"})
    await hub.heard()
    assert values(metrics, "talm_informer_objects")["managedclusters"] == 2.0
    assert values(metrics, "talm_informer_quarantined")["managedclusters"] == 1.0
    found = scraped(metrics)
    assert [s.value for s in found["talm_queue_length"].samples] == [3.0]
    assert [s.value for s in found["talm_requests_in_flight_limit"].samples] == [17.0]
    assert [s.value for s in found["talm_leading"].samples] == [1.0]


async def test_a_change_that_could_not_be_handled_is_counted(hub: FakeHub) -> None:
    def fail(name: str, *_: object) -> None:
        raise ValueError(name)

    async with followed(hub, Store(hub.client, fail)) as store:
        metrics = Metrics()
        metrics.follow(store, lambda: 0, lambda: 0)
        put_cgu(hub)
        await hub.heard()
        assert values(metrics, "talm_informer_callback_errors")["clustergroupupgrades"] == 1.0


async def test_requests_and_passes_are_counted_and_timed(metrics: Metrics) -> None:
    metrics.called("PATCH", "clustergroupupgrades/status", 200, 0.01)
    metrics.called("PATCH", "clustergroupupgrades/status", 0, 30.0)
    metrics.passed(0.2, True)
    metrics.passed(0.2, False)
    found = scraped(metrics)
    codes = {s.labels["code"] for s in found["talm_api_requests"].samples if s.value == 1}
    assert codes == {"200", "0"}
    assert values(metrics, "talm_reconcile_passes") == {"success": 1.0, "error": 1.0}
    counts = {s.name: s.value for s in found["talm_reconcile_seconds"].samples}
    assert counts["talm_reconcile_seconds_count"] == 2


def count_of(metrics: Metrics, name: str, **labels: str) -> float:
    """Of a histogram: how often something was measured."""
    samples = scraped(metrics)[name].samples
    return sum(
        s.value for s in samples if s.name == f"{name}_count" and labels.items() <= s.labels.items()
    )


def test_a_clusters_end_is_measured_once_with_its_retries() -> None:
    metrics = Metrics()
    record = ProgressRecord(attempt=3)
    for was, goto, failed in (
        (Phase.NOT_STARTED, Phase.PREPARING, ""),
        (Phase.STARTING, Phase.ACTIVE, ""),
        (Phase.ACTIVE, Phase.FAILED, "etcd is sad"),
        (Phase.ACTIVE, Phase.FAILED, ""),
    ):
        seen = snapshot(
            cgu(status({"cnfdb1": was}), clusters=("cnfdb1",)),
            facts={"cnfdb1": Sight(Fact.JOB_FAILED, record=record)},
        )
        moves = (Move("cnfdb1", goto),)
        outcomes = Outcomes(failed={"cnfdb1": failed} if failed else {})
        metrics.stored(seen, Decision(Stage.PREPARING, fleet=FleetDecision(moves)), outcomes)
    assert count_of(metrics, "talm_precache_setup_seconds") == 1
    assert count_of(metrics, "talm_precache_seconds", state="UnrecoverableError") == 1
    assert count_of(metrics, "talm_precache_seconds", state="Succeeded") == 0
    found = scraped(metrics)
    for name, value in (("pod", 2), ("step", 1)):
        totals = found[f"talm_precache_{name}_retries"].samples
        assert [s.value for s in totals if s.name.endswith("_total")] == [value]


async def test_no_label_grows_with_the_fleet(hub: FakeHub, metrics: Metrics) -> None:
    metrics.called("GET", "managedclusters", 200, 0.01)
    small = len(metrics.text().splitlines())
    for number in range(50):
        put_cluster(hub, f"c{number}")
    put_cgu(hub, phases={f"c{number}": "Active" for number in range(50)})
    await hub.heard()
    assert len(metrics.text().splitlines()) == small


async def test_the_reference_page_tells_of_what_is_scraped_and_of_nothing_else(
    hub: FakeHub, metrics: Metrics
) -> None:
    metrics.called("GET", "managedclusters", 200, 0.01)
    metrics.passed(0.1, True)
    put_cgu(hub, status={"precaching": {"failuresByClass": {"ImageNotFound": 1}}})
    await hub.heard()
    # The parser names a counter without its _total, and tells of creation times apart.
    found = {n: f for n, f in scraped(metrics).items() if not n.endswith("_created")}
    told = {about.name.removesuffix("_total"): about for about in CATALOG}
    assert set(found) == set(told)
    for name, about in told.items():
        family = found[name]
        assert (family.type, family.documentation) == (about.type, about.help)
        labels = {frozenset(s.labels) - {"le"} for s in family.samples}
        assert labels == {frozenset(about.labels)}
    page = to_markdown()
    assert all(f"| `{about.name}` | {about.type} |" in page for about in CATALOG)
