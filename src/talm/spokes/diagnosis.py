"""Why a Job's pod does not get ready, whichever way leads to the cluster.

    the Job without a ready pod for 60 s ─► a pod like its own ─► refused? scheduled? waiting for what?
    the Job's pod is ready ─► that pod goes

The Job itself only counts pods, and their names are random: no agent can be asked about them.  So one
pod of a fixed name is made that is like the Job's in all but its command, and it is asked about.
Decided here: when that is due, and how it is told.  What the pod is like: diagnosispod.py; how it is
made and read: viewdiagnosis.py, workdiagnosis.py.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from talm.api.ocm import JobStatus, ViewedStatus
from talm.api.words import Hindrance
from talm.core.hindrances import POD
from talm.core.model import Fact, Sight
from talm.spokes.jobs import BAD_ENDS
from talm.spokes.podcause import has_started, is_being_prepared, one_line, pod_cause

PATIENCE: Final = dt.timedelta(seconds=60)
_UNDER_WAY: Final = frozenset({Fact.JOB_ACTIVE, Fact.JOB_PENDING})
_DUE: Final = {Fact.JOB_ACTIVE: Fact.JOB_UNREADY, Fact.JOB_PENDING: Fact.JOB_PODLESS}

NOT_READY: Final = f"{POD} does not get ready"
REFUSED: Final = f"{POD} is refused"
ASKED: Final = f"{NOT_READY}; a pod like it was asked for, to see why"
SCHEDULING: Final = f"{NOT_READY}; a pod like it waits for a node"
PREPARED: Final = (
    f"{NOT_READY}; the node prepares a pod like it: its image, volumes, or network take long"
)
STARTS: Final = f"{NOT_READY}, although a pod like it starts"

# What the API server refuses will be refused again: Pod Security, SCC, quota, webhooks, validation.
_REFUSAL: Final = re.compile(
    r"forbidden|denied the request|exceeded quota|is invalid", re.IGNORECASE
)
# The agents' own words before the API server's.
_PREAMBLE: Final = re.compile(
    r"^(failed to handle Create action with err|Failed to apply manifest): *", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is known of the pod that is to tell why.

    `asked`: it was asked for, whatever has become of that.  `due`: something about it has to be asked
    (again).  `text`: what it tells; `told`: that is a cause, not just how far the asking is.
    """

    asked: bool = False
    due: bool = False
    text: str = ""
    told: bool = False
    recheck: dt.timedelta | None = None


NO_DIAGNOSIS: Final = Diagnosis()


def of_pod(status: ViewedStatus | None) -> Diagnosis:
    """What a pod that was made and looked at tells."""
    if status is None:
        return Diagnosis(asked=True, text=ASKED)
    if has_started(status):
        return Diagnosis(asked=True, text=STARTS)
    cause = pod_cause(status)
    if cause:
        return Diagnosis(asked=True, text=f"{NOT_READY}: {cause}", told=True)
    return Diagnosis(asked=True, text=PREPARED if is_being_prepared(status) else SCHEDULING)


def of_refusal(words: str) -> Diagnosis:
    """What it tells that the pod was not made."""
    return Diagnosis(asked=True, text=f"{REFUSED}: {one_line(_PREAMBLE.sub('', words))}", told=True)


def is_refusal(words: str) -> bool:
    """Whether the API server has judged the pod: another try would end the same way."""
    return bool(_REFUSAL.search(words))


@dataclass(slots=True)
class Stalls:
    """Since when each cluster's Job is seen without a ready pod, by the hub's clock.

    Memory only: after a restart a Job is given its time anew.
    """

    _since: dict[str, tuple[str, dt.datetime]] = field(default_factory=dict)

    def seen(self, cluster: str, run: str, now: dt.datetime) -> dt.timedelta:
        """Take note of it; how long it has been so."""
        known = self._since.get(cluster)
        if known is None or known[0] != run:
            known = self._since[cluster] = (run, now)
        return now - known[1]

    def over(self, cluster: str) -> None:
        """It is not so (any more)."""
        self._since.pop(cluster, None)


def concerns(sight: Sight) -> bool:
    """Whether what is seen is a Job that may have no ready pod, or that ended without one."""
    return sight.fact in _UNDER_WAY or sight.fact in BAD_ENDS


def with_diagnosis(
    sight: Sight,
    job: JobStatus | None,
    found: Diagnosis,
    unready_for: dt.timedelta = dt.timedelta(0),
) -> Sight:
    """What is seen of the Job, with what is known of why its pod does not get ready.

    `unready_for`: how long it has been seen so.
    """
    if sight.fact in BAD_ENDS:
        return replace(sight, note=f"{sight.note}; {found.text}") if found.told else sight
    if sight.fact not in _UNDER_WAY:
        return sight
    if found.asked and job is not None and (job.ready or 0) > 0:
        return replace(sight, fact=Fact.JOB_RECOVERED)
    if not is_unready(sight, job):
        return sight
    if found.asked:
        fact = _DUE[sight.fact] if found.due else sight.fact
        recheck = _sooner(sight.recheck, found.recheck)
        return replace(
            sight,
            fact=fact,
            note=found.text,
            hindrance=Hindrance.POD_NOT_READY,
            recheck=recheck,
        )
    left = PATIENCE - unready_for
    if left > dt.timedelta(0):
        return replace(sight, recheck=_sooner(sight.recheck, left))
    return replace(sight, fact=_DUE[sight.fact], note=NOT_READY, hindrance=Hindrance.POD_NOT_READY)


def is_unready(sight: Sight, job: JobStatus | None) -> bool:
    """Whether the Job is under way and told to have no ready pod.

    Kubernetes before 1.24 counts no ready pods, and then nothing is told.  Between two attempts of a
    workload that has spoken there is no pod either: what ended the first one is in its record.
    """
    if job is None:
        return False
    if sight.fact is Fact.JOB_ACTIVE:
        return job.ready == 0
    return sight.fact is Fact.JOB_PENDING and not (job.failed and _has_spoken(sight.progress))


def _has_spoken(progress: Mapping[str, str]) -> bool:
    return bool(progress)


def _sooner(one: dt.timedelta | None, other: dt.timedelta | None) -> dt.timedelta | None:
    both = [moment for moment in (one, other) if moment is not None]
    return min(both, default=None)
