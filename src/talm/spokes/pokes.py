"""When a work's agent is asked to look again: an annotation on the work makes it read at once.

An agent that tells by events needs none of it, but when its cluster was away.  One that polls looks
every 10 s, on a cluster with one control-plane node every 60 to 114 s, so it is poked where news is due:
shortly after the setup, since Jobs begin at once, and when the record says that the end is near.  Each
poke is a write on the hub, so there are few of them, and never one for the whole fleet.

Which kind an agent is, is measured: where a poke brings the beginning of a Job to light, the events
did not.  Where most agents tell unasked, a late one is slow rather than of the other kind, and so may the
hub be: it is given more time, since pokes would slow down a busy hub further.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from talm.api.progress import RECORD_KEY, ProgressRecord
from talm.core.model import Fact, Sight

# After the setup: 5, 10 and 20 s after the last news; whoever has not begun by then is slow itself.
FIRST_WAIT: Final = dt.timedelta(seconds=5)
START_POKES: Final = 3
# The same where most of the fleet's latest Jobs were told of unasked.
SURE_WAIT: Final = dt.timedelta(seconds=30)
_MOST: Final = 0.5
_LATEST: Final = 0.1  # the weight of the latest beginning
# Near the end: as the record foretells, 30 s apart at least, ten times at most.  A foretold end that
# is over an hour away will be foretold better by then, and the agent's own polls tell it.
LEAST_WAIT: Final = dt.timedelta(seconds=30)
END_POKES: Final = 10
_LONGEST_ETA_S: Final = 3600
_MARGIN: Final = dt.timedelta(seconds=5)
# An answer to a poke comes within a round trip.
ANSWER: Final = dt.timedelta(seconds=10)
# An agent that lives applies a work at once; one that is away does so when it returns.
APPLIES_WITHIN: Final = dt.timedelta(seconds=30)


@dataclass(slots=True)
class Agent:
    """What is known of one cluster's agent since this work came into being.

    `heard`: the last news of the work; `poked`: the last poke; `told_to_apply`: when it was last told to
    make what is missing; `asked_since`: the return of the cluster after which it was poked; `begun`: the
    Job is active or has ended.
    """

    uid: str
    heard: dt.datetime
    poked: dt.datetime | None = None
    told_to_apply: dt.datetime | None = None
    asked_since: dt.datetime | None = None
    start_pokes: int = 0
    end_pokes: int = 0
    begun: bool = False

    @property
    def quiet_since(self) -> dt.datetime:
        """The last news or poke."""
        return max(self.heard, self.poked) if self.poked else self.heard


@dataclass(slots=True)
class Pokes:
    """All clusters' agents.  Memory only: after a restart an agent that polls is found out anew."""

    _agents: dict[str, Agent] = field(default_factory=dict)
    _polling: set[str] = field(default_factory=set)
    _unasked: float = 0.0  # the share of beginnings that were told unasked, the latest above all

    def heard(self, cluster: str, uid: str, *, begun: bool, now: dt.datetime) -> None:
        """Take note of news of the work; `begun`: its Job is active or has ended."""
        agent = self._agents.get(cluster)
        if agent is None or agent.uid != uid:
            self._agents[cluster] = Agent(uid, now, begun=begun)
            return
        if begun and not agent.begun:
            self._has_begun(cluster, asked=self.is_answer(cluster, now))
        agent.heard, agent.begun = now, agent.begun or begun

    def is_answer(self, cluster: str, now: dt.datetime) -> bool:
        """Whether news that comes now may be the answer to a poke."""
        agent = self._agents.get(cluster)
        return agent is not None and agent.poked is not None and now - agent.poked <= ANSWER

    def forget(self, cluster: str) -> None:
        """The work is gone."""
        self._agents.pop(cluster, None)

    def poked(self, cluster: str, now: dt.datetime, back_since: dt.datetime | None) -> None:
        """Take note of a poke; `back_since`: see `wait`."""
        agent = self._agents.get(cluster)
        if agent is None:
            return
        agent.poked, agent.asked_since = now, back_since
        if agent.begun:
            agent.end_pokes += 1
        else:
            agent.start_pokes += 1

    def told_to_apply(self, cluster: str, now: dt.datetime) -> None:
        """Take note that the agent was told to make what is missing."""
        if cluster in self._agents:
            self._agents[cluster].told_to_apply = now

    def is_applying(self, cluster: str, now: dt.datetime) -> dt.timedelta:
        """How long the agent is still given to make what is missing; zero: it is told again."""
        agent = self._agents.get(cluster)
        if agent is None or agent.told_to_apply is None:
            return dt.timedelta(0)
        return max(dt.timedelta(0), agent.told_to_apply + APPLIES_WITHIN - now)

    def wait(
        self,
        cluster: str,
        sight: Sight,
        *,
        watched: bool,
        back_since: dt.datetime | None,
        now: dt.datetime,
    ) -> dt.timedelta | None:
        """How long until the agent is to be poked (zero: now); None: it is not.

        `back_since`: when the cluster was last seen to return; what an agent could not tell meanwhile
        it tries again after a pause as long as the outage.
        """
        agent = self._agents.get(cluster)
        if agent is None:
            return None
        if agent.begun and back_since not in (None, agent.asked_since) and back_since > agent.heard:
            return dt.timedelta(0)
        pause = None
        if sight.fact is Fact.JOB_PENDING and agent.start_pokes < START_POKES:
            first = SURE_WAIT if self._unasked > _MOST else FIRST_WAIT
            pause = first * (1 << agent.start_pokes)
        polls = not watched or cluster in self._polling
        if sight.fact is Fact.JOB_ACTIVE and polls and agent.end_pokes < END_POKES:
            pause = _until_end(sight.progress)
        if pause is None:
            return None
        return max(dt.timedelta(0), agent.quiet_since + pause - now)

    def _has_begun(self, cluster: str, *, asked: bool) -> None:
        if asked:
            self._polling.add(cluster)
        self._unasked += _LATEST * ((0.0 if asked else 1.0) - self._unasked)


def _until_end(progress: Mapping[str, str]) -> dt.timedelta | None:
    """How long the record says that it takes; None when it does not, or longer than is worth a poke."""
    try:
        record = msgspec.json.decode(progress.get(RECORD_KEY, ""), type=ProgressRecord)
    except ValueError:
        return None
    if record.eta_s is None or record.eta_s > _LONGEST_ETA_S:
        return None
    return max(LEAST_WAIT, dt.timedelta(seconds=record.eta_s) + _MARGIN)
