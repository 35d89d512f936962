"""The API server misbehaves in mid-run: errors, lost answers, an end and a new start."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest

from talm.api.words import Phase
from talm.kube.client import Client
from talm.sim.plane.deployment import USER

from ..conftest import StartControlPlane
from .conftest import SetScene
from .faultproxy import FaultProxy
from .operator import install
from .scene import PLAIN, jobs, set_scene

pytestmark = pytest.mark.integration


@pytest.mark.long
@pytest.mark.parametrize(
    ("clusters", "kind_of_hub"), [(10, {}), (50, {}), (20, PLAIN)], ids=["10", "50", "plain-20"]
)
async def test_one_call_in_ten_answered_badly_fails_no_cluster(
    scenes: SetScene, clusters: int, kind_of_hub: Mapping[str, Any]
) -> None:
    seed = random.randrange(10_000)
    print(f"seed {seed}")
    async with scenes(clusters, scenario=jobs(1.0), **kind_of_hub) as scene:
        kubeconfig = scene.hub.kubeconfig_for(USER)
        async with (
            FaultProxy(kubeconfig, scene.directory, seed=seed) as proxy,
            scene.operator(kubeconfig=str(proxy.kubeconfig)) as operator,
            scene.watch("up") as journal,
        ):
            proxy.rate = 0.1
            await scene.create("up", enable=True)
            await scene.completes("up")
            print(f"{proxy.forwarded} requests, {dict(proxy.struck)}")
            assert sum(proxy.struck.values()) > proxy.forwarded / 20
            assert journal.ever_bad() == set()
            await scene.is_clean()
            scene.each_job_ran_once()
            assert operator.runs


@pytest.mark.long
@pytest.mark.parametrize("kind_of_hub", [{}, PLAIN], ids=["views", "plain"])
async def test_an_api_server_that_dies_and_comes_back_stops_nothing(
    start_control_plane: StartControlPlane, kind_of_hub: Mapping[str, Any]
) -> None:
    hub = await start_control_plane("hub")
    async with await Client.connect(hub.kubeconfig, user_agent="talm-tests") as client:
        await install(client)
        async with (
            set_scene(hub, client, hub.directory, 10, scenario=jobs(3.0), **kind_of_hub) as scene,
            scene.operator() as operator,
            scene.watch("up") as journal,
        ):
            await scene.create("up")
            await scene.reach("up", Phase.STARTING, scene.names[:1])
            await hub.restart_api_server(kill=True)
            await scene.reach("up", Phase.SUCCEEDED)
            await scene.edit("up", enable=True)
            await scene.completes("up")
            await scene.is_clean()
            scene.each_job_ran_once()
            assert journal.ever_bad() == set()
            assert operator.runs
