"""A PinnedImageSet, made on a real API server with exactly the account that the hub makes.

The kinds are laid over it as OpenShift defines them, as far as its rules refuse anything; the
operator behind them is not here, so that who is asked about pins is a stand-in.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from talm.agent.pins.base import LATER, PINNED
from talm.agent.pins.crio import DIRECTORY
from talm.agent.pins.imagesets import ROLE_LABEL, ImageSets
from talm.agent.pins.keeping import Keeper
from talm.agent.pins.opening import open_pins
from talm.agent.progress import Progress
from talm.agent.stores.names import names_of
from talm.api import kinds
from talm.api.kinds import MACHINE_CONFIG_POOL, PINNED_IMAGE_SET, Kind
from talm.api.pod import PINS_LABEL, Nodes, StoreKind, image_set_name
from talm.api.words import RUN_LABEL
from talm.errors import Forbidden, NotFound
from talm.kube.client import Client
from talm.sim.plane.controlplane import ControlPlane
from talm.sim.plane.hubs import Hub
from talm.spokes.base import Order, PodTerms
from talm.spokes.manifests import ACCOUNT
from talm.spokes.pinning import UNPIN, release_actions, rights_actions, unpin_namespace
from tests.agent.pins.conftest import image_of
from tests.cli.test_agent import end_of, start
from tests.integration.world import until
from tests.spokes.world import other

pytestmark = pytest.mark.integration

A, B = image_of("group/a"), image_of("group/b")
OPENSHIFT = PodTerms(StoreKind.CONTAINERS_STORAGE, image_sets=True)
NAMED = {kind.kind: kind for kind in (
    kinds.NAMESPACE, kinds.ROLE, kinds.ROLE_BINDING, kinds.CLUSTER_ROLE,
    kinds.CLUSTER_ROLE_BINDING, kinds.JOB, kinds.DAEMON_SET,
)}  # fmt: skip
DIGEST = "self.split('@').size() == 2 && self.split('@')[1].matches('^sha256:[a-f0-9]{64}$')"
NAME = (
    "self.split('@')[0].matches('^([a-zA-Z0-9-]+\\\\.)+[a-zA-Z0-9-]+(:[0-9]{2,5})?/"
    "([a-zA-Z0-9-_]{0,61}/)?[a-zA-Z0-9-_.]*?$')"
)


def definition(kind: Kind, spec: Mapping[str, Any]) -> dict[str, Any]:
    free = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"type": "object", "properties": {"spec": spec, "status": free}}
    version = {"name": kind.version, "served": True, "storage": True}
    return {
        "metadata": {"name": kind.resource},
        "spec": {
            "group": kind.group,
            "scope": "Cluster",
            "names": {"kind": kind.kind, "plural": kind.plural},
            "versions": [{**version, "schema": {"openAPIV3Schema": schema}}],
        },
    }


IMAGES = {
    "type": "array",
    "minItems": 1,
    "maxItems": 500,
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["name"],
    "items": {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {
                "type": "string",
                "minLength": 1,
                "maxLength": 447,
                "x-kubernetes-validations": [{"rule": DIGEST}, {"rule": NAME}],
            }
        },
    },
}


class Runtime:
    """CRI-O after the operator has done its work, or before."""

    def __init__(self, *names: str) -> None:
        self.names = frozenset(names)

    async def reload(self) -> None:
        raise AssertionError("the operator reloads CRI-O there")

    async def pinned(self, name: str = "") -> frozenset[str]:
        return self.names


@dataclass
class Spoke:
    """An OpenShift of one node, as far as its API goes."""

    hub: ControlPlane
    admin: Client
    namespace: str
    order: Order

    async def carry_out(self, actions: list[dict[str, Any]]) -> None:
        """Do what the action agent does, which may do everything."""
        for body in actions:
            kube = body["spec"]["kube"]
            if "template" in kube:
                await self.admin.create(NAMED[kube["template"]["kind"]], kube["template"])
            else:
                kind = {
                    "clusterrole": kinds.CLUSTER_ROLE,
                    "clusterrolebinding": kinds.CLUSTER_ROLE_BINDING,
                }.get(kube["resource"], PINNED_IMAGE_SET)
                await self.admin.delete(kind, kube["name"])

    def account(self, name: str, namespace: str) -> Path:
        return self.hub.kubeconfig_for(f"system:serviceaccount:{namespace}:{name}")

    async def connect(self) -> Client:
        kubeconfig = self.account(ACCOUNT, self.namespace)
        return await Client.connect(kubeconfig, user_agent="talm-agent")

    def pins(self, run: str, *pinned: str) -> ImageSets:
        return ImageSets(self.connect, Runtime(*pinned), run, patience_s=lambda: 0.0)

    async def sets(self) -> dict[str, Any]:
        found = await self.admin.list(PINNED_IMAGE_SET)
        return {body["metadata"]["name"]: body for body in found}

    async def have_machines(self, **pools: int) -> None:
        for name, count in pools.items():
            body = {"metadata": {"name": name}, "status": {"machineCount": count}}
            await self.admin.apply(MACHINE_CONFIG_POOL, body, field_manager="test")


@pytest_asyncio.fixture
async def spoke(hub: Hub, hub_client: Client) -> AsyncIterator[Spoke]:
    if not isinstance(hub, ControlPlane):
        pytest.skip("an account needs an identity of its own: a hub that was started here")
    run = uuid.uuid4().hex[:16]
    found = Spoke(hub, hub_client, f"talm-{run[:8]}", other(run=run, pod=OPENSHIFT))
    free = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    images = {"type": "object", "properties": {"pinnedImages": IMAGES}}
    await hub_client.create(kinds.CRD, definition(PINNED_IMAGE_SET, images))
    await hub_client.create(kinds.CRD, definition(MACHINE_CONFIG_POOL, free))
    for kind in (PINNED_IMAGE_SET, MACHINE_CONFIG_POOL):

        async def served(kind: Kind = kind) -> bool:
            return await hub_client.serves(kind)

        await until(served, f"{kind} is served")
    await found.have_machines(master=1, worker=0)
    yield found
    for kind in (PINNED_IMAGE_SET, MACHINE_CONFIG_POOL):
        with contextlib.suppress(NotFound):
            await hub_client.delete(kinds.CRD, kind.resource)

        async def gone(kind: Kind = kind) -> bool:
            return not await hub_client.serves(kind)

        await until(gone, f"{kind} is gone")


async def test_a_set_is_made_replaced_and_deleted_with_the_account_and_by_the_actions_of_the_hub(
    spoke: Spoke,
) -> None:
    await spoke.carry_out(rights_actions("spoke1", spoke.order, spoke.namespace))
    run, (name_a,), (name_b,) = spoke.order.run, names_of(A), names_of(B)
    older = spoke.pins("older", name_a)
    assert await older.conclude([A]) == PINNED
    assert await spoke.pins(run, name_a, name_b).conclude([A, B]) == PINNED
    ((name, stored),) = (await spoke.sets()).items()
    assert name == image_set_name(run)
    assert stored["metadata"]["labels"] == {
        ROLE_LABEL: "master",
        PINS_LABEL: "true",
        RUN_LABEL: run,
    }
    assert stored["spec"]["pinnedImages"] == [{"name": n} for n in sorted((name_a, name_b))]
    assert await spoke.pins(run, name_b).conclude([B]) == PINNED
    ((_, stored),) = (await spoke.sets()).items()
    assert stored["spec"]["pinnedImages"] == [{"name": name_b}]
    assert await spoke.pins("").release("older") == 0, "its set is gone, and the other one's stays"
    assert len(await spoke.sets()) == 1
    await spoke.carry_out(release_actions("spoke1", spoke.order))
    assert not await spoke.sets()
    with pytest.raises(Forbidden):
        await spoke.pins(run).conclude([A])


async def test_what_cannot_be_pinned_is_told_and_fails_nothing(spoke: Spoke) -> None:
    run = spoke.order.run

    async def told(*images: Any, pinned: bool = False) -> str:
        progress = Progress("run")
        names = [names_of(image)[0] for image in images] if pinned else []
        await Keeper(spoke.pins(run, *names), progress).conclude(images)
        assert progress.record.pinned is pinned
        return progress.record.not_pinned

    assert "403" in await told(A)
    assert await spoke.pins(run).release(run) == 0, "who may make none has none to delete"
    await spoke.carry_out(rights_actions("spoke1", spoke.order, spoke.namespace))
    assert "does not yet report 1 of 1 images as pinned" in await told(A)
    await spoke.admin.apply(
        MACHINE_CONFIG_POOL,
        {"metadata": {"name": "master"}, "status": {"machineCount": 1, "conditions": [
            {"type": "PinnedImageSetsDegraded", "status": "True", "message": "disk is full"}]}},
        field_manager="test",
    )  # fmt: skip
    assert (await told(A)).endswith("; pool master says PinnedImageSetsDegraded: disk is full")
    many = [image_of(f"group/{number}") for number in range(501)]
    assert "Too many: 501: must have at most 500 items" in await told(*many)
    assert "failed rule" in await told(image_of("one/path/too/long"))
    await spoke.have_machines(master=3)
    assert (await told(A)).endswith("and there are: master 3, worker 0")
    await spoke.have_machines(master=1)
    assert not await told(A, pinned=True)


async def test_no_file_is_written_where_the_cluster_has_the_operator_s_api(
    spoke: Spoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await spoke.carry_out(rights_actions("spoke1", spoke.order, spoke.namespace))
    monkeypatch.setenv("KUBECONFIG", str(spoke.account(ACCOUNT, spoke.namespace)))
    (tmp_path / DIRECTORY).mkdir(parents=True)
    await spoke.pins(spoke.order.run).conclude([A, B])
    pins = open_pins(f"containers-storage:{tmp_path}", tmp_path / "spool", spoke.order.run)
    await pins.expect([A])
    assert await pins.pin(A) == LATER
    assert await pins.release(spoke.order.run) == 2, "the set's images"
    assert not list((tmp_path / DIRECTORY).iterdir())
    await spoke.admin.delete(kinds.CRD, PINNED_IMAGE_SET.resource)

    async def older() -> bool:
        return not await spoke.admin.serves(PINNED_IMAGE_SET)

    await until(older, "the API has no PinnedImageSets, as in older releases")
    pins = open_pins(f"containers-storage:{tmp_path}", tmp_path / "spool", spoke.order.run)
    await pins.expect([A])
    verdict = await pins.conclude([A])
    assert verdict.pinned is False
    assert "without PinnedImageSets" in verdict.why
    assert not list((tmp_path / DIRECTORY).iterdir())


async def is_gone(spoke: Spoke, namespace: str) -> None:
    async def gone() -> bool:
        try:
            await spoke.admin.get(kinds.NAMESPACE, namespace)
        except NotFound:
            return True
        return False

    await until(gone, "the namespace and all that is in it are gone")


def command_of(
    spoke: Spoke, container: Mapping[str, Any], namespace: str, store: Path
) -> tuple[list[str], dict[str, str]]:
    """What a container runs and its environment, with its pod's account and a store of ours."""
    variables = {v["name"]: v["value"] for v in container["env"] if "value" in v}
    account = {"KUBECONFIG": str(spoke.account("default", namespace))}
    return container["command"][2:], variables | {"TALM_STORE": f"oci-layout:{store}"} | account


@pytest.mark.long
async def test_the_job_that_unpins_deletes_its_own_namespace_and_may_delete_no_other(
    spoke: Spoke, tmp_path: Path
) -> None:
    order = other(run=spoke.order.run, pod=PodTerms(StoreKind.CONTAINERD))
    actions = release_actions("spoke1", order)
    await spoke.carry_out(actions)
    namespace = unpin_namespace(order.run)
    (container,) = pod_of(actions[-1])["containers"]
    command, variables = command_of(spoke, container, namespace, tmp_path)
    others = variables | {"TALM_LAST_OF": "kube-system"}
    code, output = await end_of(await start(tmp_path, *command, **others))
    assert (code, "403" in output) == (1, True)
    code, output = await end_of(await start(tmp_path, *command, **variables))
    assert code == 0, output
    await is_gone(spoke, namespace)


@pytest.mark.long  # it looks every 10 s
async def test_on_all_nodes_the_namespace_goes_when_every_pod_has_unpinned(
    spoke: Spoke, tmp_path: Path
) -> None:
    terms = PodTerms(StoreKind.CONTAINERD, nodes=Nodes.ALL)
    order = other(run=spoke.order.run, pod=terms)
    actions = release_actions("spoke1", order)
    await spoke.carry_out(actions)
    namespace = unpin_namespace(order.run)

    async def have_ready(count: int) -> None:
        numbers = {
            "desiredNumberScheduled": 2,
            "currentNumberScheduled": 2,
            "numberMisscheduled": 0,
            "numberReady": count,
            "observedGeneration": 1,
        }
        await spoke.admin.merge_patch(
            kinds.DAEMON_SET, UNPIN, {"status": numbers}, namespace, subresource="status"
        )

    pod = pod_of(actions[-1])
    (first,), (last,) = pod["initContainers"], pod["containers"]
    command, variables = command_of(spoke, first, namespace, tmp_path)
    assert (await end_of(await start(tmp_path, *command, **variables)))[0] == 0
    await have_ready(1)
    command, variables = command_of(spoke, last, namespace, tmp_path)
    waits = await start(tmp_path, *command, **variables)
    try:
        await asyncio.wait([asyncio.ensure_future(waits.wait())], timeout=3)
        assert waits.returncode is None
        assert await spoke.admin.get(kinds.NAMESPACE, namespace)
        await have_ready(2)
        assert await end_of(waits) == (0, "all nodes are through\n")
    finally:
        with contextlib.suppress(ProcessLookupError):
            waits.kill()
    await is_gone(spoke, namespace)


def pod_of(action: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = action["spec"]["kube"]["template"]["spec"]["template"]["spec"]
    return found
