"""What the workload tells: its record in a ConfigMap, and one exit code per class of failure.

Written on the spoke (`agent/progress.py`), read on the hub.  The record is one JSON document under
one key, so that a merge patch replaces it whole and a reader never sees half of two records.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Mapping
from typing import Final

import msgspec

from .meta import Wire

PROGRESS_CONFIG_MAP: Final = "pre-cache-progress"
RECORD_KEY: Final = "record"


class RunPhase(enum.StrEnum):
    """How far one run of the workload is."""

    STARTING = "Starting"
    RESOLVING = "Resolving"
    DOWNLOADING = "Downloading"
    VERIFYING = "Verifying"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class FailureClass(enum.StrEnum):
    """Why a run failed: the first word of the termination message, and of the record's error."""

    INVALID_SPEC = "InvalidSpec"
    RELEASE_UNREADABLE = "ReleaseUnreadable"
    CATALOG_UNREADABLE = "CatalogUnreadable"
    PACKAGE_NOT_FOUND = "PackageNotFound"
    IMAGE_NOT_FOUND = "ImageNotFound"
    UNAUTHORIZED = "Unauthorized"
    REGISTRY_UNREACHABLE = "RegistryUnreachable"
    INSUFFICIENT_SPACE = "InsufficientSpace"
    STORE_FAILED = "StoreFailed"
    PARTLY_CACHED = "PartlyCached"
    INTERRUPTED = "Interrupted"


EXIT_CODES: Final = {
    # From 10 on: 1 is Python's for a crash, 2 is click's for a wrong flag, 126 and up the shell's.
    FailureClass.INVALID_SPEC: 10,
    FailureClass.RELEASE_UNREADABLE: 11,
    FailureClass.CATALOG_UNREADABLE: 12,
    FailureClass.PACKAGE_NOT_FOUND: 13,
    FailureClass.IMAGE_NOT_FOUND: 14,
    FailureClass.UNAUTHORIZED: 15,
    FailureClass.REGISTRY_UNREACHABLE: 16,
    FailureClass.INSUFFICIENT_SPACE: 17,
    FailureClass.STORE_FAILED: 18,
    FailureClass.PARTLY_CACHED: 19,
    FailureClass.INTERRUPTED: 20,
}
REJECTED_CODE: Final = 21
"""StoreFailed as well, but for good: the node's policy does not admit an image."""

CLASS_OF_CODE: Final = {
    **{code: kind for kind, code in EXIT_CODES.items()},
    REJECTED_CODE: FailureClass.STORE_FAILED,
}


class FailedImage(Wire, frozen=True, kw_only=True):
    """One image that could not be brought; `image` is "" where the text alone names it.

    Where every node pulls, an entry is about a whole `node`, which the text names, too.
    """

    image: str = ""
    node: str = ""
    error_class: str = ""
    error_text: str = ""


class ProgressRecord(Wire, frozen=True, kw_only=True):
    """One look at a run.  Counts never go backwards but when `restarts` has grown.

    `run` names the run (the pod's uid where there is one): a record of another run is old.
    Bytes are compressed bytes as the registry serves them, blobs counted once; totals are 0
    until the manifests have been read.  `bytes_per_s` is over the last half minute, `eta_s` what
    the rest takes at that rate (None: unknown).  `attempt` counts the Job's pods, `earlier` says
    of each before this one how it ended.
    `error_class` is "" while nothing has failed; with phase Failed it is final, before that it is
    the last thing that was tried again.  `pinned`: whether every image so far is safe from the
    node's garbage collection; None before the first, `not_pinned` says why where it is not.
    `failed` and, after a failure, `missing` (neither here nor failed) name images; these lists and
    `warnings` are cut where the record would be too long, the counts are not.  `lines` is what happened
    last, oldest first, each with its time (UTC): for people.
    """

    run: str = ""
    phase: str = RunPhase.STARTING
    images_done: int = 0
    images_total: int = 0
    images_failed: int = 0
    images_missing: int = 0
    nodes_done: int = 0
    nodes_total: int = 0
    nodes_failed: int = 0
    bytes_done: int = 0
    bytes_total: int = 0
    bytes_per_s: int = 0
    eta_s: int | None = None
    current_image: str = ""
    restarts: int = 0
    attempt: int = 1
    earlier: tuple[str, ...] = ()
    error_class: str = ""
    error_text: str = ""
    failed: tuple[FailedImage, ...] = ()
    missing: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    warnings_total: int = 0
    lines: tuple[str, ...] = ()
    pinned: bool | None = None
    not_pinned: str = ""
    heartbeat: dt.datetime | None = None


_RECORD: Final = msgspec.json.Decoder(ProgressRecord)


def read_record(data: Mapping[str, str]) -> ProgressRecord | None:
    """The record in the data of the workload's ConfigMap; None when there is none that can be read.

    Whoever runs the spoke may have written anything there, such as a million brackets.
    """
    try:
        return _RECORD.decode(data.get(RECORD_KEY, ""))
    except (ValueError, RecursionError):
        return None
