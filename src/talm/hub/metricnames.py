"""Every metric of the operator: its name, type, labels and what it tells; and the page of them all.

No label per cluster: a fleet of 10,000 would block the loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class About:
    """One metric as it is scraped, and as the reference page tells of it."""

    name: str
    type: str
    help: str
    labels: tuple[str, ...] = ()


# --- what the CGUs' statuses say; the same on every replica ---

CLUSTERS: Final = About(
    "talm_precache_clusters",
    "gauge",
    "Clusters by state of pre-caching, all CGUs.",
    ("state",),
)
FAILURES: Final = About(
    "talm_precache_failures",
    "gauge",
    "Clusters that failed or wait, by class of the failure, or by reason where there is no class; all "
    "CGUs.",
    ("class",),
)
IMAGES: Final = About(
    "talm_precache_images",
    "gauge",
    "Images that clusters have (done) and need (total), as far as they have told; all CGUs.",
    ("amount",),
)
BYTES: Final = About(
    "talm_precache_bytes",
    "gauge",
    "Bytes of images that clusters have (done) and need (total), as far as they have told; all CGUs.",
    ("amount",),
)
RATE: Final = About(
    "talm_precache_bytes_per_second",
    "gauge",
    "Bytes that arrive each second on all clusters together.",
)
TOLD: Final = About(
    "talm_precache_clusters_told",
    "gauge",
    "Clusters that images and bytes are of: those whose workload has told how far it is.",
)
ATTEMPTS: Final = About(
    "talm_precache_attempts",
    "gauge",
    "How often downloading was begun for the clusters of a CGU, all CGUs: more than one each when what "
    "is to be cached has changed.",
)
CGUS: Final = About(
    "talm_cgus", "gauge", "ClusterGroupUpgrades by whether they have ended: open, over.", ("state",)
)

# --- what this process has done ---

TOOK: Final = About(
    "talm_precache_seconds",
    "histogram",
    "Time of pre-caching on one cluster from its beginning to its end, in seconds, by final state. Each "
    "run counts, also one that finds everything there.",
    ("state",),
)
SETUP_TOOK: Final = About(
    "talm_precache_setup_seconds",
    "histogram",
    "Time from the beginning of pre-caching on one cluster until its Job was active, in seconds.",
)
POD_RETRIES: Final = About(
    "talm_precache_pod_retries_total",
    "counter",
    "Pods of the workload beyond the first of each Job, counted when the cluster comes to its end.",
)
STEP_RETRIES: Final = About(
    "talm_precache_step_retries_total",
    "counter",
    "Steps on a cluster that failed because a request to the API server did; each is tried again.",
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
LEADING: Final = About(
    "talm_leading", "gauge", "1 on the replica that has the Lease and works, 0 on one that waits."
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

OF_STATUSES: Final = (CLUSTERS, FAILURES, IMAGES, BYTES, RATE, TOLD, ATTEMPTS, CGUS)
OF_THIS_PROCESS: Final = (
    TOOK,
    SETUP_TOOK,
    POD_RETRIES,
    STEP_RETRIES,
    PASSES,
    PASS_SECONDS,
    QUEUE,
    CALLS,
    CALL_SECONDS,
    LIMIT,
    LEADING,
    OBJECTS,
    QUARANTINED,
    UNHANDLED,
)
CATALOG: Final = OF_STATUSES + OF_THIS_PROCESS


def to_markdown() -> str:
    """The reference page of all metrics."""
    return (
        "# Metrics of the operator\n\n"
        "Made from `src/talm/hub/metricnames.py` by `make docs`; do not edit.\n\n"
        "Served at `/metrics` of the setting `bind-address` in Prometheus' text format. No metric has a "
        "label per cluster, so the size of a scrape does not grow with the fleet. Which of them are worth "
        "an alarm: [monitor](../howto/monitor.md).\n\n"
        "## What the CGUs say\n\n"
        "Read off the hub at the scrape: these figures equal the statuses of the CGUs at that moment, and "
        "go with them when they are deleted. Every replica tells the same: take `max`, not `sum`.\n\n"
        + _table(OF_STATUSES)
        + "\n## What the process has done\n\n"
        "Counters and histograms begin at 0 with each process; a replica that waits for the Lease counts "
        "only its own few requests. Of a cluster that was `Active` when the process was started, the time "
        "is counted from there.\n\n" + _table(OF_THIS_PROCESS)
    )


def _table(metrics: tuple[About, ...]) -> str:
    rows = ["| metric | type | labels | what |", "|---|---|---|---|"]
    for about in metrics:
        labels = ", ".join(f"`{label}`" for label in about.labels)
        rows.append(f"| `{about.name}` | {about.type} | {labels} | {about.help} |")
    return "\n".join(rows) + "\n"
