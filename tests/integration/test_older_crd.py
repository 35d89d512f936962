"""A hub whose CRD is older than the operator and prunes our own fields of the status."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from talm.api import kinds
from talm.api.words import Phase
from talm.sim.plane.deployment import USER
from talm.sim.spoke.spokejobs import JobPlan

from ..conftest import StartControlPlane
from .audit import calls
from .commands import pulling
from .olderhub import OURS, older_hub
from .scene import Scene, jobs, set_scene
from .test_offline import unavailable
from .world import until

pytestmark = pytest.mark.integration


def status_patches(log: Path) -> int:
    """How often the operator has patched a CGU's status."""
    return sum(
        call.user == USER and call.verb == "patch" and call.subresource == "status"
        for call in calls(log)
        if call.resource == kinds.CGU.plural
    )


async def disturb(scene: Scene, rounds: int) -> None:
    """Have the operator look again and again: changes of the clusters that decide nothing."""
    for number in range(rounds):
        for cluster in scene.names:
            labels = {"metadata": {"labels": {"round": str(number)}}}
            await scene.client.merge_patch(kinds.MANAGED_CLUSTER, cluster, labels)


@pytest.mark.long
async def test_an_older_crd_ends_the_run_as_well_and_causes_no_storm_of_patches(
    start_control_plane: StartControlPlane,
) -> None:
    async with (
        older_hub(start_control_plane, audit=True) as (hub, client),
        set_scene(hub, client, hub.directory, 3, scenario=jobs(1.0), grace_s=0.2) as scene,
        scene.operator(),
    ):
        assert hub.audit_log is not None
        away, *others = scene.names
        scene.fleet[away].link.down()
        await until(lambda: unavailable(scene, away), "the hub knows")
        await scene.create("up")
        await scene.reach("up", Phase.SUCCEEDED, others)
        assert not set(OURS) & set((await scene.status("up"))["precaching"])

        before = status_patches(hub.audit_log)
        await disturb(scene, 20)
        await scene.edit("up", remediationStrategy={"maxConcurrency": 1})

        async def noticed() -> bool:
            return bool((await scene.status("up"))["computedMaxConcurrency"] == 1)

        await until(noticed, "the operator has looked")
        # The edit, and what was not stored yet before.
        assert status_patches(hub.audit_log) - before <= 3

        scene.fleet[away].link.up()
        await scene.edit("up", enable=True)
        await scene.completes("up")
        await scene.is_clean()
        scene.each_job_ran_once()


def telling(_cluster: str, _job: Mapping[str, Any]) -> JobPlan:
    """A workload that tells something new every tenth of a second."""
    return JobPlan(duration_s=8.0, progress=pulling, steps=80)


@pytest.mark.long
async def test_new_bytes_cost_no_patch_where_an_older_crd_prunes_the_sums(
    start_control_plane: StartControlPlane,
) -> None:
    async with older_hub(start_control_plane, audit=True) as (hub, client):
        plain = set_scene(
            hub, client, hub.directory, 3, scenario=telling, transport="manifest-work"
        )
        async with plain as scene, scene.operator():
            assert hub.audit_log is not None
            await scene.create("up")
            await scene.reach("up", Phase.ACTIVE)
            before = status_patches(hub.audit_log)
            await scene.reach("up", Phase.SUCCEEDED)
            assert "progress" not in (await scene.status("up"))["precaching"]
            # At most each cluster's end, and one on the way there that was under way.
            assert status_patches(hub.audit_log) - before <= len(scene.names) + 1
