"""The transport against a hub whose agents are played by hand: what a compatible operator must live
with, one test a rule."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest

from talm.api.kinds import ACTION, VIEW
from talm.api.ocm import ManagedClusterAction, ManagedClusterView
from talm.api.pod import STORE_ENV, StoreKind
from talm.api.words import MANUAL_NAMESPACE, RUN_LABEL, Action, Phase, View
from talm.core.model import Effect, Fact
from talm.errors import AlreadyExists, BadSpec, Unreachable
from talm.kube.client import Client
from talm.kube.watch import Informer
from talm.spokes.base import PodTerms, Transport
from talm.spokes.existing import EXISTING
from talm.spokes.own import TALM
from talm.spokes.profile import Profile
from talm.spokes.viewaction import ViewActionTransport
from tests.spokes.hub import Object
from tests.spokes.world import ORDER, World, other

BOTH = pytest.mark.parametrize("profile", [TALM, EXISTING], ids=lambda profile: profile.name)
NOT_FOUND = "not found"


def by_hand(profile: Profile) -> World:
    """A world whose agents do nothing by themselves."""
    world = World(profile)
    world.agents.online = False
    return world


def answer(world: World, view: View, message: str, result: Object | None = None) -> None:
    """Answer a view as little as one may; the flip is dated long before the view."""
    ok = "False" if message.endswith(NOT_FOUND) else "True"
    condition = {
        "type": "Processing",
        "status": ok,
        "message": message,
        "lastTransitionTime": "2020-01-01T00:00:00Z",
    }
    status: dict[str, Any] = {"conditions": [condition]}
    if result is not None:
        status["result"] = result
    world.hub.put_status(VIEW, view, status)
    world.hub.deliver()


def complete(world: World, action: Action, status: str = "True", message: str = "") -> None:
    condition = {"type": "Completed", "status": status, "message": message}
    world.hub.put_status(ACTION, action, {"conditions": [condition]})
    world.hub.deliver()


def uid(world: World, kind: Any, name: str) -> str:
    body = world.hub.find(kind, name)
    return body["metadata"]["uid"] if body else ""


async def to_the_job(world: World) -> None:
    """Walk by views alone until the Job's view is asked; no action is ever completed."""
    await world.settle()
    answer(world, View.NAMESPACE, NOT_FOUND)
    world.wait(2)
    await world.settle()
    for view in world.profile.setup_views:
        answer(world, view, "found")
    await world.settle()
    world.wait(2)
    await world.settle()


# ---- views alone move states -----------------------------------------------------------------------


@BOTH
async def test_actions_that_nobody_ever_completes_hold_nothing_up(profile: Profile) -> None:
    world = by_hand(profile)
    await to_the_job(world)
    if profile is EXISTING:
        answer(world, View.JOB, NOT_FOUND)
        await world.settle()
    assert world.hub.find(ACTION, Action.JOB_CREATE) is not None
    answer(world, View.JOB, "found", {"status": {"active": 1}})
    await world.settle()
    assert world.is_in(Phase.ACTIVE)
    answer(world, View.JOB, "found", {"status": {"active": 0, "succeeded": 1}})
    await world.settle()
    assert world.is_in(Phase.SUCCEEDED)


async def test_the_namespace_s_not_found_stands_undeleted_until_active() -> None:
    for profile in (TALM, EXISTING):
        world = by_hand(profile)
        await world.settle()
        asked = uid(world, VIEW, View.NAMESPACE)
        await to_the_job(world)
        assert world.is_in(Phase.STARTING)
        assert uid(world, VIEW, View.NAMESPACE) == asked
        answer(world, View.JOB, "found", {"status": {"active": 1}})
        await world.settle()
        assert world.hub.names(VIEW) == sorted(profile.job_views)


async def test_only_the_namespace_s_view_opens_the_start() -> None:
    world = by_hand(EXISTING)
    await world.settle()
    complete(world, Action.NS_DELETE)
    complete(world, Action.CRB_DELETE)
    await world.settle()
    assert world.is_in(Phase.PREPARING)
    answer(world, View.NAMESPACE, "found")
    await world.settle()
    assert world.is_in(Phase.PREPARING)
    answer(world, View.NAMESPACE, NOT_FOUND)
    await world.settle()
    assert world.is_in(Phase.STARTING)


@BOTH
async def test_a_flip_dated_before_the_view_s_creation_is_believed(profile: Profile) -> None:
    world = by_hand(profile)
    await world.settle()
    answer(world, View.NAMESPACE, NOT_FOUND)
    world.wait(2)
    assert world.look().fact is Fact.CLEAN


@BOTH
async def test_a_positive_answer_is_not_asked_again(profile: Profile) -> None:
    world = by_hand(profile)
    await to_the_job(world)
    answer(world, View.JOB, "found", {"status": {"active": 1}})
    await world.settle()
    asked = uid(world, VIEW, View.JOB)
    complete(world, Action.NS_CREATE)
    world.wait(3600)
    await world.settle()
    assert uid(world, VIEW, View.JOB) == asked


@BOTH
async def test_present_without_a_result_is_present(profile: Profile) -> None:
    world = by_hand(profile)
    await to_the_job(world)
    answer(world, View.JOB, "found")
    assert world.look().fact is Fact.JOB_PENDING


@BOTH
async def test_a_result_kept_beside_a_failure_is_not_believed(profile: Profile) -> None:
    world = by_hand(profile)
    await to_the_job(world)
    answer(world, View.JOB, "dial tcp: connection refused", {"status": {"succeeded": 1}})
    view = world.hub.find(VIEW, View.JOB)
    assert view is not None
    view["status"]["conditions"][0]["status"] = "False"
    world.hub.plant(VIEW, view)
    world.hub.deliver()
    sight = world.look()
    assert (sight.fact, sight.note) == (Fact.UNANSWERED, "dial tcp: connection refused")


# ---- lost and repeated actions ---------------------------------------------------------------------


@BOTH
async def test_an_action_that_vanished_before_its_end_was_seen_is_created_at_once(
    profile: Profile,
) -> None:
    world = by_hand(profile)
    await world.settle()
    answer(world, View.NAMESPACE, NOT_FOUND)
    world.wait(2)
    await world.settle()
    world.hub.vanish(ACTION, "spoke1", Action.SA_CREATE)
    if profile is EXISTING:
        answer(world, View.ACCOUNT, NOT_FOUND)
    await world.settle()
    assert world.hub.find(ACTION, Action.SA_CREATE) is not None


@BOTH
async def test_an_action_that_was_seen_done_may_vanish(profile: Profile) -> None:
    world = by_hand(profile)
    await world.settle()
    answer(world, View.NAMESPACE, NOT_FOUND)
    world.wait(2)
    await world.settle()
    for action in profile.needs:
        complete(world, action)
        world.hub.vanish(ACTION, "spoke1", action)
    await world.settle()
    assert not set(world.hub.names(ACTION)) & set(profile.needs)


async def test_a_started_job_s_action_that_vanished_is_created_with_its_view() -> None:
    world = by_hand(EXISTING)
    await to_the_job(world)
    answer(world, View.JOB, NOT_FOUND)
    await world.settle()
    world.hub.vanish(ACTION, "spoke1", Action.JOB_CREATE)
    answer(world, View.JOB, NOT_FOUND)
    world.hub.trace.clear()
    await world.settle()
    assert world.hub.trace == [
        f"delete {View.JOB}", f"create {Action.JOB_CREATE}", f"create {View.JOB}",
    ]  # fmt: skip


@BOTH
async def test_a_changed_timeout_replaces_the_job_s_action_in_one_step(profile: Profile) -> None:
    world = by_hand(profile)
    await to_the_job(world)
    answer(world, View.JOB, NOT_FOUND)
    await world.settle()
    asked = uid(world, ACTION, Action.JOB_CREATE)
    world.order = other(job_deadline_s=60)
    world.hub.trace.clear()
    await world.settle()
    action = world.hub.find(ACTION, Action.JOB_CREATE)
    assert action is not None and action["metadata"]["uid"] != asked
    assert action["spec"]["kube"]["template"]["spec"]["activeDeadlineSeconds"] == 60
    renewed = [f"delete {Action.JOB_CREATE}", f"create {Action.JOB_CREATE}"]
    if profile is EXISTING:
        renewed = [f"delete {View.JOB}", *renewed, f"create {View.JOB}"]
    assert world.hub.trace == renewed


async def test_nothing_on_the_hub_is_ever_changed_in_place() -> None:
    """A view whose result lacks its kind refuses any write: it can only be deleted."""
    world = by_hand(EXISTING)
    await to_the_job(world)
    answer(world, View.JOB, NOT_FOUND, {"status": {}})
    await world.settle()
    assert {line.split()[0] for line in world.hub.trace} == {"create", "delete"}


# ---- results of earlier runs -----------------------------------------------------------------------


@BOTH
async def test_the_job_that_an_earlier_run_s_view_showed_is_recognised(profile: Profile) -> None:
    world = by_hand(profile)
    old = {"metadata": {"uid": "job-1", "labels": {RUN_LABEL: ORDER.run}}, "status": {"active": 1}}
    await world.do(Effect.ASK_JOB)
    answer(world, View.JOB, "found", old)
    assert world.look().fact is Fact.JOB_ACTIVE
    await world.do(Effect.CLEAN_UP, Effect.ASK_JOB)
    answer(world, View.JOB, "found", old)
    assert world.look().fact is Fact.JOB_OTHER
    for number in range(10):
        await world.do(Effect.CLEAN_UP, Effect.ASK_JOB)
        answer(world, View.JOB, "found", {"metadata": {"uid": f"job-{number}"}})


async def test_objects_of_another_run_are_no_answer() -> None:
    world = by_hand(TALM)
    await to_the_job(world)
    answer(world, View.JOB, "found", {"status": {"active": 1}})
    world.order = other(run="run-2")
    assert world.look().fact is Fact.UNASKED


async def test_the_pod_is_as_the_terms_of_its_cluster_say() -> None:
    stores = {"spoke1": StoreKind.CONTAINERS_STORAGE, "spoke2": StoreKind.CONTAINERD}
    world = by_hand(TALM)
    transport = ViewActionTransport(
        world.hub, world.hub.views, world.hub.actions,
        profile=TALM, namespace=MANUAL_NAMESPACE, now=lambda: world.clock.now,
        terms=lambda cluster: PodTerms(stores[cluster]),
    )  # fmt: skip
    for cluster, store in stores.items():
        await transport.carry_out(cluster, (Effect.PREPARE,), ORDER)
        made = world.hub.find(ACTION, Action.JOB_CREATE, cluster)
        assert made is not None
        (container,) = made["spec"]["kube"]["template"]["spec"]["template"]["spec"]["containers"]
        given = {entry["name"]: entry.get("value") for entry in container["env"]}
        assert given[STORE_ENV].partition(":")[0] == store


# ---- our own writes --------------------------------------------------------------------------------


@BOTH
async def test_a_lagging_cache_repeats_nothing(profile: Profile) -> None:
    world = by_hand(profile)
    await world.do(Effect.CLEAN_UP)
    writes = world.hub.writes
    assert world.look().fact is Fact.UNANSWERED
    await world.do(Effect.PREPARE)
    count = len(profile.setup) + len(profile.setup_views)
    called_off = 1 if profile is TALM else 0  # the pending deletion of the namespace
    assert world.hub.writes == writes + count + called_off
    await world.do(Effect.PREPARE)
    assert world.hub.writes == writes + count + called_off
    await world.do(Effect.REMOVE)
    assert world.look().fact is Fact.UNASKED
    assert world.hub.names(VIEW) == []


async def test_a_missed_event_hides_nothing_for_ever() -> None:
    world = by_hand(TALM)
    await world.do(Effect.CLEAN_UP)
    assert world.look().fact is Fact.UNANSWERED
    world.clock.now += dt.timedelta(seconds=61)
    assert world.look().fact is Fact.UNASKED


@BOTH
async def test_ours_that_exists_already_is_taken_as_created(profile: Profile) -> None:
    """The answer to the first create was lost, and the cache lags."""
    world = by_hand(profile)
    body = profile.view(View.JOB, "spoke1", ORDER, namespace=MANUAL_NAMESPACE)
    await world.hub.create(VIEW, body)
    asked = uid(world, VIEW, View.JOB)
    await world.do(Effect.ASK_JOB)
    assert uid(world, VIEW, View.JOB) == asked
    assert world.hub.reads == 1


async def test_another_run_s_object_that_the_cache_does_not_show_is_replaced() -> None:
    world = by_hand(TALM)
    body = TALM.view(View.JOB, "spoke1", other(run="past"), namespace=MANUAL_NAMESPACE)
    await world.hub.create(VIEW, body)
    asked = uid(world, VIEW, View.JOB)
    await world.do(Effect.ASK_JOB)
    assert uid(world, VIEW, View.JOB) not in ("", asked)


@BOTH
async def test_an_action_that_has_ended_does_not_swallow_a_new_one(profile: Profile) -> None:
    """Within its last minute the API server refuses its name, and nothing would be executed."""
    world = by_hand(profile)
    body = profile.action(Action.NS_DELETE, "spoke1", ORDER, namespace=MANUAL_NAMESPACE)
    for shown in (False, True):
        if world.hub.find(ACTION, Action.NS_DELETE) is None:
            await world.hub.create(ACTION, body)
        ended = uid(world, ACTION, Action.NS_DELETE)
        condition = {"type": "Completed", "status": "True"}
        world.hub.put_status(ACTION, Action.NS_DELETE, {"conditions": [condition]})
        if shown:
            world.hub.deliver()
        await world.do(Effect.REMOVE)
        assert uid(world, ACTION, Action.NS_DELETE) not in ("", ended)


async def test_an_object_that_goes_between_two_requests_is_created() -> None:
    world = by_hand(TALM)

    async def first_in_the_way(kind: Any, body: Any) -> Object:
        world.hub.create = create  # type: ignore[method-assign]
        raise AlreadyExists("POST", body["metadata"]["name"], 409, "already exists")

    create = world.hub.create
    world.hub.create = first_in_the_way  # type: ignore[method-assign]
    await world.do(Effect.ASK_JOB)
    assert world.hub.names(VIEW) == sorted(TALM.job_views)


async def test_a_delete_of_what_is_gone_already_is_done() -> None:
    world = by_hand(TALM)
    await world.do(Effect.CLEAN_UP)
    world.hub.deliver()
    world.hub.objects.clear()
    await world.do(Effect.WITHDRAW)
    assert world.look().fact is Fact.UNASKED


async def test_the_first_request_that_fails_ends_the_effects() -> None:
    world = by_hand(TALM)
    world.hub.outages = ["", "connection refused"]
    with pytest.raises(Unreachable):
        await world.do(Effect.CLEAN_UP, Effect.PREPARE)
    assert len(world.hub.trace) == 2


# ---- the seam --------------------------------------------------------------------------------------


async def test_every_change_of_a_view_or_action_of_pre_caching_is_told() -> None:
    world = by_hand(TALM)
    told: list[str] = []
    world.transport.watch(told.append)
    await world.do(Effect.CLEAN_UP)
    world.hub.deliver()
    assert told == ["spoke1"] * 3
    world.transport.view_changed(("spoke1", "somebody-s"), None, ManagedClusterView())
    world.transport.action_changed(("spoke1", "install-abc"), None, ManagedClusterAction())
    assert len(told) == 3


def test_a_namespace_that_could_be_somebody_s_is_refused() -> None:
    world = by_hand(TALM)
    with pytest.raises(BadSpec):
        ViewActionTransport(
            world.hub, world.hub.views, world.hub.actions,
            profile=TALM, namespace="default", now=lambda: world.clock.now,
        )  # fmt: skip


def real_parts_fit(
    client: Client,
    views: Informer[ManagedClusterView],
    actions: Informer[ManagedClusterAction],
    now: Callable[[], dt.datetime],
) -> Transport:
    """For the type checker: the real client and informers are what the transport takes."""
    return ViewActionTransport(
        client, views, actions,
        profile=TALM, namespace=MANUAL_NAMESPACE, now=now,
    )  # fmt: skip
