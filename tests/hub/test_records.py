"""The records of what was cached: written once, found again, and never in the way."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from talm.api import kinds
from talm.api.cacherecord import CACHE_RECORD
from talm.api.meta import changed
from talm.api.progress import ProgressRecord
from talm.api.words import Phase
from talm.core.model import Effect, Fact, Move, Rules, Sight, Snapshot
from talm.core.precache_spec import spec_hash
from talm.errors import ApiError, Forbidden, Invalid, NotFound
from talm.hub.store import Store
from tests.core.given import NOW
from tests.hub.fakehub import FakeHub, followed, refusal
from tests.hub.given import cgu
from tests.kube.waiting import until_true
from tests.spokes.world import ORDER

DONE = Move("c1", Phase.SUCCEEDED, (Effect.REMOVE,))
APPLIED = ("apply", "configmaps", CACHE_RECORD)


@pytest.fixture
def hub() -> FakeHub:
    return FakeHub()


@pytest.fixture
async def store(hub: FakeHub) -> AsyncIterator[Store]:
    async with followed(hub, Store(hub.client, lambda *_: None)) as following:
        yield following


def seen(was: Phase = Phase.ACTIVE, told: ProgressRecord | None = None) -> Snapshot:
    of = cgu(phases={"c1": was.value})
    sights = {"c1": Sight(Fact.JOB_SUCCEEDED, record=told)}
    return Snapshot(now=NOW, rules=Rules(), cgu=of, clusters={}, sights=sights)


def data(hub: FakeHub) -> dict[str, str]:
    found: dict[str, str] = hub.truth(kinds.CONFIG_MAP, CACHE_RECORD, "c1")["data"]
    return found


async def test_an_end_is_one_write_that_says_all(hub: FakeHub, store: Store) -> None:
    told = ProgressRecord(phase="Succeeded", images_done=3, bytes_done=70, pinned=True)
    await store.records.note(seen(told=told), DONE, ORDER)
    assert hub.writes == [APPLIED]
    assert data(hub) == {
        "specHash": spec_hash(ORDER.spec),
        "at": f"{NOW:%Y-%m-%dT%H:%M:%SZ}",
        "result": "Succeeded",
        "images": "3",
        "bytes": "70",
        "pinned": "true",
        "run": ORDER.run,
        "cgu": f"{ORDER.cgu_namespace}/{ORDER.cgu}",
    }


@pytest.mark.parametrize(
    ("was", "move"),
    [
        (Phase.PREPARING, Move("c1", Phase.STARTING)),
        (Phase.ACTIVE, Move("c1", Phase.ACTIVE, (Effect.ASK,))),
        (Phase.ACTIVE, Move("c1", None, (Effect.REMOVE,))),
        (Phase.FAILED, Move("c1", Phase.FAILED, (Effect.REMOVE,))),
        (Phase.SUCCEEDED, Move("c1", Phase.NOT_STARTED)),
    ],
)
async def test_only_an_end_is_written_down(
    hub: FakeHub, store: Store, was: Phase, move: Move
) -> None:
    await store.records.note(seen(was), move, ORDER)
    assert hub.writes == []


async def test_our_own_record_is_known_before_the_news_of_it(hub: FakeHub, store: Store) -> None:
    hub.news_flow.clear()
    await store.records.note(seen(), DONE, ORDER)
    known = store.records.get("c1")
    assert known is not None
    assert known.run == ORDER.run
    hub.news_flow.set()
    await hub.heard()
    assert store.records.get("c1") == known
    assert store.records._own == {}


async def test_a_success_is_of_the_run_until_the_run_begins_anew(
    hub: FakeHub, store: Store
) -> None:
    await store.records.note(seen(), DONE, ORDER)
    before = store.records.get("c1")
    assert before is not None
    assert store.records.has_succeeded("c1", ORDER.run)
    assert not store.records.has_succeeded("c1", "run-2")
    await store.records.forget_success("c1", "run-2")
    assert store.records.get("c1") == before
    await store.records.forget_success("c1", ORDER.run)
    assert not store.records.has_succeeded("c1", ORDER.run)
    assert store.records.get("c1") == changed(before, run="")


async def test_a_bad_end_is_no_success(hub: FakeHub, store: Store) -> None:
    await store.records.note(seen(), Move("c1", Phase.FAILED, (Effect.DROP_SETUP,)), ORDER)
    assert not store.records.has_succeeded("c1", ORDER.run)


async def test_what_others_write_or_delete_later_counts(hub: FakeHub, store: Store) -> None:
    await store.records.note(seen(), DONE, ORDER)
    hub.put(kinds.CONFIG_MAP, CACHE_RECORD, "c1", data={"at": "never", "images": "many"})
    await hub.heard()
    await until_true(lambda: (r := store.records.get("c1")) is not None and r.at == "never")
    hub.remove(kinds.CONFIG_MAP, CACHE_RECORD, "c1")
    await hub.heard()
    await until_true(lambda: store.records.get("c1") is None)


async def test_other_config_maps_and_empty_ones_are_no_records(hub: FakeHub, store: Store) -> None:
    hub.put(kinds.CONFIG_MAP, "another", "c1", data={"result": "Succeeded"})
    hub.put(kinds.CONFIG_MAP, CACHE_RECORD, "c2")
    await hub.heard()
    assert store.records.get("c1") is None
    assert store.records.get("c2") is None


async def test_a_passing_failure_is_raised_and_the_next_try_writes_the_same(
    hub: FakeHub, store: Store
) -> None:
    hub.refusals["apply", CACHE_RECORD] = refusal(500)
    with pytest.raises(ApiError):
        await store.records.note(seen(), DONE, ORDER)
    assert store.records.get("c1") is None
    hub.refusals.clear()
    await store.records.note(seen(), DONE, ORDER)
    before = data(hub)
    await store.records.note(seen(), DONE, ORDER)
    assert data(hub) == before


@pytest.mark.parametrize(("kind", "status"), [(Forbidden, 403), (NotFound, 404), (Invalid, 422)])
async def test_a_refusal_holds_nobody_up_and_this_process_knows_what_is_cached(
    hub: FakeHub, store: Store, kind: type[ApiError], status: int
) -> None:
    hub.put(kinds.CONFIG_MAP, CACHE_RECORD, "c1", data={"result": "UnrecoverableError"})
    await hub.heard()
    hub.refusals["apply", CACHE_RECORD] = kind("PATCH", CACHE_RECORD, status, "no")
    await store.records.note(seen(), DONE, ORDER)
    known = store.records.get("c1")
    assert known is not None
    assert known.result == "Succeeded"
