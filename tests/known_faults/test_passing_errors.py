"""With `enable: true` any error at all ends the cluster for good: not here."""

from __future__ import annotations

from talm.api.words import Phase, View
from talm.spokes.own import TALM
from tests.scenarios.spoke import Habits
from tests.spokes.hub import Object
from tests.spokes.test_viewaction import answer, by_hand, to_the_job

from .mutant import Mutation
from .registry import known_fault
from .worlds import HOUR, MINUTE, Fleet


@known_fault(
    "With `enable: true` a view that has no answer yet at the first look ends its cluster.",
    here="Who has not answered is waited for, until the deadline of its state.",
    mutation=Mutation(
        "talm.core.precache",
        "F.UNANSWERED: Step(P.PREPARING, waits_for=VIEW_AGENT)",
        "F.UNANSWERED: Step(P.FAILED)",
    ),
)
def test_a_view_without_an_answer_yet_does_not_end_the_cluster_of_an_enabled_cgu() -> None:
    fleet = Fleet({"slow": Habits(answer_s=10 * MINUTE), "quick": Habits()})
    fleet.create()
    fleet.run(until=2 * HOUR)
    assert fleet.states() == {"slow": "Succeeded", "quick": "Succeeded"}


@known_fault(
    "A Job whose pod was not created yet (status `{}`) when it is looked at ends its cluster.",
    here="A Job that has neither ended nor begun is waited for.",
    mutation=Mutation(
        "talm.spokes.jobs", 'return Fact.JOB_PENDING, ""', 'return Fact.JOB_FAILED, ""'
    ),
)
async def test_a_job_whose_pod_was_not_created_yet_does_not_end_the_cluster() -> None:
    world = by_hand(TALM)
    await to_the_job(world)
    answers: tuple[Object, ...] = ({"status": {}}, {})
    for empty in answers:
        answer(world, View.JOB, "found", empty)
        await world.settle()
        world.wait(20)  # long enough for an end to be taken for one
        await world.settle()
        assert world.phase is Phase.STARTING
    answer(world, View.JOB, "found", {"status": {"active": 1}})
    await world.settle()
    assert world.is_in(Phase.ACTIVE)


@known_fault(
    "One request that the hub's API server refuses (a single 500) ends the cluster that it was about.",
    here="The cluster stays where it is, says which request failed, and it is made again.",
    mutation=Mutation(
        "talm.core.fleet",
        "if move.cluster in failed:",
        "if move.cluster in failed and not phases.update({move.cluster: Phase.FAILED}):",
    ),
)
def test_a_request_that_the_api_server_refuses_does_not_end_the_cluster() -> None:
    fleet = Fleet({"unlucky": Habits(failing=0.3), "lucky": Habits()})
    fleet.create()
    refused: list[str] = []
    fleet.watchers.append(lambda done: refused.extend(done.outcomes.failed))
    fleet.run(until=2 * HOUR)
    assert "unlucky" in refused
    assert fleet.states() == {"unlucky": "Succeeded", "lucky": "Succeeded"}
