"""How far all clusters of a CGU are together: `status.precaching.progress`.

    finished (stored) ──┐   folded in by the very pass that stores the cluster's end
                        ├──► progress
    at work (seen) ─────┘   read off the records that are there now

A cluster's own record goes away with the objects that carried it; what it had told by its end is kept in
the sums of the finished ones, which a restart finds again in the status.  When clusters are brought up
to date (renewal.py) a new attempt begins, with sums of its own: what one of them had before is not known
one by one any more.  Not here: when progress is written (pace.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

from talm.api.cgu import FinishedSums, PrecachingProgress, PrecachingSpec, PrecachingStatus
from talm.api.meta import changed
from talm.api.progress import ProgressRecord
from talm.api.words import FINAL_PHASES, Phase

from .deadlines import is_running
from .fleet import Phases
from .model import UNSEEN, Snapshot
from .precache import BEFORE_SETUP
from .precache_spec import spec_hash
from .tally import MOST_BYTES, MOST_IMAGES, Tally, add_up, within

NOTHING: Final = PrecachingStatus()


def begins_anew(before: Phases, after: Phases, *, renewed: bool) -> bool:
    """True when a new attempt begins: clusters that had finished are open again, or, as a change of what is
    to be cached takes effect (`renewed`), some that had begun go back to the start."""
    if renewed and any(
        phase is Phase.NOT_STARTED and before.get(cluster, phase) not in BEFORE_SETUP
        for cluster, phase in after.items()
    ):
        return True
    return any(
        phase not in FINAL_PHASES and before.get(cluster) in FINAL_PHASES
        for cluster, phase in after.items()
    )


def attempt(stored: PrecachingStatus | None, spec: PrecachingSpec | None, *, anew: bool) -> int:
    """The number of the attempt; 0 while there is nothing to attempt."""
    if spec is None or spec == PrecachingSpec():
        return (stored or NOTHING).attempt
    return max((stored or NOTHING).attempt, 1) + anew


def name_of(spec: PrecachingSpec | None) -> str:
    """The hash by which the specification on the wire is named; "" while there is none."""
    return "" if spec is None or spec == PrecachingSpec() else spec_hash(spec)


def progress(
    seen: Snapshot, before: Phases, after: Phases, *, anew: bool
) -> PrecachingProgress | None:
    """Sum up; None while no cluster takes part.

    `before` and `after` are the phases as they were stored and as they are stored next: whoever comes to
    its end between them is folded in.
    """
    if not after:
        return None
    stored = (seen.cgu.status.precaching or NOTHING).progress
    known = (stored.finished if stored is not None else None) or FinishedSums()
    finished = _folded(FinishedSums() if anew else known, _ends(seen, before, after))
    at_work = add_up(_records_at_work(seen, after))
    still_open = sum(phase not in FINAL_PHASES for phase in after.values())
    return PrecachingProgress(
        clusters=_by_state(after),
        told=finished.clusters + at_work.records,
        images_done=within(finished.images_done + at_work.images_done, MOST_IMAGES),
        images_total=within(finished.images_total + at_work.images_total, MOST_IMAGES),
        bytes_done=within(finished.bytes_done + at_work.bytes_done, MOST_BYTES),
        bytes_total=within(finished.bytes_total + at_work.bytes_total, MOST_BYTES),
        bytes_per_s=at_work.bytes_per_s,
        eta_s=at_work.eta_s,
        without_estimate=still_open - at_work.records + at_work.unestimated,
        finished=finished if finished.clusters else None,
    )


def at_the_end(known: PrecachingProgress | None, phases: Phases) -> PrecachingProgress | None:
    """What is kept once the CGU is over: nothing arrives any more."""
    if known is None or not phases:
        return None
    return changed(known, clusters=_by_state(phases), bytes_per_s=0, eta_s=None, without_estimate=0)


def stored_tally(known: PrecachingProgress) -> Tally:
    """Stored progress as a tally, for those who show either."""
    return Tally(
        records=known.told,
        images_done=known.images_done,
        images_total=known.images_total,
        bytes_done=known.bytes_done,
        bytes_total=known.bytes_total,
        bytes_per_s=known.bytes_per_s,
        eta_s=known.eta_s,
        unestimated=known.without_estimate,
    )


def _records_at_work(seen: Snapshot, after: Phases) -> Iterator[ProgressRecord]:
    """The records of clusters under way; one of which nothing is heard has no rate and no estimate."""
    for cluster, phase in after.items():
        if phase in FINAL_PHASES or phase in BEFORE_SETUP:
            continue
        record = seen.sights.get(cluster, UNSEEN).record
        if record is None:
            continue
        if not is_running(seen, cluster, phase, held=False):
            record = _standing(record)
        yield record


def _standing(record: ProgressRecord) -> ProgressRecord:
    return ProgressRecord(
        images_done=record.images_done,
        images_total=record.images_total,
        bytes_done=record.bytes_done,
        bytes_total=record.bytes_total,
    )


def _ends(seen: Snapshot, before: Phases, after: Phases) -> Iterator[ProgressRecord]:
    """The last records of clusters that come to their end now.

    A Job succeeds when the store, asked, has every image: that may be seen before the record that says so.
    """
    for cluster, phase in after.items():
        if phase not in FINAL_PHASES or before.get(cluster) in FINAL_PHASES:
            continue
        record = seen.sights.get(cluster, UNSEEN).record
        if record is None:
            continue
        if phase is Phase.SUCCEEDED:
            record = changed(record, images_done=record.images_total, bytes_done=record.bytes_total)
        yield record


def _folded(known: FinishedSums, ended: Iterable[ProgressRecord]) -> FinishedSums:
    more = add_up(ended)
    return FinishedSums(
        clusters=known.clusters + more.records,
        images_done=within(known.images_done + more.images_done, MOST_IMAGES),
        images_total=within(known.images_total + more.images_total, MOST_IMAGES),
        bytes_done=within(known.bytes_done + more.bytes_done, MOST_BYTES),
        bytes_total=within(known.bytes_total + more.bytes_total, MOST_BYTES),
    )


def _by_state(phases: Phases) -> dict[str, int]:
    counted = Counter(phases.values())
    return {phase.value: counted[phase] for phase in Phase if counted[phase]}
