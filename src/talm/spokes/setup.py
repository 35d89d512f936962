"""How far the setup of one cluster is while no view asks about the Job.

Profile talm believes its actions, since nothing but the Job proves them; profile existing believes
its views, and the actions only say why something is not seen.
"""

from __future__ import annotations

from typing import Final

from talm.api.words import Action, View
from talm.core.model import Fact, Sight
from talm.spokes.answers import Answer, Deed, Question, State
from talm.spokes.base import Order
from talm.spokes.manifests import spec_data
from talm.spokes.profile import Profile
from talm.spokes.seen import (
    Seen,
    is_others,
    is_stale,
    is_unproved,
    retry,
    soonest,
    wants_new_deadline,
)

_BEGUN: Final = "the setup has been asked for"
_QUESTION_GONE: Final = "the question about the Job is gone"


def setup_fact(seen: Seen, profile: Profile, order: Order) -> Sight | None:
    """Tell how far the setup is; None when nothing has been set up."""
    if profile.job_in_setup:
        return _by_actions(seen, profile, order)
    return _by_views(seen, profile, order)


def broken_need(seen: Seen, profile: Profile) -> Sight | None:
    """Something that the Job's pod needs could not be created, so that it cannot start.

    Only while the namespace is asked about, which ends when the Job has become active.
    """
    if not profile.job_in_setup or seen.view(View.NAMESPACE).answer is Answer.UNASKED:
        return None
    failed = [deed for need in profile.needs if (deed := seen.action(need)).state is State.FAILED]
    return soonest([retry(deed, Fact.SETUP_LOST) for deed in failed]) if failed else None


# ---- profile talm ----------------------------------------------------------------------------------


def _by_actions(seen: Seen, profile: Profile, order: Order) -> Sight | None:
    if seen.view(View.PROGRESS).answer is not Answer.UNASKED:
        return Sight(Fact.JOB_UNASKED, _QUESTION_GONE)
    deeds = {action: seen.action(action) for action in profile.setup}
    lost = [action for action, deed in deeds.items() if deed.state is State.ABSENT]
    if len(lost) == len(deeds):
        return None
    if lost:
        return Sight(Fact.SETUP_LOST, f"{lost[0]} is gone and its end was not seen")
    job = deeds[Action.JOB_CREATE]
    if wants_new_deadline(job, order):
        return Sight(Fact.SETUP_LOST, "the Job's deadline has changed before it was created")
    failed = [deed for deed in deeds.values() if deed.state is State.FAILED]
    if failed:
        return retry(min(failed, key=lambda deed: deed.pause_left), Fact.SETUP_LOST)
    return _whose_namespace(seen, profile, order) or _ask_now(job, profile)


def _ask_now(job: Deed, profile: Profile) -> Sight:
    """The question about the Job waits a moment for the action that it would race.

    A first answer "not found" would stand for a whole interval of the view.
    """
    if job.state is State.DONE or job.age >= profile.hold_off:
        return Sight(Fact.JOB_UNASKED, _BEGUN)
    return Sight(Fact.SETTING_UP, _BEGUN, profile.hold_off - job.age)


def _whose_namespace(seen: Seen, profile: Profile, order: Order) -> Sight | None:
    """ "Already exists" is done only when the namespace that exists is ours; None: it is.

    It mostly is: an agent that lost the answer to its own success reports just this.
    """
    if not seen.action(Action.NS_CREATE).moot:
        return None
    if is_unproved(seen, profile):
        return Sight(Fact.STALE, "the namespace existed already; asking whose it is")
    asked = seen.view(View.NAMESPACE)
    match asked.answer:
        case Answer.AWAITED:
            return Sight(Fact.UNANSWERED, asked.note or "asking whose namespace it is")
        case Answer.MISSING:
            return Sight(Fact.JOB_MISSING, "the namespace existed already and is gone")
        case _:
            others = asked.result is not None and is_others(asked.result, profile, order)
            return Sight(Fact.JOB_OTHER, "the namespace is of another run") if others else None


# ---- profile existing ------------------------------------------------------------------------------


def _by_views(seen: Seen, profile: Profile, order: Order) -> Sight | None:
    if seen.action(Action.JOB_CREATE).state is not State.ABSENT:
        return Sight(Fact.JOB_UNASKED, _QUESTION_GONE)
    asked = {view: seen.view(view) for view in profile.setup_views}
    unasked = [view for view, question in asked.items() if question.answer is Answer.UNASKED]
    if len(unasked) == len(asked) and not _is_begun(seen, profile):
        return None
    if unasked:
        return Sight(Fact.SETUP_LOST, f"{unasked[0]} is gone")
    if all(question.answer is Answer.FOUND for question in asked.values()):
        if _is_other_spec(asked[View.SPEC], order):
            return Sight(Fact.JOB_OTHER, "the specification on the cluster is of another run")
        return Sight(Fact.JOB_UNASKED, _BEGUN)
    return _missing_needs(seen, profile, asked)


def _is_begun(seen: Seen, profile: Profile) -> bool:
    return any(seen.action(action).state is not State.ABSENT for action in profile.setup)


def _is_other_spec(question: Question, order: Order) -> bool:
    """Compare only what the answer shows: the result may be missing or cut."""
    data = (question.result.data if question.result else None) or {}
    wanted = spec_data(order.spec)
    return any(wanted.get(key, value) != value for key, value in data.items())


def _missing_needs(seen: Seen, profile: Profile, asked: dict[View, Question]) -> Sight:
    """Something that the Job needs is not seen yet: a retry is told first, then a stale answer."""
    sights = [
        _need(view, question, seen.action(profile.setup_views[view]))
        for view, question in asked.items()
        if question.answer is not Answer.FOUND
    ]
    # No view proves that the namespace was created; its "not found" stands until the Job is active.
    namespace = seen.action(Action.NS_CREATE)
    if namespace.state is State.FAILED:
        sights.append(retry(namespace, Fact.SETUP_LOST))
    for fact in (Fact.SETUP_LOST, Fact.STALE):
        for sight in sights:
            if sight.fact is fact:
                return sight
    return soonest(sights)


def _need(view: View, question: Question, deed: Deed) -> Sight:
    if is_stale(view, question, deed):
        return Sight(Fact.STALE, f"{view} was answered before its object was created")
    match deed.state:
        case State.FAILED:
            return retry(deed, Fact.SETUP_LOST)
        case State.ABSENT:
            return Sight(Fact.SETUP_LOST, f"the action for {view} is gone, its end was not seen")
        case State.DONE if question.answer is Answer.MISSING:
            if deed.present and not deed.is_due:
                return Sight(Fact.SETTING_UP, question.note, deed.pause_left)
            return Sight(Fact.SETUP_LOST, question.note)
        case _:
            return Sight(Fact.SETTING_UP, question.note or f"no answer to {view} yet")
