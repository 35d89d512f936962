"""Which clusters are silent, since when, and whom that ends.

    Sight.due ──┐
    watched ────┼──► counts from the last of: heard, watched again, available again ──► Silence
    available ──┘

A cluster that the hub itself calls unavailable is not judged here: that has a name of its own
(`Cluster.available`).  As with an outage the clock of a silent cluster's deadline stands still, since what
is known of it is old, and only once the CGU is enabled does a silence longer than the grace end it.
Not here: what is due and how soon (spokes/patience.py).
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import Final

from talm.api.words import Phase

from .due import Voice
from .model import UNSEEN, Snapshot
from .precache import Ending

_SINCE: Final = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True)
class Silence:
    """`voice` has said nothing new since `since`, which counts as silence from `begins` on."""

    voice: Voice
    since: dt.datetime
    begins: dt.datetime

    @property
    def message(self) -> str:
        """For `failures`: one line, the same as long as the silence lasts."""
        return f"silent since {self.since.strftime(_SINCE)}: {self.voice.value}"


def read_since(message: str) -> dt.datetime | None:
    """Since when, as a message says it that `failures` has kept; None: it is no such message."""
    found = re.match(r"silent since (\S+):", message)
    try:
        return dt.datetime.strptime(found[1], "%Y-%m-%dT%H:%M:%S%z") if found else None
    except ValueError:
        return None


def awaited(seen: Snapshot, cluster: str) -> Silence | None:
    """The silence that is or will be, unless something is heard; None: nothing is due."""
    due = seen.sights.get(cluster, UNSEEN).due
    known = seen.clusters.get(cluster)
    if due is None or known is None or not known.available:
        return None
    since = due.since
    for again in (seen.watched_since, known.heard):
        if again is not None and again > since:
            since = again
    return Silence(due.voice, since, since + due.within)


def silence(seen: Snapshot, cluster: str) -> Silence | None:
    """The silence of a cluster; None: it speaks, or has nothing to say."""
    due = seen.sights.get(cluster, UNSEEN).due
    if due is None or seen.now < due.since + due.within:
        return None  # what came since can only make it later
    found = awaited(seen, cluster)
    return found if found is not None and seen.now >= found.begins else None


def silence_turns(seen: Snapshot, cluster: str, *, enabled: bool) -> dt.datetime | None:
    """When time alone turns something: the silence begins, or ends the cluster; None: never."""
    found = awaited(seen, cluster)
    if found is None or seen.now < found.begins:
        return found.begins if found is not None else None
    return found.since + seen.rules.unavailable_grace if enabled else None


def silence_ends(seen: Snapshot, cluster: str, *, enabled: bool) -> Ending | None:
    """The bad end of a cluster that has been silent for longer than the grace, once the CGU is enabled."""
    if not enabled:
        return None
    found = silence(seen, cluster)
    if found is None or seen.now - found.since <= seen.rules.unavailable_grace:
        return None
    return Ending(Phase.FAILED, f"the cluster has been {found.message}")
