"""Prometheus metrics of the operator: how they are counted and scraped (metricnames.py has them all).

Counters and histograms are kept as things happen; what can be read off the store is computed when
it is scraped, so that it equals the CGUs' status at that moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from talm.api.words import FINAL_PHASES, Phase
from talm.core.decide import Decision
from talm.core.model import UNSEEN, Outcomes, Snapshot

from . import metricnames as names
from .durations import Durations
from .metricnames import About
from .store import Key, Store
from .totals import add_up

PASS_BUCKETS: Final = (0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 30)
CALL_BUCKETS: Final = (0.005, 0.02, 0.1, 0.5, 2, 10)
# Up to the setup's deadline of 30 min, and beyond it: it stands still in an outage.
SETUP_BUCKETS: Final = (1, 2, 5, 10, 30, 60, 180, 600, 1800, 3600)
# Thin lines need hours; the Job's deadline is 4 h by default.
PRECACHE_BUCKETS: Final = (10, 30, 60, 180, 600, 1800, 3600, 7200, 14400, 28800, 86400)


class Metrics:
    """All metrics; `text` is what /metrics answers."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._calls = self._counter(names.CALLS)
        self._call_seconds = self._histogram(names.CALL_SECONDS, CALL_BUCKETS)
        self._passes = self._counter(names.PASSES)
        self._pass_seconds = self._histogram(names.PASS_SECONDS, PASS_BUCKETS)
        self._took = self._histogram(names.TOOK, PRECACHE_BUCKETS)
        self._setup_took = self._histogram(names.SETUP_TOOK, SETUP_BUCKETS)
        self._pod_retries = self._counter(names.POD_RETRIES)
        self._step_retries = self._counter(names.STEP_RETRIES)
        self._durations = Durations(self)
        for phase in FINAL_PHASES:
            self._took.labels(phase.value)  # it is there, 0, before the first one

    def called(self, verb: str, resource: str, status: int, seconds: float) -> None:
        """One request to the API server was answered (status 0: it was not)."""
        self._calls.labels(verb, resource, str(status)).inc()
        self._call_seconds.labels(verb).observe(seconds)

    def passed(self, seconds: float, succeeded: bool) -> None:
        """One pass has ended."""
        self._passes.labels("success" if succeeded else "error").inc()
        self._pass_seconds.observe(seconds)

    def stored(self, seen: Snapshot, decision: Decision, outcomes: Outcomes) -> None:
        """What a pass has come to was stored."""
        self._step_retries.inc(len(outcomes.failed))
        before = seen.cgu.status.precaching
        words = (before.status if before is not None else None) or {}
        for move in decision.moves:
            ends = move.goto in FINAL_PHASES and words.get(move.cluster) not in FINAL_PHASES
            if ends and move.cluster not in outcomes.failed:
                record = seen.sights.get(move.cluster, UNSEEN).record
                self._pod_retries.inc(max(0, record.attempt - 1) if record is not None else 0)
        self._durations.stored(seen, decision.moves, outcomes.failed)

    def gone(self, key: Key) -> None:
        """A CGU is gone."""
        self._durations.gone(key)

    def set_up(self, seconds: float) -> None:
        """A cluster has become Active, so long after it began."""
        self._setup_took.observe(seconds)

    def ended(self, phase: Phase, seconds: float) -> None:
        """A cluster has come to its end, so long after it began."""
        self._took.labels(phase.value).observe(seconds)

    def follow(
        self, store: Store, queue_length: Callable[[], int], limit: Callable[[], int]
    ) -> None:
        """Also tell what the store, the queue and the throttle say when scraped."""
        self.registry.register(_StatusCollector(store))
        self.registry.register(_InformerCollector(store))
        self._ask(names.QUEUE, queue_length)
        self._ask(names.LIMIT, limit)

    def follow_lease(self, is_leading: Callable[[], bool]) -> None:
        """Also tell whether this replica leads when scraped."""
        self._ask(names.LEADING, is_leading)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)

    def _counter(self, about: About) -> Counter:
        return Counter(about.name, about.help, about.labels, registry=self.registry)

    def _histogram(self, about: About, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(
            about.name, about.help, about.labels, buckets=buckets, registry=self.registry
        )

    def _ask(self, about: About, value: Callable[[], float]) -> None:
        Gauge(about.name, about.help, registry=self.registry).set_function(value)


class _StatusCollector(Collector):
    """The sums over the CGUs' statuses."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def collect(self) -> Iterator[Metric]:
        found = add_up(cgu.status for cgu in self._store.live_cgus())
        yield _gauge(names.CLUSTERS, found.phases)
        yield _gauge(names.FAILURES, found.failures)
        yield _gauge(names.IMAGES, {"done": found.images_done, "total": found.images_total})
        yield _gauge(names.BYTES, {"done": found.bytes_done, "total": found.bytes_total})
        yield _single(names.RATE, found.bytes_per_s)
        yield _single(names.TOLD, found.told)
        yield _single(names.ATTEMPTS, found.attempts)
        yield _gauge(names.CGUS, found.cgus)


class _InformerCollector(Collector):
    """What is in memory."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def collect(self) -> Iterator[Metric]:
        informers = self._store.informers
        yield _gauge(names.OBJECTS, {name: len(i.cache) for name, i in informers.items()})
        yield _gauge(names.QUARANTINED, {name: len(i.quarantined) for name, i in informers.items()})
        errors = CounterMetricFamily(
            names.UNHANDLED.name, names.UNHANDLED.help, labels=names.UNHANDLED.labels
        )
        for name, informer in informers.items():
            errors.add_metric([name], informer.callback_errors)
        yield errors


def _single(about: About, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(about.name, about.help, value=value)


def _gauge(about: About, values: Mapping[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(about.name, about.help, labels=about.labels)
    for value, count in values.items():
        family.add_metric([value], count)
    return family
