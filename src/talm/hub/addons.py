"""Since when a cluster's agent for views and actions is away, as its add-on says, by our own clock.

The agent's Lease lies on the spoke; what comes to the hub is the condition `Available` of its
ManagedClusterAddOn, five minutes late.  One without that condition says nothing.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

from talm.api.ocm import ManagedClusterAddOn
from talm.api.words import ADD_ON_AVAILABLE_CONDITION


class AddOns:
    """Told of every change of the add-ons; memory only, so that a start is when it was heard."""

    def __init__(self, now: Callable[[], dt.datetime]) -> None:
        self._now = now
        self._away: dict[str, dt.datetime] = {}

    def changed(self, cluster: str, add_on: ManagedClusterAddOn | None) -> bool:
        """Take in an add-on as it is now (None: it is gone); whether that is otherwise than before."""
        away = add_on is not None and says_away(add_on)
        if away == (cluster in self._away):
            return False
        if away:
            self._away[cluster] = self._now()
        else:
            del self._away[cluster]
        return True

    def away_since(self, cluster: str) -> dt.datetime | None:
        """Since when the agent is known to be away; None: it is not."""
        return self._away.get(cluster)


def says_away(add_on: ManagedClusterAddOn) -> bool:
    """Whether the add-on is said to be unavailable, or nobody knows of it any more."""
    conditions = (add_on.status.conditions if add_on.status is not None else None) or ()
    return any(c.type == ADD_ON_AVAILABLE_CONDITION and c.status != "True" for c in conditions)
