"""One pass: the four calls in order, how soon to come back, and what is told."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from talm.api.cgu import CguStatus, ClusterGroupUpgrade, PrecachingSpec
from talm.api.meta import changed
from talm.api.progress import ProgressRecord
from talm.api.words import Phase
from talm.core.decide import Decision
from talm.core.model import EventNote, Fact, Outcomes, Sight, Snapshot, SpecSources
from talm.core.specifications import Specifications
from talm.errors import ApiError, NotFound
from talm.hub.apply import Applier
from talm.hub.observe import Observer
from talm.hub.persist import Persister
from talm.hub.reconcile import FIRST_RETRY_S, LONGEST_RETRY_S, Reconciler
from talm.spokes.base import Order
from tests.core.given import CNFDB, both, cgu, policy, snapshot, status

KEY = ("ztp-group-du-sno", "du-upgrade-4918")


class Hub:
    """Observer, applier, persister and notifier in one: a hub with one CGU, in memory."""

    def __init__(self, seen: Snapshot | None) -> None:
        self.seen = seen
        self.calls: list[str] = []
        self.failing: dict[str, str] = {}
        self.hub_failed = ""
        self.begins = 10**6  # so many moves in one pass
        self.refusal: Exception | None = None
        self.events: list[EventNote] = []
        self.orders: list[PrecachingSpec | None] = []
        self.patches = 0
        self.bytes = 0
        self.holds: list[float] = []
        self.measured: list[int | None] = []  # the moves of a stored pass; None: the CGU is gone

    def observe(self, key: tuple[str, str], recall: object) -> Snapshot | None:
        self.calls.append("observe")
        return self.seen

    def order(self, cgu: ClusterGroupUpgrade, specs: Specifications | None) -> Order:
        self.orders.append(specs.spec if specs else None)
        return cast(Order, None)

    async def apply(
        self, seen: Snapshot, decision: Decision, order: Order
    ) -> tuple[Decision, Outcomes]:
        self.calls.append("apply")
        moves = decision.moves[: self.begins]
        done = replace(decision, fleet=replace(decision.fleet, moves=moves))
        return done, Outcomes(self.failing, self.hub_failed)

    async def persist(self, cgu: ClusterGroupUpgrade, status: CguStatus) -> bool:
        self.calls.append("persist")
        if self.refusal is not None:
            raise self.refusal
        if status == cgu.status:
            return False
        assert self.seen is not None
        self.patches += 1
        self.seen = replace(self.seen, cgu=_with(self.seen.cgu, status))
        return True

    def recall(self, cgu: ClusterGroupUpgrade) -> ClusterGroupUpgrade:
        return cgu

    def size(self, key: tuple[str, str]) -> int:
        return self.bytes

    def forget(self, key: tuple[str, str]) -> None:
        self.calls.append("forget")

    def notify(self, cgu: ClusterGroupUpgrade, notes: Iterable[EventNote]) -> None:
        self.calls.append("notify")
        self.events += notes

    def stored(self, seen: Snapshot, decision: Decision, outcomes: Outcomes) -> None:
        self.measured.append(len(decision.moves))

    def gone(self, key: tuple[str, str]) -> None:
        self.measured.append(None)

    def reconciler(self) -> Reconciler:
        return Reconciler(
            cast(Observer, self),
            cast(Applier, self),
            cast(Persister, self),
            cast(Any, self),
            witness=self,
            hold=lambda key, seconds: self.holds.append(seconds),
        )


def _with(cgu: ClusterGroupUpgrade, status: CguStatus) -> ClusterGroupUpgrade:
    return changed(cgu, status=status)


def stored(phase: Phase, fact: Fact | Sight) -> Snapshot:
    found = cgu(status(both(phase)))
    return snapshot(found, facts=dict.fromkeys(CNFDB, fact))


async def test_a_pass_looks_acts_stores_and_then_tells() -> None:
    hub = Hub(snapshot())
    await hub.reconciler().reconcile(KEY)
    assert hub.calls == ["observe", "apply", "persist", "notify"]
    assert hub.seen is not None
    precaching = hub.seen.cgu.status.precaching
    assert precaching is not None
    assert precaching.status == dict.fromkeys(CNFDB, "NotStarted")
    assert hub.orders == [precaching.spec], "what was just found, not what is stored"


async def test_a_cgu_that_is_gone_is_forgotten() -> None:
    hub = Hub(None)
    assert await hub.reconciler().reconcile(KEY) is None
    assert hub.calls == ["observe", "forget"]


async def test_a_pass_is_measured_once_it_is_stored() -> None:
    hub = Hub(stored(Phase.NOT_STARTED, Fact.UNASKED))
    hub.refusal = ApiError("PATCH", "cgu", 500, "etcd is sad")
    reconciler = hub.reconciler()
    with pytest.raises(ApiError):
        await reconciler.reconcile(KEY)
    assert hub.measured == []
    hub.refusal = None
    await reconciler.reconcile(KEY)
    assert hub.measured == [2]
    hub.seen = None
    await reconciler.reconcile(KEY)
    assert hub.measured[-1] is None


async def test_a_cgu_deleted_during_the_pass_ends_it_quietly() -> None:
    hub = Hub(snapshot())
    hub.refusal = NotFound("PATCH", "cgu", 404, "gone")
    await hub.reconciler().reconcile(KEY)
    assert hub.calls == ["observe", "apply", "persist"]


async def test_a_status_that_was_not_stored_is_an_error_and_tells_nothing() -> None:
    hub = Hub(snapshot())
    hub.refusal = ApiError("PATCH", "cgu", 500, "no")
    with pytest.raises(ApiError):
        await hub.reconciler().reconcile(KEY)
    assert not hub.events


async def test_after_a_write_the_cgu_rests_a_second_at_most_unless_clusters_wait_for_their_turn() -> (
    None
):
    for size, least, most in ((2048, 0.0, 0.02), (10**6, 0.5, 1.0)):
        hub = Hub(snapshot())
        hub.bytes = size
        reconciler = hub.reconciler()
        await reconciler.reconcile(KEY)
        (rests,) = hub.holds  # counted from the beginning of the write
        assert least <= rests < most
        assert hub.seen is not None
        hub.seen = stored(Phase.SUCCEEDED, Fact.UNASKED)
        await reconciler.reconcile(KEY)
        written = len(hub.holds)
        await reconciler.reconcile(KEY)
        assert len(hub.holds) == written, "nothing was written"
    hub = Hub(stored(Phase.NOT_STARTED, Fact.UNASKED))
    hub.begins = 1
    assert await hub.reconciler().reconcile(KEY) == 0.0
    assert hub.holds == []


async def test_a_delayed_write_is_looked_at_again_in_time() -> None:
    told = ProgressRecord(bytes_done=1, bytes_total=2)
    hub = Hub(stored(Phase.ACTIVE, Sight(Fact.JOB_ACTIVE, record=told)))
    hub.bytes = 1024 * 1024
    reconciler = hub.reconciler()
    await reconciler.reconcile(KEY)
    assert hub.seen is not None
    more = changed(told, bytes_done=2)
    sights = dict.fromkeys(CNFDB, Sight(Fact.JOB_ACTIVE, record=more))
    hub.seen = replace(hub.seen, sights=sights)
    written = hub.patches
    assert await reconciler.reconcile(KEY) == pytest.approx(1024 / 100 + 1)
    assert hub.patches == written
    hub.seen = replace(hub.seen, now=hub.seen.now + dt.timedelta(seconds=12))
    await reconciler.reconcile(KEY)
    assert hub.patches == written + 1


async def test_what_waits_is_looked_at_again_when_its_time_is_over() -> None:
    seen = stored(Phase.PREPARING, Fact.LEFTOVERS)
    hub = Hub(seen)
    first = await hub.reconciler().reconcile(KEY)
    assert first == 30 * 60 + 1, "the setup's deadline, and just after"


async def test_a_recheck_that_a_sight_asks_for_comes_sooner() -> None:
    sight = Sight(Fact.LEFTOVERS, recheck=dt.timedelta(seconds=7))
    assert await Hub(stored(Phase.PREPARING, sight)).reconciler().reconcile(KEY) == 7


async def test_a_finished_cgu_waits_for_its_next_change() -> None:
    over = snapshot(cgu(CguStatus(), enable=True), policies=(policy(compliant=CNFDB),))
    hub = Hub(over)
    reconciler = hub.reconciler()
    await reconciler.reconcile(KEY)
    assert await reconciler.reconcile(KEY) is None
    assert hub.patches == 1
    assert [event.reason for event in hub.events] == ["CguStarted", "CguSuccess"]


async def test_failures_are_tried_again_after_growing_pauses_until_all_is_well() -> None:
    hub = Hub(stored(Phase.STARTING, Fact.CLEAN))
    reconciler = hub.reconciler()
    hub.failing = {"cnfdb1": "500: no"}
    pauses = [await reconciler.reconcile(KEY) for _ in range(9)]
    assert pauses == [min(LONGEST_RETRY_S, FIRST_RETRY_S * 2**n) for n in range(9)]
    hub.failing = {}
    await reconciler.reconcile(KEY)
    hub.hub_failed = "403: no"
    assert await reconciler.reconcile(KEY) == FIRST_RETRY_S


async def test_clusters_that_had_no_turn_have_it_at_once() -> None:
    hub = Hub(stored(Phase.STARTING, Fact.CLEAN))
    hub.begins = 1
    assert await hub.reconciler().reconcile(KEY) == 0.0


async def test_a_warning_about_what_the_user_gave_is_told_once() -> None:
    sources = SpecSources(overrides={"platform.image": "quay.io/other:1"})
    hub = Hub(snapshot(sources=sources))
    reconciler = hub.reconciler()
    for _ in range(3):
        await reconciler.reconcile(KEY)
    warned = [event for event in hub.events if event.reason == "CguPrecacheSpecWarning"]
    assert len(warned) == 1
    assert warned[0].warning
    assert "platform.image" in warned[0].note
    hub.seen = None
    await reconciler.reconcile(KEY)
    assert not reconciler._warned
    assert not reconciler._failures


async def test_changes_and_failures_are_lines_in_the_log() -> None:
    hub = Hub(stored(Phase.ACTIVE, Sight(Fact.JOB_FAILED, note="exit code 3")))
    hub.failing = {"cnfdb2": "500: no"}
    with capture_logs() as lines:
        await hub.reconciler().reconcile(KEY)
    told = {(line["event"], line["log_level"], line.get("cluster")): line for line in lines}
    assert told["phase", "warning", "cnfdb1"]["why"] == "exit code 3"
    assert told["effect failed", "warning", "cnfdb2"]["error"] == "500: no"
    hub = Hub(stored(Phase.ACTIVE, Fact.JOB_SUCCEEDED))
    with capture_logs() as lines:
        await hub.reconciler().reconcile(KEY)
    phases = {(x["log_level"], x["now"]) for x in lines if x["event"] == "phase"}
    assert phases == {("debug", "Succeeded")}
    said = {x["type"]: (x["log_level"], x["reason"]) for x in lines if x["event"] == "condition"}
    assert said["PrecachingSuceeded"] == ("info", "PrecachingCompleted")


async def test_a_fact_that_no_rule_covers_is_told() -> None:
    hub = Hub(stored(Phase.PREPARING, Fact.JOB_ACTIVE))
    with capture_logs() as lines:
        await hub.reconciler().reconcile(KEY)
    assert {line["event"] for line in lines} >= {"unexpected fact"}


async def test_a_cluster_that_leaves_the_plan_is_told_as_forgotten() -> None:
    seen = stored(Phase.PREPARING, Fact.CLEAN)
    hub = Hub(replace(seen, policies={policy().name: (policy(compliant=["cnfdb1"]),)}))
    with capture_logs() as lines:
        await hub.reconciler().reconcile(KEY)
    assert ("cnfdb1", "forgotten") in {(line.get("cluster"), line.get("now")) for line in lines}


async def test_a_batch_that_begins_and_conditions_that_change_are_lines_told_once() -> None:
    found = cgu(status(both(Phase.SUCCEEDED)), enable=True, strategy={"max_concurrency": 1})
    hub = Hub(snapshot(found))
    reconciler = hub.reconciler()
    with capture_logs() as lines:
        for _ in range(3):
            await reconciler.reconcile(KEY)
    batches = [(line["batch"], line["of"]) for line in lines if line["event"] == "batch"]
    assert batches == [(1, 2)]
    said = [(line["type"], line["status"]) for line in lines if line["event"] == "condition"]
    assert ("Progressing", "True") in said
    assert len(said) == len(set(said))
