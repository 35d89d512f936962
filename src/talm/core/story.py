"""What has become of a CGU, in neither vocabulary: the input of `conditions.py`."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Precaching(enum.Enum):
    """All clusters' pre-caching together."""

    IN_PROGRESS = enum.auto()
    COMPLETED = enum.auto()  # every cluster succeeded
    PARTIALLY_DONE = enum.auto()  # every cluster ended, some badly
    FAILED = enum.auto()  # every cluster ended badly


@dataclass(frozen=True, slots=True)
class PrecachingVerdict:
    """`count` is the number that the message carries: open clusters, or failed ones."""

    kind: Precaching
    count: int = 0


class Rollout(enum.Enum):
    """Where the remediation stands."""

    NOT_REACHED = enum.auto()  # something before it is not done
    READY = enum.auto()  # nothing holds it; it starts with the next pass
    NOT_ENABLED = enum.auto()
    BLOCKED_BY_MISSING = enum.auto()
    BLOCKED_BY_INCOMPLETE = enum.auto()
    UNSUPPORTED = enum.auto()
    RUNNING = enum.auto()
    WAITING_FOR_PLACEMENT = enum.auto()
    VERIFYING = enum.auto()  # the current batch has not begun: is everything still cached?
    COMPLETED = enum.auto()
    ALREADY_COMPLIANT = enum.auto()
    TIMED_OUT = enum.auto()
    ALL_FAILED_PRECACHING = enum.auto()


ENDS = frozenset(
    {
        Rollout.COMPLETED,
        Rollout.ALREADY_COMPLIANT,
        Rollout.TIMED_OUT,
        Rollout.ALL_FAILED_PRECACHING,
    }
)


@dataclass(frozen=True, slots=True)
class RolloutVerdict:
    """`names` are those that a message lists (blocking CGUs); `text` is a ready sentence or its tail."""

    kind: Rollout
    names: tuple[str, ...] = ()
    text: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """A reason and a message for each vocabulary."""

    reason: str
    message: str
    manual_reason: str
    manual_message: str


@dataclass(frozen=True, slots=True)
class Story:
    """Everything that conditions tell.

    `selection` and `validation`: what is wrong, or None when all is well; `validated` False: not judged.
    `spec` None: valid; `spec_judged` False: nothing is said of it.  `precaching` None: not required, or
    not begun.
    """

    selection: Problem | None = None
    validation: Problem | None = None
    validated: bool = False
    precaching_required: bool = False
    spec: Problem | None = None
    spec_judged: bool = False
    precaching: PrecachingVerdict | None = None
    rollout: RolloutVerdict = RolloutVerdict(Rollout.NOT_REACHED)

    @property
    def precaching_done(self) -> bool:
        """True once no cluster is open and at least one succeeded."""
        return self.precaching is not None and self.precaching.kind in {
            Precaching.COMPLETED,
            Precaching.PARTIALLY_DONE,
        }
