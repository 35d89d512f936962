"""What is to be cached comes from several objects, which arrive late and change: a real API server tells."""

from __future__ import annotations

from typing import Any

import pytest

from talm.api import kinds
from talm.api.cgu import CguStatus
from talm.api.words import FINAL_PHASES, MANUAL_NAMESPACE, OVERRIDES_CONFIG_MAP, Phase
from talm.core.fleet import stored_phases
from talm.spokes.manifests import SPEC_CONFIG_MAP

from .conftest import SetScene
from .scene import Journal, Scene, jobs
from .world import IMAGE, POLICY, until

pytestmark = pytest.mark.integration


async def configure(scene: Scene, **spec: Any) -> None:
    """Write the PreCachingConfig `cfg` of the scene's namespace anew."""
    body = {
        "apiVersion": kinds.PRE_CACHING_CONFIG.api_version,
        "kind": kinds.PRE_CACHING_CONFIG.kind,
        "metadata": {"name": "cfg", "namespace": scene.namespace},
        "spec": spec,
    }
    await scene.client.apply(kinds.PRE_CACHING_CONFIG, body, field_manager="user")


async def override(scene: Scene, **data: str) -> None:
    """Write the ConfigMap of overrides in the scene's namespace."""
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": OVERRIDES_CONFIG_MAP, "namespace": scene.namespace},
        "data": data,
    }
    await scene.client.apply(kinds.CONFIG_MAP, body, field_manager="user")


async def stored_spec(scene: Scene, name: str) -> dict[str, Any]:
    """`.status.precaching.spec` of a CGU."""
    found: dict[str, Any] = ((await scene.status(name)).get("precaching") or {}).get("spec") or {}
    return found


async def given_to(scene: Scene, cluster: str) -> dict[str, str]:
    """What the workload on the cluster reads while it runs."""
    spoke = scene.fleet[cluster].spoke
    found = await spoke.get(kinds.CONFIG_MAP, MANUAL_NAMESPACE, SPEC_CONFIG_MAP)
    data: dict[str, str] = found["data"]
    return data


async def test_whatever_arrives_after_the_cgu_that_names_it_lets_it_begin(
    scenes: SetScene,
) -> None:
    async with scenes(1, scenario=jobs(60.0)) as scene, scene.operator():
        await scene.create("up", preCachingConfigRef={"name": "cfg"})
        text = await scene.says("up", "PrecacheSpecValid", "False", "PrecacheSpecIsIncomplete")
        assert text.endswith('PreCachingConfig.ran.openshift.io "cfg" not found')
        await override(scene, excludePrecachePatterns="aws\n\n vsphere ")
        await configure(scene, spaceRequired="40 GB", additionalImages=["registry.example.io/a:1"])
        await scene.reach("up", Phase.ACTIVE)
        (cluster,) = scene.names
        data = await given_to(scene, cluster)
        assert data["spaceRequired"] == "38"
        assert data["excludePrecachePatterns"] == "aws\nvsphere"
        assert data["additionalImages"] == "registry.example.io/a:1"
        found = await stored_spec(scene, "up")
        assert found["excludePrecachePatterns"] == ["aws", "vsphere"]


async def test_a_policy_with_hub_templates_is_read_from_its_children(scenes: SetScene) -> None:
    async with scenes(2, scenario=jobs(60.0)) as scene, scene.operator():
        root = await scene.client.get(kinds.POLICY, POLICY, scene.namespace)
        (template,) = root["spec"]["policy-templates"]
        site = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "site", "namespace": "default"},
            "data": {"name": "{{hub .ManagedClusterName hub}}"},
        }
        entry = {"complianceType": "musthave", "objectDefinition": site}
        template["objectDefinition"]["spec"]["object-templates"].append(entry)
        patch = {"spec": {"policy-templates": [template]}}
        await scene.client.merge_patch(kinds.POLICY, POLICY, patch, scene.namespace)
        await scene.create("up")
        await scene.reach("up", Phase.ACTIVE)
        assert (await stored_spec(scene, "up"))["platformImage"] == IMAGE


def rounds(seen: Journal) -> dict[str, list[str]]:
    """Where each cluster began and ended, over and over; of the way between some may pass unseen."""
    return {
        cluster: [word for word in path if word in {Phase.NOT_STARTED, *FINAL_PHASES}]
        for cluster, path in seen.states().items()
    }


def two_successes(scene: Scene) -> dict[str, list[str]]:
    once = [Phase.NOT_STARTED.value, Phase.SUCCEEDED.value]
    return {cluster: once * 2 for cluster in scene.names}


def images(status: CguStatus) -> tuple[str, ...]:
    """`additionalImages` of a stored specification."""
    spec = status.precaching.spec if status.precaching else None
    return spec.additional_images if spec else ()


@pytest.mark.parametrize(
    "transport", ["view-action", pytest.param("manifest-work", marks=pytest.mark.long)]
)
async def test_caches_of_an_old_specification_are_brought_up_to_date_before_the_update(
    scenes: SetScene, transport: str
) -> None:
    async with (
        scenes(2, transport=transport) as scene,
        scene.operator(),
        scene.watch("up") as seen,
    ):
        await configure(scene, additionalImages=["registry.example.io/a:1"])
        await scene.create("up", preCachingConfigRef={"name": "cfg"})
        await scene.says("up", "PrecachingSuceeded", "True", "PrecachingCompleted")
        await configure(scene, additionalImages=["registry.example.io/b:1"])

        async def replaced() -> bool:
            return bool((await stored_spec(scene, "up"))["additionalImages"][0].endswith("b:1"))

        await until(replaced, "the specification is replaced")
        await scene.edit("up", enable=True)
        await scene.completes("up")
        assert scene.job_runs() == dict.fromkeys(scene.names, 2)
        assert rounds(seen) == two_successes(scene)
        await scene.is_clean()


@pytest.mark.long
async def test_an_attempt_under_way_ends_with_the_specification_that_it_began_with(
    scenes: SetScene,
) -> None:
    plan = jobs(0.5, lasting={"001": 4.0})
    async with scenes(2, scenario=plan) as scene, scene.operator(), scene.watch("up") as seen:
        await configure(scene, additionalImages=["registry.example.io/a:1"])
        await scene.create("up", preCachingConfigRef={"name": "cfg"})
        await scene.reach("up", Phase.ACTIVE)
        await configure(scene, additionalImages=["registry.example.io/b:1"])

        async def both_again() -> bool:
            return scene.job_runs() == dict.fromkeys(scene.names, 2)

        await until(both_again, "both clusters have their second Job")
        await scene.says("up", "PrecachingSuceeded", "True", "PrecachingCompleted")
        await scene.is_clean(placements=True)
        assert rounds(seen) == two_successes(scene)
        first = next(s for s in seen.statuses if images(s) == ("registry.example.io/b:1",))
        assert set(stored_phases(first).values()) == {Phase.NOT_STARTED}
