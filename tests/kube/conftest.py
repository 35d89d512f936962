"""A behaving API server and a client of it, for all tests of talm.kube."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from talm.kube.client import Client
from tests.kube.apiserver import ApiServer, write_kubeconfig


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    async with ApiServer().running() as server:
        yield server


@pytest.fixture
async def client(api: ApiServer, tmp_path: Path) -> AsyncIterator[Client]:
    kubeconfig = write_kubeconfig(tmp_path / "kubeconfig", api.url, {"token": "secret"})
    async with await Client.connect(kubeconfig, user_agent="test") as connected:
        yield connected
