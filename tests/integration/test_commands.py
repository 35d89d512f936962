"""`talm status`, `explain`, `logs` on a real API server: during a run, of a stuck cluster, without rights."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
import pytest_asyncio

from talm.api import kinds
from talm.api.words import MANUAL_NAMESPACE, Phase, View
from talm.kube.client import Client
from talm.sim.plane import deployment
from talm.sim.plane.controlplane import ControlPlane
from talm.sim.plane.hubs import Hub
from talm.sim.spoke.memoryspoke import MemorySpoke
from talm.sim.spoke.spokejobs import JobPlan, Outcome
from tests.cli.fleets import a_cgu, cgu_body, failure, record, since, view_body

from . import world
from .commands import LONG_S, pulling, start, talm
from .conftest import SetScene
from .scene import Scene

pytestmark = pytest.mark.integration


def hanging(cluster: str, _job: Mapping[str, Any]) -> JobPlan:
    """The first cluster succeeds at once, the others are half through and stay there."""
    if cluster.endswith("-001"):
        return JobPlan(duration_s=0.1, progress=pulling, steps=1)
    return JobPlan(duration_s=0.2, outcome=Outcome.HANGS, progress=half, steps=2)


def half(_done: float) -> Mapping[str, str]:
    return pulling(0.5)


async def shows(scene: Scene, *arguments: str, until: str) -> Any:
    """Repeat a command until its JSON satisfies a question about it."""
    kubeconfig = scene.hub.kubeconfig

    async def asked() -> Any:
        found = (await talm(kubeconfig, *arguments, "-o", "json")).json
        return found if until in str(found) else None

    return await world.until(asked, f"talm {arguments} shows {until}", seconds=LONG_S)


async def summed_up(scene: Scene, *place: str, busy: int) -> Any:
    """The CGU's document, once the operator's sums have both halves of the busy clusters."""

    async def asked() -> Any:
        found = (await talm(scene.hub.kubeconfig, "status", *place, "-o", "json")).json
        sums = found.get("progress", {})
        ended = sums.get("finished", {})
        left = sums.get("bytesDone", 0) - ended.get("bytesDone", 0)
        return found if left == busy * 2048 else None

    return await world.until(asked, "the operator has summed up", seconds=LONG_S)


@pytest.mark.parametrize(
    "transport", ["view-action", pytest.param("manifest-work", marks=pytest.mark.long)]
)
async def test_status_of_a_run_shows_what_the_clusters_have_told(
    scenes: SetScene, transport: str
) -> None:
    async with scenes(3, scenario=hanging) as scene, scene.operator(transport=transport):
        await scene.create("up")
        done, *busy = scene.names
        await scene.reach("up", Phase.SUCCEEDED, [done])
        await scene.reach("up", Phase.ACTIVE, busy)
        place = ["up", "-n", scene.namespace]
        found = await summed_up(scene, *place, busy=len(busy))
        assert found["situation"] == "PreCaching"
        assert found["waitsFor"] == "2 of 3 clusters to be pre-cached"
        assert found["states"][Phase.ACTIVE] == 2
        by_name = {row["cluster"]: row for row in found["clusterList"]}
        assert by_name[done]["state"] == "Succeeded"
        told = by_name[busy[0]]["progress"]
        assert (told["imagesDone"], told["imagesTotal"]) == (10, 20)
        assert (told["bytesDone"], told["bytesTotal"]) == (2048, 4096)
        # The one that is done may have told how much it had before its objects went.
        ended = found["progress"].get("finished", {})
        assert found["progress"]["bytesDone"] == 4096 + ended.get("bytesDone", 0)

        page = await talm(scene.hub.kubeconfig, "status", *place)
        assert page.column("CLUSTER") == [*busy, done]
        assert page.column("IMAGES")[:2] == ["10/20", "10/20"]
        assert "\x1b" not in page.out
        fleet = (await talm(scene.hub.kubeconfig, "status", "-n", scene.namespace)).out
        images = (20 + ended.get("imagesDone", 0), 40 + ended.get("imagesTotal", 0))
        assert "{}/{}".format(*images) in fleet and "PreCaching" in fleet

        words = (await talm(scene.hub.kubeconfig, "logs", *place, "--cluster", busy[0])).out
        assert "10 of 20" in words and "03:04:05 phase Downloading" in words
        gone = (await talm(scene.hub.kubeconfig, "logs", *place, "--cluster", done)).out
        assert "nothing is kept" in gone

        told_why = (await talm(scene.hub.kubeconfig, "explain", *place, "-c", busy[0])).out
        assert "the Job to end" in told_why and "PrecacheTimeout" in told_why


@pytest.mark.long
async def test_a_cluster_whose_namespace_does_not_go_is_explained(scenes: SetScene) -> None:
    async with scenes(2, scenario=hanging) as scene, scene.operator():
        stuck, _ = scene.names
        spoke = scene.fleet[stuck].spoke
        assert isinstance(spoke, MemorySpoke)
        await spoke.create(kinds.NAMESPACE, "", {"metadata": {"name": MANUAL_NAMESPACE}})
        spoke.hold_namespaces = True
        await scene.create("up")
        await scene.reach("up", Phase.PREPARING, [stuck])
        place = ["up", "-n", scene.namespace]
        found = await shows(scene, "explain", *place, "-c", stuck, until="finalizers")
        assert found["waitsFor"] == "the spoke to finish deleting the pre-caching namespace"
        assert found["state"] == Phase.PREPARING
        assert "UnrecoverableError" in found["then"]
        assert found["since"] < found["until"]
        assert "finalizer" in found["do"]
        pages = await shows(scene, "explain", *place, until=stuck)
        assert pages[0]["waitsFor"].endswith("clusters to be pre-cached")
        assert any(page.get("clusters") == [stuck] for page in pages[1:])
        spoke.release()


async def test_a_watch_in_a_pipe_tells_each_change_as_a_line_and_ends_with_the_cgu(
    scenes: SetScene,
) -> None:
    async with scenes(1) as scene, scene.operator():
        await scene.create("up", enable=True)
        process = await start(
            scene.hub.kubeconfig, "status", "up", "-n", scene.namespace, "--watch"
        )
        async with asyncio.timeout(LONG_S):
            out, err = await process.communicate()
        lines = [line.split("  ", 2)[2] for line in out.decode().splitlines()]
        assert process.returncode == 0, err.decode()
        assert any(line.startswith(f"{scene.names[0]}  Succeeded") for line in lines)
        assert lines[-1].startswith("Completed: ") or "Completed: " in "\n".join(lines[-3:])


# ---- without an operator: objects as it would have left them -------------------------------------------


@pytest.fixture
def own_hub(hub: Hub) -> ControlPlane:
    if not isinstance(hub, ControlPlane):
        pytest.skip("users of their own: a hub that was started here")
    return hub


async def put(client: Client, namespace: str, name: str = "night-1") -> list[str]:
    """A CGU with a status, and the view of the one cluster that is at work."""
    names = [f"{namespace}-{n}" for n in (1, 2)]
    states = {names[0]: "Active", names[1]: "UnrecoverableError"}
    given: dict[str, Any] = {
        "waits": {names[0]: since(minutes=1)},
        "failures": [failure(names[1], "UnrecoverableError", "StoreFailed: disk", minutes=1)],
        "namespace": namespace,
    }
    body = cgu_body(name, states, **given)
    made = await client.create(
        kinds.CGU, {"metadata": {"name": name, "namespace": namespace}, "spec": body["spec"]}
    )
    await client.merge_patch(
        kinds.CGU, name, {"status": body["status"]}, namespace, subresource="status"
    )
    await client.create(kinds.NAMESPACE, {"metadata": {"name": names[0]}})
    cgu = a_cgu(name, states, **given)
    uid = made["metadata"]["uid"]
    view = view_body(cgu, names[0], record(10, 100), uid=uid)
    view["spec"]["scope"] |= {"resource": "configmap", "name": "pre-cache-progress"}
    await client.create(kinds.VIEW, {k: v for k, v in view.items() if k != "status"})
    await client.merge_patch(
        kinds.VIEW, View.PROGRESS, {"status": view["status"]}, names[0], subresource="status"
    )
    return names


async def allow(client: Client, user: str, role: str, namespace: str = "") -> None:
    """Bind a shipped role, in a namespace or everywhere."""
    body = {
        "metadata": {"name": f"{user}-{role}", **({"namespace": namespace} if namespace else {})},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    }
    kind = kinds.ROLE_BINDING if namespace else kinds.CLUSTER_ROLE_BINDING
    await client.apply(kind, body, field_manager="test")


async def test_a_user_without_rights_gets_a_sentence_and_exit_code_8(
    own_hub: ControlPlane, hub_client: Client, namespace: str
) -> None:
    await put(hub_client, namespace)
    kubeconfig = own_hub.kubeconfig_for(f"nobody-{namespace}")
    for arguments in (["status"], ["status", "night-1"], ["explain", "night-1", "-n", namespace]):
        refused = await talm(kubeconfig, *arguments)
        assert refused.code == 8, refused
        assert refused.out == ""
        assert refused.err.startswith(f'talm: User "nobody-{namespace}" cannot list resource')
        assert "talm-viewer" in refused.err and refused.err.count("\n") == 1


@pytest_asyncio.fixture
async def roles(hub_client: Client) -> None:
    await deployment.install(hub_client)


async def test_what_a_user_may_not_read_is_unknown_with_the_reason(
    own_hub: ControlPlane, hub_client: Client, namespace: str, roles: None
) -> None:
    busy, failed = await put(hub_client, namespace)
    user = f"viewer-{namespace}"
    await allow(hub_client, user, "talm-viewer", namespace)
    kubeconfig = own_hub.kubeconfig_for(user)

    async def seen() -> Any:
        found = await talm(kubeconfig, "status", "night-1", "-n", namespace)
        return found if found.code == 0 else None

    page = await world.until(seen, "the viewer may look", seconds=LONG_S)
    assert page.column("CLUSTER")[:2] == [failed, busy]
    assert f'unknown: User "{user}" cannot list resource "managedclusterviews"' in page.out
    why = await talm(kubeconfig, "explain", "night-1", "-n", namespace, "-c", busy)
    assert why.code == 0
    assert "the Job to end" in why.out
    assert "unknown    User" in why.out
    words = await talm(kubeconfig, "logs", "night-1", "-n", namespace, "-c", busy)
    assert words.code == 0
    assert "managedclusterviews" in words.out

    await allow(hub_client, user, "talm-progress-viewer")

    async def known() -> Any:
        found = await talm(kubeconfig, "status", "night-1", "-n", namespace)
        return "10.0/100.0 MiB" in found.out

    await world.until(known, "with talm-progress-viewer the bytes are shown", seconds=LONG_S)


async def test_names_that_are_wrong_or_ambiguous_end_with_a_sentence(
    own_hub: ControlPlane, hub_client: Client, namespace: str
) -> None:
    other = f"{namespace}-other"
    await hub_client.create(kinds.NAMESPACE, {"metadata": {"name": other}})
    await put(hub_client, namespace, "twice")
    await put(hub_client, other, "twice")
    admin = own_hub.kubeconfig

    missing = await talm(admin, "status", "night-9", "-n", namespace)
    assert (missing.code, missing.err) == (
        6,
        f"talm: no ClusterGroupUpgrade is called night-9 in namespace {namespace};"
        " there are twice\n",
    )
    several = await talm(admin, "status", "twice")
    assert (several.code, several.err) == (
        7,
        f"talm: 2 ClusterGroupUpgrades are called twice: in {namespace}, {other};"
        " say which with -n\n",
    )
    cluster = await talm(admin, "logs", "twice", "-n", other, "-c", "spoke-9")
    assert cluster.code == 6
    assert "has no cluster spoke-9 in its plan; it has" in cluster.err
    assert (await talm(admin, "status", "twice", "-n", other)).code == 0
    await hub_client.delete(kinds.NAMESPACE, other)
