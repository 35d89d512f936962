"""The view agent answers as OCM's does, text by text and second by second."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from talm.api import kinds
from talm.api.kinds import Kind
from talm.sim.spoke.spokes import Served

from ..oneworld import CLUSTER, World
from ..virtual import virtual

SUBSCRIPTION = Served(
    Kind("operators.coreos.com", "v1alpha1", "Subscription", "subscriptions"), "subscription"
)
PREFIX = "failed to get resource with err: "


class TestWhatIsLookedFor:
    @pytest.mark.parametrize(
        ("scope", "reason", "message"),
        [
            ({}, "ResourceNameInvalid", PREFIX + "invalid resource name"),
            ({"resource": "jobs"}, "ResourceNameInvalid", PREFIX + "invalid resource name"),
            ({"name": "x"}, "ResourceTypeInvalid", PREFIX + "invalid resource type"),
            (
                {"name": "x", "kind": "Job"},
                "ResourceTypeInvalid",
                PREFIX + "invalid resource type",
            ),
            (
                {"name": "x", "kind": "Job", "version": "v1"},
                "ResourceGVKInvalid",
                PREFIX + 'no matches for kind "Job" in version "v1"',
            ),
            (
                {"name": "x", "resource": "widgets"},
                "ResourceTypeInvalid",
                PREFIX + 'the server doesn\'t have a resource type "widgets"',
            ),
            (
                {"name": "x", "resource": "secrets", "namespace": "default"},
                "ResourceTypeInvalid",
                "viewing secrets is not allowed",
            ),
            (
                {"name": "pre-cache", "resource": "jobs", "namespace": "nowhere"},
                "GetResourceFailed",
                PREFIX + 'jobs.batch "pre-cache" not found',
            ),
            (
                {"name": "x", "resource": "namespaces"},
                "GetResourceFailed",
                PREFIX + 'namespaces "x" not found',
            ),
            (
                {"name": "pre-cache-crb", "resource": "clusterrolebinding"},
                "GetResourceFailed",
                PREFIX + 'clusterrolebindings.rbac.authorization.k8s.io "pre-cache-crb" not found',
            ),
            (
                {"name": "x", "resource": "joblist", "namespace": "default"},
                "GetResourceFailed",
                PREFIX + "the server could not find the requested resource",
            ),
            (
                {"name": "x", "resource": "jobs"},
                "GetResourceFailed",
                PREFIX + "the server could not find the requested resource",
            ),
        ],
    )
    @virtual
    async def test_each_refusal_has_its_reason_and_text(
        self, scope: dict[str, Any], reason: str, message: str
    ) -> None:
        world = World()
        world.view(**scope)
        await world.settle()
        condition = world.processing()
        assert condition is not None
        assert condition["status"] == "False"
        assert (condition["reason"], condition["message"]) == (reason, message)
        assert world.result() is None

    @virtual
    async def test_a_found_object_is_shown_whole(self) -> None:
        world = World()
        world.view(resource="namespaces", name="default")
        await world.settle()
        assert world.processing() == {
            "type": "Processing",
            "status": "True",
            "reason": "GetResourceProcessing",
            "message": "Watching resources successfully",
            "lastTransitionTime": "2024-05-01T12:00:00Z",
        }
        assert world.result() == await world.spoke.get(kinds.NAMESPACE, "", "default")
        assert world.result()["metadata"]["managedFields"]

    @pytest.mark.parametrize(
        "word", ["jobs", "job", "Job", "JOBS", "jobs.v1.batch", "jobs.batch", "job.batch"]
    )
    @virtual
    async def test_resource_words_match_as_in_kubectl(self, word: str) -> None:
        world = World()
        await world.have(kinds.JOB, "pre-cache", "default")
        world.view(resource=word, name="pre-cache", namespace="default")
        await world.settle()
        assert world.result()["kind"] == "Job"

    @virtual
    async def test_the_resource_wins_over_kind_group_and_version(self) -> None:
        world = World()
        scope = {"apiGroup": "batch", "version": "v9", "kind": "Nonsense"}
        world.view(resource="namespaces", name="default", **scope)
        await world.settle()
        assert world.result()["kind"] == "Namespace"

    @virtual
    async def test_a_kind_with_group_and_version_is_found(self) -> None:
        world = World()
        await world.have(kinds.JOB, "pre-cache", "default")
        scope = {"apiGroup": "batch", "version": "v1", "kind": "Job"}
        world.view(name="pre-cache", namespace="default", **scope)
        await world.settle()
        assert world.result()["kind"] == "Job"

    @virtual
    async def test_resource_dot_group_costs_a_discovery_at_every_poll(self) -> None:
        world = World(served=[SUBSCRIPTION])
        await world.have(SUBSCRIPTION.kind, "ptp", "default")
        scope = {"name": "ptp", "namespace": "default", "updateIntervalSeconds": 10}
        world.view("flawed", resource="subscriptions.operators.coreos.com", **scope)
        world.view("right", resource="subscriptions.v1alpha1.operators.coreos.com", **scope)
        await world.settle()
        first = world.spoke.discoveries
        await asyncio.sleep(31)
        assert world.result("flawed")["kind"] == world.result("right")["kind"] == "Subscription"
        assert world.spoke.discoveries == first + 3

    @virtual
    async def test_an_unknown_group_is_worded_differently_the_first_time(self) -> None:
        world = World()
        scope = {"apiGroup": "x.io", "version": "v1", "kind": "Foo", "name": "a"}
        world.view("first", **scope)
        await world.settle()
        world.view("later", **scope)
        await world.settle()
        first, later = world.processing("first"), world.processing("later")
        assert first is not None and later is not None
        assert first["message"] == (
            PREFIX + "unable to retrieve the complete list of server APIs: "
            "x.io/v1: no matches for x.io/v1, Resource="
        )
        assert later["message"] == PREFIX + 'no matches for kind "Foo" in version "x.io/v1"'


class TestWhenItIsRead:
    @virtual
    async def test_a_new_view_is_read_at_once_and_then_every_thirty_seconds(self) -> None:
        world = World()
        world.view(resource="namespaces", name="default")
        await world.settle()
        assert world.puts("v") == 1
        await asyncio.sleep(28.9)
        assert world.puts("v") == 1
        await asyncio.sleep(1.1)
        assert world.puts("v") == 2

    @pytest.mark.parametrize(("given", "seconds"), [(0, 30), (None, 30), (300, 300), (5, 5)])
    @virtual
    async def test_the_interval_is_thirty_seconds_unless_given(
        self, given: int | None, seconds: int
    ) -> None:
        world = World()
        scope = {} if given is None else {"updateIntervalSeconds": given}
        world.view(resource="namespaces", name="default", **scope)
        await asyncio.sleep(seconds - 0.5)
        assert world.puts("v") == 1
        await asyncio.sleep(0.5)
        assert world.puts("v") == 2

    @virtual
    async def test_a_poke_within_the_interval_since_the_flip_reads_nothing(self) -> None:
        world = World()
        world.view(resource="namespaces", name="new")
        await world.settle()
        await world.have(kinds.NAMESPACE, "new")
        for _ in range(20):
            await asyncio.sleep(1)
            world.poke()
        condition = world.processing()
        assert condition is not None and condition["status"] == "False"
        assert world.puts("v") == 1

    @virtual
    async def test_a_view_that_saw_nothing_is_blind_for_its_interval(self) -> None:
        world = World()
        world.view(resource="namespaces", name="new", updateIntervalSeconds=300)
        await asyncio.sleep(0.01)
        await world.have(kinds.NAMESPACE, "new")
        await asyncio.sleep(299)
        blind = world.processing()
        assert blind is not None and blind["status"] == "False"
        await asyncio.sleep(1)
        seen = world.processing()
        assert seen is not None and seen["status"] == "True"

    @virtual
    async def test_a_new_view_of_the_same_name_is_read_earlier(self) -> None:
        world = World()
        world.view(resource="namespaces", name="new", updateIntervalSeconds=300)
        await world.settle()
        await world.have(kinds.NAMESPACE, "new")
        world.hub.remove(kinds.VIEW, "v", CLUSTER)
        world.view(resource="namespaces", name="new", updateIntervalSeconds=300)
        await world.settle()
        condition = world.processing()
        assert condition is not None and condition["status"] == "True"

    @virtual
    async def test_after_the_interval_every_poke_reads_at_once(self) -> None:
        world = World()
        await world.have(kinds.CONFIG_MAP, "cm", "default", data={"n": "0"})
        world.view(resource="configmap", name="cm", namespace="default")
        await asyncio.sleep(31)
        for number in range(1, 6):
            patch = {"data": {"n": str(number)}}
            await world.spoke.merge_patch(kinds.CONFIG_MAP, "default", "cm", patch)
            world.poke()
            await world.settle()
            assert world.result()["data"] == {"n": str(number)}

    @virtual
    async def test_a_flip_closes_the_gate_again(self) -> None:
        world = World()
        world.view(resource="namespaces", name="new")
        await asyncio.sleep(31)
        await world.have(kinds.NAMESPACE, "new")
        world.poke()
        await world.settle()
        flipped = world.processing()
        assert flipped is not None
        assert flipped["status"] == "True"
        assert flipped["lastTransitionTime"] == "2024-05-01T12:00:31Z"
        await world.spoke.delete(kinds.NAMESPACE, "", "new", "Foreground")
        await asyncio.sleep(1)
        world.poke()
        await world.settle()
        assert world.processing() == flipped

    @virtual
    async def test_the_time_of_the_flip_is_not_a_heartbeat(self) -> None:
        world = World()
        await world.have(kinds.CONFIG_MAP, "cm", "default", data={"n": "0"})
        world.view(resource="configmap", name="cm", namespace="default")
        await world.settle()
        before = world.processing()
        version = world.hub.get(kinds.VIEW, "v", CLUSTER)["metadata"]["resourceVersion"]
        await world.spoke.merge_patch(kinds.CONFIG_MAP, "default", "cm", {"data": {"n": "1"}})
        await asyncio.sleep(31)
        assert world.processing() == before
        assert world.result()["data"] == {"n": "1"}
        assert world.hub.get(kinds.VIEW, "v", CLUSTER)["metadata"]["resourceVersion"] != version

    @virtual
    async def test_a_failure_keeps_the_old_result_beside_it(self) -> None:
        world = World()
        await world.have(kinds.NAMESPACE, "new")
        world.view(resource="namespaces", name="new")
        await world.settle()
        shown = world.result()
        await world.spoke.delete(kinds.NAMESPACE, "", "new", "Foreground")
        await asyncio.sleep(31)
        condition = world.processing()
        assert condition is not None
        assert (condition["status"], condition["reason"]) == ("False", "GetResourceFailed")
        assert world.result() == shown

    @virtual
    async def test_a_changed_scope_waits_for_the_next_allowed_read(self) -> None:
        world = World()
        world.view(resource="namespaces", name="default")
        await world.settle()
        old = world.hub.get(kinds.VIEW, "v", CLUSTER)
        scope = {"resource": "namespaces", "name": "kube-system"}
        world.hub.put(kinds.VIEW, {**old, "spec": {"scope": scope}})
        await asyncio.sleep(25)
        assert world.result()["metadata"]["name"] == "default"
        await asyncio.sleep(6)
        assert world.result()["metadata"]["name"] == "kube-system"

    @virtual
    async def test_an_unchanged_status_is_written_again_but_makes_no_event(self) -> None:
        world = World()
        world.view(resource="namespaces", name="default")
        await world.settle()
        version = world.hub.get(kinds.VIEW, "v", CLUSTER)["metadata"]["resourceVersion"]
        await asyncio.sleep(301)
        assert world.puts("v") == 11
        assert world.hub.get(kinds.VIEW, "v", CLUSTER)["metadata"]["resourceVersion"] == version

    @virtual
    async def test_a_quiet_agent_leaves_out_only_what_changes_nothing(self) -> None:
        world = World(quiet=True)
        await world.have(kinds.CONFIG_MAP, "cm", "default", data={"n": "0"})
        world.view(resource="configmap", name="cm", namespace="default")
        await asyncio.sleep(301)
        assert world.puts("v") == 1
        await world.spoke.merge_patch(kinds.CONFIG_MAP, "default", "cm", {"data": {"n": "1"}})
        await asyncio.sleep(31)
        assert world.result()["data"] == {"n": "1"}
        assert world.puts("v") == 2

    @virtual
    async def test_a_deleted_view_is_forgotten(self) -> None:
        world = World()
        world.view(resource="namespaces", name="default")
        await world.settle()
        world.hub.remove(kinds.VIEW, "v", CLUSTER)
        await asyncio.sleep(100)
        assert world.puts("v") == 1
        assert world.site.views.queue.idle

    @virtual
    async def test_a_failed_write_is_tried_again_and_the_object_read_anew(self) -> None:
        world = World()
        world.hub.unreachable = True
        world.view(resource="namespaces", name="new")
        await asyncio.sleep(0.1)
        await world.have(kinds.NAMESPACE, "new")
        world.hub.unreachable = False
        await asyncio.sleep(0.3)
        condition = world.processing()
        assert condition is not None and condition["status"] == "True"


class TestTroubleOnTheSpoke:
    @virtual
    async def test_an_offline_spoke_leaves_a_new_view_without_status(self) -> None:
        world = World()
        world.link.down()
        world.view(resource="namespaces", name="default")
        await asyncio.sleep(3600)
        assert "status" not in world.hub.get(kinds.VIEW, "v", CLUSTER)

    @virtual
    async def test_an_offline_spoke_leaves_an_old_view_as_it_is(self) -> None:
        world = World()
        world.view(resource="namespaces", name="default")
        await world.settle()
        before = world.hub.get(kinds.VIEW, "v", CLUSTER)
        world.link.down()
        await asyncio.sleep(3600)
        assert world.hub.get(kinds.VIEW, "v", CLUSTER) == before

    @virtual
    async def test_a_restarted_agent_looks_at_every_view_but_keeps_the_gate(self) -> None:
        world = World()
        world.view("fresh", resource="namespaces", name="default")
        world.view("old", resource="namespaces", name="kube-system", updateIntervalSeconds=5)
        await asyncio.sleep(7)
        reads = world.puts("fresh"), world.puts("old")
        world.site.restart_agents()
        await world.settle()
        assert (world.puts("fresh"), world.puts("old")) == (reads[0], reads[1] + 1)

    @virtual
    async def test_a_spoke_api_that_is_down_flips_the_view(self) -> None:
        world = World()
        world.view(resource="namespaces", name="default")
        await world.settle()
        world.spoke.api_down = True
        await asyncio.sleep(31)
        condition = world.processing()
        assert condition is not None
        assert condition["reason"] == "GetResourceFailed"
        assert condition["message"] == (
            PREFIX + 'Get "https://172.30.0.1:443/api/v1/namespaces/default": '
            "dial tcp 172.30.0.1:443: connect: connection refused"
        )

    @virtual
    async def test_a_half_dead_watch_sees_no_new_view_but_keeps_its_timers(self) -> None:
        world = World()
        await world.have(kinds.CONFIG_MAP, "cm", "default", data={"n": "0"})
        world.view("old", resource="configmap", name="cm", namespace="default")
        await world.settle()
        world.link.half_dead()
        world.view("new", resource="namespaces", name="default")
        await asyncio.sleep(31)
        assert world.puts("old") == 2
        assert "status" not in world.hub.get(kinds.VIEW, "new", CLUSTER)
        world.link.up()
        await world.settle()
        condition = world.processing("new")
        assert condition is not None and condition["status"] == "True"

    @virtual
    async def test_the_time_of_a_flip_is_the_spokes(self) -> None:
        world = World(skew_s=-600)
        world.view(resource="namespaces", name="default")
        await world.settle()
        condition = world.processing()
        assert condition is not None
        assert condition["lastTransitionTime"] == "2024-05-01T11:50:00Z"
