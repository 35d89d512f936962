"""Installs the kinds of others that a hub needs (clusters, views, actions, works, policies).

For demo and tests: a real hub has them, and one that serves a kind keeps its own.  The files come
from the Go modules that publish them (controlplane/definitions.py).
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from talm.api.kinds import CRD, Kind
from talm.errors import AlreadyExists, SetupError
from talm.kube.client import Client
from talm.sim.plane.binaries import find_crds

ESTABLISHED_TIMEOUT_S: Final = 60.0  # a second each on an idle machine, several at once
POLL_S: Final = 0.05
FIELD_MANAGER: Final = "talm-setup"


@dataclass(frozen=True, slots=True)
class Definition:
    """One CRD and the kind that it defines, in the version that is stored."""

    body: dict[str, Any]
    kind: Kind


def read_definitions(directory: Path) -> list[Definition]:
    """Read every CRD in the YAML files of `directory`, in the order of the file names."""
    return [
        Definition(body, _kind_of(body))
        for file in sorted(directory.glob("*.yaml"))
        for body in yaml.load_all(file.read_text(), Loader=yaml.CSafeLoader)
        if body and body.get("kind") == CRD.kind
    ]


def _kind_of(body: dict[str, Any]) -> Kind:
    spec = body["spec"]
    stored = next(version["name"] for version in spec["versions"] if version["storage"])
    names, namespaced = spec["names"], spec["scope"] == "Namespaced"
    return Kind(spec["group"], stored, names["kind"], names["plural"], namespaced)


async def install(client: Client, folder: str = "") -> list[str]:
    """Create the CRDs of `folder` (see `find_crds`) that the API server does not serve.

    Returns the names of those it created, once the API server serves them.  Raises ApiError, and
    SetupError when they are not here or one is not served in time.
    """
    return await define(client, read_definitions(find_crds(folder)))


async def install_on_spoke(client: Client) -> list[str]:
    """The same on a spoke: what the work agent keeps its books in."""
    return await install(client, "spoke")


async def define(client: Client, wanted: list[Definition]) -> list[str]:
    """The same with definitions that are at hand."""
    created = [entry for entry in wanted if await _create(client, entry)]
    await _wait_served(client, created)
    return [entry.kind.resource for entry in created]


async def apply_own(client: Client, directory: Path) -> list[str]:
    """Create or update our own CRDs from `directory`; returns their names once they are served.

    Raises ApiError, and SetupError when one is not served in time.
    """
    ours = read_definitions(directory)
    for entry in ours:
        await client.apply(CRD, entry.body, field_manager=FIELD_MANAGER)
    await _wait_served(client, ours)
    return [entry.kind.resource for entry in ours]


async def _create(client: Client, entry: Definition) -> bool:
    if await client.serves(entry.kind):
        return False
    try:
        await client.create(CRD, entry.body)
    except AlreadyExists:  # the hub has it, in another version
        return False
    return True


async def _wait_served(client: Client, entries: list[Definition]) -> None:
    deadline = time.monotonic() + ESTABLISHED_TIMEOUT_S
    for entry in entries:
        while not await _is_served(client, entry):
            if time.monotonic() > deadline:
                raise SetupError(
                    f"the API server does not serve {entry.kind} {ESTABLISHED_TIMEOUT_S:.0f} s "
                    f"after its CRD was written; 'kubectl get crd {entry.kind} -o yaml' says why"
                )
            await asyncio.sleep(POLL_S)


async def _is_served(client: Client, entry: Definition) -> bool:
    crd = await client.get(CRD, entry.kind.resource)
    conditions = crd.get("status", {}).get("conditions") or []  # null at first
    established = any(c["type"] == "Established" and c["status"] == "True" for c in conditions)
    return established and await client.serves(entry.kind)
