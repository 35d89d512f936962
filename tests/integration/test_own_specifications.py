"""Hub templates ask the clusters for different things: each gets its own, through whichever way."""

from __future__ import annotations

from typing import Any

import pytest

from talm.api import kinds
from talm.api.words import EXISTING_NAMESPACE, MANUAL_NAMESPACE
from talm.core.folding import unfold
from talm.core.precache import BEFORE_SETUP
from talm.spokes.manifests import SPEC_CONFIG_MAP

from ..conftest import StartControlPlane
from .conftest import SetScene
from .olderhub import older_hub
from .scene import Scene, first_lasts, jobs, set_scene
from .world import IMAGE, POLICY, everywhere, policy, until

pytestmark = pytest.mark.integration

TALM: dict[str, str] = {}
EXISTING = {"profile": "existing", "spoke_namespace": EXISTING_NAMESPACE}
WAYS = [
    pytest.param("view-action", TALM, id="views"),
    pytest.param("manifest-work", TALM, id="works"),
    # Its agent's views are read every 30 s.
    pytest.param("view-action", EXISTING, id="existing", marks=pytest.mark.timeout(280)),
]


def catalog(operator: str) -> str:
    return f"registry.example.io/catalog/{operator}:v4.14"


def operator_policy(scene: Scene, operator: str, channel: str) -> dict[str, Any]:
    """A policy that asks for an operator, with a hub template in it."""
    body = policy(operator, namespace=scene.namespace)
    definition = body["spec"]["policy-templates"][0]["objectDefinition"]
    source = {
        "apiVersion": "operators.coreos.com/v1alpha1",
        "kind": "CatalogSource",
        "metadata": {"name": operator, "namespace": "openshift-marketplace"},
        "spec": {"image": catalog(operator), "displayName": "{{hub .ManagedClusterName hub}}"},
    }
    subscription = {
        "apiVersion": "operators.coreos.com/v1alpha1",
        "kind": "Subscription",
        "metadata": {"name": operator, "namespace": operator},
        "spec": {"name": operator, "channel": channel, "source": operator},
    }
    definition["spec"]["object-templates"] = [
        {"complianceType": "musthave", "objectDefinition": wanted}
        for wanted in (source, subscription)
    ]
    return body


async def ask(scene: Scene, cluster: str, operator: str) -> None:
    """Have a policy that is on this cluster alone ask for an operator; wait for its verdict."""
    label = f"{scene.namespace}-{operator}"
    patch = {"metadata": {"labels": {label: "yes"}}}
    await scene.client.merge_patch(kinds.MANAGED_CLUSTER, cluster, patch)
    await scene.client.create(kinds.POLICY, operator_policy(scene, operator, "stable"))
    for kind, body in everywhere(operator, namespace=scene.namespace, label=label):
        await scene.client.create(kind, body)

    async def judged() -> bool:
        root = await scene.client.get(kinds.POLICY, operator, scene.namespace)
        entries = (root.get("status") or {}).get("status") or []
        return [(e["clustername"], bool(e.get("compliant"))) for e in entries] == [(cluster, True)]

    await until(judged, f"{operator} has its verdict on {cluster}")


async def ask_for_channel(scene: Scene, operator: str, channel: str) -> None:
    body = operator_policy(scene, operator, channel)
    await scene.client.merge_patch(kinds.POLICY, operator, {"spec": body["spec"]}, scene.namespace)


async def block(scene: Scene) -> dict[str, Any]:
    found: dict[str, Any] = (await scene.status("up"))["precaching"]
    return found


async def others(scene: Scene) -> dict[str, tuple[int, set[str]]]:
    """Package -> how many clusters are asked for it, and who has begun with that."""
    return {
        "".join(entry["spec"]["operatorsPackagesAndChannels"]): (
            entry["clusters"],
            set(unfold(entry.get("begun", ()))),
        )
        for entry in (await block(scene)).get("specs", [])
    }


async def get(scene: Scene, namespace: str, wanted: dict[str, str]) -> None:
    """Wait until each cluster's workload reads the specification of its own."""

    async def given() -> bool:
        found = {}
        for cluster in wanted:
            spoke = scene.fleet[cluster].spoke
            data = (await spoke.get(kinds.CONFIG_MAP, namespace, SPEC_CONFIG_MAP))["data"]
            assert data["platform.image"] == IMAGE
            found[cluster] = data["operators.packagesAndChannels"]
        return found == wanted

    await until(given, f"the clusters have {wanted}")


@pytest.mark.long
@pytest.mark.parametrize(("transport", "settings"), WAYS)
async def test_every_cluster_gets_its_own_also_when_one_changes_and_the_operator_is_killed(
    scenes: SetScene, transport: str, settings: dict[str, str]
) -> None:
    namespace = settings.get("spoke_namespace", MANUAL_NAMESPACE)
    async with (
        scenes(4, transport=transport, scenario=first_lasts(12.0)) as scene,
        scene.operator(leader_elect=False, **settings) as operator,
    ):
        one, two, three, four = scene.names
        await ask(scene, three, "ptp")
        await ask(scene, four, "sriov")
        await scene.create("up", managedPolicies=[POLICY, "ptp", "sriov"])
        await get(scene, namespace, {one: "", two: "", three: "ptp:stable", four: "sriov:stable"})
        assert (await block(scene))["spec"] == {"platformImage": IMAGE, "spaceRequired": "35"}
        assert await others(scene) == {"ptp:stable": (1, {three}), "sriov:stable": (1, {four})}

        await ask_for_channel(scene, "sriov", "4.14")
        operator.kill()
        operator.start()
        await operator.works(2)

        async def renewed() -> bool:
            return await others(scene) == {
                "ptp:stable": (1, {three}),
                "sriov:4.14": (1, {four}),
            }

        await until(renewed, f"{four} has begun with what it is asked for now")
        await scene.says("up", "PrecachingSuceeded", "True", "PrecachingCompleted")
        assert scene.job_runs() == {one: 1, two: 1, three: 1, four: 2}
        await scene.edit("up", enable=True)
        await scene.says("up", "Succeeded", "True", "Completed")
        await scene.is_clean()


@pytest.mark.long
async def test_one_cluster_without_a_valid_specification_is_named_and_holds_the_others(
    scenes: SetScene,
) -> None:
    async with scenes(2, scenario=jobs(0.5)) as scene, scene.operator():
        await ask(scene, scene.names[1], "ptp")
        await ask_for_channel(scene, "ptp", "")
        await scene.create("up", managedPolicies=[POLICY, "ptp"])
        text = await scene.says("up", "PrecacheSpecValid", "False", "PrecacheSpecIsIncomplete")
        assert f"on cluster {scene.names[1]}" in text
        # Who was being cleaned up when the hub told of the policy ends that, and begins nothing.
        before_setup = {phase.value for phase in BEFORE_SETUP}
        assert set((await scene.phases("up")).values()) <= before_setup
        assert set(scene.job_runs().values()) == {0}
        await ask_for_channel(scene, "ptp", "stable")
        await scene.says("up", "PrecachingSuceeded", "True", "PrecachingCompleted")
        scene.each_job_ran_once()


@pytest.mark.long
@pytest.mark.timeout(280)
async def test_on_a_hub_with_an_older_crd_each_gets_its_own_and_a_restart_costs_a_look(
    start_control_plane: StartControlPlane,
) -> None:
    async with (
        older_hub(start_control_plane) as (hub, client),
        set_scene(hub, client, hub.directory, 3, scenario=first_lasts(4.0)) as scene,
        scene.operator(leader_elect=False) as operator,
    ):
        one, two, three = scene.names
        await ask(scene, three, "ptp")
        await scene.create("up", managedPolicies=[POLICY, "ptp"])
        await get(scene, MANUAL_NAMESPACE, {one: "", two: "", three: "ptp:stable"})
        await scene.says("up", "PrecachingSuceeded", "True", "PrecachingCompleted")
        assert "specs" not in await block(scene)
        scene.each_job_ran_once()
        operator.kill()
        operator.start()
        await operator.works(2)

        async def again() -> bool:
            return scene.job_runs() == {one: 1, two: 1, three: 2}

        await until(again, f"{three} is cached once more: nothing tells what for it was")
        await scene.says("up", "PrecachingSuceeded", "True", "PrecachingCompleted")
        await scene.is_clean(placements=True)
        assert await again()
