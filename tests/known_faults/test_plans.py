"""Clusters that leave the plan, CGUs that share a cluster, policies that are nobody's."""

from __future__ import annotations

from dataclasses import replace

from talm.core.decide import decide
from talm.core.model import RootPolicy
from tests.core.given import CNFDB, POLICY, conditions, one_pass, policy, snapshot
from tests.scenarios.spoke import Habits

from .mutant import Mutation
from .registry import known_fault
from .worlds import HOUR, MINUTE, Fleet
from .worlds import POLICY as RELEASE_POLICY


@known_fault(
    "A cluster that becomes compliant while it is being pre-cached keeps its last state and is counted "
    "as in progress for ever.",
    here="What was begun there is taken away, its entry goes, and the others end.",
    mutation=Mutation(
        "talm.core.fleet",
        "gone = phases.keys() - set(planned)",
        "gone: frozenset[str] = frozenset()",
    ),
)
def test_a_cluster_that_becomes_compliant_meanwhile_leaves_and_is_counted_no_more() -> None:
    fleet = Fleet({"updated-by-hand": Habits(job_s=HOUR), "other": Habits()})
    fleet.create(enable=False)
    fleet.at(MINUTE, lambda: fleet.policies[RELEASE_POLICY].compliant.add("updated-by-hand"))
    fleet.run(until=30 * MINUTE)
    assert fleet.states() == {"other": "Succeeded"}
    assert fleet.told("PrecachingSuceeded") == "True PrecachingCompleted"
    assert not fleet.spokes["updated-by-hand"].owner


@known_fault(
    "Two CGUs that pre-cache one cluster destroy each other's objects, whose names are fixed.",
    here="The cluster belongs to the older one until that has finished there; the younger waits.",
    mutation=Mutation(
        "talm.core.fleet",
        "return None if phase is Phase.NOT_STARTED else Move(cluster, Phase.NOT_STARTED)",
        "pass",
    ),
)
def test_two_cgus_that_share_a_cluster_do_not_destroy_each_others_objects() -> None:
    fleet = Fleet({"shared": Habits(job_s=20 * MINUTE)})
    fleet.create("older", enable=False)
    fleet.create("younger", at=5 * MINUTE, enable=False)
    fleet.run(until=10 * MINUTE)
    assert (fleet.states("older"), fleet.states("younger")) == (
        {"shared": "Active"},
        {"shared": "NotStarted"},
    )
    fleet.run(until=2 * HOUR)
    assert fleet.states("older") == fleet.states("younger") == {"shared": "Succeeded"}
    assert fleet.jobs("shared") == 2


@known_fault(
    "Policies of one name in two namespaces hold up a CGU that does not manage them.",
    here="Only managed policies are judged.",
    mutation=Mutation(
        "talm.core.policies",
        "for name in dict.fromkeys(cgu.spec.managed_policies or ()):",
        "for name in policies:",
    ),
)
def test_policies_of_one_name_that_a_cgu_does_not_manage_do_not_hold_it_up() -> None:
    strangers = tuple(
        RootPolicy(namespace, "stranger", compliance=dict.fromkeys(CNFDB, "NonCompliant"))
        for namespace in ("ztp-common", "ztp-site")
    )
    seen = replace(snapshot(), policies={POLICY: (policy(),), "stranger": strangers})
    found = decide(seen).prepared
    assert found is not None
    assert found.validation_problem is None
    assert conditions(one_pass(seen).status)["Validated"][0] == "True"
