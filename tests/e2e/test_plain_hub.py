"""A hub of Open Cluster Management alone: OCM's own work agent carries the workload to a node that runs it,
and tells what it says; nobody answers views."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from talm.api import kinds
from talm.api.words import MANUAL_NAMESPACE, RUN_LABEL, Phase
from talm.errors import NotFound
from talm.sim.demo.demoworld import WIDE_BYTES_PER_S, DemoSettings, DemoWorld
from talm.sim.plane import policyagents
from tests.conftest import skip_without, skip_without_program

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

CLUSTER = "cnfdb1"
SAMPLE = Path(__file__).parents[1] / "data" / "clustergroupupgrades-group-du.yaml"
PATIENCE_S = 200.0


async def until(question: Callable[[], Awaitable[Any]], what: str) -> Any:
    """Ask until the answer is true."""
    began = time.monotonic()
    while time.monotonic() - began < PATIENCE_S:
        if found := await question():
            return found
        await asyncio.sleep(0.1)
    raise AssertionError(f"not within {PATIENCE_S:g} s: {what}")


async def the_work(world: DemoWorld) -> dict[str, Any] | None:
    """The cluster's one work of pre-caching."""
    found = await world.client.list(kinds.MANIFEST_WORK, CLUSTER, label_selector=RUN_LABEL)
    assert len(found) <= 1
    return found[0] if found else None


async def fed_back(world: DemoWorld) -> dict[str, str]:
    """The strings that the work feeds back."""
    status = (await the_work(world) or {}).get("status") or {}
    entries = (status.get("resourceStatus") or {}).get("manifests") or ()
    values = [v for e in entries for v in (e.get("statusFeedback") or {}).get("values") or ()]
    return {v["name"]: v["fieldValue"]["string"] for v in values if "string" in v["fieldValue"]}


async def test_a_release_is_pre_cached_by_one_work_and_nothing_is_left_of_it(
    tmp_path: Path,
) -> None:
    skip_without(own=True)
    for program in ("registry", "action-gc", "work-agent", *policyagents.PROGRAMS):
        skip_without_program(program)
    settings = DemoSettings(transport="auto", real_agents=True, plain=True)
    async with DemoWorld(tmp_path, [CLUSTER], settings) as world:
        world.set_line(WIDE_BYTES_PER_S / 5)
        cgu = yaml.safe_load(SAMPLE.read_text())
        cgu["spec"]["clusters"] = [CLUSTER]
        name, namespace = cgu["metadata"]["name"], cgu["metadata"]["namespace"]
        await world.client.create(kinds.CGU, cgu)

        async def phase() -> str:
            found = await world.client.get(kinds.CGU, name, namespace)
            status = (found.get("status") or {}).get("precaching") or {}
            return str((status.get("status") or {}).get(CLUSTER, ""))

        async def is_downloading() -> bool:
            return '"phase":"Downloading"' in (await fed_back(world)).get("record", "")

        async def has_succeeded() -> bool:
            assert await phase() not in {Phase.FAILED, Phase.TIMED_OUT}
            return await phase() == Phase.SUCCEEDED

        async def is_clean() -> bool:
            try:
                await world.spokes[CLUSTER].client.get(kinds.NAMESPACE, MANUAL_NAMESPACE)
            except NotFound:
                return await the_work(world) is None
            return False

        await until(is_downloading, "the workload's record is fed back")
        assert await world.client.list(kinds.VIEW) == await world.client.list(kinds.ACTION) == []
        await until(has_succeeded, "the cluster succeeds")
        await until(is_clean, "work and namespace are gone")
        world.check()
        assert world.held_bytes()[CLUSTER] > 0
