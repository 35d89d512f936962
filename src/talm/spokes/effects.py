"""What each effect writes on the hub.  All are idempotent: killed anywhere, they are repeated whole.

Deletes go by what the caches and the ledger show, never blindly: a request that cannot change
anything still costs the API server one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from talm.api.words import Action, View
from talm.core.model import Effect, Fact
from talm.spokes.answers import Answer, Deed, State
from talm.spokes.desk import Desk
from talm.spokes.facts import judge
from talm.spokes.lastlook import wants_last_words
from talm.spokes.profile import CREATES, DELETES, LEFTOVERS, NODE_DELETES, Try
from talm.spokes.seen import is_stale, namespace_is_lost, stale_views, wants_new_deadline
from talm.spokes.viewdiagnosis import diagnose, drop_diagnosis

# Asked about while a run goes on; the other one outlives it where what it is about does.
_INSIDE: Final = tuple(view for view in View if view is not View.NODE_READER)
_REMEMBERED_JOBS: Final = 4  # the view shows one Job at a time; a few runs back is more than enough


async def clean_up(desk: Desk) -> None:
    """Drop what earlier runs left on the hub, delete the namespace, ask whether it is gone.

    Whoever left it and whatever labels it carries: the names of both profiles.  A pending deletion of
    our namespace does what is wanted and stays.
    """
    await desk.office.successes.forget_success(desk.cluster, desk.order.run)
    _remember_job(desk)
    reads_nodes = _may_read_nodes(desk)
    for view in _INSIDE:
        await desk.drop_view(view)
    for action in CREATES:
        await desk.drop_action(action)
    desk.office.ledger.forget_outcomes(desk.cluster, tuple(Action))
    await _request_deletion(desk, "", DELETES if reads_nodes else LEFTOVERS)
    await desk.drop_view(View.NODE_READER)
    await desk.ask(View.NAMESPACE)


async def ask(desk: Desk) -> None:
    """Ask again what was answered too early.

    Profile existing renews the Job's view and action in one step, as the existing operator does.
    """
    stale = stale_views(desk, desk.profile)
    if wants_last_words(desk, desk.profile):
        stale = (*stale, View.PROGRESS)
    for view in stale:
        if view is View.JOB and not desk.profile.job_in_setup:
            await start_job(desk)
        else:
            await desk.ask_again(view)


async def remove_again(desk: Desk) -> None:
    """Repeat the deletion of the namespace, and those of what is outside of it that failed."""
    deletion = desk.action(Action.NS_DELETE)
    if deletion.state is not State.PENDING:
        await desk.order_action(Action.NS_DELETE, next_try(deletion))
    for action in (Action.CRB_DELETE, *NODE_DELETES):
        deed = desk.action(action)
        if deed.state is State.FAILED:
            await desk.order_action(action, next_try(deed))


async def prepare(desk: Desk) -> None:
    """Create what the Job needs (profile talm: and the Job), in the order of carrying it out.

    What is there and has not failed stays; a failure that is due is tried again; what vanished
    without an end that was seen is created again.  When the namespace is lost, everything is.
    """
    await _call_off_deletion(desk)
    profile = desk.profile
    await _show_node_reader(desk)
    redo = namespace_is_lost(desk, profile)
    for action in profile.setup:
        deed = desk.action(action)
        again = deed.state is State.DONE and (redo or _is_denied(desk, action, deed))
        if again or _is_to_be_ordered(desk, action, deed):
            await desk.order_action(action, next_try(deed))
    if redo and not profile.job_in_setup:
        await desk.drop_action(Action.JOB_CREATE)
        await desk.drop_view(View.JOB)
    for view in profile.setup_views:
        await (desk.ask_again(view) if redo else desk.ask(view))


async def ask_job(desk: Desk) -> None:
    """Ask about the Job (profile talm: and about the workload's record)."""
    for view in desk.profile.job_views:
        await desk.ask(view)


async def start_job(desk: Desk) -> None:
    """Create the Job and ask about it anew.

    Profile talm has created it along with what it needs: when it is missing, all of that may be, and
    all is created again ("already exists" is done); the question follows by the usual rule.
    """
    await _show_node_reader(desk)
    profile = desk.profile
    for view in profile.job_views:
        await desk.drop_view(view)
    for action in profile.setup if profile.job_in_setup else (Action.JOB_CREATE,):
        deed = desk.action(action)
        again = deed.state is State.DONE and (profile.job_in_setup or _is_over(deed))
        if again or _is_to_be_ordered(desk, action, deed):
            await desk.order_action(action, next_try(deed))
    if not profile.job_in_setup:
        await desk.ask(View.JOB)


async def drop_setup(desk: Desk) -> None:
    """Drop all questions but those about the Job."""
    await drop_diagnosis(desk)
    for view in _INSIDE:
        if view not in desk.profile.job_views:
            await desk.drop_view(view)


async def remove(desk: Desk) -> None:
    """Drop everything of ours: questions and open requests here, namespace and binding there.

    The Job's view goes last, and a success is written on the deletion: whoever dies before the end
    of the run is stored finds one or the other, and starts no second Job.  After a success creations
    that are done are left to the hub's collector; else only the deletions stay, as in the existing
    operator.
    """
    succeeded = judge(desk, desk.profile, desk.order).fact is Fact.JOB_SUCCEEDED
    await _withdraw_creations(desk, done=not succeeded)
    await _request_deletion(desk, desk.order.run if succeeded else "", made(desk))
    await desk.drop_view(View.NODE_READER)
    await _drop_views(desk)


async def withdraw(desk: Desk) -> None:
    """Take back every question, and every creation that an agent might still carry out.

    What tells that something is outside of the namespace stays until somebody has it deleted.
    """
    await _withdraw_creations(desk)
    await _drop_views(desk)


async def make_way(desk: Desk) -> bool:
    """Take back what could meddle with what another transport is about to make: deletions and views.

    True: a deletion was among it that an agent may be carrying out at this moment.
    """
    may_run = desk.action(Action.NS_DELETE).may_run
    await _call_off_deletion(desk)
    await _withdraw_creations(desk)
    await _drop_views(desk)
    return may_run


EFFECTS: Final[Mapping[Effect, Callable[[Desk], Awaitable[None]]]] = MappingProxyType(
    {
        Effect.CLEAN_UP: clean_up,
        Effect.ASK: ask,
        Effect.REMOVE_AGAIN: remove_again,
        Effect.PREPARE: prepare,
        Effect.ASK_JOB: ask_job,
        Effect.START_JOB: start_job,
        Effect.DROP_SETUP: drop_setup,
        Effect.REMOVE: remove,
        Effect.WITHDRAW: withdraw,
        Effect.DIAGNOSE: diagnose,
        Effect.DROP_DIAGNOSIS: drop_diagnosis,
    }
)


def _may_read_nodes(desk: Desk) -> bool:
    """Whether something may be left by which nodes are listed.

    Its view is made before it and goes once the deletion was requested, which may have failed since.
    """
    failed = any(desk.action(action).state is State.FAILED for action in NODE_DELETES)
    return failed or desk.find_view(View.NODE_READER) is not None


async def _show_node_reader(desk: Desk) -> None:
    """Whoever finds the view of what is made outside of the namespace has it deleted."""
    if desk.profile.reads_nodes:
        await desk.ask(View.NODE_READER)


async def _withdraw_creations(desk: Desk, *, done: bool = False) -> None:
    """Take creations back: those that may be carried out yet, and with `done` all."""
    for action in CREATES:
        deed = desk.action(action)
        if done or deed.may_run or not deed.present:  # the latter: gone, or of another run
            await desk.drop_action(action)


async def _drop_views(desk: Desk) -> None:
    for view in sorted(_INSIDE, key=lambda view: view is View.JOB):
        await desk.drop_view(view)
    desk.office.ledger.forget_outcomes(desk.cluster, CREATES)


async def _request_deletion(desk: Desk, succeeded: str, actions: Sequence[Action]) -> None:
    """Request deletions; one that has ended would swallow the new one.

    `succeeded` is the run that ends well with it ("" none); a pending one that says otherwise is
    replaced.  One that says so and is done stays: between its going and the new one's coming nothing
    would tell of the success.
    """
    for action in actions:
        deed = desk.action(action)
        told = succeeded if action is Action.NS_DELETE else ""
        stands = deed.state is State.PENDING or (deed.state is State.DONE and told)
        if not stands or deed.succeeded != told:
            await desk.order_action(action, Try(succeeded=bool(told)))


def made(desk: Desk) -> tuple[Action, ...]:
    """What a run has to delete: outside of the namespace only what it makes, or has made there.

    Profile talm asked for the end of a leftover binding when it cleaned up; that request stands.  A
    CGU's wish for all nodes may be over by now, its view tells.
    """
    profile = desk.profile
    makes_binding = Action.CRB_CREATE in profile.setup
    reads_nodes = profile.reads_nodes or desk.find_view(View.NODE_READER) is not None
    made = LEFTOVERS if makes_binding else (Action.NS_DELETE,)
    return (*made, *NODE_DELETES) if reads_nodes else made


async def _call_off_deletion(desk: Desk) -> None:
    """Nothing may delete what is about to be created.

    The spoke was shown clean, so a deletion that is still there was carried out, and an agent that
    restarts would carry it out again.  Profile existing lets a pending one be: there the order of
    the agent's work is relied on.
    """
    for action in made(desk):
        deed = desk.action(action)
        if deed.may_run and (deed.state is not State.PENDING or desk.profile.labelled):
            await desk.drop_action(action)


def _is_to_be_ordered(desk: Desk, action: Action, deed: Deed) -> bool:
    """Whether it was never ordered, failed and may be tried again, or is for another deadline."""
    if action is Action.JOB_CREATE and wants_new_deadline(deed, desk.order):
        return True
    return deed.state is State.ABSENT or (deed.state is State.FAILED and deed.is_due)


def _is_denied(desk: Desk, action: Action, deed: Deed) -> bool:
    """Whether a view says that what was done is not there (any more)."""
    for view, maker in desk.profile.setup_views.items():
        if maker is action:
            asked = desk.view(view)
            denied = asked.answer is Answer.MISSING and not is_stale(view, asked, deed)
            return denied and _is_over(deed)
    return False


def _is_over(deed: Deed) -> bool:
    """Whether an action that is done may be ordered again: it is gone, or was given its time."""
    return not deed.present or deed.is_due


def next_try(deed: Deed) -> Try:
    """Only a try that came to an end counts; one that vanished or was replaced is made again."""
    ended = deed.state in (State.FAILED, State.DONE)
    return Try(deed.attempt + 1 if ended else max(deed.attempt, 1))


def _remember_job(desk: Desk) -> None:
    """Keep the uid of the Job that an earlier run's view shows: it must not be taken for ours."""
    found = desk.find_view(View.JOB)
    status = found.cached.status if found and found.cached else None
    uid = status.result.metadata.uid if status and status.result else ""
    old = desk.office.old_jobs.get(desk.cluster, ())
    if uid and uid not in old:
        desk.office.old_jobs[desk.cluster] = (*old, uid)[-_REMEMBERED_JOBS:]
