"""What views and actions of one cluster say together: one fact.

    the Job, when it is seen ─► the end of the run ─► the question about the Job ─► the setup
    ─► the namespace

The first that has something to say wins.  Views are the truth about the spoke; an action only tells
whether to wait, to ask again or to try again, since its end may get lost.  Nothing here compares an
answer with a clock: times on a view may lie long before the view, and a dead spoke's last answer
looks like a live one's.
Not here: the setup's own rules (setup.py), what is done about a fact (core/precache.py, effects.py).
"""

from __future__ import annotations

import datetime as dt

from talm.api.ocm import ViewedObject
from talm.api.words import Action, View
from talm.core.model import Fact, Sight
from talm.spokes.answers import Answer, Deed, Question, State
from talm.spokes.base import Order
from talm.spokes.goingnamespace import GOING, going
from talm.spokes.jobs import BAD_ENDS, ENDS, job_fact, told_whole
from talm.spokes.lastlook import last_look
from talm.spokes.lastwords import last_words
from talm.spokes.profile import Profile
from talm.spokes.seen import (
    Seen,
    is_others,
    is_stale,
    namespace_is_lost,
    retry,
    wants_new_deadline,
)
from talm.spokes.setup import broken_need, setup_fact


def judge(seen: Seen, profile: Profile, order: Order) -> Sight:
    """Tell the one fact about this cluster."""
    job = seen.view(View.JOB)
    if job.answer is Answer.FOUND:
        return _job_seen(job.result, seen, profile, order)
    if seen.has_succeeded() or seen.action(Action.NS_DELETE).succeeded == order.run:
        return Sight(Fact.JOB_SUCCEEDED, "the Job had succeeded when the clean-up was requested")
    if job.answer is not Answer.UNASKED:
        return _job_asked(job, seen, profile, order)
    return setup_fact(seen, profile, order) or _namespace(seen, profile)


# ---- the Job is seen -------------------------------------------------------------------------------


def _job_seen(result: ViewedObject | None, seen: Seen, profile: Profile, order: Order) -> Sight:
    uid = result.metadata.uid if result else ""
    if (uid and seen.is_old_job(uid)) or (result and is_others(result, profile, order)):
        return Sight(Fact.JOB_OTHER, "the Job on the cluster is of another run")
    fact, note = job_fact(result)
    if fact not in ENDS and not _is_running(result):
        broken = broken_need(seen, profile)
        if broken is not None:
            return broken
    waiting = last_look(seen, profile) if fact in BAD_ENDS else None
    if waiting is not None:
        return waiting
    progress = _progress(seen, profile, order)
    if fact in BAD_ENDS:
        note = told_whole(note, last_words(progress))
    return Sight(fact, note, progress=progress)


def _is_running(result: ViewedObject | None) -> bool:
    """Whether the pod runs as far as is told; without a count of ready pods, active ones count."""
    status = result.status if result else None
    if status is None or not status.active:
        return False
    return status.ready is None or status.ready > 0


def _progress(seen: Seen, profile: Profile, order: Order) -> dict[str, str]:
    """The workload's record as its view shows it; empty when there is none of this run."""
    if View.PROGRESS not in profile.job_views:
        return {}
    result = seen.view(View.PROGRESS).result
    if result is None or is_others(result, profile, order):
        return {}
    return result.data or {}


# ---- the Job is asked about, and not seen ----------------------------------------------------------


def _job_asked(job: Question, seen: Seen, profile: Profile, order: Order) -> Sight:
    deed = seen.action(Action.JOB_CREATE)
    again = Fact.SETUP_LOST if profile.job_in_setup else Fact.JOB_MISSING
    if wants_new_deadline(deed, order):
        return Sight(again, "the Job's deadline has changed before it was created")
    if job.answer is Answer.MISSING:
        return _job_missing(job, deed, seen, profile)
    if profile.job_in_setup and deed.state is State.FAILED:
        return retry(deed, again)
    return Sight(Fact.UNANSWERED, job.note or "no answer about the Job yet")


def _job_missing(job: Question, deed: Deed, seen: Seen, profile: Profile) -> Sight:
    if is_stale(View.JOB, job, deed):
        return Sight(Fact.STALE, "asked about the Job before it was created")
    if deed.state is State.PENDING:
        waiting = Sight(Fact.SETTING_UP, "waiting for the cluster to create the Job")
        return broken_need(seen, profile) or waiting
    if deed.state is State.FAILED:
        lost = profile.job_in_setup or namespace_is_lost(seen, profile)
        return retry(deed, Fact.SETUP_LOST if lost else Fact.JOB_MISSING)
    if deed.state is State.DONE and deed.present and not deed.is_due:
        return Sight(Fact.SETTING_UP, "the Job was created and is gone", deed.pause_left)
    return Sight(Fact.JOB_MISSING, job.note)


# ---- the namespace ---------------------------------------------------------------------------------


def _namespace(seen: Seen, profile: Profile) -> Sight:
    """Nothing has been set up: is the spoke clean?"""
    asked = seen.view(View.NAMESPACE)
    deletion = seen.action(Action.NS_DELETE)
    match asked.answer:
        case Answer.UNASKED:
            return Sight(Fact.UNASKED)
        case Answer.AWAITED:
            return Sight(Fact.UNANSWERED, asked.note or "no answer about the namespace yet")
        case Answer.MISSING:
            left = profile.hold_off - deletion.age
            if deletion.state is State.PENDING and left > dt.timedelta(0):
                # Carried out but not reported, it might be carried out again: on our own namespace.
                return Sight(Fact.UNANSWERED, "waiting for the end of the deletion", left)
            return Sight(Fact.CLEAN)
        case Answer.FOUND:
            return _leftovers(asked, deletion)


def _leftovers(asked: Question, deletion: Deed) -> Sight:
    if asked.result and asked.result.metadata.deletion_timestamp:
        return going(asked.result)
    if is_stale(View.NAMESPACE, asked, deletion):
        return Sight(Fact.STALE, "asked about the namespace before it was deleted")
    if deletion.state is State.ABSENT:
        return Sight(Fact.LEFTOVERS_KEPT, "the namespace is there and nobody deletes it")
    if deletion.state is State.FAILED or not deletion.present:
        return retry(deletion, Fact.LEFTOVERS_KEPT, Fact.LEFTOVERS)
    return Sight(Fact.LEFTOVERS, GOING)
