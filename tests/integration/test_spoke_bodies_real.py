"""What is put on hub and spoke, judged by a real API server: nothing unknown, nothing refused."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from talm.agent.nodes.children import job_body, owner_of, record_body
from talm.api import kinds
from talm.api.kinds import Kind
from talm.api.pod import Nodes, StoreKind
from talm.api.words import Action, View
from talm.kube.client import Client
from talm.spokes.base import PodTerms
from talm.spokes.own import TALM
from talm.spokes.profile import DELETES, NODE_DELETES, Profile
from talm.spokes.profiles import PROFILES
from tests.spokes.world import ORDER, other

pytestmark = pytest.mark.integration

KINDS = {
    kind.kind: kind
    for kind in (
        kinds.NAMESPACE, kinds.SERVICE_ACCOUNT, kinds.ROLE, kinds.ROLE_BINDING,
        kinds.CLUSTER_ROLE, kinds.CLUSTER_ROLE_BINDING, kinds.CONFIG_MAP, kinds.JOB,
    )
}  # fmt: skip


@pytest.fixture
async def namespace(hub_client: Client) -> AsyncIterator[str]:
    """One that serves as a cluster's namespace on the hub and as the workload's on a spoke."""
    name = f"talm-{uuid.uuid4().hex[:8]}"
    await hub_client.create(kinds.NAMESPACE, {"metadata": {"name": name}})
    yield name
    await hub_client.delete(kinds.NAMESPACE, name)


async def judge(client: Client, kind: Kind, body: dict[str, Any]) -> None:
    """Have the API server check an object strictly, without storing it."""
    path = kind.path(body["metadata"].get("namespace", ""))
    await client.request(
        "POST", path, params={"dryRun": "All", "fieldValidation": "Strict"}, body=body
    )


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
async def test_every_view_action_and_template_is_accepted(
    hub_client: Client, namespace: str, profile: Profile
) -> None:
    for view in (View.NAMESPACE, *profile.setup_views, *profile.job_views):
        body = profile.view(view, namespace, ORDER, namespace=namespace)
        await judge(hub_client, kinds.VIEW, body)
    for action in dict.fromkeys((*DELETES, *profile.setup, Action.JOB_CREATE)):
        body = profile.action(action, namespace, ORDER, namespace=namespace)
        await judge(hub_client, kinds.ACTION, body)
        template = body["spec"]["kube"].get("template")
        if template is not None:
            if action is Action.NS_CREATE:
                template["metadata"]["name"] += "-new"
            await judge(hub_client, KINDS[template["kind"]], template)


@pytest.mark.parametrize("store", StoreKind)
async def test_the_pod_for_each_store_is_accepted(
    hub_client: Client, namespace: str, store: StoreKind
) -> None:
    order = other(pod=PodTerms(store, ("registry-login",)))
    body = TALM.action(Action.JOB_CREATE, namespace, order, namespace=namespace)
    await judge(hub_client, kinds.JOB, body["spec"]["kube"]["template"])


@pytest.mark.parametrize("store", StoreKind)
async def test_all_that_is_made_where_every_node_pulls_is_accepted(
    hub_client: Client, namespace: str, store: StoreKind
) -> None:
    order = other(pod=PodTerms(store, ("registry-login",), Nodes.ALL))
    view = TALM.view(View.NODE_READER, namespace, order, namespace=namespace)
    await judge(hub_client, kinds.VIEW, view)
    for action in (*NODE_DELETES, *TALM.for_nodes(Nodes.ALL).setup):
        body = TALM.action(action, namespace, order, namespace=namespace)
        await judge(hub_client, kinds.ACTION, body)
        template = body["spec"]["kube"].get("template")
        if template is not None and action is not Action.NS_CREATE:
            await judge(hub_client, KINDS[template["kind"]], template)
    job = TALM.kube(Action.JOB_CREATE, order, namespace)["template"]
    job["metadata"]["uid"] = "7a1f4e0e-0000-4000-8000-000000000000"
    owner = owner_of(job)
    node = "worker-1." + "x" * 200 + ".example.com"
    for kind, made in (
        (kinds.CONFIG_MAP, record_body(owner, node)),
        (kinds.JOB, job_body(owner, node, 3600)),
    ):
        typed = {"apiVersion": kind.api_version, "kind": kind.kind, **made}
        await judge(hub_client, kind, typed)
