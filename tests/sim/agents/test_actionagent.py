"""The action agent does what OCM's does: at least once, in order, with its false negatives."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from talm.api import kinds
from talm.errors import NotFound
from talm.sim.spoke.spokejobs import SpokeTimes

from ..oneworld import CLUSTER, World, config_map, job
from ..virtual import virtual

NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}}


async def _done(world: World, name: str) -> dict[str, Any]:
    await world.settle()
    condition = world.completed(name)
    assert condition is not None
    return condition


async def _runs(world: World) -> list[tuple[str, str]]:
    """Have every create on the spoke noted, from now on: kind and name in order of attempts."""
    seen: list[tuple[str, str]] = []
    create = world.spoke.create

    async def noting(kind: kinds.Kind, namespace: str, body: Any) -> None:
        seen.append((kind.kind, body["metadata"]["name"]))
        await create(kind, namespace, body)

    world.spoke.create = noting  # type: ignore[method-assign]
    return seen


class TestWhatAnActionDoes:
    @virtual
    async def test_create_makes_the_object_and_reports_the_template(self) -> None:
        world = World()
        template = config_map("cm", n="1")
        world.action("a", "Create", resource="ignored", name="ignored", template=template)
        assert await _done(world, "a") == {
            "type": "Completed",
            "status": "True",
            "reason": "ActionDone",
            "message": "Resource action is done.",
            "lastTransitionTime": "2024-05-01T12:00:00Z",
        }
        made = await world.spoke.get(kinds.CONFIG_MAP, "default", "cm")
        assert made["data"] == {"n": "1"}
        action = world.hub.get(kinds.ACTION, "a", CLUSTER)
        assert action["status"]["result"] == template
        assert "uid" not in action["status"]["result"]["metadata"]

    @virtual
    async def test_create_takes_the_namespace_of_the_action_first(self) -> None:
        world = World()
        template = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cm"}}
        world.action("a", "Create", namespace="kube-system", template=template)
        assert (await _done(world, "a"))["status"] == "True"
        assert await world.spoke.get(kinds.CONFIG_MAP, "kube-system", "cm")

    @pytest.mark.parametrize(
        ("kube", "text"),
        [
            (
                {"template": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}},
                "namespace must be set",
            ),
            (
                {"namespace": "kube-system", "template": config_map("cm")},
                "the namespace of the provided object does not match the namespace sent "
                "on the request",
            ),
            (
                {"template": config_map("cm", "nowhere")},
                'namespaces "nowhere" not found',
            ),
            (
                {"template": {"apiVersion": "v1", "kind": "Gadget", "metadata": {"name": "c"}}},
                'no matches for kind "Gadget" in version "v1"',
            ),
            (
                {"namespace": "default", "template": NAMESPACE},
                "the server could not find the requested resource",
            ),
            ({"namespace": "default"}, "unexpected end of JSON input"),
        ],
    )
    @virtual
    async def test_a_create_that_fails_says_why(self, kube: dict[str, Any], text: str) -> None:
        world = World()
        world.action("a", "Create", **kube)
        condition = await _done(world, "a")
        assert (condition["status"], condition["reason"]) == ("False", "CreateResourceFailed")
        assert condition["message"] == f"failed to handle Create action with err: {text}"
        assert world.hub.get(kinds.ACTION, "a", CLUSTER)["status"]["result"] is None

    @virtual
    async def test_create_of_what_exists_fails(self) -> None:
        world = World()
        await world.have(kinds.NAMESPACE, "x")
        world.action("a", "Create", template=NAMESPACE)
        assert (await _done(world, "a"))["message"] == (
            'failed to handle Create action with err: namespaces "x" already exists'
        )

    @virtual
    async def test_create_into_a_terminating_namespace_is_forbidden(self) -> None:
        world = World(times=SpokeTimes(call_s=0, namespace_s=10))
        await world.have(kinds.NAMESPACE, "x")
        await world.spoke.delete(kinds.NAMESPACE, "", "x", "Foreground")
        account = {"apiVersion": "v1", "kind": "ServiceAccount"}
        template = {**account, "metadata": {"name": "pre-cache-agent", "namespace": "x"}}
        world.action("sa", "Create", template=template)
        world.action("ns", "Create", template=NAMESPACE)
        assert (await _done(world, "sa"))["message"] == (
            'failed to handle Create action with err: serviceaccounts "pre-cache-agent" is '
            "forbidden: unable to create new content in namespace x because it is being terminated"
        )
        assert (await _done(world, "ns"))["message"] == (
            "failed to handle Create action with err: object is being deleted: "
            'namespaces "x" already exists'
        )

    @virtual
    async def test_delete_asks_for_foreground_deletion_and_has_no_result(self) -> None:
        world = World(times=SpokeTimes(call_s=0, collect_s=5))
        await world.have(kinds.CONFIG_MAP, "cm", "default")
        world.action("a", "Delete", resource="configmap", name="cm", namespace="default")
        assert (await _done(world, "a"))["status"] == "True"
        assert world.hub.get(kinds.ACTION, "a", CLUSTER)["status"]["result"] is None
        going = await world.spoke.get(kinds.CONFIG_MAP, "default", "cm")
        assert going["metadata"]["finalizers"] == ["foregroundDeletion"]
        await asyncio.sleep(6)
        with pytest.raises(NotFound):
            await world.spoke.get(kinds.CONFIG_MAP, "default", "cm")

    @pytest.mark.parametrize(
        ("kube", "text"),
        [
            (
                {"resource": "clusterrolebinding", "name": "pre-cache-crb"},
                'clusterrolebindings.rbac.authorization.k8s.io "pre-cache-crb" not found',
            ),
            ({"resource": "namespace"}, "name is required"),
            (
                {"resource": "widget", "name": "x"},
                'the server doesn\'t have a resource type "widget"',
            ),
        ],
    )
    @virtual
    async def test_a_delete_that_fails_says_why(self, kube: dict[str, Any], text: str) -> None:
        world = World()
        world.action("a", "Delete", **kube)
        condition = await _done(world, "a")
        assert (condition["status"], condition["reason"]) == ("False", "DeleteResourceFailed")
        assert condition["message"] == f"failed to handle Delete action with err: {text}"

    @virtual
    async def test_update_replaces_and_drops_what_the_template_lacks(self) -> None:
        world = World()
        labels = {"metadata": {"name": "cm", "labels": {"mine": "1"}}}
        body = {"data": {"a": "1", "b": "2"}, **labels}
        await world.spoke.create(kinds.CONFIG_MAP, "default", body)
        before = await world.spoke.get(kinds.CONFIG_MAP, "default", "cm")
        world.action("a", "Update", template=config_map("cm", a="3"))
        assert (await _done(world, "a"))["status"] == "True"
        after = await world.spoke.get(kinds.CONFIG_MAP, "default", "cm")
        assert after["data"] == {"a": "3"}
        assert "labels" not in after["metadata"]
        assert after["metadata"]["uid"] == before["metadata"]["uid"]

    @virtual
    async def test_update_honors_the_resource_version_of_the_template(self) -> None:
        world = World()
        await world.have(kinds.CONFIG_MAP, "cm", "default", data={"a": "1"})
        template = config_map("cm", a="2")
        template["metadata"]["resourceVersion"] = "1"
        world.action("a", "Update", template=template)
        condition = await _done(world, "a")
        assert condition["reason"] == "UpdateResourceFailed"
        assert condition["message"] == (
            "failed to handle Update action with err: Operation cannot be fulfilled on "
            'configmaps "cm": the object has been modified; please apply your changes to the '
            "latest version and try again"
        )

    @virtual
    async def test_update_that_changes_nothing_succeeds_without_result(self) -> None:
        world = World()
        await world.have(kinds.CONFIG_MAP, "cm", "default", data={"a": "1"})
        whole = await world.spoke.get(kinds.CONFIG_MAP, "default", "cm")
        world.action("a", "Update", template=whole)
        assert (await _done(world, "a"))["status"] == "True"
        assert world.hub.get(kinds.ACTION, "a", CLUSTER)["status"]["result"] is None

    @virtual
    async def test_update_of_what_is_absent_fails(self) -> None:
        world = World()
        world.action("a", "Update", template=config_map("cm"))
        assert (await _done(world, "a"))["message"] == (
            'failed to handle Update action with err: configmaps "cm" not found'
        )

    @pytest.mark.parametrize("kind", ["Patch", ""])
    @virtual
    async def test_any_other_type_is_invalid(self, kind: str) -> None:
        world = World()
        world.action("a", kind)
        condition = await _done(world, "a")
        assert (condition["status"], condition["reason"]) == ("False", "ActionTypeInvalid")
        assert condition["message"] == (
            f"failed to handle {kind} action with err: invalid action type"
        )

    @virtual
    async def test_without_kube_it_is_tried_for_ever_and_never_says_so(self) -> None:
        world = World()
        world.action("a", "Create")
        await asyncio.sleep(3600)
        assert "status" not in world.hub.get(kinds.ACTION, "a", CLUSTER)
        assert world.puts("a") == 0


class TestHowOftenAndInWhichOrder:
    @virtual
    async def test_a_completed_action_is_never_done_again(self) -> None:
        world = World()
        runs = await _runs(world)
        world.action("a", "Create", template=config_map("cm"))
        await world.settle()
        world.site.restart_agents()
        await asyncio.sleep(100)
        assert runs == [("ConfigMap", "cm")]

    @virtual
    async def test_a_failed_action_runs_exactly_twice(self) -> None:
        world = World()
        runs = await _runs(world)
        world.action("a", "Create", template=config_map("cm", "nowhere"))
        await asyncio.sleep(3600)
        assert runs == [("ConfigMap", "cm")] * 2
        assert world.puts("a") == 2

    @virtual
    async def test_a_restarted_agent_does_every_failed_action_again(self) -> None:
        world = World()
        runs = await _runs(world)
        world.action("a", "Create", template=config_map("cm", "later"))
        await world.settle()
        await world.have(kinds.NAMESPACE, "later")
        world.site.restart_agents()
        assert (await _done(world, "a"))["status"] == "True"
        assert runs.count(("ConfigMap", "cm")) == 3

    @virtual
    async def test_an_edit_on_the_hub_has_a_failed_action_done_again(self) -> None:
        world = World()
        world.action("a", "Create", template=config_map("cm", "later"))
        await world.settle()
        await world.have(kinds.NAMESPACE, "later")
        old = world.hub.get(kinds.ACTION, "a", CLUSTER)
        meta = {**old["metadata"], "labels": {"touched": "1"}}
        world.hub.put(kinds.ACTION, {**old, "metadata": meta})
        assert (await _done(world, "a"))["status"] == "True"

    @virtual
    async def test_a_lost_result_ends_as_already_exists(self) -> None:
        world = World()
        world.link.lose_puts = 1.0
        world.action("a", "Create", template=job())
        await world.settle()
        assert "status" not in world.hub.get(kinds.ACTION, "a", CLUSTER)
        world.link.lose_puts = 0.0
        await asyncio.sleep(1)
        condition = await _done(world, "a")
        assert condition["status"] == "False"
        assert condition["message"].endswith('jobs.batch "pre-cache" already exists')
        assert [len(uids) for uids in world.spoke.job_uids().values()] == [1]

    @virtual
    async def test_a_lost_result_of_a_delete_ends_as_not_found(self) -> None:
        world = World()
        await world.have(kinds.CONFIG_MAP, "cm", "default")
        world.link.lose_puts = 1.0
        world.action("a", "Delete", resource="configmap", name="cm", namespace="default")
        await asyncio.sleep(0.01)
        world.link.lose_puts = 0.0
        await asyncio.sleep(1)
        assert (await _done(world, "a"))["message"].endswith('configmaps "cm" not found')

    @virtual
    async def test_a_connected_agent_keeps_the_order_of_creation(self) -> None:
        world = World(times=SpokeTimes(call_s=0.05), rtt_s=0.1)
        runs = await _runs(world)
        world.action("precache-ns-create", "Create", template=NAMESPACE)
        world.action("precache-cm-create", "Create", template=config_map("cm", "x"))
        world.action("precache-job-create", "Create", template=job("pre-cache", "x"))
        await asyncio.sleep(1)
        assert [name for _, name in runs] == ["x", "cm", "pre-cache"]
        condition = world.completed("precache-job-create")
        assert condition is not None and condition["status"] == "True"

    @virtual
    async def test_a_short_absence_delivers_in_order(self) -> None:
        world = World()
        runs = await _runs(world)
        world.link.down()
        world.action("precache-ns-create", "Create", template=NAMESPACE)
        world.action("precache-cm-create", "Create", template=config_map("cm", "x"))
        await asyncio.sleep(10)
        world.link.up()
        await asyncio.sleep(1)
        assert [name for _, name in runs] == ["x", "cm"]

    @virtual
    async def test_a_long_absence_delivers_by_name(self) -> None:
        world = World()
        runs = await _runs(world)
        world.link.down()
        world.action("precache-ns-create", "Create", template=NAMESPACE)
        world.action("precache-cm-create", "Create", template=config_map("cm", "x"))
        await asyncio.sleep(600)
        world.link.up()
        await asyncio.sleep(0.001)
        assert [name for _, name in runs[:2]] == ["cm", "x"]

    @virtual
    async def test_an_action_waits_for_an_offline_spoke_and_then_fires(self) -> None:
        world = World()
        world.link.down()
        world.action("a", "Create", template=job())
        await asyncio.sleep(3 * 24 * 3600)
        world.link.up()
        assert (await _done(world, "a"))["status"] == "True"

    @virtual
    async def test_deleting_an_action_before_it_was_seen_prevents_it(self) -> None:
        world = World()
        world.link.down()
        world.action("a", "Create", template=job())
        world.hub.remove(kinds.ACTION, "a", CLUSTER)
        world.link.up(relist=True)
        await world.settle()
        assert not world.spoke.job_uids()

    @virtual
    async def test_deleting_an_action_undoes_nothing(self) -> None:
        world = World()
        world.action("a", "Create", template=config_map("cm"))
        await world.settle()
        world.hub.remove(kinds.ACTION, "a", CLUSTER)
        await world.settle()
        assert await world.spoke.get(kinds.CONFIG_MAP, "default", "cm")

    @virtual
    async def test_actions_and_views_do_not_wait_for_each_other(self) -> None:
        world = World(times=SpokeTimes(call_s=0.02))
        for number in range(5):
            world.action(f"a{number}", "Create", template=config_map(f"cm{number}"))
        world.view(resource="configmap", name="cm4", namespace="default")
        await asyncio.sleep(1)
        condition = world.processing()
        assert condition is not None and condition["status"] == "False"
