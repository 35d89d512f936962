"""One cluster as seen through its views and actions, and what facts.py and setup.py ask of both.

Decided here: when an answer is stale, when a failure is tried again, what is of another run.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import replace
from typing import Final, Protocol

from talm.api.ocm import ViewedObject
from talm.api.words import RUN_LABEL, Action, Hindrance, View
from talm.core.model import Fact, Sight
from talm.spokes.answers import Answer, Deed, Question, State
from talm.spokes.base import Order
from talm.spokes.profile import Profile

_NO_NAMESPACE: Final = re.compile(r'namespaces "[^"]*" not found')


class Seen(Protocol):
    """One cluster's views and actions of the run that asks."""

    def view(self, view: View) -> Question: ...

    def action(self, action: Action) -> Deed: ...

    def is_old_job(self, uid: str) -> bool:
        """Whether a Job with this uid was seen in an earlier run."""
        ...

    def has_succeeded(self) -> bool:
        """Whether it is remembered that the Job of this run had succeeded."""
        ...


def retry(deed: Deed, due: Fact, wait: Fact = Fact.SETTING_UP) -> Sight:
    """Another try of a failed action is due, or will be: the agent's words go along."""
    told = Sight(due, deed.text, hindrance=Hindrance.REQUEST_REFUSED if deed.text else None)
    return told if deed.is_due else replace(told, fact=wait, recheck=deed.pause_left)


def is_stale(view: View, asked: Question, deed: Deed) -> bool:
    """Whether the action's end was written after the view was made, and denies the answer.

    The two agents on a spoke are not ordered: a view that was made before the action's end may have
    been read before it, however late its answer was written.
    """
    if deed.state is not State.DONE or asked.born >= deed.version:
        return False
    if view is View.NAMESPACE:  # a deletion that found nothing denies "found"
        return deed.moot and asked.answer is Answer.FOUND
    return asked.answer is Answer.MISSING


def is_unproved(seen: Seen, profile: Profile) -> bool:
    """Whether the namespace was there before us, and nobody has looked since whose it is."""
    deed = seen.action(Action.NS_CREATE)
    if not (profile.labelled and deed.state is State.DONE and deed.moot):
        return False
    asked = seen.view(View.NAMESPACE)
    return asked.answer in (Answer.UNASKED, Answer.MISSING) and asked.born < deed.version


def stale_views(seen: Seen, profile: Profile) -> tuple[View, ...]:
    """The views that must be asked again: what they asked about has changed since they were made."""
    job = seen.view(View.JOB)
    if job.answer is not Answer.UNASKED:
        stale = is_stale(View.JOB, job, seen.action(Action.JOB_CREATE))
        return (View.JOB,) if stale else ()
    pairs = [*profile.setup_views.items(), (View.NAMESPACE, Action.NS_DELETE)]
    found = [view for view, action in pairs if is_stale(view, seen.view(view), seen.action(action))]
    if is_unproved(seen, profile):
        found.append(View.NAMESPACE)
    return tuple(found)


def wants_new_deadline(deed: Deed, order: Order) -> bool:
    """Whether a Job that has not been made yet carries a deadline that has changed since."""
    open_yet = deed.present and deed.state is not State.DONE
    return open_yet and deed.deadline_s not in (None, order.job_deadline_s)


def namespace_is_lost(seen: Seen, profile: Profile) -> bool:
    """Whether something met no namespace that should have: it is gone, whatever its creation said.

    An agent that restarts takes the actions in order of name, the Job's before the namespace's: what
    was ordered along with the namespace is given a second try.
    """
    for action in (*profile.needs, Action.JOB_CREATE):
        deed = seen.action(action)
        along = action in profile.setup and deed.attempt == 1
        words = _NO_NAMESPACE.search(deed.text)
        if deed.state is State.FAILED and deed.is_due and words and not along:
            return True
    return False


def is_others(result: ViewedObject, profile: Profile, order: Order) -> bool:
    """Whether an object shows that it is of another run; one without an identity shows nothing."""
    meta = result.metadata
    if not profile.labelled or not (meta.uid or meta.labels):
        return False
    return (meta.labels or {}).get(RUN_LABEL) != order.run


def soonest(sights: list[Sight]) -> Sight:
    """The one that wants to be looked at first; one that waits for news comes last."""
    return min(sights, key=lambda sight: sight.recheck or dt.timedelta.max)
