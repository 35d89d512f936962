"""`make hub`: a hub that stays when its command has ended."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from talm.api import kinds
from talm.kube.client import Client
from talm.sim.plane.controlplane import is_running
from tests.conftest import OUR_CRDS, skip_without

pytestmark = pytest.mark.integration


async def standing(*arguments: str | Path) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "talm.sim.plane.standing", *map(str, arguments)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def test_it_stays_says_how_to_use_it_and_keeps_its_data(tmp_path: Path) -> None:
    skip_without(own=True)
    try:
        said = await standing("start", "--crds", OUR_CRDS, tmp_path)
        kubeconfig = tmp_path / "admin.kubeconfig"
        assert f"export KUBECONFIG={kubeconfig}\n" in said
        assert "alias kubectl=" in said
        async with await Client.connect(kubeconfig, user_agent="talm-tests") as client:
            assert await client.serves(kinds.CGU)
            assert await client.serves(kinds.POLICY)
        assert "The hub runs" in await standing("start", tmp_path)  # the second time it is there
    finally:
        said = await standing("stop", tmp_path)
    assert "the hub has ended" in said
    assert not is_running(tmp_path)
    assert "no hub is running" in await standing("stop", tmp_path)
