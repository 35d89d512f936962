"""How long pre-caching takes on a cluster: measured by this process as states are stored.

    leaves NotStarted ──────► Active ──────► a final state
    └───── the setup ─────────┘              │
    └───── all of it ────────────────────────┘

Time goes by this process's clock, outages included.  A process that was started in between takes over
what the status knows: how long the cluster has been in its kind of state, in time in which it was
available (`waits`); so of a cluster that was Active by then the setup is not in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from talm.api.words import FINAL_PHASES, Phase
from talm.core import clock
from talm.core.deadlines import stored_clocks
from talm.core.fleet import PHASE_BY_WORD
from talm.core.model import Move, Snapshot

from .store import Key


class DurationSink(Protocol):
    """Who counts what was measured, in seconds."""

    def set_up(self, seconds: float) -> None:
        """A cluster has become Active, so long after it began."""
        ...

    def ended(self, phase: Phase, seconds: float) -> None:
        """A cluster has come to its end, so long after it began."""
        ...


@dataclass(slots=True)
class _Attempt:
    began_s: float
    is_set_up: bool


class Durations:
    """A stopwatch for each cluster under way."""

    def __init__(self, sink: DurationSink, now_s: Callable[[], float] = time.monotonic) -> None:
        self._sink = sink
        self._now_s = now_s
        self._attempts: dict[Key, dict[str, _Attempt]] = {}

    def stored(self, seen: Snapshot, moves: Sequence[Move], failed: Mapping[str, str]) -> None:
        """These moves were stored, but those of clusters that failed.  Linear in the moves."""
        key, precaching = seen.cgu.metadata.key, seen.cgu.status.precaching
        words = (precaching.status if precaching is not None else None) or {}
        attempts = self._attempts.setdefault(key, {})
        for move in moves:
            was = PHASE_BY_WORD.get(words.get(move.cluster, ""), Phase.NOT_STARTED)
            if move.cluster in failed or was is move.goto or was in FINAL_PHASES:
                continue
            if move.goto is None or move.goto is Phase.NOT_STARTED:
                attempts.pop(move.cluster, None)
                continue
            attempt = attempts.get(move.cluster) or self._taken_over(seen, move.cluster, was)
            attempts[move.cluster] = attempt
            self._tell(attempt, move.goto)
            if move.goto in FINAL_PHASES:
                del attempts[move.cluster]
        if not attempts:
            del self._attempts[key]

    def gone(self, key: Key) -> None:
        """The CGU is gone."""
        self._attempts.pop(key, None)

    def _taken_over(self, seen: Snapshot, cluster: str, was: Phase) -> _Attempt:
        """Begin to measure: now, or where the clock of the status says."""
        now_s = self._now_s()
        if was is Phase.NOT_STARTED:
            return _Attempt(now_s, is_set_up=False)
        spent = clock.spent(stored_clocks(seen.cgu.status).get(cluster), seen.now)
        return _Attempt(now_s - spent.total_seconds(), is_set_up=was is Phase.ACTIVE)

    def _tell(self, attempt: _Attempt, goto: Phase) -> None:
        took_s = self._now_s() - attempt.began_s
        if goto is Phase.ACTIVE and not attempt.is_set_up:
            attempt.is_set_up = True
            self._sink.set_up(took_s)
        elif goto in FINAL_PHASES:
            self._sink.ended(goto, took_s)
