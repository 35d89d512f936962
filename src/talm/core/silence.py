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

from .due import Due, Voice
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


def silence(seen: Snapshot, cluster: str) -> Silence | None:
    """The silence of a cluster; None: it speaks, or has nothing to say."""
    due = seen.sights.get(cluster, UNSEEN).due
    if due is None or seen.now < due.since + due.within:
        return None  # what came since can only make it later
    since = _counts_from(seen, cluster, due)
    if since is None or seen.now < since + due.within:
        return None
    return Silence(due.voice, since, since + due.within)


def silence_turns(seen: Snapshot, cluster: str, *, enabled: bool) -> dt.datetime | None:
    """When time alone turns something: the silence begins, or ends the cluster; None: never."""
    due = seen.sights.get(cluster, UNSEEN).due
    since = _counts_from(seen, cluster, due) if due is not None else None
    if due is None or since is None:
        return None
    begins = since + due.within
    if seen.now < begins:
        return begins
    return since + seen.rules.unavailable_grace if enabled else None


def _counts_from(seen: Snapshot, cluster: str, due: Due) -> dt.datetime | None:
    """From when on the cluster has said nothing; None: the hub knows that it cannot."""
    known = seen.clusters.get(cluster)
    if known is None or not known.available:
        return None
    since = due.since
    if seen.watched_since is not None and seen.watched_since > since:
        since = seen.watched_since
    if known.heard is not None and known.heard > since:
        since = known.heard
    return since


def silence_ends(seen: Snapshot, cluster: str, *, enabled: bool) -> Ending | None:
    """The bad end of a cluster that has been silent for longer than the grace, once the CGU is enabled."""
    if not enabled:
        return None
    found = silence(seen, cluster)
    if found is None or seen.now - found.since <= seen.rules.unavailable_grace:
        return None
    return Ending(Phase.FAILED, f"the cluster has been {found.message}")
