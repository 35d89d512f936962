"""News of a cluster that must come, so that its absence says something.

Only what is due can be missing: a Job whose pod is being started has nothing to tell, one whose workload
runs tells every half minute.  Times are the hub's own, of when something new was heard; what clocks of
spokes say is never compared with them.
"""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass


class Voice(enum.Enum):
    """Who is to be heard; a member's value is how the status names it."""

    WORKLOAD = "its workload tells nothing new"
    WORK_AGENT = "its work agent does not answer"
    VIEW_AGENT = "its agent for views and actions does not answer"
    ADD_ON = "its add-on work-manager is unavailable"


@dataclass(frozen=True, slots=True)
class Due:
    """`voice` was heard last, or asked, at `since`; it is silent when nothing new has come `within`."""

    voice: Voice
    since: dt.datetime
    within: dt.timedelta
