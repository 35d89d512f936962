"""The hub's garbage collector of actions: 60 s after `Completed` was set, True or False alike.

The moment is the spoke's, the clock it is compared with is the hub's: an agent whose clock is
behind has its results removed early.  An action without `Completed` is kept for ever.
Source: OCM's foundation, garbagecollector_controller.go.
"""

from __future__ import annotations

from typing import Final

from talm.api import kinds
from talm.errors import NotFound
from talm.sim.agents.actionagent import COMPLETED
from talm.sim.agents.base import Hub
from talm.sim.agents.wire import Action, find
from talm.sim.agents.workqueue import SerialQueue
from talm.sim.clock import Clock

KEEP_S: Final = 60.0


class ActionCollector:
    """One per hub; told of every action by the fleet's informer.  `keep_s` is shortened only
    by tests that have no minute to wait."""

    def __init__(self, hub: Hub, clock: Clock, *, keep_s: float = KEEP_S) -> None:
        self._hub = hub
        self._clock = clock
        self._keep_s = keep_s
        self._actions: dict[str, Action] = {}
        self._queue = SerialQueue(self._collect, name="action collector")

    def deliver(self, namespace: str, name: str, action: Action | None) -> None:
        """The hub's watch says: this action is now so (None: deleted)."""
        key = f"{namespace}/{name}"
        if action is None:
            self._actions.pop(key, None)
        else:
            self._actions[key] = action
            self._queue.add(key)

    def stop(self) -> None:
        """Collect nothing more."""
        self._queue.stop()

    async def _collect(self, key: str) -> float | None:
        action = self._actions.get(key)
        if action is None:
            return None
        completed = find(action.status.conditions, COMPLETED)
        if completed is None or completed.last_transition_time is None:
            return self._keep_s
        age_s = (self._clock.now() - completed.last_transition_time).total_seconds()
        if age_s < self._keep_s:
            return self._keep_s - age_s
        meta = action.metadata
        try:
            await self._hub.delete(kinds.ACTION, meta.name, meta.namespace)
        except NotFound:
            return None  # somebody else was first; the watch will say so
        return self._keep_s
