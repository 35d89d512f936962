"""How rows are played: what the user does, and when the world is struck.

A play ends when every cluster has come to its end, or when the case says that it is stuck.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from talm.api import kinds
from talm.sim.spoke.moments import Moment, at_moment

if TYPE_CHECKING:
    from .case import Case

Play: TypeAlias = Callable[["Case"], Awaitable[None]]

SHARE: Final = 10
"""A play that strikes clusters itself strikes one in so many."""
OTHER: Final = "other"


async def plain(case: Case) -> None:
    """Strike, create the CGU, and wait for its clusters."""
    case.strike()
    await case.create()
    await case.ends()


async def duplicated(case: Case) -> None:
    """Create a second CGU for the same clusters while the first one is at work."""
    await case.create()
    await case.begins()
    await case.create(OTHER)
    await case.ends()
    await case.ends(OTHER)
    case.all_succeeded(OTHER)
    case.expect(fewest_jobs=2)


async def unresolved(case: Case) -> None:
    """Let hub templates be broken at first; somebody mends them when the CGU has said so."""
    struck = set(case.names[::SHARE])
    case.propagator.unresolved |= struck
    case.propagator.resolve_again()
    await case.children_say("hub-templates-error", struck)
    await case.create()
    await case.says("PrecacheSpecValid", "False")
    case.expects_nobody_began()
    case.propagator.unresolved -= struck
    case.propagator.resolve_again()
    await case.ends()


async def detached(case: Case) -> None:
    """Delete ManagedClusters when a Job has begun; the user takes them out when told which."""
    struck = case.names[::SHARE]
    first = case.site(struck[0]).memory
    at_moment(first, Moment.JOB_READY, lambda: case.detach_soon(struck))
    case.forget(struck)
    await case.create()
    await case.says("ClustersSelected", "False")
    await case.are_gone(kinds.MANAGED_CLUSTER, struck)
    await case.edit(clusters=[name for name in case.names if name not in struck])
    await case.ends()
