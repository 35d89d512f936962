"""One pass over one CGU: observe, decide, apply, settle, persist.  The shell has no opinions."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final, Protocol

import structlog

from talm.api.cgu import CguStatus, ClusterGroupUpgrade
from talm.core.decide import Decision, decide
from talm.core.model import EventNote, Move, Outcomes, Settled, Snapshot
from talm.core.pace import least_gap
from talm.core.settle import settle
from talm.core.verification import ends
from talm.errors import NotFound

from .apply import Applier
from .observe import Observer
from .persist import Persister
from .store import Key

log = structlog.get_logger(__name__)

# A cluster whose effect failed is tried again; events bring the CGU back sooner.
FIRST_RETRY_S: Final = 0.5
LONGEST_RETRY_S: Final = 30.0
WARNING: Final = "CguPrecacheSpecWarning"


class Notifier(Protocol):
    """Where events go: never blocks, never fails."""

    def notify(self, cgu: ClusterGroupUpgrade, notes: Iterable[EventNote]) -> None: ...


class Witness(Protocol):
    """Who measures what passes come to: never blocks, never fails."""

    def stored(self, seen: Snapshot, decision: Decision, outcomes: Outcomes) -> None:
        """What became of this pass is stored, or its CGU was deleted meanwhile."""
        ...

    def gone(self, key: Key) -> None:
        """There is no such CGU any more."""
        ...


class Reconciler:
    """The four calls, and how soon to come back; `hold` keeps a CGU from being looked at for seconds."""

    def __init__(
        self,
        observer: Observer,
        applier: Applier,
        persister: Persister,
        notifier: Notifier,
        *,
        witness: Witness,
        hold: Callable[[Key, float], None],
    ) -> None:
        self._observer = observer
        self._applier = applier
        self._persister = persister
        self._notifier = notifier
        self._witness = witness
        self._hold = hold
        self._failures: dict[Key, int] = {}
        self._warned: dict[Key, tuple[str, ...]] = {}

    async def reconcile(self, key: Key) -> float | None:
        """Look at one CGU; seconds until it wants to be looked at again, None: when it changes."""
        seen = self._observer.observe(key, self._persister.recall)
        if seen is None:
            self._forget(key)
            return None
        seen = replace(seen, size=self._persister.size(key))
        decision = decide(seen)
        found = decision.prepared
        order = self._observer.order(seen.cgu, found.specs if found is not None else None)
        done, outcomes = await self._applier.apply(seen, decision, order)
        settled = settle(seen, done, outcomes)
        began = time.monotonic()
        stored = await self._store(seen, settled)
        self._witness.stored(seen, done, outcomes)
        _log_changes(seen, done, outcomes)
        _log_course(seen.cgu, settled.status)
        if found is not None:
            self._warn(key, seen, found.warnings)
        if len(done.moves) < len(decision.moves):
            return 0.0  # the others' turn, which takes its time
        if stored:
            gap = least_gap(self._persister.size(key)).total_seconds()
            self._hold(key, max(0.0, began + gap - time.monotonic()))
        return self._next(key, outcomes, settled.look_again_after)

    async def _store(self, seen: Snapshot, settled: Settled) -> bool:
        """True when there was something to store, and it is."""
        try:
            stored = await self._persister.persist(seen.cgu, settled.status)
        except NotFound:
            return False  # deleted meanwhile; its last event brings the end
        self._notifier.notify(seen.cgu, settled.events)
        return stored

    def _warn(self, key: Key, seen: Snapshot, warnings: tuple[str, ...]) -> None:
        """Tell once of what the user gave and has no effect."""
        if self._warned.get(key, ()) == warnings:
            return
        self._warned[key] = warnings
        for text in warnings:
            log.warning("specification", cgu="/".join(key), warning=text)
        self._notifier.notify(
            seen.cgu,
            [EventNote(WARNING, "BuildingPrecacheSpec", w, warning=True) for w in warnings],
        )

    def _next(self, key: Key, outcomes: Outcomes, look: dt.timedelta | None) -> float | None:
        wanted = [look.total_seconds()] if look is not None else []
        if outcomes.failed or outcomes.hub_failed:
            count = self._failures[key] = self._failures.get(key, 0) + 1
            wanted.append(min(LONGEST_RETRY_S, FIRST_RETRY_S * 2 ** min(count - 1, 10)))
        else:
            self._failures.pop(key, None)
        return min(wanted, default=None)

    def _forget(self, key: Key) -> None:
        self._witness.gone(key)
        self._failures.pop(key, None)
        self._warned.pop(key, None)
        self._persister.forget(key)


def _log_changes(seen: Snapshot, decision: Decision, outcomes: Outcomes) -> None:
    """A change is a line: of a cluster at debug, of its bad end and of failures at info and above."""
    cgu = "/".join(seen.cgu.metadata.key)
    for move in decision.moves:
        if move.cluster in outcomes.failed:
            log.warning(
                "effect failed", cgu=cgu, cluster=move.cluster, error=outcomes.failed[move.cluster]
            )
        elif move.why and not ends(seen, move):
            log.warning("removal", cgu=cgu, cluster=move.cluster, why=move.why)
        elif move.why:
            log.warning("phase", cgu=cgu, cluster=move.cluster, now=_phase(move), why=move.why)
        else:
            log.debug("phase", cgu=cgu, cluster=move.cluster, now=_phase(move))
    if decision.held_for:
        names = sorted(decision.held_for)
        log.info("deletion waits for removals", cgu=cgu, clusters=len(names), first=names[:5])
    for cluster, complaint in decision.fleet.complaints.items():
        log.warning("unexpected fact", cgu=cgu, cluster=cluster, fact=complaint)


def _log_course(cgu: ClusterGroupUpgrade, status: CguStatus) -> None:
    """One line per condition that says something else now, and per batch that begins."""
    name, before = "/".join(cgu.metadata.key), cgu.status
    said = {c.type: (c.status, c.reason) for c in before.conditions or ()}
    for condition in status.conditions or ():
        if said.get(condition.type) != (condition.status, condition.reason):
            log.info(
                "condition",
                cgu=name,
                type=str(condition.type),
                status=condition.status,
                reason=str(condition.reason),
                message=condition.message,
            )
    was = before.status.current_batch if before.status is not None else 0
    now = status.status.current_batch if status.status is not None else 0
    if now and now != was:
        log.info("batch", cgu=name, batch=now, of=len(status.remediation_plan or ()))


def _phase(move: Move) -> str:
    return move.goto.value if move.goto is not None else "forgotten"
