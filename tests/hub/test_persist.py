"""The single writer: only what differs, only when it differs, and what an older CRD does to it."""

from __future__ import annotations

import copy
import datetime as dt
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from talm.api import kinds
from talm.api.cgu import (
    CguStatus,
    ClusterGroupUpgrade,
    FinishedSums,
    OtherSpecification,
    PrecachingFailure,
    PrecachingProgress,
    PrecachingSpec,
    PrecachingStatus,
    UpgradeStatus,
    Wait,
)
from talm.api.meta import changed
from talm.errors import ApiError, NotFound
from talm.hub.persist import Persister, difference, to_wire
from talm.hub.store import Store
from tests.core.given import NOW
from tests.hub.fakehub import FakeHub, followed, merge, refusal
from tests.hub.given import cgu, put_cgu

KEY = ("ztp", "du-upgrade")
SINCE = dt.datetime(2022, 1, 27, 19, tzinfo=dt.UTC)
WAITS = (Wait(spent=12, since=SINCE, clusters=("c1",)),)

LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=3)
NAMES = st.sampled_from("abc")
# A status holds no null: absent is absent.
VALUES = st.recursive(
    LEAVES.filter(lambda leaf: leaf is not None) | st.lists(LEAVES, max_size=2),
    lambda below: st.dictionaries(NAMES, below, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=3)


@given(OBJECTS, OBJECTS)
def test_the_difference_applied_to_what_was_gives_what_is_wanted(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    assert merge(copy.deepcopy(before), difference(before, after)) == after


@given(OBJECTS)
def test_what_is_equal_has_no_difference(value: dict[str, Any]) -> None:
    assert difference(value, copy.deepcopy(value)) == {}


def test_a_list_is_replaced_as_a_whole_and_a_field_that_goes_is_null() -> None:
    before = {"a": [1, 2], "b": {"x": 1, "y": 2}, "c": 3}
    after = {"a": [2], "b": {"x": 1}}
    assert difference(before, after) == {"a": [2], "b": {"y": None}, "c": None}


def test_the_upgrade_status_is_there_before_the_start_and_never_made_up() -> None:
    assert to_wire(CguStatus(status=UpgradeStatus())) == {"status": {}}
    assert to_wire(CguStatus()) == {}
    started = UpgradeStatus(started_at=dt.datetime(2022, 1, 27, tzinfo=dt.UTC))
    assert to_wire(CguStatus(status=started)) == {"status": {"startedAt": "2022-01-27T00:00:00Z"}}


@pytest.fixture
def hub() -> FakeHub:
    return FakeHub()


@pytest.fixture
async def store(hub: FakeHub) -> AsyncIterator[Store]:
    async with followed(hub, Store(hub.client, lambda *_: None)) as following:
        yield following


@pytest.fixture
def persister(hub: FakeHub, store: Store) -> Persister:
    return Persister(hub.client, store)


def statuses(hub: FakeHub) -> int:
    return sum(verb == "status" for verb, _, _ in hub.writes)


def read(store: Store) -> ClusterGroupUpgrade:
    found = store.cgu(KEY)
    assert found is not None
    return found


async def test_what_is_stored_is_read_by_the_next_pass_at_once(
    hub: FakeHub, store: Store, persister: Persister
) -> None:
    put_cgu(hub)
    await hub.heard()
    hub.news_flow.clear()
    wanted = CguStatus(computed_max_concurrency=2, status=UpgradeStatus())
    assert await persister.persist(read(store), wanted)
    assert read(store).status == wanted
    assert hub.truth(kinds.CGU, "du-upgrade", "ztp")["status"] == {
        "computedMaxConcurrency": 2,
        "status": {},
    }
    assert not await persister.persist(read(store), wanted)
    assert statuses(hub) == 1


async def test_what_others_have_written_beside_ours_stays(
    hub: FakeHub, store: Store, persister: Persister
) -> None:
    found = put_cgu(hub, status={"computedMaxConcurrency": 1})
    hub.put(
        kinds.CGU,
        "du-upgrade",
        "ztp",
        spec={"remediationStrategy": {"maxConcurrency": 1}},
        status={"computedMaxConcurrency": 1, "unknown": "of somebody"},
    )
    await persister.persist(found, changed(found.status, computed_max_concurrency=3))
    assert hub.truth(kinds.CGU, "du-upgrade", "ztp")["status"] == {
        "computedMaxConcurrency": 3,
        "unknown": "of somebody",
    }


async def test_a_cgu_that_is_gone_or_a_refusal_is_raised(
    hub: FakeHub, persister: Persister
) -> None:
    wanted = CguStatus(computed_max_concurrency=2)
    with pytest.raises(NotFound):
        await persister.persist(cgu(), wanted)
    hub.refusals["status", "du-upgrade"] = refusal(500)
    with pytest.raises(ApiError):
        await persister.persist(cgu(), wanted)


def precaching(words: dict[str, str], **more: Any) -> CguStatus:
    return CguStatus(precaching=PrecachingStatus(status=words, **more), status=UpgradeStatus())


async def test_a_field_that_an_older_crd_prunes_is_sent_once(
    hub: FakeHub, store: Store, persister: Persister
) -> None:
    hub.pruned = ("failures",)
    put_cgu(hub)
    await hub.heard()
    entry = PrecachingFailure(cluster="c1", reason="RequestFailed", message="no")
    wanted = precaching({"c1": "Active"}, failures=(entry,))
    assert await persister.persist(read(store), wanted)
    for _ in range(3):
        assert not await persister.persist(read(store), wanted)
    other = changed(entry, message="still no")
    later = precaching({"c1": "Active"}, failures=(other,))
    assert not await persister.persist(persister.recall(read(store)), later)
    assert persister.recall(read(store)).status == later, "it goes on from memory"
    # Something else changes as well: then it is sent again, with the rest.
    moved = precaching({"c1": "Succeeded"}, failures=(other,))
    assert await persister.persist(persister.recall(read(store)), moved)
    assert not await persister.persist(persister.recall(read(store)), moved)
    assert statuses(hub) == 2


async def test_sums_that_an_older_crd_prunes_cost_no_write_and_are_stored_whole_by_a_newer_one(
    hub: FakeHub, store: Store, persister: Persister
) -> None:
    hub.pruned = ("progress",)
    put_cgu(hub)
    await hub.heard()

    def told(done: int, phase: str = "Active") -> CguStatus:
        finished = FinishedSums(clusters=1, bytes_done=7, bytes_total=7)
        sums = PrecachingProgress(bytes_done=done, bytes_total=99, finished=finished)
        return precaching({"c1": phase}, progress=sums)

    assert await persister.persist(read(store), told(10))
    for done in (11, 12):
        assert not await persister.persist(persister.recall(read(store)), told(done))
        assert persister.recall(read(store)).status == told(done)
    hub.pruned = ()
    assert await persister.persist(persister.recall(read(store)), told(13, "Succeeded"))
    assert read(store).status == told(13, "Succeeded")
    assert await persister.persist(persister.recall(read(store)), told(14, "Succeeded"))
    assert statuses(hub) == 3


async def test_the_size_of_the_object_is_known_after_a_write(
    hub: FakeHub, store: Store, persister: Persister
) -> None:
    put_cgu(hub)
    await hub.heard()
    assert persister.size(KEY) == 0
    await persister.persist(read(store), precaching({f"c{n}": "Active" for n in range(100)}))
    assert persister.size(KEY) > 100 * len('"c0":"Active",')
    persister.forget(KEY)
    assert persister.size(KEY) == 0


async def test_clocks_that_an_older_crd_prunes_go_on_from_memory(
    hub: FakeHub, store: Store, persister: Persister
) -> None:
    hub.pruned = ("waits",)
    put_cgu(hub)
    await hub.heard()
    await persister.persist(read(store), precaching({"c1": "Active"}, waits=WAITS))
    found = read(store)
    assert found.status.precaching is not None
    assert found.status.precaching.waits is None
    recalled = persister.recall(found)
    assert recalled.status.precaching is not None
    assert recalled.status.precaching.waits == WAITS
    assert not await persister.persist(recalled, recalled.status)
    assert statuses(hub) == 1
    done = precaching({"c1": "Succeeded"})
    assert await persister.persist(recalled, done)
    assert persister.recall(read(store)) == read(store)


async def test_that_caches_are_being_verified_is_remembered_where_an_older_crd_prunes_it(
    hub: FakeHub, store: Store, persister: Persister
) -> None:
    hub.pruned = ("verifyingSince",)
    put_cgu(hub)
    await hub.heard()
    wanted = precaching({"c1": "NotStarted"}, verifying_since=NOW)
    await persister.persist(read(store), wanted)
    recalled = persister.recall(read(store))
    assert recalled.status.precaching is not None
    assert recalled.status.precaching.verifying_since == NOW
    assert not await persister.persist(recalled, recalled.status)
    assert await persister.persist(recalled, precaching({"c1": "Succeeded"}))
    assert persister.recall(read(store)) == read(store)


async def test_what_an_older_crd_prunes_of_the_specification_does_not_count_as_a_change(
    hub: FakeHub, store: Store, persister: Persister
) -> None:
    hub.pruned = ("spec",)
    put_cgu(hub)
    await hub.heard()
    meant = PrecachingSpec(operators_starting_csvs=("ptp:stable:ptp.v1",))
    await persister.persist(read(store), precaching({"c1": "Active"}, spec=meant))
    recalled = persister.recall(read(store))
    assert recalled.status.precaching is not None
    assert recalled.status.precaching.spec == meant
    assert not await persister.persist(recalled, recalled.status)


async def test_what_each_cluster_began_with_is_remembered_where_an_older_crd_prunes_it(
    hub: FakeHub, store: Store, persister: Persister
) -> None:
    hub.pruned = ("specs",)
    put_cgu(hub)
    await hub.heard()
    other = OtherSpecification(hash="x", spec=PrecachingSpec(platform_image="b"), begun=("c1",))
    whole = precaching({"c1": "Active"}, spec=PrecachingSpec(platform_image="a"), specs=(other,))
    await persister.persist(read(store), whole)
    assert read(store).status.precaching != whole.precaching
    recalled = persister.recall(read(store))
    assert recalled.status == whole
    assert not await persister.persist(recalled, recalled.status)


async def test_clocks_that_are_stored_are_not_overruled(
    hub: FakeHub, store: Store, persister: Persister
) -> None:
    put_cgu(hub)
    await hub.heard()
    await persister.persist(read(store), precaching({"c1": "Active"}, waits=WAITS))
    assert persister.recall(read(store)) == read(store)
    assert persister.recall(cgu()) == cgu()


async def test_a_new_cgu_of_the_same_name_inherits_nothing(
    hub: FakeHub, store: Store, persister: Persister
) -> None:
    hub.pruned = ("waits",)
    put_cgu(hub)
    await hub.heard()
    wanted = precaching({"c1": "Active"}, waits=WAITS)
    await persister.persist(read(store), wanted)
    other = changed(read(store), metadata=changed(read(store).metadata, uid="another"))
    assert persister.recall(other) == other
    hub.remove(kinds.CGU, "du-upgrade", "ztp")
    await hub.heard()
    persister.forget(KEY)
    assert not persister._lost


def test_a_status_survives_the_wire() -> None:
    status = precaching({"c1": "Active"}, waits=WAITS)
    assert msgspec.convert(to_wire(status), CguStatus) == status
