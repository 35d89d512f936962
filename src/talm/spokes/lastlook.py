"""Whether the record's view is young enough to tell of a Job's bad end.

The Job and the workload's record are read by two views, each at its own pace: the answer that shows the
Job's end may come with a record of a minute before it, and the workload's reason would be lost.  So the
record is asked for once more, after the end was told; an agent that has just told it answers at once.
Works need none of it: their agent reads both at a time.
"""

from __future__ import annotations

import datetime as dt
from typing import Final

from talm.api.progress import RunPhase, read_record
from talm.api.words import View
from talm.core.model import Fact, Sight
from talm.spokes.answers import Answer
from talm.spokes.jobs import BAD_ENDS, job_fact
from talm.spokes.profile import Profile
from talm.spokes.seen import Seen

# An agent that does not answer any more must not keep the end from being told.
WAITS: Final = dt.timedelta(seconds=10)
_FINAL: Final = frozenset({RunPhase.SUCCEEDED, RunPhase.FAILED})
_ASKING: Final = "the Job has ended; asking for the workload's last words"


def last_look(seen: Seen, profile: Profile) -> Sight | None:
    """What is to be waited for before a bad end is told; None: what is known is what there is."""
    if not ends_badly(seen, profile) or _is_final(seen):
        return None
    if wants_last_words(seen, profile):
        return Sight(Fact.STALE, _ASKING)
    asked = seen.view(View.PROGRESS)
    left = WAITS - asked.age
    if asked.answer is Answer.AWAITED and left > dt.timedelta(0):
        return Sight(Fact.UNANSWERED, _ASKING, left)
    return None


def wants_last_words(seen: Seen, profile: Profile) -> bool:
    """Whether the record was asked for before the Job's bad end was told, and is not final."""
    if not ends_badly(seen, profile) or _is_final(seen):
        return False
    asked = seen.view(View.PROGRESS)
    return asked.answer is not Answer.UNASKED and asked.born <= seen.view(View.JOB).told


def ends_badly(seen: Seen, profile: Profile) -> bool:
    """Whether the Job's view shows a bad end, and a workload writes records."""
    job = seen.view(View.JOB)
    writes = View.PROGRESS in profile.job_views
    return writes and job.answer is Answer.FOUND and job_fact(job.result)[0] in BAD_ENDS


def _is_final(seen: Seen) -> bool:
    result = seen.view(View.PROGRESS).result
    record = read_record((result.data if result else None) or {})
    return record is not None and record.phase in _FINAL
