"""Prometheus metrics of the operator.  No label per cluster: a fleet of 10,000 would block the loop.

Counters and histograms are kept as things happen; what can be read off the store is computed when
it is scraped, so that it equals the CGUs' status at that moment.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from talm.api.words import Phase
from talm.core.decide import is_over
from talm.core.fleet import stored_phases

from .store import Store

PASS_BUCKETS: Final = (0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 30)
CALL_BUCKETS: Final = (0.005, 0.02, 0.1, 0.5, 2, 10)


@dataclass(frozen=True, slots=True)
class About:
    """One metric as it is scraped, and as the reference page tells of it."""

    name: str
    type: str
    help: str
    labels: tuple[str, ...] = ()


CLUSTERS: Final = About(
    "talm_precache_clusters",
    "gauge",
    "Clusters by state of pre-caching, all CGUs.",
    ("state",),
)
CGUS: Final = About(
    "talm_cgus", "gauge", "ClusterGroupUpgrades by whether they have ended: open, over.", ("state",)
)
PASSES: Final = About(
    "talm_reconcile_passes_total",
    "counter",
    "Passes over one CGU by result: success, error.",
    ("result",),
)
PASS_SECONDS: Final = About(
    "talm_reconcile_seconds", "histogram", "Time of one pass over one CGU, in seconds."
)
QUEUE: Final = About("talm_queue_length", "gauge", "CGUs that wait for a worker.")
CALLS: Final = About(
    "talm_api_requests_total",
    "counter",
    "Requests to the API server by verb, resource and status code (0: no answer).",
    ("verb", "resource", "code"),
)
CALL_SECONDS: Final = About(
    "talm_api_request_seconds",
    "histogram",
    "Time until a request to the API server was answered, in seconds, by verb.",
    ("verb",),
)
LIMIT: Final = About(
    "talm_requests_in_flight_limit",
    "gauge",
    "How many clusters are worked on at the same time at most; less than the setting: the API server "
    "is busy.",
)
OBJECTS: Final = About(
    "talm_informer_objects", "gauge", "Objects in memory by kind.", ("resource",)
)
QUARANTINED: Final = About(
    "talm_informer_quarantined",
    "gauge",
    "Objects by kind that could not be read; they are left alone.",
    ("resource",),
)
UNHANDLED: Final = About(
    "talm_informer_callback_errors_total",
    "counter",
    "Changes by kind that were not acted on because of an error of ours; the log has it.",
    ("resource",),
)
# In the order of the reference page.
CATALOG: Final = (
    CLUSTERS,
    CGUS,
    PASSES,
    PASS_SECONDS,
    QUEUE,
    CALLS,
    CALL_SECONDS,
    LIMIT,
    OBJECTS,
    QUARANTINED,
    UNHANDLED,
)


class Metrics:
    """All metrics; `text` is what /metrics answers."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.calls = Counter(CALLS.name, CALLS.help, CALLS.labels, registry=self.registry)
        self.call_seconds = Histogram(
            CALL_SECONDS.name,
            CALL_SECONDS.help,
            CALL_SECONDS.labels,
            buckets=CALL_BUCKETS,
            registry=self.registry,
        )
        self.passes = Counter(PASSES.name, PASSES.help, PASSES.labels, registry=self.registry)
        self.pass_seconds = Histogram(
            PASS_SECONDS.name, PASS_SECONDS.help, buckets=PASS_BUCKETS, registry=self.registry
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

    def collect(self) -> Iterator[Metric]:
        phases: Tally[str] = Tally({phase.value: 0 for phase in Phase})
        cgus: Tally[str] = Tally({"open": 0, "over": 0})
        for cgu in self._store.live_cgus():
            phases.update(phase.value for phase in stored_phases(cgu.status).values())
            cgus["over" if is_over(cgu.status) else "open"] += 1
        informers = self._store.informers
        yield _gauge(CLUSTERS, phases)
        yield _gauge(CGUS, cgus)
        yield GaugeMetricFamily(QUEUE.name, QUEUE.help, value=self._queue_length())
        yield GaugeMetricFamily(LIMIT.name, LIMIT.help, value=self._limit())
        yield _gauge(OBJECTS, {name: len(i.cache) for name, i in informers.items()})
        yield _gauge(QUARANTINED, {name: len(i.quarantined) for name, i in informers.items()})
        errors = CounterMetricFamily(UNHANDLED.name, UNHANDLED.help, labels=UNHANDLED.labels)
        for name, informer in informers.items():
            errors.add_metric([name], informer.callback_errors)
        yield errors


def _gauge(about: About, values: dict[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(about.name, about.help, labels=about.labels)
    for value, count in values.items():
        family.add_metric([value], count)
    return family


def to_markdown() -> str:
    """The reference page of all metrics."""
    rows = ["| metric | type | labels | what |", "|---|---|---|---|"]
    for about in CATALOG:
        labels = ", ".join(f"`{label}`" for label in about.labels)
        rows.append(f"| `{about.name}` | {about.type} | {labels} | {about.help} |")
    return (
        "# Metrics of the operator\n\n"
        "Made from `src/talm/hub/metrics.py` by `make docs`; do not edit.\n\n"
        "Served at `/metrics` of the setting `bind-address` in Prometheus' text format. No metric has a "
        "label per cluster, so the size of a scrape does not grow with the fleet. What is read off the "
        "hub (clusters, CGUs, objects) is as of the scrape, and equals the CGUs' status.\n\n"
        + "\n".join(rows)
        + "\n"
    )
