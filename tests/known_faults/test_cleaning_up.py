"""A state that is stored although what belongs to it was not done, and an error that is another's."""

from __future__ import annotations

from talm.api.words import Phase
from talm.core.fleet import stored_phases
from talm.core.model import Fact, Outcomes
from tests.core.given import CNFDB, both, cgu, one_pass, snapshot, status

from .mutant import Mutation
from .registry import known_fault

ERRORS = {"cnfdb1": "etcd is sad", "cnfdb2": "the request was too long on its way"}


@known_fault(
    "A cluster's next state is stored although its clean-up has failed.",
    here="A state counts only when all that belongs to it was done; until then it is tried again.",
    mutation=Mutation("talm.core.fleet", "if move.cluster in failed:", "if not move.cluster:"),
)
def test_a_cluster_whose_clean_up_failed_stays_where_it_is_and_the_others_go_on() -> None:
    facts = dict.fromkeys(CNFDB, Fact.JOB_SUCCEEDED)
    after = one_pass(
        snapshot(cgu(status(both(Phase.ACTIVE))), facts=facts),
        Outcomes(failed={"cnfdb1": ERRORS["cnfdb1"]}),
    )
    assert stored_phases(after.status) == {"cnfdb1": Phase.ACTIVE, "cnfdb2": Phase.SUCCEEDED}


@known_fault(
    "When a clean-up fails, another error than its own is told.",
    here="Each cluster's entry in `failures` has its own error.",
    mutation=Mutation(
        "talm.core.report",
        "return EFFECT_FAILED, failed[cluster]",
        "return EFFECT_FAILED, next(iter(failed.values()))",
    ),
)
def test_a_cluster_whose_clean_up_failed_tells_its_own_error() -> None:
    facts = dict.fromkeys(CNFDB, Fact.JOB_SUCCEEDED)
    seen = snapshot(cgu(status(both(Phase.ACTIVE))), facts=facts)
    precaching = one_pass(seen, Outcomes(failed=ERRORS)).status.precaching
    assert precaching is not None
    assert {entry.cluster: entry.message for entry in precaching.failures or ()} == ERRORS
