"""The Job of profile talm under Kubernetes' own Job controller: which ends are final, which are not."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from talm.api import kinds
from talm.api.ocm import ViewedObject
from talm.api.progress import EXIT_CODES, FailureClass
from talm.api.words import Action
from talm.core.model import Fact
from talm.kube.client import Client
from talm.sim.node.node import SimulatedNode
from talm.sim.plane.controlplane import SPOKE_CONTROLLERS, ControlPlane
from talm.spokes.jobs import ENDS, job_fact
from talm.spokes.own import TALM
from tests.conftest import skip_without
from tests.spokes.world import ORDER

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

KINDS = {
    Action.SA_CREATE: kinds.SERVICE_ACCOUNT,
    Action.SPEC_CREATE: kinds.CONFIG_MAP,
    Action.JOB_CREATE: kinds.JOB,
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def spoke(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ControlPlane]:
    skip_without(own=True)
    directory = tmp_path_factory.mktemp("spoke")
    async with ControlPlane(directory, "spoke", SPOKE_CONTROLLERS, fsync=False) as plane:
        yield plane


async def outcome(spoke: ControlPlane, directory: Path, program: str) -> dict[str, Any]:
    """Let the Job's pods run `program` (for /bin/sh) until the Job has ended, and return the Job."""
    node = SimulatedNode(
        spoke.kubeconfig,
        directory,
        images={ORDER.image: ("/bin/sh", "-c", program)},
        name=f"node-{uuid.uuid4().hex[:6]}",
    )
    namespace = f"talm-{uuid.uuid4().hex[:8]}"
    running = asyncio.create_task(node.run())
    try:
        await node.ready.wait()
        async with await Client.connect(spoke.kubeconfig, user_agent="talm-tests") as api:
            await api.create(kinds.NAMESPACE, {"metadata": {"name": namespace}})
            for action, kind in KINDS.items():
                body = TALM.action(action, "spoke1", ORDER, namespace=namespace)
                await api.create(kind, body["spec"]["kube"]["template"])
            while True:
                found = await api.get(kinds.JOB, "pre-cache", namespace)
                if fact_of(found)[0] in ENDS:
                    return found
                await asyncio.sleep(0.2)
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


def fact_of(job: dict[str, Any]) -> tuple[Fact, str]:
    return job_fact(msgspec.convert(job, ViewedObject))


async def test_an_end_of_a_final_class_ends_the_job_at_once_and_is_told_by_its_class(
    spoke: ControlPlane, tmp_path: Path
) -> None:
    code = EXIT_CODES[FailureClass.UNAUTHORIZED]
    job = await outcome(spoke, tmp_path, f"exit {code}")
    assert fact_of(job) == (Fact.JOB_FAILED, "PodFailurePolicy: Unauthorized")


@pytest.mark.long
async def test_an_interruption_costs_an_attempt_and_the_next_one_may_succeed(
    spoke: ControlPlane, tmp_path: Path
) -> None:
    code = EXIT_CODES[FailureClass.INTERRUPTED]
    been = tmp_path / "been-here"
    job = await outcome(spoke, tmp_path / "node", f"mkdir '{been}' && exit {code}; exit 0")
    assert fact_of(job)[0] is Fact.JOB_SUCCEEDED
    assert (job["status"]["failed"], job["status"]["succeeded"]) == (1, 1)
