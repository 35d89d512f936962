"""A removal after a success, as long as it is not known to be done.

A cluster that has succeeded is in its final state once the removal was requested.  Where the spoke refuses
the request at just that moment, its agent does not try again; so the removal is followed beside the state,
which stays what it is.
Not here: what is done about it (parting.py), how it is seen (spokes/removing.py).
"""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass


class Standing(enum.Enum):
    """How a removal stands; a member's value is its meaning."""

    REQUESTED = "requested; nothing has failed yet"
    FAILED = "a try has failed, another one is to follow"
    REPEATED = "another try is under way after one that failed"
    GIVEN_UP = (
        "too many tries have failed; what is left stays until the cluster is pre-cached again"
    )
    DONE = "done after one that failed; what asks about it can go"


@dataclass(frozen=True, slots=True)
class Removal:
    """`note` has the agent's words on the last try, where it failed.

    `due`: how long until the next step (zero: now), None: it is the agent's turn, or nobody's.  `age`: since
    when the last try was made.
    """

    standing: Standing
    note: str = ""
    due: dt.timedelta | None = None
    age: dt.timedelta = dt.timedelta()
