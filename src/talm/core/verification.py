"""Still cached?  What a cluster's record says, and who is asked to verify before its update starts.

    no record, another specification, a bad end, too old ──► unverified ──► back to NotStarted

A run of the workload on a cluster that has everything *is* the verification: it asks the store, and
pulls only what has gone.  So an unverified cluster goes the way of pre-caching once more, with its
clocks and deadlines, and the update waits for it; one that cannot be verified is left out and named.
Nobody is asked twice for one start: since the status says `verifyingSince`, whoever has succeeded counts.
Not here: whose turn it is (decide.py: before the update starts all together; turns.py: later ones batch by
batch); how a record comes to the hub and back (hub/records.py).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from talm.api.cacherecord import CacheRecord
from talm.api.cgu import CguStatus, PrecachingSpec
from talm.api.progress import ProgressRecord, RunPhase
from talm.api.words import BAD_PHASES, FINAL_PHASES, Phase

from .model import Move, Snapshot
from .precache_spec import spec_hash

VERIFYING: Final = "VerifyingCache"
# An API server takes 1 MiB, a reader one sentence.
LONGEST_REASON: Final = 1024


def ends(seen: Snapshot, move: Move) -> bool:
    """Whether the move brings a cluster to its end; a farewell to one that has ended does not."""
    stored = seen.cgu.status.precaching
    before = (stored.status if stored else None) or {}
    return move.goto in FINAL_PHASES and before.get(move.cluster) not in FINAL_PHASES


def record_of(
    move: Move,
    *,
    spec: PrecachingSpec,
    run: str,
    cgu: str,
    now: dt.datetime,
    told: ProgressRecord | None,
) -> CacheRecord:
    """What is to be remembered of a cluster that has ended.

    `told` is the workload's last word, which may be older than the Job's: where the Job has succeeded,
    everything that was to be done is.
    """
    goto = move.goto or Phase.FAILED
    images = size = pinned = ""
    if told is not None:
        final = told.phase == RunPhase.SUCCEEDED
        whole = goto is Phase.SUCCEEDED and not final
        images = str(told.images_total if whole else told.images_done)
        size = str(told.bytes_total if whole else told.bytes_done)
        pinned = "" if told.pinned is None or not final else str(told.pinned).lower()
    return CacheRecord(
        spec_hash=spec_hash(spec),
        at=f"{now:%Y-%m-%dT%H:%M:%SZ}",
        result=goto.value,
        reason=move.why[:LONGEST_REASON] if goto in BAD_PHASES else "",
        images=images,
        byte_count=size,
        pinned=pinned,
        run=run,
        cgu=cgu,
    )


def cached_at(record: CacheRecord | None, wanted: str) -> dt.datetime | None:
    """When everything of the specification with this hash was last known to be there; None: never.

    Whose run it was does not matter.  What cannot be read says nothing.
    """
    if record is None or record.result != Phase.SUCCEEDED or record.spec_hash != wanted:
        return None
    try:
        found = dt.datetime.fromisoformat(record.at)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def verifying_since(status: CguStatus) -> dt.datetime | None:
    """Since when clusters are being verified for the start, of the update or a batch, that is ahead; None:
    they are not."""
    return status.precaching.verifying_since if status.precaching else None


def send_back(
    seen: Snapshot, clusters: Iterable[str], hash_of: Callable[[str], str]
) -> tuple[Move, ...]:
    """Those of the clusters, all pre-cached, that nobody has verified lately, back to the start.

    `hash_of` names what is wanted on a cluster.  No effect goes with a move: what is left on the hub
    or the spoke goes with the first step from there.
    """
    limit = seen.rules.verify_after
    if limit is None:
        return ()
    moves = []
    for cluster in clusters:
        at = cached_at(seen.records.get(cluster), hash_of(cluster))
        # A record of the future is one of a clock that was wrong.
        if at is None or abs(seen.now - at) > limit:
            moves.append(Move(cluster, Phase.NOT_STARTED))
    return tuple(moves)


def reasons(seen: Snapshot, phases: Mapping[str, Phase], ahead: str) -> dict[str, tuple[str, str]]:
    """Reason and message, for users, of the open clusters while clusters are asked before what is `ahead`."""
    return {
        cluster: (VERIFYING, why(seen.records.get(cluster), ahead))
        for cluster, phase in phases.items()
        if phase not in FINAL_PHASES
    }


def why(record: CacheRecord | None, ahead: str) -> str:
    """Why a cluster is asked, for its user; up to the colon it is the same for all."""
    asked = f"asked whether everything is still cached before {ahead}"
    if record is None or record.result != Phase.SUCCEEDED or not record.at:
        return f"{asked}: no record on the hub says that it was"
    return f"{asked}: it was at {record.at}"


def known_to_be_cached(record: CacheRecord | None, wanted: str) -> str:
    """What the record says of the specification with this hash, for people; "" when nothing."""
    at = cached_at(record, wanted)
    if record is None or at is None:
        return ""
    pinned = {"true": ", pinned", "false": ", not pinned"}.get(record.pinned, "")
    return f"cached for this specification at {at:%Y-%m-%dT%H:%M:%SZ}{pinned}"
