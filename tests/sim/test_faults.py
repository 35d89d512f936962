"""Faults are said in a line, drawn by seed, and refused when they make no sense."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from talm.api import kinds
from talm.api.words import MANUAL_NAMESPACE
from talm.errors import SetupError
from talm.sim.faults import BEHIND_S, FAULTS, Faults, parse_faults
from talm.sim.fleet import cluster_names
from talm.sim.links import LinkState
from talm.sim.mischief import SLOW_RTT_S, Mischief, with_outcomes
from talm.sim.spoke.memoryspoke import always_succeeds
from talm.sim.spoke.spokejobs import Outcome, SpokeTimes

from .oneworld import CLUSTER, World, job
from .virtual import virtual

NAMES = cluster_names(100)
HOWTO = Path(__file__).parents[2] / "docs" / "howto" / "simulate-a-fleet.md"


def struck(faults: Faults, fault: str) -> list[str]:
    return [name for name, hit in faults.plan(NAMES).items() if fault in hit.struck]


def test_shares_and_counts_hit_that_many_clusters() -> None:
    faults = parse_faults("offline=10%, flap=3,stuck-namespace=1")
    assert len(struck(faults, "offline")) == 10
    assert len(struck(faults, "flap")) == 3
    assert len(struck(faults, "stuck-namespace")) == 1
    assert struck(faults, "slow") == []


def test_the_same_seed_hits_the_same_clusters() -> None:
    first, again = (struck(parse_faults("offline=10%", seed=7), "offline") for _ in range(2))
    assert first == again
    assert first != struck(parse_faults("offline=10%", seed=8), "offline")


def test_a_share_of_few_clusters_hits_at_least_one() -> None:
    plan = parse_faults("offline=1%").plan(["a", "b"])
    assert sum("offline" in hit.struck for hit in plan.values()) == 1


def test_skew_and_losses_are_for_all_clusters() -> None:
    plan = parse_faults("clock-skew=600,lost-put=5%").plan(NAMES)
    assert all(-600 <= hit.skew_s <= 600 and hit.lost_put == 0.05 for hit in plan.values())
    assert min(hit.skew_s for hit in plan.values()) < 0 < max(hit.skew_s for hit in plan.values())


def test_faults_can_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "faults.yaml"
    path.write_text("offline: 10%\nflap: 2\n")
    assert parse_faults(f"@{path}") == parse_faults("offline=10%,flap=2")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("ofline=10%", "no fault is called 'ofline'; known are: offline,"),
        ("offline=many", "not a number or a percentage"),
        ("offline=-1", "whose link is down"),
        ("clock-skew=5%", "seconds that the spokes' clocks"),
        ("lost-put=5", "0 to 1, or a percentage"),
        ("@/does/not/exist.yaml", "cannot be read"),
    ],
)
def test_nonsense_is_refused_with_a_hint(text: str, complaint: str) -> None:
    with pytest.raises(SetupError, match=complaint):
        parse_faults(text)


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ("job-fails", Outcome.FAILS),
        ("job-hangs", Outcome.HANGS),
        ("pull-back-off", Outcome.NEVER_READY),
    ],
)
def test_jobs_of_struck_clusters_end_badly(fault: str, outcome: Outcome) -> None:
    faults = parse_faults(f"{fault}=1").plan(["a", "b"])
    scenario = with_outcomes(always_succeeds, faults)
    outcomes = {scenario(name, {}).outcome for name in ("a", "b")}
    assert outcomes == {Outcome.SUCCEEDS, outcome}


def strike(world: World, text: str) -> Mischief:
    mischief = Mischief({CLUSTER: world.site}, parse_faults(text).plan([CLUSTER]))
    mischief.start()
    return mischief


@virtual
async def test_an_offline_cluster_returns_when_told_to() -> None:
    world = World()
    mischief = strike(world, "offline=1,offline-for=100")
    states = []
    for pause_s in (99, 2):
        await asyncio.sleep(pause_s)
        states.append(world.link.state)
    assert states == [LinkState.DOWN, LinkState.UP]
    mischief.stop()


@pytest.mark.parametrize(
    ("fault", "state"), [("flap", LinkState.DOWN), ("half-dead", LinkState.HALF_DEAD)]
)
@virtual
async def test_a_flapping_link_goes_down_and_up_again(fault: str, state: LinkState) -> None:
    world = World()
    seen: list[LinkState] = []
    world.link.on_change.append(seen.append)
    mischief = strike(world, f"{fault}=1,flap-every=10")
    await asyncio.sleep(200)
    mischief.stop()
    assert seen[:4] == [state, LinkState.UP, state, LinkState.UP]


@virtual
async def test_slow_stuck_and_lossy_are_set_at_once() -> None:
    world = World()
    strike(world, "slow=1,stuck-namespace=1,lost-put=0.5")
    assert world.link.rtt_s == SLOW_RTT_S
    assert world.link.lose_puts == 0.5
    assert world.spoke.hold_namespaces


@virtual
async def test_restarting_and_rebooting_clusters_still_answer_in_between() -> None:
    world = World()
    mischief = strike(world, "agent-restart=1,spoke-reboot=1,flap-every=100")
    world.view(resource="namespaces", name="default", updateIntervalSeconds=5)
    statuses = set()
    for _ in range(600):
        await asyncio.sleep(1)
        condition = world.processing()
        assert condition is not None
        statuses.add(condition["status"])
    mischief.stop()
    assert statuses == {"True", "False"}


@pytest.mark.parametrize(
    ("fault", "moment"),
    [("cut-at-namespace", 0.0), ("cut-when-active", 1.0), ("cut-at-success", 61.0)],
)
@virtual
async def test_a_link_is_cut_at_its_moment_and_returns(fault: str, moment: float) -> None:
    world = World(times=SpokeTimes(call_s=0, job_sync_s=0.5, pod_start_s=0.5))
    strike(world, f"{fault}=1,offline-for=100")
    seen: list[tuple[float, LinkState]] = []
    loop = asyncio.get_running_loop()
    began = loop.time()
    world.link.on_change.append(lambda state: seen.append((loop.time() - began, state)))
    await world.have(kinds.NAMESPACE, MANUAL_NAMESPACE)
    await world.spoke.create(kinds.JOB, MANUAL_NAMESPACE, job("pre-cache", MANUAL_NAMESPACE))
    await asyncio.sleep(200)
    assert [(round(at, 3), state) for at, state in seen] == [
        (moment, LinkState.DOWN),
        (moment + 100, LinkState.UP),
    ]


@virtual
async def test_what_earlier_runs_have_left_is_there_and_stuck_until_somebody_helps() -> None:
    world = World()
    strike(world, "old-job=1,stuck-leftovers=1,stuck-for=50")
    assert world.spoke.leftovers() == [
        f"Job {MANUAL_NAMESPACE}/pre-cache",
        f"Namespace /{MANUAL_NAMESPACE}",
    ]
    assert world.spoke.job_uids() == {}, "it is of nobody's run here"
    await asyncio.sleep(49)
    assert world.spoke.leftovers() == [f"Namespace /{MANUAL_NAMESPACE}"]
    await asyncio.sleep(2)
    assert world.spoke.leftovers() == []


@virtual
async def test_a_late_controller_leaves_the_status_empty_and_a_slow_end_shows_its_target_alone() -> (
    None
):
    world = World(scenario=with_outcomes(always_succeeds, {CLUSTER: FAILING}))
    strike(world, "late-jobs=1,slow-ends=1")
    await world.have(kinds.NAMESPACE, MANUAL_NAMESPACE)
    await world.spoke.create(kinds.JOB, MANUAL_NAMESPACE, job("pre-cache", MANUAL_NAMESPACE))
    told: list[tuple[str, ...]] = []
    for _ in range(700):
        await asyncio.sleep(0.1)
        found = await world.spoke.get(kinds.JOB, MANUAL_NAMESPACE, "pre-cache")
        told.append(tuple(c["type"] for c in found["status"].get("conditions") or ()))
        if len(told) == 29:
            assert found["status"] == {}
    assert 29 <= told.count(("FailureTarget",)) <= 31
    assert told[-1] == ("FailureTarget", "Failed")


FAILING = parse_faults("job-fails=1").plan([CLUSTER])[CLUSTER]


@virtual
async def test_a_clock_that_is_behind_and_agents_that_know_less_are_set_at_once() -> None:
    world = World()
    strike(world, "clock-behind=1,old-agent=1,no-field=1,no-verdict=1,slow-actions=1")
    assert world.site.clock.skew.total_seconds() == BEHIND_S
    habits = world.site.works.habits
    assert (habits.watches, habits.freezes, len(habits.mutes)) == (False, False, 1)
    assert world.site.policies.silent
    world.action("a", "Create", template={"apiVersion": "v1", "kind": "Namespace"})
    await asyncio.sleep(1)
    assert world.hub.get(kinds.ACTION, "a", CLUSTER).get("status") is None
    await asyncio.sleep(2)
    assert world.completed("a") is not None


def test_the_how_to_lists_every_fault() -> None:
    text = HOWTO.read_text()
    assert [name for name in FAULTS if f"`{name}`" not in text] == []
