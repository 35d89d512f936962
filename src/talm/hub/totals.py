"""What the statuses of all CGUs say together: one value, computed when it is asked for.

Only what is stored counts, so that whoever reads the CGUs comes to the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from talm.api.cgu import CguStatus, PrecachingProgress
from talm.api.words import Phase
from talm.core.decide import is_over
from talm.core.fleet import stored_phases

_NO_PROGRESS: Final = PrecachingProgress()


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over CGUs; `phases` and `cgus` have every state, also those of nobody."""

    phases: Mapping[str, int]
    cgus: Mapping[str, int]
    failures: Mapping[str, int]
    images_done: int
    images_total: int
    bytes_done: int
    bytes_total: int
    bytes_per_s: int
    told: int
    attempts: int


def add_up(statuses: Iterable[CguStatus]) -> Totals:
    """Add up; linear in CGUs and their clusters."""
    found = tuple(statuses)
    phases = Counter({phase.value: 0 for phase in Phase})
    cgus = Counter({"open": 0, "over": 0})
    failures: Counter[str] = Counter()
    blocks = [status.precaching for status in found if status.precaching is not None]
    for status in found:
        phases.update(phase.value for phase in stored_phases(status).values())
        cgus["over" if is_over(status) else "open"] += 1
    for block in blocks:
        failures.update(block.failures_by_class or {})
    told = [block.progress or _NO_PROGRESS for block in blocks]
    return Totals(
        phases=phases,
        cgus=cgus,
        failures=failures,
        images_done=sum(one.images_done for one in told),
        images_total=sum(one.images_total for one in told),
        bytes_done=sum(one.bytes_done for one in told),
        bytes_total=sum(one.bytes_total for one in told),
        bytes_per_s=sum(one.bytes_per_s for one in told),
        told=sum(one.told for one in told),
        attempts=sum(block.attempt for block in blocks),
    )
