"""How long a cluster may say nothing before it counts as silent: every threshold, in one place.

    who                 heard of by                 silent after
    the workload        a work, by events           workload
                        a work, by polls            workload + poll
                        a view of i seconds         workload + 2 i
    the work agent      its answer to a work        agent, + poll where only a look tells
    the view agent      its answer to a question    agent

A view that is read every i seconds may show a record that is i seconds old, and the next one i later: it
cannot be silent before 2 i.  Not here: whether a work is told of by events (hearing.py), what is due
(manifestwork.py, viewaction.py), what follows from a silence (core/silence.py).
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Final

# A work agent on a cluster with one control-plane node looks every 60 s and up to nine tenths more.
LONGEST_POLL_S: Final = 114
# The workload tells every 30 s that it lives: two that went astray are no silence.
WORKLOAD_S: Final = 90
# An agent answers within a round trip; one that is restarted, or whose watch broke, within a minute.
AGENT_S: Final = 120
# What a view agent takes for an interval that is not given.
_VIEW_S: Final = 30


@dataclass(frozen=True, slots=True)
class Patience:
    """The thresholds, as the operator's settings give them."""

    workload: dt.timedelta = dt.timedelta(seconds=WORKLOAD_S)
    agent: dt.timedelta = dt.timedelta(seconds=AGENT_S)
    poll: dt.timedelta = dt.timedelta(seconds=LONGEST_POLL_S)

    def record_in_work(self, *, by_events: bool) -> dt.timedelta:
        """How long a record that a work feeds back may stay the same."""
        return self.workload if by_events else self.workload + self.poll

    def record_in_view(self, interval_s: int) -> dt.timedelta:
        """How long a record that a view shows may stay the same; 0: the view has no interval."""
        return self.workload + 2 * dt.timedelta(seconds=interval_s or _VIEW_S)

    def work_answer(self, *, told: bool) -> dt.timedelta:
        """How long a work agent may take; `told`: its answer is an event, and not a look's result."""
        return self.agent if told else self.agent + self.poll


DEFAULT: Final = Patience()
