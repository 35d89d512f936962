"""`deploy/` on a real API server: kubectl builds and applies it, RBAC allows that much and no more."""

from __future__ import annotations

import asyncio
import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
import yaml

from talm.api import kinds
from talm.api.kinds import Kind
from talm.kube.client import Client
from talm.sim.plane.hubs import Hub

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
OPERATOR = "system:serviceaccount:talm-system:talm-operator"
OVERRIDES = "cluster-group-upgrade-overrides"
RECORD = "precache-record"
RECORDED = ("get", "list", "watch", "create", "patch")


def kubectl(hub: Hub, *args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [*hub.kubectl, *args]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)


def built(hub: Hub, folder: Path) -> list[dict[str, Any]]:
    done = kubectl(hub, "kustomize", str(folder))
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture(scope="module")
def deployed(hub: Hub) -> Hub:
    """A hub on which `kubectl apply -k deploy` was run."""
    done = kubectl(hub, "apply", "--server-side", "--force-conflicts", "-k", str(DEPLOY))
    assert done.returncode == 0, done.stderr
    # The API server warns of pods that the namespace's security standard will refuse.
    assert not done.stderr
    return hub


@pytest.fixture
def api(deployed: Hub, hub_client: Client) -> Client:
    """An administrator's client, once everything is applied."""
    return hub_client


@pytest.fixture(scope="module")
def people(deployed: Hub) -> Iterator[str]:
    """A namespace in which a user is bound to each role and bears its name."""
    space = f"people-{uuid.uuid4().hex[:8]}"
    assert kubectl(deployed, "create", "namespace", space).returncode == 0
    for role in ("talm-editor", "talm-viewer", "admin", "edit", "view"):
        bound = ["create", "rolebinding", role, "-n", space, f"--clusterrole={role}"]
        assert kubectl(deployed, *bound, f"--user={role}").returncode == 0
    yield space
    kubectl(deployed, "delete", "namespace", space, "--wait=false")


def test_kubectl_builds_the_kustomization_with_image_and_settings(hub: Hub) -> None:
    made = built(hub, DEPLOY)
    (deployment,) = (m for m in made if m["kind"] == "Deployment")
    (settings,) = (m for m in made if m["kind"] == "ConfigMap")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "talm-operator:latest"
    assert container["envFrom"][0]["configMapRef"]["name"] == settings["metadata"]["name"]


def test_one_line_moves_everything_to_another_namespace(hub: Hub, tmp_path: Path) -> None:
    # kubectl wants the way from the overlay to the base without links in it.
    base = os.path.relpath(DEPLOY.resolve(), tmp_path.resolve())
    overlay = {"namespace": "elsewhere", "resources": [base]}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    for made in built(hub, tmp_path):
        assert made["metadata"].get("namespace", "elsewhere") == "elsewhere"
        for subject in made.get("subjects", ()):
            assert subject["namespace"] == "elsewhere"
        if made["kind"] == "Namespace":
            assert made["metadata"]["name"] == "elsewhere"


async def test_the_namespaces_security_standard_admits_the_operators_pods(api: Client) -> None:
    deployment = yaml.safe_load((DEPLOY / "hub/deployment.yaml").read_text())
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "operator", "namespace": "talm-system"},
        "spec": deployment["spec"]["template"]["spec"],
    }
    path = kinds.POD.path("talm-system")
    await api.request("POST", path, params={"dryRun": "All"}, body=pod)


class Ask(NamedTuple):
    """May somebody do this?  An empty namespace or name means: in all, to any."""

    verb: str
    kind: Kind
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    def __str__(self) -> str:
        words = (self.verb, self.kind.plural, self.subresource, self.namespace, self.name)
        return " ".join(word for word in words if word)


def asks(verbs: str, kind: Kind, subresource: str = "") -> list[Ask]:
    return [Ask(verb, kind, subresource=subresource) for verb in verbs.split()]


async def may(api: Client, user: str, ask: Ask) -> bool:
    attributes = {
        "verb": ask.verb,
        "group": ask.kind.group,
        "resource": ask.kind.plural,
        "subresource": ask.subresource,
        "namespace": ask.namespace,
        "name": ask.name,
    }
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "resourceAttributes": attributes},
    }
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    answer = msgspec.json.decode(await api.request("POST", path, body=review))
    return bool(answer["status"]["allowed"])


async def becomes_allowed(api: Client, user: str, ask: Ask) -> None:
    """Roles reach the authorizer a moment after they were stored."""
    async with asyncio.timeout(60):
        while True:
            if await may(api, user, ask):
                return
            await asyncio.sleep(0.05)


NEEDED = [
    *asks("get list watch update patch", kinds.CGU),
    *asks("get update patch", kinds.CGU, "status"),
    *asks("update", kinds.CGU, "finalizers"),
    *asks("get list watch", kinds.PRE_CACHING_CONFIG),
    *asks("get list watch patch", kinds.MANAGED_CLUSTER),
    *asks("get list watch", kinds.ADD_ON),
    *asks("get list watch create patch delete", kinds.VIEW),
    *asks("get list watch create patch delete", kinds.ACTION),
    *asks("get list watch", kinds.POLICY),
    *asks("get list watch create update patch delete", kinds.PLACEMENT),
    *asks("get list watch create update patch delete", kinds.PLACEMENT_BINDING),
    *asks("create patch", kinds.EVENT),
    *(Ask(verb, kinds.CONFIG_MAP, name=OVERRIDES) for verb in ("get", "list", "watch")),
    *(Ask(verb, kinds.CONFIG_MAP, name=RECORD) for verb in RECORDED),
    Ask("get", kinds.LEASE, "openshift-operators", "9a2365a3.openshift.io"),
    Ask("create", kinds.LEASE, "talm-system"),
    *(Ask(v, kinds.LEASE, "talm-system", "talm-operator") for v in ("get", "update", "patch")),
]
FORBIDDEN = [
    *asks("create delete", kinds.CGU),
    *asks("create update patch delete", kinds.PRE_CACHING_CONFIG),
    *asks("create update delete", kinds.MANAGED_CLUSTER),
    *asks("create update patch delete", kinds.POLICY),
    *asks("get list watch create update patch delete", kinds.SECRET),
    *asks("get list watch create update patch delete", kinds.CONFIG_MAP),
    *asks("get list create update delete", kinds.NAMESPACE),
    *asks("get list create delete", kinds.POD),
    *asks("get list create update", kinds.CRD),
    *asks("get create update patch escalate bind", kinds.CLUSTER_ROLE),
    *asks("get create update patch", kinds.CLUSTER_ROLE_BINDING),
    *asks("get list watch update delete", kinds.EVENT),
    Ask("patch", kinds.CONFIG_MAP, name=OVERRIDES),
    *(Ask(verb, kinds.CONFIG_MAP, name=RECORD) for verb in ("update", "delete")),
    Ask("create", kinds.LEASE, "kube-system"),
    Ask("update", kinds.LEASE, "openshift-operators", "9a2365a3.openshift.io"),
    Ask("update", kinds.LEASE, "talm-system", "another"),
    Ask("delete", kinds.LEASE, "talm-system", "talm-operator"),
]


async def test_the_operator_may_do_what_it_does_and_nothing_else(api: Client) -> None:
    for ask in NEEDED:
        await becomes_allowed(api, OPERATOR, ask)
    assert [str(ask) for ask in FORBIDDEN if await may(api, OPERATOR, ask)] == []


def test_the_operator_lists_the_one_config_map_of_every_namespace(
    deployed: Hub, people: str
) -> None:
    made = kubectl(deployed, "create", "configmap", OVERRIDES, "-n", people)
    assert made.returncode == 0, made.stderr
    listing = ["get", "configmaps", "-A", "--as", OPERATOR, "-o", "name"]
    one = kubectl(deployed, *listing, "--field-selector", f"metadata.name={OVERRIDES}")
    assert one.stdout.split() == [f"configmap/{OVERRIDES}"], one.stderr
    every = kubectl(deployed, *listing)
    assert every.returncode != 0
    assert "cannot list resource" in every.stderr


def test_the_operator_makes_the_record_of_a_cluster_by_applying_it_and_no_other_config_map(
    deployed: Hub, people: str
) -> None:
    def apply(name: str, images: str) -> subprocess.CompletedProcess[str]:
        body = {"metadata": {"name": name, "namespace": people}, "data": {"images": images}}
        given = {"apiVersion": "v1", "kind": "ConfigMap", **body}
        applying = ["apply", "--server-side", "--as", OPERATOR, "-f", "-"]
        return kubectl(deployed, *applying, stdin=yaml.safe_dump(given))

    for images in ("1", "2"):
        done = apply(RECORD, images)
        assert done.returncode == 0, done.stderr
    assert "forbidden" in apply("another", "1").stderr


WRITES = "create update patch delete deletecollection"
READS = "get list watch"


@pytest.mark.parametrize("kind", [kinds.CGU, kinds.PRE_CACHING_CONFIG], ids=lambda k: k.kind)
async def test_an_editor_writes_a_viewer_reads_and_the_built_in_roles_give_nothing(
    api: Client, people: str, kind: Kind
) -> None:
    reads = [Ask(verb, kind, people) for verb in READS.split()]
    writes = [Ask(verb, kind, people) for verb in WRITES.split()]
    for ask in (*reads, *writes):
        await becomes_allowed(api, "talm-editor", ask)
    for ask in reads:
        await becomes_allowed(api, "talm-viewer", ask)
    # Only the denials count from here: that these users are bound is shown by another kind.
    for user in ("admin", "edit", "view"):
        await becomes_allowed(api, user, Ask("get", kinds.CONFIG_MAP, people))
        assert [str(ask) for ask in (*reads, *writes) if await may(api, user, ask)] == []
    assert [str(ask) for ask in writes if await may(api, "talm-viewer", ask)] == []
    for user in ("talm-editor", "talm-viewer"):
        assert not await may(api, user, Ask("patch", kind, people, subresource="status"))
        assert not await may(api, user, Ask("list", kind, "talm-system"))


async def test_the_sample_is_applied_by_an_editor_and_refused_to_others(
    api: Client, deployed: Hub, people: str
) -> None:
    sample = yaml.safe_load((DEPLOY / "samples/clustergroupupgrades-group-du.yaml").read_text())
    sample["metadata"]["namespace"] = people
    text = yaml.safe_dump(sample)
    await becomes_allowed(api, "talm-editor", Ask("create", kinds.CGU, people))

    for user in ("talm-viewer", "edit"):
        refused = kubectl(deployed, "create", "--as", user, "-f", "-", stdin=text)
        assert refused.returncode != 0
        assert f'User "{user}" cannot create resource "clustergroupupgrades"' in refused.stderr
    created = kubectl(deployed, "create", "--as", "talm-editor", "-f", "-", stdin=text)
    assert created.returncode == 0, created.stderr
    shown = kubectl(deployed, "get", "cgu", "-n", people, "--as", "talm-viewer")
    assert "du-upgrade-4918" in shown.stdout, shown.stderr
