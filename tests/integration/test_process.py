"""The operator as a process: one Lease, signals, exit codes, and hubs that it refuses."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from talm.api import kinds
from talm.api.words import EXISTING_OPERATOR_LEASE, OPERATOR_LEASE, Phase
from talm.errors import NotFound
from talm.kube.client import Client
from talm.sim.plane.deployment import NAMESPACE, USER

from ..conftest import StartControlPlane
from .audit import calls
from .conftest import SetScene
from .operator import Operator, install
from .scene import jobs, set_scene
from .world import until

pytestmark = pytest.mark.integration

SECOND = "talm-second"
# Short enough for a test, long enough for a busy machine.
LEASE = {"lease_duration": 6, "renew_deadline": 4, "retry_period": 0.5}


async def lease(client: Client) -> dict[str, Any]:
    found = await client.get(kinds.LEASE, OPERATOR_LEASE, NAMESPACE)
    spec: dict[str, Any] = found["spec"]
    return spec


@pytest.mark.long
async def test_a_leader_that_was_frozen_writes_nothing_after_its_successor_has_begun(
    start_control_plane: StartControlPlane,
) -> None:
    hub = await start_control_plane("hub", audit=True)
    async with await Client.connect(hub.kubeconfig, user_agent="talm-tests") as client:
        await install(client, [SECOND])
        async with (
            set_scene(hub, client, hub.directory, 10, scenario=jobs(3.0)) as scene,
            scene.operator(name="first", **LEASE) as first,
            scene.operator(name="second", user=SECOND, at_work=False, **LEASE) as second,
        ):
            await until(lambda: waits_for_lease(second), "the second one waits")
            await scene.create("up", enable=True)
            await scene.reach("up", Phase.STARTING, scene.names[:1])
            first.signal(signal.SIGSTOP)
            await second.works()
            await scene.reach("up", Phase.SUCCEEDED, scene.names[:1])
            first.signal(signal.SIGCONT)
            assert await first.ended() == 3
            await scene.completes("up")
            await scene.is_clean()
            scene.each_job_ran_once()
        assert hub.audit_log is not None
        made = [call for call in calls(hub.audit_log) if call.writes]
        # A candidate writes nothing before it leads, not even its Lease.
        begun = min(call.at for call in made if call.user == SECOND)
        assert [call for call in made if call.user == USER and call.at > begun] == []
        assert [call for call in made if call.user == USER and call.at < begun] != []


async def waits_for_lease(operator: Operator) -> bool:
    return operator.said("waiting for the lease") > 0


async def test_sigterm_ends_the_operator_well_and_another_leads_at_once(scenes: SetScene) -> None:
    async with scenes(2, scenario=jobs(2.0)) as scene:
        # Its Lease would last much longer than this test.
        async with scene.operator(lease_duration=600) as first:
            await scene.create("up")
            await scene.reach("up", Phase.ACTIVE, scene.names[:1])
            first.signal(signal.SIGTERM)
            assert await first.ended() == 0
            assert not (await lease(scene.client))["holderIdentity"]
        async with scene.operator(name="second", lease_duration=600):
            await scene.edit("up", enable=True)
            await scene.completes("up")
            scene.each_job_ran_once()


@pytest.mark.long
async def test_an_operator_whose_lease_was_taken_ends_with_code_3(scenes: SetScene) -> None:
    async with scenes(1) as scene, scene.operator() as operator:
        thief = {"spec": {"holderIdentity": "somebody else"}}
        await scene.client.merge_patch(kinds.LEASE, OPERATOR_LEASE, thief, NAMESPACE)
        assert await operator.ended() == 3
        assert operator.said("talm: lease talm-system/talm-operator: ") == 1
        nobody = {"spec": {"holderIdentity": ""}}
        await scene.client.merge_patch(kinds.LEASE, OPERATOR_LEASE, nobody, NAMESPACE)


async def test_a_hub_without_our_kinds_is_refused_with_code_2(
    start_control_plane: StartControlPlane,
) -> None:
    hub = await start_control_plane("bare", controllers="")
    async with Operator(hub, hub.directory, at_work=False) as operator:
        assert await operator.ended() == 2
        assert operator.said(
            f"talm: {hub.server} does not serve clustergroupupgrades.ran.openshift.io: "
            "apply deploy/crds first"
        )


@asynccontextmanager
async def existing_operator(client: Client) -> AsyncIterator[None]:
    """Renew the existing operator's Lease, wherever that operator runs."""
    namespace = "default"
    meta = {"name": EXISTING_OPERATOR_LEASE, "namespace": namespace}

    async def renew() -> None:
        while True:
            now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            spec = {"holderIdentity": "existing", "leaseDurationSeconds": 15, "renewTime": now}
            await client.apply(
                kinds.LEASE, {"metadata": meta, "spec": spec}, field_manager="existing"
            )
            await asyncio.sleep(0.5)

    task = asyncio.ensure_future(renew())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        with contextlib.suppress(NotFound):
            await client.delete(kinds.LEASE, EXISTING_OPERATOR_LEASE, namespace)


@pytest.mark.long
async def test_the_existing_operator_at_work_is_respected_but_for_a_takeover(
    scenes: SetScene,
) -> None:
    async with scenes(1) as scene, existing_operator(scene.client):
        async with scene.operator(name="polite", at_work=False) as polite:
            assert await polite.ended() == 2
            assert polite.said("(lease default/9a2365a3.openshift.io is being renewed)") == 1
        async with scene.operator(name="bold", takeover=True):
            await scene.create("up", enable=True)
            await scene.completes("up")
