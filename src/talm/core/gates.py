"""What keeps a remediation from starting once pre-caching is done, in the order users should hear it.

Each gate is a question to the snapshot; none of them stops pre-caching.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from talm.api.words import BLOCKING_MODE_ANNOTATION, BLOCKING_MODE_PARTIAL

from .model import Blocker, Snapshot
from .story import Rollout, RolloutVerdict

Gate = Callable[[Snapshot], RolloutVerdict | None]


def not_enabled(seen: Snapshot) -> RolloutVerdict | None:
    """The user has not opened the window yet."""
    return None if seen.cgu.spec.enable else RolloutVerdict(Rollout.NOT_ENABLED)


def missing_blockers(seen: Snapshot) -> RolloutVerdict | None:
    """A blocking CGU is not there (names without namespaces, as the existing operator prints them)."""
    names = tuple(b.name for b in seen.blockers if not b.exists)
    return RolloutVerdict(Rollout.BLOCKED_BY_MISSING, names) if names else None


def incomplete_blockers(seen: Snapshot) -> RolloutVerdict | None:
    """A blocking CGU has not succeeded (in mode `partial`: has not ended)."""
    annotations = seen.cgu.metadata.annotations or {}
    partial = annotations.get(BLOCKING_MODE_ANNOTATION) == BLOCKING_MODE_PARTIAL
    names = tuple(b.name for b in seen.blockers if not _is_passed(b, partial=partial))
    return RolloutVerdict(Rollout.BLOCKED_BY_INCOMPLETE, names) if names else None


def _is_passed(blocker: Blocker, *, partial: bool) -> bool:
    return blocker.succeeded != "" if partial else blocker.succeeded == "True"


def backup_wanted(seen: Snapshot) -> RolloutVerdict | None:
    """Whoever asks for a backup before the update must not be updated without one."""
    if not seen.cgu.spec.backup:
        return None
    return RolloutVerdict(Rollout.UNSUPPORTED, text="backup is not supported by this version")


ROLLOUT_GATES: Final[tuple[Gate, ...]] = (
    not_enabled,
    missing_blockers,
    incomplete_blockers,
    backup_wanted,
)


def first_gate(seen: Snapshot) -> RolloutVerdict | None:
    """The first gate that is closed, or None when the way is free."""
    return next((closed for gate in ROLLOUT_GATES if (closed := gate(seen))), None)
