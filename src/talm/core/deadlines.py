"""How much of its deadline each open cluster has used, whose clock runs, and how that is stored.

    status.precaching.waits ──► Clock of each cluster ──settle_clocks──► waits

Thousands of clusters come into a state at a few dozen moments, so what is stored names a moment once,
with its clusters.  Not here: what becomes of a cluster whose deadline is over (precache.py).
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Mapping

from talm.api.cgu import CguStatus, Wait
from talm.api.words import FINAL_PHASES, Phase

from . import clock, precache
from .clock import Clock
from .lately import Lately
from .model import Snapshot
from .silence import silence

Clocks = Mapping[str, Clock]


def stored_clocks(status: CguStatus) -> Clocks:
    """What the status remembers; a cluster that is absent has no clock yet."""
    waits = status.precaching.waits if status.precaching else None
    return _read(waits) if waits else {}


@Lately
def _read(waits: tuple[Wait, ...]) -> Clocks:
    found: dict[str, Clock] = {}
    for wait in waits:
        found |= dict.fromkeys(wait.clusters, Clock(wait.spent, wait.since))
    return found


def to_wire(clocks: Clocks) -> tuple[Wait, ...]:
    """The clocks as they are stored: those that stand alike together, in an order that stays."""
    alike: dict[Clock, list[str]] = {}
    for cluster, found in clocks.items():
        alike.setdefault(found, []).append(cluster)
    return tuple(
        Wait(spent=found.spent, since=found.since, clusters=tuple(sorted(clusters)))
        for found, clusters in sorted(alike.items(), key=_order)
    )


def _order(alike: tuple[Clock, list[str]]) -> tuple[float, int]:
    since = alike[0].since
    return since.timestamp() if since is not None else 0.0, alike[0].spent


def heard(seen: Snapshot, cluster: str) -> tuple[bool, dt.datetime]:
    """Whether the cluster speaks (is available, not silent), and up to when its running clock counts.

    An outage or a silence that is noticed late does not count.
    """
    known = seen.clusters.get(cluster)
    if known is None:
        return False, seen.now
    if not known.available:
        return False, seen.now if known.since is None else min(seen.now, known.since)
    quiet = silence(seen, cluster)
    return (True, seen.now) if quiet is None else (False, min(seen.now, quiet.since))


def is_held_back(seen: Snapshot, cluster: str, phase: Phase, *, held: bool) -> bool:
    """Whether it may not get on although it could: another CGU has it, or nothing new may begin."""
    return cluster in seen.owners or (held and phase in precache.BEFORE_SETUP)


def is_running(seen: Snapshot, cluster: str, phase: Phase, *, held: bool) -> bool:
    """True while the clock of the cluster's deadline runs: whoever is held back loses no time."""
    if is_held_back(seen, cluster, phase, held=held):
        return False
    return heard(seen, cluster)[0]


def limit_of(seen: Snapshot, phase: Phase) -> dt.timedelta:
    """The deadline of the states of this kind."""
    minutes = seen.cgu.spec.remediation_strategy.timeout
    return precache.deadline(phase, seen.rules, _minutes(minutes))


@functools.lru_cache
def _minutes(number: int) -> dt.timedelta:
    return dt.timedelta(minutes=number)


def settle_clocks(
    seen: Snapshot,
    before: Mapping[str, Phase],
    after: Mapping[str, Phase],
    *,
    held: bool,
    waiting: frozenset[str] = frozenset(),
) -> Clocks:
    """The clocks of the open clusters; a new one when the kind of state has changed.

    `before` and `after` are the states that are stored and that will be.
    """
    stored = stored_clocks(seen.cgu.status)
    clocks: dict[str, Clock] = {}
    for cluster, phase in after.items():
        if phase in FINAL_PHASES:
            continue
        changes = _is_setup(before.get(cluster, phase)) != _is_setup(phase)
        old = None if changes or cluster in seen.owners else stored.get(cluster)
        back = is_held_back(seen, cluster, phase, held=held or cluster in waiting)
        speaks, until = heard(seen, cluster)
        now = clock.tick(
            old, running=speaks and not back, now=until, watched_since=seen.watched_since
        )
        if now.spent or now.since is not None:
            clocks[cluster] = now
    return clocks


def _is_setup(phase: Phase) -> bool:
    return phase in precache.SETUP_PHASES
