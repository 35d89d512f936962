"""Twenty simulated spokes against a real API server: what the operator will meet."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import pytest
import pytest_asyncio

from talm.api import kinds
from talm.api.kinds import Kind
from talm.errors import ApiError, NotFound
from talm.kube.client import Client
from talm.sim.agents.policyagent import PolicyPlan
from talm.sim.agents.restmapper import NoMapping, RestMapper
from talm.sim.clock import Clock
from talm.sim.fleet import Fleet, FleetSettings
from talm.sim.hubside.clusters import ClusterFacts
from talm.sim.plane.hubs import Hub
from talm.sim.spoke.kubespoke import KubeSpoke
from talm.sim.spoke.memoryspoke import MemorySpoke
from talm.sim.spoke.spokejobs import JobPlan, SpokeTimes
from talm.sim.spoke.spokes import SpokeApi

pytestmark = pytest.mark.integration

PATIENCE_S = 60.0
SPACE = "openshift-talm-pre-cache"
TIMES = SpokeTimes(
    call_s=0.005, job_sync_s=0.05, pod_start_s=0.1, pod_grace_s=0.5, collect_s=0.05, namespace_s=0.5
)


def settings(**more: Any) -> FleetSettings:
    """Quick spokes; a Job takes half a second."""
    given: dict[str, Any] = {
        "times": TIMES,
        "scenario": lambda _cluster, _job: JobPlan(duration_s=0.5),
        "policies": lambda _cluster, _policy: PolicyPlan(remediation_s=0.2),
        "keep_actions_s": 3.0,
    }
    return FleetSettings(**{**given, **more})


async def until(what: Callable[[], Awaitable[Any]], why: str) -> Any:
    """Ask until the answer is true; an absent object is "not yet"."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    if found := await what():
                        return found
                except NotFound:
                    pass
                await asyncio.sleep(0.1)
    except TimeoutError:
        pytest.fail(f"not seen within {PATIENCE_S:.0f} s: {why}")


@pytest_asyncio.fixture
async def names(hub_client: Client) -> AsyncIterator[list[str]]:
    """Twenty cluster names of this test alone; what they leave on the hub is removed."""
    prefix = f"s{uuid.uuid4().hex[:6]}"
    made = [f"{prefix}-{number:02d}" for number in range(1, 21)]
    yield made
    for name in made:
        for kind in (kinds.MANAGED_CLUSTER, kinds.NAMESPACE):
            with contextlib.suppress(NotFound):
                await hub_client.delete(kind, name)


class Hand:
    """Does on the hub what an operator does."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def act(self, cluster: str, action: str, kind: str, /, **kube: Any) -> None:
        meta = {"name": action, "namespace": cluster}
        spec = {"actionType": kind, "kube": kube}
        await self.client.create(kinds.ACTION, {"metadata": meta, "spec": spec})

    async def look(self, cluster: str, view: str, /, **scope: Any) -> None:
        meta = {"name": view, "namespace": cluster}
        spec = {"scope": {"updateIntervalSeconds": 1, **scope}}
        await self.client.create(kinds.VIEW, {"metadata": meta, "spec": spec})

    async def prepare(self, cluster: str) -> None:
        """Namespace, ConfigMap, Job, one right after the other."""
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}}
        await self.act(cluster, "precache-ns-create", "Create", template=namespace)
        meta = {"name": "pre-cache-spec", "namespace": SPACE}
        config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"a": "1"}}
        await self.act(cluster, "precache-cm-create", "Create", template=config)
        job = {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": {}}}}
        job["metadata"] = {"name": "pre-cache", "namespace": SPACE}
        await self.act(cluster, "precache-job-create", "Create", template=job)

    async def shown(self, cluster: str, name: str) -> Mapping[str, Any]:
        view = await self.client.get(kinds.VIEW, name, cluster)
        status: Mapping[str, Any] = view.get("status") or {}
        return status


def processing(status: Mapping[str, Any]) -> tuple[str, str]:
    found = [(c["status"], c["message"]) for c in status.get("conditions", ())]
    return found[0] if found else ("", "")


async def test_twenty_spokes_pre_cache_and_are_clean_again(
    hub_client: Client, names: list[str]
) -> None:
    hand = Hand(hub_client)

    async def ended(cluster: str) -> bool:
        status = await hand.shown(cluster, "view-precache-job")
        done = ((status.get("result") or {}).get("status") or {}).get("conditions") or []
        return any(c["type"] == "Complete" for c in done)

    async def run(cluster: str) -> None:
        await hand.prepare(cluster)
        scope = {"resource": "jobs", "name": "pre-cache", "namespace": SPACE}
        await hand.look(cluster, "view-precache-job", **scope)
        await hand.look(cluster, "view-precache-namespace", resource="namespaces", name=SPACE)
        await until(lambda: ended(cluster), f"the Job of {cluster} is complete")
        gone = {"resource": "namespace", "name": SPACE}
        await hand.act(cluster, "precache-ns-delete", "Delete", **gone)

        async def absent() -> bool:
            status = await hand.shown(cluster, "view-precache-namespace")
            return processing(status)[1].endswith(f'namespaces "{SPACE}" not found')

        await until(absent, f"the namespace of {cluster} is gone")

        async def collected() -> bool:
            return not await hub_client.list(kinds.ACTION, cluster)

        await until(collected, f"the actions of {cluster} are collected")

    async with Fleet(hub_client, names, settings()) as fleet:
        await asyncio.gather(*(run(name) for name in names))
        runs = fleet.job_uids()
        assert len(runs) == len(names)
        assert all(len(uids) == 1 for uids in runs.values())
        assert fleet.leftovers() == {}
        status = await hand.shown(names[0], "view-precache-job")
        assert processing(status) == (
            "False",
            'failed to get resource with err: jobs.batch "pre-cache" not found',
        )
        assert status["result"]["kind"] == "Job", "the last result stays beside the failure"


async def test_failed_actions_say_why_and_wait_for_nobody(
    hub_client: Client, names: list[str]
) -> None:
    hand = Hand(hub_client)
    async with Fleet(hub_client, names[:1], settings(keep_actions_s=600)):
        scope = {"resource": "clusterrolebinding", "name": "pre-cache-crb"}
        await hand.act(names[0], "gone", "Delete", **scope)
        await hand.act(names[0], "odd", "Patch")

        async def messages() -> list[str]:
            actions = await hub_client.list(kinds.ACTION, names[0])
            found = [(a.get("status") or {}).get("conditions") or [] for a in actions]
            texts = [f"{c[0]['reason']}: {c[0]['message']}" for c in found if c]
            return texts if len(texts) == len(actions) == 2 else []

        assert await until(messages, "both actions have a result") == [
            "DeleteResourceFailed: failed to handle Delete action with err: "
            'clusterrolebindings.rbac.authorization.k8s.io "pre-cache-crb" not found',
            "ActionTypeInvalid: failed to handle Patch action with err: invalid action type",
        ]
        gone = await hub_client.get(kinds.ACTION, "gone", names[0])
        assert gone["status"]["result"] is None


async def test_an_offline_spoke_does_its_work_when_it_returns(
    hub_client: Client, names: list[str]
) -> None:
    hand = Hand(hub_client)
    cluster = names[0]
    async with Fleet(hub_client, names[:2], settings(grace_s=0.2)) as fleet:
        fleet[cluster].link.down()
        await hand.prepare(cluster)

        async def available() -> str:
            found = await hub_client.get(kinds.MANAGED_CLUSTER, cluster)
            conditions = {c["type"]: c["status"] for c in found["status"]["conditions"]}
            return str(conditions["ManagedClusterConditionAvailable"])

        async def silent() -> bool:
            return await available() == "Unknown"

        await until(silent, "the cluster is seen to be silent")
        assert not fleet.job_uids()
        actions = await hub_client.list(kinds.ACTION, cluster)
        assert len(actions) == 3 and not any("status" in action for action in actions)
        fleet[cluster].link.up()

        async def created() -> bool:
            return bool(fleet.job_uids())

        await until(created, "the Job is created after the return")

        async def back() -> bool:
            found = await hub_client.get(kinds.MANAGED_CLUSTER, cluster)
            return await available() == "True" and "taints" not in found["spec"]

        await until(back, "the cluster is available again")


async def test_a_batch_is_remediated_through_placement_and_policy(
    hub_client: Client, names: list[str], namespace: str
) -> None:
    facts = ClusterFacts(labels={"test": names[0]})
    everyone = {"matchLabels": {"test": names[0]}}
    meta = {"namespace": namespace}

    async def place(name: str, selector: Mapping[str, Any]) -> None:
        predicate = {"requiredClusterSelector": {"labelSelector": selector}}
        body = {"metadata": {**meta, "name": name}, "spec": {"predicates": [predicate]}}
        await hub_client.create(kinds.PLACEMENT, body)

    async def bind(name: str, **more: Any) -> None:
        ref = {"apiGroup": kinds.PLACEMENT.group, "kind": "Placement", "name": name}
        subject = {"apiGroup": kinds.POLICY.group, "kind": "Policy", "name": "upgrade"}
        body = {"metadata": {**meta, "name": name}, "placementRef": ref, "subjects": [subject]}
        await hub_client.create(kinds.PLACEMENT_BINDING, {**body, **more})

    async def compliance() -> dict[str, str]:
        root = await hub_client.get(kinds.POLICY, "upgrade", namespace)
        entries = (root.get("status") or {}).get("status") or []
        return {entry["clustername"]: entry.get("compliant", "") for entry in entries}

    async with Fleet(hub_client, names, settings(facts=facts)):
        template = {
            "objectDefinition": {
                "apiVersion": f"{kinds.POLICY.group}/v1",
                "kind": "ConfigurationPolicy",
                "metadata": {"name": "upgrade-config"},
                "spec": {"severity": "low"},
            }
        }
        spec = {"disabled": False, "remediationAction": "inform", "policy-templates": [template]}
        root = {"metadata": {**meta, "name": "upgrade"}, "spec": spec}
        await hub_client.create(kinds.POLICY, root)
        await place("all", everyone)
        await bind("all")

        async def all_differ() -> bool:
            return await compliance() == dict.fromkeys(names, "NonCompliant")

        await until(all_differ, "every cluster is NonCompliant")
        batch = [{"key": "name", "operator": "In", "values": names[:5]}]
        await place("batch", {"matchExpressions": batch})
        override = {"remediationAction": "enforce"}
        await bind("batch", subFilter="restricted", bindingOverrides=override)

        async def batch_done() -> bool:
            wanted = dict.fromkeys(names, "NonCompliant") | dict.fromkeys(names[:5], "Compliant")
            return await compliance() == wanted

        await until(batch_done, "the batch, and nobody else, is Compliant")
        await hub_client.delete(kinds.POLICY, "upgrade", namespace)

        async def no_children() -> bool:
            left = [await hub_client.list(kinds.POLICY, name) for name in names]
            return not any(left)

        await until(no_children, "the children went with their root")


async def test_a_restarted_agent_lists_again_and_goes_on(
    hub_client: Client, names: list[str]
) -> None:
    hand = Hand(hub_client)
    async with Fleet(hub_client, names[:1], settings()) as fleet:
        fleet[names[0]].link.half_dead()
        await hand.look(names[0], "v", resource="namespaces", name="default")
        fleet[names[0]].restart_agents()
        fleet[names[0]].link.up()

        async def answered() -> bool:
            return processing(await hand.shown(names[0], "v"))[0] == "True"

        await until(answered, "the view is answered after the restart")


async def test_the_command_plays_a_fleet_until_it_is_interrupted(
    hub: Hub, hub_client: Client
) -> None:
    hand = Hand(hub_client)
    words = ("--kubeconfig", str(hub.kubeconfig), "--clusters", "2", "--faults", "slow=1")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from talm.cli.main import main; main()", "sim", *words
    )
    try:

        async def registered() -> bool:
            assert process.returncode is None, "the command has ended"
            found = await hub_client.get(kinds.MANAGED_CLUSTER, "spoke-0002")
            return "status" in found

        await until(registered, "the second cluster is registered")
        await hand.look("spoke-0002", "v", resource="namespaces", name="default")

        async def answered() -> bool:
            return processing(await hand.shown("spoke-0002", "v"))[0] == "True"

        await until(answered, "a view is answered")
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(PATIENCE_S):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        for number in (1, 2):
            for kind in (kinds.MANAGED_CLUSTER, kinds.NAMESPACE):
                with contextlib.suppress(NotFound):
                    await hub_client.delete(kind, f"spoke-{number:04d}")


# -- both kinds of spoke say the same -----------------------------------------------------------


async def _said(request: Awaitable[Any]) -> str:
    try:
        await request
    except (ApiError, NoMapping) as exc:
        return exc.message if isinstance(exc, ApiError) else str(exc)
    return "done"


def _config_map(name: str, namespace: str = "") -> dict[str, Any]:
    meta = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"a": "1"}}


async def _transcript(spoke: SpokeApi, space: str) -> list[str]:
    """What a spoke answers to everything that an agent may ask of it."""
    mapper = RestMapper(spoke)
    binding = kinds.CLUSTER_ROLE_BINDING
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}}
    stale = {"metadata": {"resourceVersion": "1"}, "data": {"a": "2"}}
    said = [
        await _said(spoke.get(kinds.NAMESPACE, "", space)),
        await _said(spoke.create(kinds.CONFIG_MAP, space, _config_map("cm"))),
        await _said(spoke.create(kinds.NAMESPACE, "", namespace)),
        await _said(spoke.create(kinds.NAMESPACE, "", namespace)),
        await _said(spoke.create(kinds.CONFIG_MAP, space, _config_map("cm"))),
        await _said(spoke.create(kinds.CONFIG_MAP, space, _config_map("cm"))),
        await _said(spoke.create(kinds.CONFIG_MAP, space, _config_map("cm", "default"))),
        await _said(spoke.create(kinds.CONFIG_MAP, space, _config_map(""))),
        await _said(spoke.create(kinds.CONFIG_MAP, "", _config_map("cm"))),
        await _said(spoke.create(kinds.NAMESPACE, "default", namespace)),
        await _said(spoke.get(kinds.JOB, space, "pre-cache")),
        await _said(spoke.get(kinds.JOB, "", "pre-cache")),
        await _said(spoke.get(kinds.JOB, "nowhere", "pre-cache")),
        await _said(spoke.get(binding, "", "pre-cache-crb")),
        await _said(spoke.get(binding, "default", "pre-cache-crb")),
        await _said(spoke.get(kinds.CONFIG_MAP, space, "a/b")),
        await _said(spoke.get(kinds.CONFIG_MAP, space, "")),
        await _said(spoke.delete(binding, "", "pre-cache-crb", "Foreground")),
        await _said(spoke.merge_patch(kinds.CONFIG_MAP, space, "cm", stale)),
        await _said(spoke.merge_patch(kinds.CONFIG_MAP, space, "none", {"data": {}})),
        await _said(spoke.get(Kind("none.example", "v1", "None", "nones"), space, "x")),
        await _said(mapper.for_kind("x.example", "v1", "Foo")),
        await _said(mapper.for_kind("x.example", "v1", "Foo")),
        await _said(mapper.for_kind("", "v1", "Foo")),
        await _said(mapper.for_kind("batch", "v7", "Job")),
        await _said(mapper.for_resource("widgets")),
        await _said(mapper.for_resource("widgets.v1.example.com")),
    ]
    for word in ("jobs", "Job", "configmap", "namespaces", "jobs.batch", "jobs.v1.batch"):
        said.append(str((await mapper.for_resource(word)).kind))
    said.append(await _said(spoke.delete(kinds.NAMESPACE, "", space, "Foreground")))
    said.append(await _said(spoke.create(kinds.NAMESPACE, "", namespace)))
    said.append(await _said(spoke.create(kinds.CONFIG_MAP, space, _config_map("late"))))
    said.append(await _said(spoke.delete(kinds.NAMESPACE, "", space, "Foreground")))
    return said


async def test_a_real_api_server_and_a_simulated_one_say_the_same(hub_client: Client) -> None:
    space = f"say-{uuid.uuid4().hex[:8]}"
    held = {"metadata": {"name": "held", "finalizers": ["talm.example/hold"]}}

    class Held(KubeSpoke):
        """Keeps its namespace terminating while it is asked about it."""

        async def delete(self, kind: Kind, namespace: str, name: str, propagation: str) -> None:
            if kind == kinds.NAMESPACE and name == space:
                with contextlib.suppress(ApiError):
                    await self.create(kinds.CONFIG_MAP, space, held)
            await super().delete(kind, namespace, name, propagation)

    try:
        real = await _transcript(Held(hub_client), space)
    finally:
        release = {"metadata": {"finalizers": None}}
        await hub_client.merge_patch(kinds.CONFIG_MAP, "held", release, space)
    memory = MemorySpoke("cnfdb1", Clock(), times=TIMES)
    assert await _transcript(memory, space) == real
    memory.close()


async def test_agents_work_on_a_real_api_server_too(
    hub_client: Client, names: list[str], namespace: str
) -> None:
    hand = Hand(hub_client)
    cluster = names[0]
    spokes = {cluster: KubeSpoke(hub_client)}
    async with Fleet(hub_client, [cluster], settings(), spokes=spokes):
        template = _config_map("cm", namespace)
        await hand.act(cluster, "create", "Create", template=template)
        scope = {"resource": "configmap", "name": "cm", "namespace": namespace}
        await hand.look(cluster, "v", **scope)

        async def shown() -> Any:
            return (await hand.shown(cluster, "v")).get("result")

        result = await until(shown, "the view shows the ConfigMap")
        assert result["data"] == {"a": "1"} and result["metadata"]["managedFields"]
        template = {**template, "data": {"b": "2"}}
        await hand.act(cluster, "update", "Update", template=template)

        async def replaced() -> bool:
            found = await hub_client.get(kinds.CONFIG_MAP, "cm", namespace)
            return bool(found["data"] == {"b": "2"})

        await until(replaced, "the update has replaced the data")
        await hand.act(cluster, "delete", "Delete", **scope)

        async def absent() -> bool:
            status = await hand.shown(cluster, "v")
            return processing(status)[1].endswith('configmaps "cm" not found')

        await until(absent, "the view reports it gone")
