"""What outlives a run on the hub: one ConfigMap in the namespace of each cluster that was pre-cached.

Written by the operator when a cluster ends, well or badly; the next end replaces it.  Values are text
because those of a ConfigMap are, so that whatever somebody wrote there can be decoded.
"""

from __future__ import annotations

from typing import Final

import msgspec

from .meta import ObjectMeta, Wire

CACHE_RECORD: Final = "precache-record"


class CacheRecord(Wire, frozen=True, kw_only=True):
    """The ConfigMap's data; what is not known is absent.

    `spec_hash` names the specification (core/precache_spec.spec_hash), `at` is when the cluster ended
    (RFC 3339, UTC), `result` its final state, `reason` why a bad one.  `images` and `byte_count`
    (compressed) are what the workload told to be there.  `pinned` is `true` or `false`.  `cgu` is
    NAMESPACE/NAME, `run` the run's name as in labels.
    """

    spec_hash: str = ""
    at: str = ""
    result: str = ""
    reason: str = ""
    images: str = ""
    byte_count: str = msgspec.field(name="bytes", default="")
    pinned: str = ""
    run: str = ""
    cgu: str = ""


class RecordMap(Wire, frozen=True, kw_only=True):
    """The ConfigMap."""

    metadata: ObjectMeta = ObjectMeta()
    data: CacheRecord | None = None
