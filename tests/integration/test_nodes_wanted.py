"""A PreCachingConfig that wants all nodes, from the hub to the spoke and back to a clean one."""

from __future__ import annotations

import json

import pytest

from talm.api import kinds
from talm.api.pod import NODE_JOB_ANNOTATION
from talm.api.words import MANUAL_NAMESPACE, Phase
from talm.spokes.manifests import JOB_NAME, node_reader

from .conftest import SetScene
from .scene import jobs
from .test_specification import configure

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    "transport", ["view-action", pytest.param("manifest-work", marks=pytest.mark.long)]
)
async def test_all_nodes_are_wanted_and_nothing_of_it_is_left(
    scenes: SetScene, transport: str
) -> None:
    plan = jobs(5.0)  # it is looked at while it runs
    async with (
        scenes(1, scenario=plan, transport=transport) as scene,
        scene.operator(nodes_at_once="2"),
    ):
        await configure(scene, nodes="all")
        await scene.create("up", preCachingConfigRef={"name": "cfg"})
        await scene.reach("up", Phase.ACTIVE)
        spoke = scene.fleet[scene.names[0]].spoke
        job = await spoke.get(kinds.JOB, MANUAL_NAMESPACE, JOB_NAME)
        (container,) = job["spec"]["template"]["spec"]["containers"]
        assert container["command"] == ["talm", "agent", "nodes"]
        assert {"name": "TALM_NODES_AT_ONCE", "value": "2"} in container["env"]
        of_a_node = json.loads(job["metadata"]["annotations"][NODE_JOB_ANNOTATION])
        (pulls,) = of_a_node["template"]["spec"]["containers"]
        assert pulls["command"] == ["talm", "agent", "pull"]
        reader = node_reader(MANUAL_NAMESPACE)
        assert await spoke.get(kinds.CLUSTER_ROLE, "", reader)
        assert await spoke.get(kinds.CLUSTER_ROLE_BINDING, "", reader)
        await configure(scene, nodes="one")  # whoever changes his mind leaves nothing either
        await scene.edit("up", enable=True)
        await scene.completes("up")
        await scene.is_clean()
