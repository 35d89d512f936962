"""Fixtures of the scenes: on the hub that all tests share, with the operator's role installed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from talm.kube.client import Client
from talm.sim.plane.controlplane import ControlPlane
from talm.sim.plane.hubs import Hub

from .operator import install
from .scene import Scene, set_scene

SetScene = Callable[..., AbstractAsyncContextManager[Scene]]


@pytest_asyncio.fixture
async def scenes(hub: Hub, hub_client: Client, tmp_path: Path) -> AsyncIterator[SetScene]:
    """Sets scenes on the shared hub: `async with scenes(3) as scene`."""
    if not isinstance(hub, ControlPlane):
        pytest.skip("the operator needs an identity of its own: a hub that was started here")
    await install(hub_client)

    def start(clusters: int, **fleet: Any) -> AbstractAsyncContextManager[Scene]:
        return set_scene(hub, hub_client, tmp_path, clusters, **fleet)

    yield start
