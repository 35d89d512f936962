"""From a CGU and what its clusters have told to rows: pure.

Decided here: what state, cause and rank a cluster has in a list, and what is counted.  Failed clusters
come first, then those that do not get on, then those at work, those that wait, and last those that are
done.  Not here: how a row looks (tables.py, documents.py), what is read (reading.py).
"""

from __future__ import annotations

import datetime as dt
import enum
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from talm.api.cgu import ClusterGroupUpgrade, PrecachingFailure, PrecachingProgress
from talm.api.progress import ProgressRecord
from talm.api.words import BAD_PHASES, FINAL_PHASES, Phase
from talm.cli.told import Records, Told, order_of, told_on
from talm.cli.words import span
from talm.core import clock, precache, report
from talm.core.deadlines import limit_of, stored_clocks
from talm.core.decide import stored_course
from talm.core.explain import CguExplanation, explain_cgu
from talm.core.fleet import stored_phases
from talm.core.model import Rules, Snapshot
from talm.core.progress import stored_tally
from talm.core.specifications import stored_specifications
from talm.core.tally import Tally, add_up

NOTHING_TOLD: Final = "its workload has told nothing yet"
NO_WAIT: Final = dt.timedelta()
_TURNS: Final = frozenset({report.OTHER_CGU, report.SPEC_CHANGED})  # it waits for its turn
_TELLING: Final = BAD_PHASES | {Phase.ACTIVE}


class Rank(enum.IntEnum):
    """How much a cluster wants to be looked at; smaller first."""

    FAILED = 0
    STUCK = 1
    AT_WORK = 2
    BEGINNING = 3
    WAITING = 4
    DONE = 5


@dataclass(frozen=True, slots=True)
class ClusterRow:
    """One cluster.  `waited` is the time in its kind of state; None: unknown.

    `record` None: nothing is known of its progress, `unknown` says why ("": there is none to know).
    `update` is how far its update is, "" before the update begins.  `spec` is the hash of what it has
    begun with where that is not what most clusters have, else "".
    """

    cluster: str
    state: Phase
    rank: Rank
    waited: dt.timedelta | None = None
    record: ProgressRecord | None = None
    unknown: str = ""
    cause: str = ""
    update: str = ""
    spec: str = ""


@dataclass(frozen=True, slots=True)
class CguRow:
    """One CGU: what it waits for, how many clusters are in which state, and its clusters' sums."""

    cgu: ClusterGroupUpgrade
    told: CguExplanation
    states: Mapping[Phase, int]
    tally: Tally
    clusters: tuple[ClusterRow, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def name(self) -> str:
        """`NAMESPACE/NAME`."""
        return "/".join(self.cgu.metadata.key)

    @property
    def total(self) -> int:
        """How many clusters take part in pre-caching."""
        return sum(self.states.values())


def telling_clusters(cgu: ClusterGroupUpgrade) -> list[str]:
    """The clusters whose workload may have something to tell: those at work, and the last words of
    those that failed, which are kept until the CGU ends."""
    return [c for c, phase in stored_phases(cgu.status).items() if phase in _TELLING]


def row_of(cgu: ClusterGroupUpgrade, records: Records, now: dt.datetime) -> CguRow:
    """Put a CGU together with what its clusters have told."""
    order = order_of(cgu)
    clusters = telling_clusters(cgu)
    told = {c: t for c in clusters if (t := told_on(c, order, records)) is not None}
    unknown = {c: why for c in clusters if c not in told and (why := records.why(c))}
    return cgu_row(cgu, told, unknown, now)


def cgu_row(
    cgu: ClusterGroupUpgrade,
    told: Mapping[str, Told],
    unknown: Mapping[str, str],
    now: dt.datetime,
) -> CguRow:
    """Put together what is known; `unknown` says of clusters without a record why ("" of all)."""
    seen = Snapshot(now=now, rules=Rules(), cgu=cgu, clusters={})
    phases = stored_phases(cgu.status)
    at_work = [t.record for c, t in told.items() if phases.get(c) is Phase.ACTIVE]
    updates, entries = _updates(cgu), _entries(cgu)
    specs = stored_specifications(cgu.status)
    differing = specs.of if specs is not None else {}
    rows = [
        _cluster_row(
            seen,
            cluster,
            phase,
            told.get(cluster),
            entry=entries.get(cluster),
            why=unknown.get(cluster) or unknown.get("", "") or NOTHING_TOLD,
            update=updates.get(cluster, ""),
            spec=differing.get(cluster, ""),
        )
        for cluster, phase in phases.items()
    ]
    rows.sort(key=lambda row: (row.rank, row.cluster))
    counted = Counter(phases.values())
    return CguRow(
        cgu,
        explain_cgu(seen),
        {phase: counted[phase] for phase in Phase if counted[phase]},
        _tally(cgu, at_work),
        tuple(rows),
        tuple(_notes(rows)),
    )


def stored_progress(cgu: ClusterGroupUpgrade) -> PrecachingProgress | None:
    """The sums that the operator has stored; None of an older operator or CRD."""
    return cgu.status.precaching.progress if cgu.status.precaching else None


def _tally(cgu: ClusterGroupUpgrade, at_work: Iterable[ProgressRecord]) -> Tally:
    """The stored sums, with what finished clusters had; else those of clusters at work, as far as read."""
    stored = stored_progress(cgu)
    return stored_tally(stored) if stored is not None else add_up(at_work)


def _notes(rows: Iterable[ClusterRow]) -> Iterable[str]:
    """Each reason for which progress is unknown, and of how many clusters."""
    why = Counter(row.unknown for row in rows if row.unknown and row.unknown != NOTHING_TOLD)
    for reason, count in sorted(why.items()):
        yield f"progress of {count} cluster{'' if count == 1 else 's'} unknown: {reason}"


def _entries(cgu: ClusterGroupUpgrade) -> Mapping[str, PrecachingFailure]:
    precaching = cgu.status.precaching
    return {e.cluster: e for e in (precaching.failures if precaching else None) or ()}


def _cluster_row(  # noqa: PLR0913 - each is one thing that is known of a cluster
    seen: Snapshot,
    cluster: str,
    phase: Phase,
    told: Told | None,
    *,
    entry: PrecachingFailure | None,
    why: str,
    update: str,
    spec: str,
) -> ClusterRow:
    waited = _waited(seen, cluster, entry)
    cause, rank = _trouble(seen, phase, waited, told), _rank(phase)
    if entry is not None:
        cause = entry.message
    stuck = cause and not (told is not None and entry is None and _gets_on(told))
    if stuck and phase not in FINAL_PHASES:
        rank = Rank.WAITING if entry is not None and entry.reason in _TURNS else Rank.STUCK
    return ClusterRow(
        cluster,
        phase,
        rank,
        waited,
        told.record if told else None,
        why if phase is Phase.ACTIVE and told is None else "",
        cause,
        update,
        spec,
    )


def _rank(phase: Phase) -> Rank:
    """The rank of a cluster that has no trouble but its state."""
    if phase in BAD_PHASES:
        return Rank.FAILED
    return {
        Phase.SUCCEEDED: Rank.DONE,
        Phase.ACTIVE: Rank.AT_WORK,
        Phase.NOT_STARTED: Rank.WAITING,
    }.get(phase, Rank.BEGINNING)


def _gets_on(told: Told) -> bool:
    """Whether bytes arrive: on a bad line errors pass, and the last one is told until the end."""
    return told.record.bytes_per_s > 0


def _waited(seen: Snapshot, cluster: str, entry: PrecachingFailure | None) -> dt.timedelta | None:
    if entry is not None and entry.since is not None:
        return max(seen.now - entry.since, NO_WAIT)
    stored = stored_clocks(seen.cgu.status).get(cluster)
    return clock.spent(stored, seen.now) if stored is not None else None


def _trouble(seen: Snapshot, phase: Phase, waited: dt.timedelta | None, told: Told | None) -> str:
    """What is odd about a cluster of which the operator says nothing; "" when all is well."""
    if phase in precache.SETUP_PHASES and waited is not None:
        limit = limit_of(seen, phase)
        return f"setting up for {span(waited)} of {span(limit)}" if waited * 2 > limit else ""
    if told is None or phase is not Phase.ACTIVE:
        return ""
    record = told.record
    if not record.error_class:
        return ""
    verb = "last error" if record.bytes_per_s else "nothing arrives, trying again after"
    return f"{verb} {record.error_class}: {record.error_text}"


def _updates(cgu: ClusterGroupUpgrade) -> Mapping[str, str]:
    """How far the update of each cluster is; a cluster that is not in it is absent."""
    course = stored_course(cgu.status)
    found: dict[str, str] = {}
    if course is not None:
        found = {c: f"batch {n}" for n, batch in enumerate(course.plan, 1) for c in batch}
        found |= {c: progress.state for c, progress in course.progress.items()}
    return found | {ended.name: ended.state for ended in cgu.status.clusters or ()}
