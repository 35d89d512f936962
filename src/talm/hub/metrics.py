"""Prometheus metrics of the operator.  No label per cluster: a fleet of 10,000 would block the loop.

Counters and histograms are kept as things happen; what can be read off the store is computed when
it is scraped, so that it equals the CGUs' status at that moment.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from talm.api.words import Phase
from talm.core.decide import is_over
from talm.core.fleet import stored_phases

from .store import Store

PASS_BUCKETS: Final = (0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 30)
CALL_BUCKETS: Final = (0.005, 0.02, 0.1, 0.5, 2, 10)


class Metrics:
    """All metrics; `text` is what /metrics answers."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.calls = Counter(
            "talm_api_requests",
            "Requests to the API server by verb, resource and status code (0: no answer).",
            ["verb", "resource", "code"],
            registry=self.registry,
        )
        self.call_seconds = Histogram(
            "talm_api_request_seconds",
            "Time until a request to the API server was answered, by verb.",
            ["verb"],
            buckets=CALL_BUCKETS,
            registry=self.registry,
        )
        self.passes = Counter(
            "talm_reconcile_passes",
            "Passes over one CGU by result.",
            ["result"],
            registry=self.registry,
        )
        self.pass_seconds = Histogram(
            "talm_reconcile_seconds",
            "Time of one pass over one CGU.",
            buckets=PASS_BUCKETS,
            registry=self.registry,
        )

    def called(self, verb: str, resource: str, status: int, seconds: float) -> None:
        """One request to the API server was answered (status 0: it was not)."""
        self.calls.labels(verb, resource, str(status)).inc()
        self.call_seconds.labels(verb).observe(seconds)

    def passed(self, seconds: float, succeeded: bool) -> None:
        """One pass has ended."""
        self.passes.labels("success" if succeeded else "error").inc()
        self.pass_seconds.observe(seconds)

    def follow(
        self, store: Store, queue_length: Callable[[], int], limit: Callable[[], int]
    ) -> None:
        """Also tell what the store, the queue and the throttle say when scraped."""
        self.registry.register(_StoreCollector(store, queue_length, limit))

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)


class _StoreCollector(Collector):
    def __init__(
        self, store: Store, queue_length: Callable[[], int], limit: Callable[[], int]
    ) -> None:
        self._store = store
        self._queue_length = queue_length
        self._limit = limit

    def collect(self) -> Iterator[GaugeMetricFamily]:
        phases: Tally[str] = Tally({phase.value: 0 for phase in Phase})
        cgus: Tally[str] = Tally({"open": 0, "over": 0})
        for cgu in self._store.live_cgus():
            phases.update(phase.value for phase in stored_phases(cgu.status).values())
            cgus["over" if is_over(cgu.status) else "open"] += 1
        yield _gauge(
            "talm_precache_clusters", "Clusters by state of pre-caching, all CGUs.", "state", phases
        )
        yield _gauge("talm_cgus", "ClusterGroupUpgrades by whether they have ended.", "state", cgus)
        yield GaugeMetricFamily(
            "talm_queue_length", "CGUs that wait for a worker.", value=self._queue_length()
        )
        yield GaugeMetricFamily(
            "talm_requests_in_flight_limit",
            "How many clusters are worked on at the same time at most; less than the setting: the "
            "API server is busy.",
            value=self._limit(),
        )
        yield _gauge(
            "talm_informer_objects",
            "Objects in memory by kind.",
            "resource",
            {name: len(i.cache) for name, i in self._store.informers.items()},
        )
        yield _gauge(
            "talm_informer_quarantined",
            "Objects that could not be read by kind; they are left alone.",
            "resource",
            {name: len(i.quarantined) for name, i in self._store.informers.items()},
        )


def _gauge(name: str, text: str, label: str, values: dict[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=[label])
    for value, count in values.items():
        family.add_metric([value], count)
    return family
