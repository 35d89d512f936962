"""A hub whose CRD has none of our own fields of the status: the API server prunes them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from talm.api import kinds
from talm.api.crd import DEFINITIONS, custom_resource_definition
from talm.kube.client import Client
from talm.sim.plane.controlplane import ControlPlane
from talm.sim.plane.deployment import FIELD_MANAGER

from ..conftest import StartControlPlane
from .operator import install
from .world import cgu, until

OURS = (
    "waits",
    "failures",
    "failuresByClass",
    "progress",
    "specHash",
    "attempt",
    "specs",
    "verifyingSince",
)


def _older_crd() -> dict[str, Any]:
    """The CRD without what the existing operator's does not have."""
    crd = custom_resource_definition(DEFINITIONS[0])
    (version,) = crd["spec"]["versions"]
    status = version["schema"]["openAPIV3Schema"]["properties"]["status"]
    for name in OURS:
        del status["properties"]["precaching"]["properties"][name]
    return crd


async def _prunes(client: Client) -> bool:
    """Whether the API server has taken the older CRD up: it does so a moment later."""
    body = cgu("probe", [], namespace="default")
    found = await client.create(kinds.CGU, body)
    try:
        patch = {"status": {"precaching": {"waits": [{"spent": 1}]}}}
        name = found["metadata"]["name"]
        stored = await client.merge_patch(kinds.CGU, name, patch, "default", subresource="status")
        return "waits" not in stored["status"]["precaching"]
    finally:
        await client.delete(kinds.CGU, "probe", "default")


@asynccontextmanager
async def older_hub(
    start: StartControlPlane, *, audit: bool = False
) -> AsyncIterator[tuple[ControlPlane, Client]]:
    """Start such a hub; the operator may work there."""
    hub = await start("hub", audit=audit)
    async with await Client.connect(hub.kubeconfig, user_agent="talm-tests") as client:
        await install(client)
        await client.apply(kinds.CRD, _older_crd(), field_manager=FIELD_MANAGER)
        await until(lambda: _prunes(client), "the older CRD counts")
        yield hub, client
