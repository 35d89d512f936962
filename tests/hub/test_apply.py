"""Carrying a decision out: side by side, in waves, the finalizer last."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from typing import Any, cast

import pytest

from talm.api import kinds
from talm.api.cacherecord import CACHE_RECORD
from talm.api.cgu import ClusterGroupUpgrade, PolicyRef, PrecachingSpec
from talm.api.words import FINALIZER, Phase
from talm.core.decide import Decision, Stage
from talm.core.fleet import FleetDecision
from talm.core.model import Effect, Move, Outcomes, Rules, Snapshot
from talm.core.placements import wanted_placements
from talm.core.story import Rollout, RolloutVerdict
from talm.errors import Bug, CredentialError, LeadershipLost
from talm.hub import apply
from talm.hub.apply import Applier
from talm.hub.placements import Placements
from talm.hub.store import Store
from talm.hub.throttle import Throttle
from talm.spokes.base import Order, Transport
from tests.core.given import NOW
from tests.hub.fakehub import FakeHub, followed, refusal
from tests.hub.given import cgu, put_cgu
from tests.spokes.world import ORDER

POLICY = PolicyRef(name="upgrade", namespace="pol")


class Spokes:
    """A transport that carries out what it is asked, unless a cluster has trouble."""

    def __init__(self) -> None:
        self.done: list[tuple[str, tuple[Effect, ...]]] = []
        self.trouble: dict[str, Exception] = {}
        self.slow: dict[str, asyncio.Event] = {}
        self.inside = 0
        self.most = 0
        self.abandoned: list[str] = []
        self.ordered: dict[str, PrecachingSpec] = {}

    async def carry_out(self, cluster: str, effects: tuple[Effect, ...], order: Order) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await self.slow[cluster].wait() if cluster in self.slow else await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.abandoned.append(cluster)
            raise
        finally:
            self.inside -= 1
        if cluster in self.trouble:
            raise self.trouble[cluster]
        self.done.append((cluster, effects))
        self.ordered[cluster] = order.spec


class Clock:
    """Monotonic time that passes by `step` with each look."""

    def __init__(self, step: float) -> None:
        self.step = step
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += self.step
        return self.now


@pytest.fixture
def hub() -> FakeHub:
    return FakeHub()


@pytest.fixture
def spokes() -> Spokes:
    return Spokes()


@pytest.fixture
async def store(hub: FakeHub) -> AsyncIterator[Store]:
    async with followed(hub, Store(hub.client, lambda *_: None)) as following:
        yield following


@pytest.fixture
def applier(hub: FakeHub, store: Store, spokes: Spokes) -> Applier:
    placements = Placements(hub.client, store)
    return Applier(hub.client, cast(Transport, spokes), placements, store.records, Throttle(4))


def seen(of: ClusterGroupUpgrade) -> Snapshot:
    return Snapshot(now=NOW, rules=Rules(), cgu=of, clusters={})


def move(cluster: str, goto: Phase | None = Phase.PREPARING, *effects: Effect) -> Move:
    return Move(cluster, goto, effects or (Effect.CLEAN_UP,))


def preparing(moves: Iterable[Move], **more: Any) -> Decision:
    return Decision(Stage.PREPARING, fleet=FleetDecision(tuple(moves)), **more)


def passing_time(monkeypatch: pytest.MonkeyPatch, step: float) -> None:
    monkeypatch.setattr(apply, "time", Clock(step))


async def test_one_clusters_failure_is_its_own(applier: Applier, spokes: Spokes) -> None:
    spokes.trouble["c2"] = refusal(500, "webhook says no")
    moves = [move(f"c{n}") for n in range(1, 6)]
    done, outcomes = await applier.apply(seen(cgu()), preparing(moves), ORDER)
    assert done.moves == tuple(moves)
    assert outcomes == Outcomes({"c2": str(spokes.trouble["c2"])})
    assert sorted(cluster for cluster, _ in spokes.done) == ["c1", "c3", "c4", "c5"]


async def test_each_cluster_is_given_its_own_specification(
    applier: Applier, spokes: Spokes
) -> None:
    other = PrecachingSpec(platform_image="quay.io/other@sha256:" + "1" * 64)
    order = replace(ORDER, others={"c2": other})
    await applier.apply(seen(cgu()), preparing([move("c1"), move("c2")]), order)
    assert spokes.ordered == {"c1": ORDER.spec, "c2": other}


async def test_an_end_is_recorded_before_its_clean_up_and_does_not_count_without(
    applier: Applier, hub: FakeHub, spokes: Spokes
) -> None:
    ending = Move("c1", Phase.SUCCEEDED, (Effect.REMOVE,))
    of = seen(cgu(phases={"c1": "Active", "c2": "Active"}))
    hub.refusals["apply", CACHE_RECORD] = refusal(500)
    _, outcomes = await applier.apply(of, preparing([ending, move("c2")]), ORDER)
    assert outcomes.failed.keys() == {"c1"}
    assert [cluster for cluster, _ in spokes.done] == ["c2"], "nobody else is held"
    hub.refusals.clear()
    spokes.trouble["c1"] = refusal(500)
    await applier.apply(of, preparing([ending]), ORDER)
    assert hub.truth(kinds.CONFIG_MAP, CACHE_RECORD, "c1")["data"]["result"] == "Succeeded"


async def test_moves_without_effects_are_made_without_anybody(
    applier: Applier, spokes: Spokes
) -> None:
    moves = [Move("c1", Phase.ACTIVE), Move("c2", None)]
    done, outcomes = await applier.apply(seen(cgu()), preparing(moves), ORDER)
    assert (done.moves, outcomes, spokes.done) == (tuple(moves), Outcomes(), [])


async def test_no_more_clusters_than_the_throttle_allows_are_worked_on(
    applier: Applier, spokes: Spokes
) -> None:
    await applier.apply(seen(cgu()), preparing(move(f"c{n}") for n in range(40)), ORDER)
    assert len(spokes.done) == 40
    assert spokes.most == 4


async def test_a_wave_ends_with_its_time_and_the_rest_waits_for_the_next_pass(
    applier: Applier, spokes: Spokes, monkeypatch: pytest.MonkeyPatch
) -> None:
    passing_time(monkeypatch, 0.02)
    moves = [move(f"c{n:02}") for n in range(100)] + [Move("calm", Phase.ACTIVE)]
    done, _ = await applier.apply(seen(cgu()), preparing(moves), ORDER)
    begun = {cluster for cluster, _ in spokes.done}
    assert 4 <= len(begun) < 30
    assert {m.cluster for m in done.moves} == begun | {"calm"}
    assert list(done.moves) == [m for m in moves if m in done.moves], "in the decision's order"


async def test_waves_are_longer_once_a_job_is_active(
    applier: Applier, spokes: Spokes, monkeypatch: pytest.MonkeyPatch
) -> None:
    moves = [move(f"c{n:02}") for n in range(100)]
    lengths = []
    for phase in (Phase.STARTING, Phase.ACTIVE):
        spokes.done.clear()
        passing_time(monkeypatch, 0.02)
        of = cgu(status={"precaching": {"status": {"first": phase.value}}})
        await applier.apply(seen(of), preparing(moves), ORDER)
        lengths.append(len(spokes.done))
    assert 2 * lengths[0] < lengths[1] < 100


async def test_the_furthest_have_the_first_turn_and_who_failed_the_last(
    applier: Applier, spokes: Spokes
) -> None:
    entry = {"cluster": "broken", "reason": "RequestFailed"}
    waits = {"cluster": "waited", "reason": "ClusterUnavailable"}
    precaching = {"precaching": {"failures": [entry, waits]}}
    moves = [
        move("new", Phase.PREPARING),
        move("broken", Phase.SUCCEEDED),
        move("set-up", Phase.STARTING),
        move("waited", Phase.ACTIVE),
        move("done", Phase.SUCCEEDED),
        move("left", None),
    ]
    one_hand = Applier(
        applier._client,
        applier._transport,
        applier._placements,
        applier._records,
        Throttle(1),
    )
    await one_hand.apply(seen(cgu(status=precaching)), preparing(moves), ORDER)
    order = [cluster for cluster, _ in spokes.done]
    assert order[-1] == "broken"
    assert order.index("done") < order.index("waited") < order.index("set-up") < order.index("new")


@pytest.mark.parametrize(
    "decision",
    [
        Decision(Stage.ENDED),
        Decision(Stage.DELETING),
        preparing([], gate=RolloutVerdict(Rollout.COMPLETED)),
    ],
    ids=["ended", "deleting", "ends"],
)
async def test_a_farewell_is_said_to_all(
    applier: Applier, spokes: Spokes, decision: Decision, monkeypatch: pytest.MonkeyPatch
) -> None:
    passing_time(monkeypatch, 1.0)
    moves = tuple(move(f"c{n}", None, Effect.REMOVE) for n in range(50))
    whole = replace(decision, fleet=FleetDecision(moves))
    done, _ = await applier.apply(seen(cgu()), whole, ORDER)
    assert done.moves == moves
    assert len(spokes.done) == 50


@pytest.mark.parametrize(
    "error", [LeadershipLost("lost"), Bug("broken"), CredentialError("no token")], ids=repr
)
async def test_what_is_not_one_clusters_fault_ends_the_pass_and_all_its_work(
    applier: Applier, spokes: Spokes, error: Exception
) -> None:
    spokes.trouble["c1"] = error
    spokes.slow["c2"] = asyncio.Event()
    with pytest.raises(type(error)):
        await applier.apply(seen(cgu()), preparing([move("c1"), move("c2")]), ORDER)
    assert spokes.abandoned == ["c2"]
    assert spokes.inside == 0


async def test_a_pass_that_is_cancelled_leaves_nothing_running(
    applier: Applier, spokes: Spokes
) -> None:
    spokes.slow = {f"c{n}": asyncio.Event() for n in range(4)}
    decision = preparing(move(f"c{n}") for n in range(8))
    passing = asyncio.create_task(applier.apply(seen(cgu()), decision, ORDER))
    while spokes.inside < 4:  # noqa: ASYNC110 - the fake has no event for it
        await asyncio.sleep(0)
    passing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await passing
    assert sorted(spokes.abandoned) == ["c0", "c1", "c2", "c3"]
    assert applier._throttle.in_flight == 0


async def test_the_finalizer_is_added_beside_those_of_others(
    applier: Applier, hub: FakeHub
) -> None:
    found = put_cgu(hub, finalizers=["somebody/else"])
    _, outcomes = await applier.apply(
        seen(found), Decision(Stage.ADOPTING, add_finalizer=True), ORDER
    )
    assert outcomes == Outcomes()
    meta = hub.truth(kinds.CGU, "du-upgrade", "ztp")["metadata"]
    assert meta["finalizers"] == ["somebody/else", FINALIZER]


async def test_finalizers_that_somebody_has_changed_meanwhile_are_not_overwritten(
    applier: Applier, hub: FakeHub
) -> None:
    found = put_cgu(hub, finalizers=[])
    put_cgu(hub, finalizers=["just/added"])
    _, outcomes = await applier.apply(
        seen(found), Decision(Stage.ADOPTING, add_finalizer=True), ORDER
    )
    assert "modified" in outcomes.hub_failed
    meta = hub.truth(kinds.CGU, "du-upgrade", "ztp")["metadata"]
    assert meta["finalizers"] == ["just/added"]


def deleting(hub: FakeHub, *moves: Move, **more: Any) -> tuple[Snapshot, Decision]:
    found = put_cgu(hub, finalizers=[FINALIZER, "somebody/else"])
    decision = Decision(
        Stage.DELETING, fleet=FleetDecision(moves), drop_placements=True, drop_finalizer=True
    )
    return seen(found), replace(decision, **more)


def finalizers(hub: FakeHub) -> list[str]:
    found: list[str] = hub.truth(kinds.CGU, "du-upgrade", "ztp")["metadata"]["finalizers"]
    return found


async def test_the_finalizer_is_dropped_last(applier: Applier, hub: FakeHub) -> None:
    snapshot, decision = deleting(hub)
    (want,) = wanted_placements(snapshot.cgu.metadata, [POLICY], {})
    await applier._placements.bring_about(snapshot.cgu, [want])
    await hub.heard()
    hub.writes.clear()
    await applier.apply(snapshot, decision, ORDER)
    assert [(verb, kind) for verb, kind, _ in hub.writes] == [
        ("delete", "placementbindings"),
        ("delete", "placements"),
        ("patch", "clustergroupupgrades"),
    ]
    assert finalizers(hub) == ["somebody/else"]


async def test_the_finalizer_stays_while_a_cluster_was_not_told(
    applier: Applier, hub: FakeHub, spokes: Spokes
) -> None:
    spokes.trouble["c1"] = refusal()
    snapshot, decision = deleting(hub, move("c1", None, Effect.REMOVE))
    _, outcomes = await applier.apply(snapshot, decision, ORDER)
    assert list(outcomes.failed) == ["c1"]
    assert FINALIZER in finalizers(hub)


@pytest.mark.parametrize("holds", [True, False], ids=["ended", "deleting"])
async def test_placements_that_fail_hold_an_end_but_no_deletion(
    applier: Applier, hub: FakeHub, holds: bool
) -> None:
    stage = {"stage": Stage.ENDED, "drop_finalizer": False} if holds else {}
    snapshot, decision = deleting(hub, **stage)
    (want,) = wanted_placements(snapshot.cgu.metadata, [POLICY], {})
    await applier._placements.bring_about(snapshot.cgu, [want])
    await hub.heard()
    hub.refusals["delete", kinds.PLACEMENT.plural] = refusal(403, "its namespace is gone")
    _, outcomes = await applier.apply(snapshot, decision, ORDER)
    assert bool(outcomes.hub_failed) is holds
    assert (FINALIZER in finalizers(hub)) is holds


async def test_a_cgu_that_is_gone_needs_no_finalizer_dropped(
    applier: Applier, hub: FakeHub
) -> None:
    snapshot, decision = deleting(hub)
    hub.remove(kinds.CGU, "du-upgrade", "ztp")
    _, outcomes = await applier.apply(snapshot, decision, ORDER)
    assert outcomes == Outcomes()


async def test_a_refused_placement_fails_the_hubs_part_alone(
    applier: Applier, hub: FakeHub, spokes: Spokes
) -> None:
    found = put_cgu(hub)
    wanted = wanted_placements(found.metadata, [POLICY], {POLICY: ("c1",)})
    hub.refusals["apply", kinds.PLACEMENT.plural] = refusal(403, "no namespace")
    decision = preparing([move("c1")], placements=wanted)
    done, outcomes = await applier.apply(seen(found), decision, ORDER)
    assert "no namespace" in outcomes.hub_failed
    assert not outcomes.failed
    assert done.moves == decision.moves
    assert [cluster for cluster, _ in spokes.done] == ["c1"]
