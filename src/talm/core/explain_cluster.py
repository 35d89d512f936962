"""Whom or what one cluster of a CGU waits for: the state table and the clocks, read back.

The table (`precache.py`) says whom a state waits for, `failures` what is in the way, `clock.py` how long
yet.  What could not be read is absent from the snapshot, and the explanation says less.  Deadlines are
those of the snapshot's `Rules`, which the asker may have to take on trust.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Final

from talm.api.cgu import CguStatus, PrecachingFailure
from talm.api.words import FINAL_PHASES, Hindrance, Phase

from . import advice, clock, hindrances, precache, report, silence
from .deadlines import is_running, limit_of, stored_clocks
from .decide import stored_course
from .explain import Explanation, Situation, explain_cgu, filled
from .fleet import stored_phases
from .model import Fact, Sight, Snapshot
from .specifications import stored_specifications
from .turns import awaited_now
from .verification import VERIFYING, known_to_be_cached


def explain_row(phase: Phase, fact: Fact) -> Explanation:
    """Explain a row of the state table; the names in its advice are not filled in.

    Raises `precache.ImpossibleFact` for a pair that is no row; final states are no rows.
    """
    step = precache.advance(phase, fact)
    waits = step.waits_for
    if not waits and step.effects:
        waits = f"the operator to {'; to '.join(effect.value for effect in step.effects)}"
    if not waits:
        waits = f"the operator to enter the state {step.goto}"
    return Explanation(waits, advice.for_row(phase, fact))


def explain_cluster(seen: Snapshot, cluster: str) -> Explanation:
    """Explain one cluster of the CGU; of many use one `Explainer`."""
    return Explainer(seen).explain(cluster)


class Explainer:
    """Explains the clusters of one snapshot; what is true of all of them is found out once."""

    def __init__(self, seen: Snapshot) -> None:
        status = seen.cgu.status
        self._seen = seen
        self._whole = explain_cgu(seen)
        self._phases = stored_phases(status)
        self._course = course = stored_course(status)
        self._asked = awaited_now(course, self._phases) if course is not None else ()
        self._outcomes = {c.name: c for c in status.clusters or ()}
        found = (status.precaching.failures if status.precaching else None) or ()
        self._entries = {entry.cluster: entry for entry in found}

    def explain(self, cluster: str) -> Explanation:
        """Explain one cluster.

        One without a sight in the snapshot could not be looked at: its state alone is explained.
        """
        return filled(self._explain(cluster), self._seen, cluster)

    def _explain(self, cluster: str) -> Explanation:
        phase = self._phases.get(cluster)
        entry = self._entries.get(cluster)
        if phase is None or phase is Phase.SUCCEEDED:
            return self._beyond_precaching(cluster, phase)
        if phase in FINAL_PHASES:
            text = entry.message if entry is not None else ""
            do = advice.for_failure(phase, text)
            since = entry.since if entry is not None else None
            waits = "nobody: it has failed and is left out of the update"
            return Explanation(waits, do, text, since)
        if entry is not None and entry.reason not in {*hindrances.REASONS, VERIFYING}:
            return _in_its_way(self._seen, cluster, entry)
        whole = self._whole
        at_work = whole.situation is Situation.PRECACHING or cluster in self._asked
        if phase in precache.BEFORE_SETUP and not at_work:
            return whole.why
        row = _with_hindrance(
            _row(self._seen, cluster, phase), self._seen.sights.get(cluster), entry
        )
        if entry is not None and entry.reason == VERIFYING:
            row = replace(row, seen=f"{entry.message}; {row.seen}" if row.seen else entry.message)
        return _timed(self._seen, cluster, phase, row)

    def _cached(self, cluster: str) -> str:
        """What is known of its images."""
        stored = stored_specifications(self._seen.cgu.status)
        wanted = stored.hash_of(cluster) if stored is not None else ""
        return known_to_be_cached(self._seen.records.get(cluster), wanted) or "pre-cached"

    def _beyond_precaching(self, cluster: str, phase: Phase | None) -> Explanation:
        """It has its images, or needs none: the update, or what the whole CGU waits for."""
        why, course = self._whole.why, self._course
        outcome = self._outcomes.get(cluster)
        if outcome is not None:
            policy = outcome.current_policy.name if outcome.current_policy else ""
            text = f"{outcome.state}{f' at policy {policy}' if policy else ''}"
            do = advice.NOTHING if not policy else advice.ENDED_BADLY
            return Explanation("nobody: its update is over", do, text)
        if course is not None and cluster in course.progress:
            index = course.progress[cluster].policy_index or 0
            name = course.policies[index].name if index < len(course.policies) else ""
            waits = f"the cluster to comply with policy {name}"
            return replace(why, waits_for=waits, seen="")
        entry = self._entries.get(cluster)
        parts = (
            self._cached(cluster) if phase is Phase.SUCCEEDED else "",
            entry.message if entry is not None and entry.reason == report.REMOVAL_FAILED else "",
            why.seen,
        )
        return replace(why, seen="; ".join(part for part in parts if part))


def failure_of(status: CguStatus, cluster: str) -> PrecachingFailure | None:
    """The entry of `failures` about this cluster."""
    found = (status.precaching.failures if status.precaching else None) or ()
    return next((entry for entry in found if entry.cluster == cluster), None)


def _with_hindrance(
    row: Explanation, sight: Sight | None, known: PrecachingFailure | None
) -> Explanation:
    """The row with what is in the way, where something is."""
    found = hindrances.seen_in_the_way(sight, known)
    if found is None:
        return row
    reason, text = found
    waits = f"{hindrances.POD} to start" if reason == Hindrance.POD_NOT_READY else row.waits_for
    return Explanation(waits, hindrances.what_to_do(reason, text) or row.do, text)


def _row(seen: Snapshot, cluster: str, phase: Phase) -> Explanation:
    sight = seen.sights.get(cluster)
    if sight is None:
        return _BLIND[phase]
    try:
        row = explain_row(phase, sight.fact)
    except precache.ImpossibleFact:
        return Explanation(
            "the operator", advice.BY_CAUSE[report.UNEXPECTED], sight.note or sight.fact.value
        )
    return Explanation(row.waits_for, row.do, sight.note or sight.fact.value)


_BLIND: Final = {
    Phase.NOT_STARTED: Explanation("the operator to begin with this cluster", advice.OPERATOR),
    Phase.PREPARING: Explanation(
        "leftovers of earlier runs to be gone", advice.BY_PARTY[precache.DELETION]
    ),
    Phase.STARTING: Explanation(
        "the Job and what it needs to be created", advice.BY_PARTY[precache.ACTION_AGENT]
    ),
    Phase.ACTIVE: Explanation(precache.JOB, advice.BY_PARTY[precache.JOB]),
}


def _timed(seen: Snapshot, cluster: str, phase: Phase, why: Explanation) -> Explanation:
    """With the clock of the cluster's deadline, which may stand still."""
    stored = stored_clocks(seen.cgu.status).get(cluster)
    spent = clock.spent(stored, seen.now)
    known = cluster not in seen.clusters or is_running(seen, cluster, phase, held=False)
    runs = stored is not None and stored.since is not None and known
    bad = Phase.FAILED if phase in precache.SETUP_PHASES else Phase.TIMED_OUT
    return Explanation(
        why.waits_for,
        why.do,
        why.seen,
        since=seen.now - spent if stored is not None else None,
        until=seen.now + limit_of(seen, phase) - spent if runs else None,
        then=f"it fails as {bad}" if runs else "",
    )


def _in_its_way(seen: Snapshot, cluster: str, entry: PrecachingFailure) -> Explanation:
    """An open cluster that something outside its ordinary course keeps from getting on."""
    waits = {
        report.OTHER_CGU: f"the older CGU {entry.message.removeprefix('waiting for ')}",
        report.UNAVAILABLE: "the cluster to be available",
        report.SILENT: "the cluster to be heard again",
        report.SPEC_CHANGED: "the attempts under way on other clusters to end",
        report.SPEC_UNKNOWN: "what it is to cache to be known",
    }.get(entry.reason, "the operator to try again")
    why = Explanation(waits, advice.for_failure(entry.reason, entry.message), entry.message)
    since = _gone_since(seen, cluster, entry)
    if since is not None and seen.cgu.spec.enable:
        until = since + seen.rules.unavailable_grace
        then = f"it fails as {Phase.FAILED}, since the CGU is enabled"
        return Explanation(waits, why.do, why.seen, since, until, then)
    noticed = since if entry.reason == report.SILENT else entry.since
    return Explanation(waits, why.do, why.seen, noticed)


def _gone_since(seen: Snapshot, cluster: str, entry: PrecachingFailure) -> dt.datetime | None:
    """Since when nothing is known of a cluster that is unavailable or silent; None: it is neither."""
    if entry.reason == report.SILENT:
        return silence.read_since(entry.message)
    known = seen.clusters.get(cluster)
    gone = entry.reason == report.UNAVAILABLE and known is not None and not known.available
    return known.since if gone and known is not None else None
