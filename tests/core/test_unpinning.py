"""When a CGU is over, whoever may have pinned images is asked to let go of them; nobody else is."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talm.api.cgu import PrecachingSpec, UpgradeStatus
from talm.api.meta import changed
from talm.api.words import FINAL_PHASES, Phase
from talm.core.decide import decide
from talm.core.fleet import decide_fleet
from talm.core.model import Cluster, Effect, Move, Outcomes, Rules, Snapshot
from talm.core.parting import farewell
from talm.core.renewal import renew, renewal
from talm.core.settle import settle
from talm.core.specifications import one_for_all
from tests.core.given import META, NOW, SPEC, cgu, condition, snapshot, status

P, E = Phase, Effect
PINS: Final = Rules(unpins=True)
BEGUN: Final = frozenset(P) - {P.NOT_STARTED, P.PREPARING}
OLDER: Final = "ztp-group-du-sno/older"


def fleet_of(
    phases: dict[str, Phase], *, gone: frozenset[str] = frozenset(), **more: object
) -> Snapshot:
    known = {name: Cluster(name) for name in phases if name not in gone}
    seen = snapshot(cgu(status(phases)), clusters=known)
    return replace(seen, rules=PINS, **more)  # type: ignore[arg-type]


def unpinned(moves: tuple[Move, ...]) -> set[str]:
    return {move.cluster for move in moves if E.UNPIN in move.effects}


@pytest.mark.parametrize("phase", Phase)
def test_whoever_has_had_a_job_is_asked(phase: Phase) -> None:
    assert unpinned(farewell(fleet_of({"c": phase}))) == ({"c"} if phase in BEGUN else set())


@pytest.mark.parametrize("phase", sorted(FINAL_PHASES))
def test_an_end_stays_what_it_was(phase: Phase) -> None:
    (move,) = farewell(fleet_of({"c": phase}))
    assert move.goto is phase
    assert move.effects[-1] is E.UNPIN
    assert (E.REMOVE in move.effects) == (phase is not P.SUCCEEDED)


@pytest.mark.parametrize("phase", sorted(FINAL_PHASES))
def test_pins_of_one_that_has_ended_go_though_another_cgu_is_there(phase: Phase) -> None:
    """What the other one has pinned since stays: an unpin names its run."""
    (move,) = farewell(fleet_of({"c": phase}, owners={"c": OLDER}))
    assert move == Move("c", phase, (E.UNPIN,))


def test_a_cluster_that_is_another_s_and_open_is_left_alone() -> None:
    assert not farewell(fleet_of({"c": P.ACTIVE}, owners={"c": OLDER}))


def test_an_offline_cluster_is_asked_like_any_other() -> None:
    seen = fleet_of({"c": P.SUCCEEDED})
    seen = replace(seen, clusters={"c": Cluster("c", available=False, since=NOW)})
    assert unpinned(farewell(seen)) == {"c"}


@given(
    phases=st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from(Phase)),
    gone=st.frozensets(st.sampled_from("abcdefgh")),
)
def test_each_cluster_is_asked_once_at_most_and_without_pins_nothing_changes(
    phases: dict[str, Phase], gone: frozenset[str]
) -> None:
    seen = fleet_of(phases, gone=gone)
    moves = farewell(seen)
    assert len({move.cluster for move in moves}) == len(moves)
    wanted = {name for name, phase in phases.items() if phase in BEGUN and name not in gone}
    assert unpinned(moves) == wanted
    plain = farewell(replace(seen, rules=Rules()))
    others = [replace(m, effects=tuple(e for e in m.effects if e is not E.UNPIN)) for m in moves]
    assert [move for move in others if move.effects] == list(plain)


@pytest.mark.parametrize("phase", [P.STARTING, P.ACTIVE])
def test_a_cluster_that_leaves_the_plan_lets_go(phase: Phase) -> None:
    found = decide_fleet(fleet_of({"c": phase}), (), held=False, enabled=False)
    assert found.moves == (Move("c", None, (E.REMOVE, E.UNPIN)),)


def test_who_is_forgotten_when_the_specification_changes_lets_go() -> None:
    seen = fleet_of({"stays": P.SUCCEEDED, "left": P.SUCCEEDED})
    new = one_for_all(PrecachingSpec(platform_image="quay.io/new:1"))
    due = renewal(seen, ("stays",), one_for_all(SPEC), new)
    found = renew(seen, due, decide_fleet(seen, ("stays",), held=False, enabled=False))
    assert set(found.moves) == {Move("stays", P.NOT_STARTED), Move("left", None, (E.UNPIN,))}


def deleted(seen: Snapshot) -> Snapshot:
    return replace(seen, cgu=changed(seen.cgu, metadata=changed(META, deletion_timestamp=NOW)))


def test_the_finalizer_goes_in_the_pass_that_has_asked() -> None:
    decision = decide(deleted(fleet_of({"c": P.SUCCEEDED})))
    assert decision.drop_finalizer
    assert decision.moves == (Move("c", P.SUCCEEDED, (E.UNPIN,)),)


def test_the_end_is_stored_in_the_pass_that_has_asked_and_not_when_asking_failed() -> None:
    of = cgu(
        changed(
            status({"c": P.SUCCEEDED}),
            conditions=(condition("Succeeded", "True"),),
            status=UpgradeStatus(started_at=NOW),
        )
    )
    seen = replace(snapshot(of, clusters={"c": Cluster("c")}), rules=PINS)
    decision = decide(seen)
    assert unpinned(decision.moves) == {"c"}
    failed = settle(seen, decision, Outcomes({"c": "503"}))
    assert failed.status == seen.cgu.status
    done = settle(seen, decision, Outcomes())
    assert done.status.status is not None
    assert done.status.status.completed_at == NOW
    assert done.status.precaching is not None
    assert done.status.precaching.status == {"c": "Succeeded"}


def test_after_the_end_nobody_is_asked_again() -> None:
    of = cgu(changed(status({"c": P.SUCCEEDED}), status=UpgradeStatus(completed_at=NOW)))
    seen = replace(snapshot(of, clusters={"c": Cluster("c")}), rules=PINS)
    assert not decide(seen).moves
    assert not decide(deleted(seen)).moves
