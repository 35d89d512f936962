"""The kinds that OCM brings: all there after set-up, never replaced."""

from __future__ import annotations

from pathlib import Path

import pytest

from talm.api import kinds
from talm.api.kinds import CRD
from talm.kube.client import Client
from talm.sim.plane import foreign_crds
from talm.sim.plane.binaries import find_crds
from talm.sim.plane.foreign_crds import read_definitions
from tests.conftest import OUR_CRDS, StartControlPlane, skip_without

pytestmark = pytest.mark.integration
NEEDED = (
    *(kinds.MANAGED_CLUSTER, kinds.CLUSTER_SET, kinds.CLUSTER_SET_BINDING, kinds.ADD_ON),
    *(kinds.PLACEMENT, kinds.PLACEMENT_DECISION, kinds.POLICY, kinds.PLACEMENT_BINDING),
    *(kinds.VIEW, kinds.ACTION, kinds.MANIFEST_WORK),
)


def test_every_kind_that_the_hub_needs_is_defined() -> None:
    skip_without(own=True)
    defined = {entry.kind.resource for entry in read_definitions(find_crds())}
    assert defined == {kind.resource for kind in NEEDED} | {
        "addonplacementscores.cluster.open-cluster-management.io"
    }


async def test_the_hub_serves_them_all_in_the_versions_we_speak(hub_client: Client) -> None:
    assert [kind for kind in NEEDED if not await hub_client.serves(kind)] == []


async def test_installing_again_changes_nothing(hub_client: Client) -> None:
    before = await hub_client.get(CRD, kinds.VIEW.resource)
    assert await foreign_crds.install(hub_client) == []
    assert (await hub_client.get(CRD, kinds.VIEW.resource))["metadata"] == before["metadata"]


async def test_a_kind_that_the_hub_has_in_another_version_is_left_alone(
    start_control_plane: StartControlPlane, tmp_path: Path
) -> None:
    plane = await start_control_plane("old", controllers="")
    entry = next(e for e in read_definitions(find_crds()) if e.kind.resource == kinds.VIEW.resource)
    version = {**entry.body["spec"]["versions"][0], "name": "v1alpha9"}
    other = {**entry.body, "spec": {**entry.body["spec"], "versions": [version]}}
    async with await Client.connect(plane.kubeconfig, user_agent="talm-tests") as client:
        await client.create(CRD, other)
        created = await foreign_crds.install(client)
        assert kinds.VIEW.resource not in created
        assert len(created) == len(NEEDED)  # the score, too
        crd = await client.get(CRD, kinds.VIEW.resource)
        assert [v["name"] for v in crd["spec"]["versions"]] == ["v1alpha9"]


async def test_our_own_are_updated_in_place(hub_client: Client) -> None:
    names = await foreign_crds.apply_own(hub_client, OUR_CRDS)
    assert kinds.CGU.resource in names
    assert await hub_client.serves(kinds.CGU)
