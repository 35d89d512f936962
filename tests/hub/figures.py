"""The same figures twice: as the CGUs on a hub say, added up by hand, and as they are scraped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

# `metric/label value` -> sum; what is 0 is left out
Figures = dict[str, float]
SUMS: Final = {
    "images/done": "imagesDone",
    "images/total": "imagesTotal",
    "bytes/done": "bytesDone",
    "bytes/total": "bytesTotal",
    "bytes_per_second/": "bytesPerS",
    "clusters_told/": "told",
}
SCRAPED: Final = {f"talm_precache_{name.partition('/')[0]}" for name in SUMS} | {
    "talm_precache_clusters",
    "talm_precache_failures",
    "talm_precache_attempts",
}


def added_up(cgus: Iterable[Mapping[str, Any]]) -> Figures:
    """What the CGUs say, as their bodies are on the API server."""
    found: Counter[str] = Counter()
    for body in cgus:
        block = (body.get("status") or {}).get("precaching") or {}
        found.update(f"clusters/{word}" for word in (block.get("status") or {}).values())
        for name, field in SUMS.items():
            found[name] += (block.get("progress") or {}).get(field, 0)
        for name, count in (block.get("failuresByClass") or {}).items():
            found[f"failures/{name}"] += count
        found["attempts/"] += block.get("attempt", 0)
    return {name: value for name, value in found.items() if value}


def scraped(text: str) -> Figures:
    """The same figures out of a scrape."""
    return {
        f"{s.name.removeprefix('talm_precache_')}/{next(iter(s.labels.values()), '')}": s.value
        for family in text_string_to_metric_families(text)
        if family.name in SCRAPED
        for s in family.samples
        if s.value
    }


def measured(text: str) -> Figures:
    """How many ends were measured, by final state, and pods beyond the first of a Job as `retries`."""
    found = {}
    for family in text_string_to_metric_families(text):
        for s in family.samples:
            if s.value and s.name == "talm_precache_seconds_count":
                found[s.labels["state"]] = s.value
            if s.value and s.name == "talm_precache_pod_retries_total":
                found["retries"] = s.value
    return found
