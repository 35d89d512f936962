"""`status.precaching.progress`: how far all clusters of a CGU are together."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from .meta import Wire, about


class FinishedSums(Wire, frozen=True, kw_only=True):
    """What clusters had told by the time they finished; their own records are gone with their objects."""

    clusters: Annotated[int, about("How many clusters these sums are of.")] = 0
    images_done: Annotated[int, about("Images that are in their stores.")] = 0
    images_total: Annotated[int, about("Images that they needed.")] = 0
    bytes_done: Annotated[
        int, about("Bytes of images that they have, as registries serve them.", format="int64")
    ] = 0
    bytes_total: Annotated[int, about("Bytes of all images that they needed.", format="int64")] = 0


class PrecachingProgress(Wire, frozen=True, kw_only=True):
    """Counts that are 0 are left out, as everywhere."""

    clusters: Annotated[
        dict[str, int] | None, about("How many clusters are in each state, by state; complete.")
    ] = None
    told: Annotated[
        int,
        about(
            "How many clusters the sums below are of: those whose workload has told how far it is,"
            " in this `attempt`. Nothing is guessed for the others."
        ),
    ] = 0
    images_done: Annotated[int, about("Images that are in their stores.")] = 0
    images_total: Annotated[int, about("Images that they need.")] = 0
    bytes_done: Annotated[
        int,
        about(
            "Bytes of images that they have, as registries serve them, each layer once for each"
            " cluster.",
            format="int64",
        ),
    ] = 0
    bytes_total: Annotated[int, about("Bytes of all images that they need.", format="int64")] = 0
    bytes_per_s: Annotated[
        int,
        about(
            "Bytes that arrive each second on all clusters together; of clusters that are"
            " unavailable nothing is counted.",
            format="int64",
        ),
    ] = 0
    eta_s: Annotated[
        int | None,
        about(
            "Seconds until the slowest of the clusters at work has everything, by their own"
            " estimates: they download side by side. Absent: nobody can tell."
        ),
    ] = None
    without_estimate: Annotated[
        int,
        about(
            "How many clusters that are not at their end have no estimate, those that have not"
            " begun included: it may take longer."
        ),
    ] = 0
    finished: Annotated[
        FinishedSums | None,
        about(
            "What of these sums is of clusters at their end: it stays when their objects on the hub"
            " go away. Of a cluster that failed it is what it had told last."
        ),
    ] = None
    updated_at: Annotated[
        dt.datetime | None,
        about(
            "When `progress` or `failures` was last written. While nothing else changes this is done"
            " at most once a second, and of an object of more than 100 KiB less often: every second"
            " for each 100 KiB."
        ),
    ] = None
