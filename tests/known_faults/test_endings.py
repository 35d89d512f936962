"""Pre-caching that never ends: here every wait has a deadline, and every CGU an end."""

from __future__ import annotations

from tests.scenarios.spoke import Habits

from .mutant import Mutation
from .registry import known_fault
from .worlds import HOUR, MINUTE, Fleet


@known_fault(
    "When pre-caching has failed on all clusters the CGU waits for ever.",
    here="It ends, `Succeeded=False`, and says why.",
    mutation=Mutation(
        "talm.core.decide",
        "return _ending(seen, base, Rollout.ALL_FAILED_PRECACHING)",
        "return base",
    ),
)
def test_a_cgu_ends_when_pre_caching_has_failed_on_all_clusters() -> None:
    fleet = Fleet({"one": Habits(job="Failed"), "two": Habits(job="Deadline")})
    fleet.create()
    fleet.run(until=12 * HOUR)
    assert fleet.states() == {"one": "UnrecoverableError", "two": "PrecacheTimeout"}
    assert fleet.told("Succeeded") == "False Failed"
    over = fleet.status().status
    assert over is not None
    assert over.completed_at is not None


@known_fault(
    "A setup that gets nowhere (PreparingToStart, Starting) has no deadline on the hub.",
    here="It ends after the setup's deadline, with what was seen last; the other clusters go on.",
    mutation=Mutation(
        "talm.core.precache", "return rules.setup_deadline", "return 9999 * rules.setup_deadline"
    ),
)
def test_a_setup_that_gets_nowhere_ends_at_its_deadline() -> None:
    fleet = Fleet({"stuck": Habits(stuck=True), "fine": Habits()})
    fleet.create(enable=False)
    fleet.run(until=40 * MINUTE)
    assert fleet.states() == {"stuck": "UnrecoverableError", "fine": "Succeeded"}
    assert fleet.told("PrecachingSuceeded") == "True PartiallyDone"


@known_fault(
    "The deletion of an earlier run's namespace is requested once; when it gets lost, the cluster stays "
    "in PreparingToStart for ever.",
    here="It is requested again while the namespace is there and nobody deletes it.",
    mutation=Mutation(
        "talm.core.precache",
        "F.LEFTOVERS_KEPT: Step(P.PREPARING, (E.REMOVE_AGAIN,))",
        "F.LEFTOVERS_KEPT: Step(P.PREPARING, waits_for=DELETION)",
    ),
)
def test_a_deletion_that_got_lost_is_requested_again() -> None:
    fleet = Fleet({"one": Habits(leftovers=True, lost_orders=1)})
    fleet.create(enable=False)
    fleet.run(until=HOUR)
    assert fleet.states() == {"one": "Succeeded"}
