"""What keeps a remediation from starting once pre-caching is done, in the order of telling."""

from __future__ import annotations

from typing import Any

import pytest

from talm.api.meta import changed
from talm.core.gates import first_gate
from talm.core.model import Blocker, Snapshot
from talm.core.story import Rollout, RolloutVerdict

from .given import META, cgu, snapshot


def enabled(*blockers: Blocker, mode: str = "", **spec: Any) -> Snapshot:
    key = "ran.openshift.io/blocking-cgu-completion-mode"
    meta = changed(META, annotations={key: mode} if mode else None)
    return snapshot(cgu(meta=meta, **({"enable": True} | spec)), blockers=blockers)


def test_an_enabled_cgu_without_blockers_goes_on() -> None:
    assert first_gate(enabled()) is None


def test_a_cgu_that_is_not_enabled_waits_whatever_else_is_wrong() -> None:
    seen = enabled(Blocker("x", exists=False), enable=False, backup=True)
    assert first_gate(seen) == RolloutVerdict(Rollout.NOT_ENABLED)


def test_missing_blockers_are_named_before_incomplete_ones() -> None:
    blockers = (Blocker("open", True), Blocker("gone", False), Blocker("lost", False))
    assert first_gate(enabled(*blockers)) == RolloutVerdict(
        Rollout.BLOCKED_BY_MISSING, ("gone", "lost")
    )


@pytest.mark.parametrize(
    ("mode", "waits_for"), [("", ("open", "failed")), ("partial", ("open",)), ("odd", ("open", "failed"))]
)  # fmt: skip
def test_a_blocker_must_have_succeeded_or_in_partial_mode_ended(
    mode: str, waits_for: tuple[str, ...]
) -> None:
    blockers = (
        Blocker("open", True),
        Blocker("failed", True, "False"),
        Blocker("ok", True, "True"),
    )
    assert first_gate(enabled(*blockers, mode=mode)) == RolloutVerdict(
        Rollout.BLOCKED_BY_INCOMPLETE, waits_for
    )


def test_blockers_that_succeeded_let_it_pass() -> None:
    assert first_gate(enabled(Blocker("ok", True, "True"))) is None
    assert first_gate(enabled(Blocker("failed", True, "False"), mode="partial")) is None


def test_whoever_asks_for_a_backup_is_not_updated_without_one() -> None:
    assert first_gate(enabled(backup=True)) == RolloutVerdict(
        Rollout.UNSUPPORTED, text="backup is not supported by this version"
    )
