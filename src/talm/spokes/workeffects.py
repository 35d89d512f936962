"""What each effect writes on the hub when a cluster is reached by ManifestWorks.  All are idempotent.

Where the cluster answers views, the manual's check is made as well: leftovers that no work tells of
are deleted, and a view proves the namespace gone before the work is made.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Final

from talm.core.model import Effect
from talm.spokes.jobs import ENDS
from talm.spokes.workdesk import WorkDesk
from talm.spokes.workdiagnosis import diagnose, drop_diagnosis
from talm.spokes.workfacts import knows_rules, wants_other_deadline, work_fact


async def clean_up(desk: WorkDesk) -> None:
    """Delete the works of all runs, this one's included, and have the spoke proved clean."""
    await desk.forget_success()
    await drop_works(desk)
    if desk.office.checked(desk.cluster):
        await desk.office.check.carry_out(desk.cluster, (Effect.CLEAN_UP,), desk.order)
    else:  # what nobody carries out any more
        await desk.office.check.make_way(desk.cluster, desk.order)


async def drop_works(desk: WorkDesk) -> None:
    """Delete the works of all runs."""
    for work in desk.all_works():
        await desk.delete(work)
    await desk.delete_ours()


async def ask(desk: WorkDesk) -> None:
    """Poke the agent; without a work the question is about the namespace."""
    found = desk.work()
    if found is None:
        await _check(desk, Effect.ASK)
    elif found.cached is not None:
        await desk.poke(found.cached)


async def remove_again(desk: WorkDesk) -> None:
    """Delete what is still there; works first, since the check's answer counts without them."""
    if desk.all_works():
        await drop_works(desk)
    else:
        await _check(desk, Effect.REMOVE_AGAIN)


async def prepare(desk: WorkDesk) -> None:
    """Make the work, once nothing can delete from under it what it makes.

    One that is there stays; a deadline that has changed before the Job was made is written into it.
    One that is going is waited for.
    """
    found = desk.work()
    if found is None:
        if await desk.office.check.make_way(desk.cluster, desk.order):
            desk.office.called_off[desk.cluster] = desk.now
            return  # its turn comes when nobody can be at it any more
        desk.office.called_off.pop(desk.cluster, None)
        await desk.create()
        return
    work = found.cached
    if work is not None and not desk.is_going(work) and wants_other_deadline(work, desk.order):
        await desk.order_again()


async def start_job(desk: WorkDesk) -> None:
    """Have the Job made again that was deleted on the spoke: the agent's own resync takes minutes."""
    found = desk.work()
    if found is None:
        await prepare(desk)
    elif found.cached is not None and not desk.is_going(found.cached):
        await desk.apply_again(found.cached)


async def drop_setup(desk: WorkDesk) -> None:
    """Nothing is left of the setup's questions; but a Job that has ended must stay ended.

    Where the agent does not know the rule that freezes a work with an ended Job, the work goes at
    once: what it would start anew at its next resync is what the hub has called ended.
    """
    await drop_diagnosis(desk)
    found = desk.work()
    work = found.cached if found else None
    if work is None or knows_rules(work):
        return
    if work_fact(work, desk.order).fact in ENDS:
        await desk.delete(work)


async def remove(desk: WorkDesk) -> None:
    """Delete the work, and with it all that it has made.

    A success is on record by then (`Successes`): whoever dies before the end of the run is stored finds
    either the work or the record, and starts no second Job.
    """
    await withdraw(desk)


async def withdraw(desk: WorkDesk) -> None:
    """Delete the work: one that no agent has seen is never carried out, one that was is taken back."""
    await desk.delete_ours()
    await _check(desk, Effect.WITHDRAW)


WORK_EFFECTS: Final[Mapping[Effect, Callable[[WorkDesk], Awaitable[None]]]] = MappingProxyType(
    {
        Effect.CLEAN_UP: clean_up,
        Effect.ASK: ask,
        Effect.REMOVE_AGAIN: remove_again,
        Effect.PREPARE: prepare,
        Effect.ASK_JOB: prepare,
        Effect.START_JOB: start_job,
        Effect.DROP_SETUP: drop_setup,
        Effect.REMOVE: remove,
        Effect.WITHDRAW: withdraw,
        Effect.DIAGNOSE: diagnose,
        Effect.DROP_DIAGNOSIS: drop_diagnosis,
    }
)


async def _check(desk: WorkDesk, effect: Effect) -> None:
    if desk.office.checked(desk.cluster):
        await desk.office.check.carry_out(desk.cluster, (effect,), desk.order)
