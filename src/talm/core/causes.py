"""Why a cluster failed, in a word, with the image and the attempts; and how many failed for what.

`status.precaching.failures` names at most 100 clusters, so that a CGU of thousands can be stored;
`failuresByClass` counts all.  What was told of a cluster that is not named is known by number alone: when
entries are counted anew, those numbers are taken over from what is stored.
"""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from talm.api.cgu import PrecachingFailure, PrecachingStatus
from talm.api.progress import FailureClass, ProgressRecord
from talm.api.words import BAD_PHASES, Phase

from .model import Fact, Sight
from .tally import MOST_IMAGES, within

MAX_FAILURES: Final = 100
# A hundred of them are a twentieth of what the API server stores.
LONGEST_MESSAGE: Final = 500

_CLASSES: Final = frozenset(kind.value for kind in FailureClass)
# What clusters that failed are counted by; whoever waits is counted by other reasons.
FAILED_WORDS: Final = _CLASSES | {phase.value for phase in BAD_PHASES}
_CLASS: Final = re.compile(rf"(?:^|: )({'|'.join(sorted(_CLASSES))})(?=:|$)")
# The Job itself has ended badly: its words, and the workload's, name the cause.
_JOB_ENDS: Final = frozenset({Fact.JOB_FAILED, Fact.JOB_DEADLINE})
# Failures of the whole, where the image that was next is not to blame.
_NO_IMAGE: Final = frozenset(
    {
        FailureClass.INVALID_SPEC.value,
        FailureClass.RELEASE_UNREADABLE.value,
        FailureClass.CATALOG_UNREADABLE.value,
        FailureClass.PACKAGE_NOT_FOUND.value,
        FailureClass.INSUFFICIENT_SPACE.value,
    }
)


def ended(
    cluster: str, phase: Phase, why: str, sight: Sight, now: dt.datetime
) -> PrecachingFailure:
    """The entry of a cluster that has just ended badly; `sight` is what its end was told by."""
    record = sight.record
    kind = _class_of(why) if sight.fact in _JOB_ENDS else ""
    return PrecachingFailure(
        cluster=cluster,
        reason=phase.value,
        message=one_line(why),
        since=now,
        failure_class=kind,
        image=one_line(_image_of(record, kind)) if record is not None else "",
        attempts=within(record.attempt, MOST_IMAGES) if record is not None else 0,
    )


def one_line(text: str) -> str:
    """The text without line breaks, cut when it is long."""
    plain = " ".join(text.split())
    return plain if len(plain) <= LONGEST_MESSAGE else f"{plain[: LONGEST_MESSAGE - 1]}…"


def shown(entries: Iterable[PrecachingFailure]) -> tuple[PrecachingFailure, ...]:
    """Those that are stored, sorted by cluster: what failed before what waits, what says why first."""
    first = sorted(entries, key=lambda e: (e.reason not in BAD_PHASES, _is_blank(e), e.cluster))
    return tuple(sorted(first[:MAX_FAILURES], key=lambda entry: entry.cluster))


def counted(
    entries: Sequence[PrecachingFailure], stored: PrecachingStatus | None
) -> dict[str, int]:
    """How many entries there are of each class, or reason where they have none; sorted."""
    counts = Counter(word_of(entry) for entry in entries if not _is_blank(entry))
    blank = [entry for entry in entries if _is_blank(entry)]
    unnamed = _unnamed(stored)
    for entry in blank:
        word = max(unnamed, key=lambda word: (unnamed[word], word), default=entry.reason)
        counts[word] += 1
        unnamed -= Counter({word: 1})
    return dict(sorted(counts.items()))


def word_of(entry: PrecachingFailure) -> str:
    """What an entry is counted by."""
    return entry.failure_class or entry.reason


def _unnamed(stored: PrecachingStatus | None) -> Counter[str]:
    """How many clusters that had failed were counted and not named."""
    if stored is None:
        return Counter()
    named = Counter(word_of(entry) for entry in stored.failures or ())
    rest = Counter(stored.failures_by_class or {}) - named
    return Counter({word: count for word, count in rest.items() if word in FAILED_WORDS})


def _is_blank(entry: PrecachingFailure) -> bool:
    """Whether a failed cluster was not named before, so that its cause is not known any more."""
    return entry.reason in BAD_PHASES and not (entry.message or entry.failure_class)


def _class_of(why: str) -> str:
    found = _CLASS.search(why)
    return found[1] if found else ""


def _image_of(record: ProgressRecord, kind: str) -> str:
    """The image that failed, else the one that was next; "" where no single one is to blame."""
    named = [failed for failed in record.failed if failed.image]
    alike = [failed for failed in named if failed.error_class == kind]
    if named:
        return (alike or named)[0].image
    return "" if kind in _NO_IMAGE else record.current_image
