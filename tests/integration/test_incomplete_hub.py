"""Hubs on which something is missing at first: views and actions, policies, the label `name`."""

from __future__ import annotations

import pytest

from talm.api import kinds
from talm.api.words import CLUSTER_NAME_LABEL
from talm.kube.client import Client
from talm.sim.plane import foreign_crds

from ..conftest import StartControlPlane
from . import world
from .conftest import SetScene
from .operator import install
from .scene import set_scene

pytestmark = pytest.mark.integration

LATE = frozenset({kinds.VIEW.resource, kinds.ACTION.resource})


@pytest.mark.long
async def test_views_and_actions_that_come_late_are_used_once_they_are_there(
    start_control_plane: StartControlPlane,
) -> None:
    hub = await start_control_plane("hub")
    async with await Client.connect(hub.kubeconfig, user_agent="talm-tests") as client:
        await install(client)
        for name in LATE:
            await client.delete(kinds.CRD, name)
        await world.until(lambda: are_gone(client), "views and actions are not served")
        async with (
            set_scene(hub, client, hub.directory, 2, transport="view-action") as scene,
            scene.operator() as operator,
            scene.watch("up") as journal,
        ):
            await scene.create("up", enable=True)
            await scene.says("up", "PrecachingSuceeded", "False", "InProgress")
            await foreign_crds.install(client)
            await scene.completes("up")
            await scene.is_clean()
            scene.each_job_ran_once()
            assert journal.ever_bad() == set()
            assert operator.runs


async def are_gone(client: Client) -> bool:
    return not await client.serves(kinds.VIEW) and not await client.serves(kinds.ACTION)


@pytest.mark.long
async def test_a_cgu_whose_policy_comes_late_goes_on_when_it_is_there(scenes: SetScene) -> None:
    async with scenes(2) as scene, scene.operator():
        await scene.create("up", managedPolicies=["late"], enable=True)
        text = await scene.says("up", "Validated", "False", "NotAllManagedPoliciesExist")
        assert text == "Missing managed policies: [late] "
        await scene.client.create(kinds.POLICY, world.policy("late", namespace=scene.namespace))
        for kind, body in world.everywhere(
            "late", namespace=scene.namespace, label=scene.namespace
        ):
            await scene.client.create(kind, body)
        await scene.completes("up")
        await scene.is_clean()
        scene.each_job_ran_once()


async def test_a_cluster_without_the_label_name_gets_it_before_it_is_updated(
    scenes: SetScene,
) -> None:
    async with scenes(2) as scene, scene.operator():
        nameless = scene.names[0]
        nothing = {"metadata": {"labels": {CLUSTER_NAME_LABEL: None}}}
        await scene.client.merge_patch(kinds.MANAGED_CLUSTER, nameless, nothing)
        await scene.create("up", enable=True)
        await scene.completes("up")
        found = await scene.client.get(kinds.MANAGED_CLUSTER, nameless)
        assert found["metadata"]["labels"][CLUSTER_NAME_LABEL] == nameless
        await scene.is_clean()
