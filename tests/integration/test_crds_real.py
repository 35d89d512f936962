"""The CRDs on a real API server: what it shows, fills in, accepts and refuses, and with which words."""

from __future__ import annotations

import asyncio
import subprocess
import uuid
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from talm.api import kinds
from talm.api.crd import DEFINITIONS, Definition, custom_resource_definition
from talm.api.kinds import Kind
from talm.errors import Invalid
from talm.kube.client import Client
from talm.sim.plane.hubs import Hub

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests/data"
MANUAL = DATA / "clustergroupupgrades-group-du.yaml"
ACCEPTED = yaml.safe_load((DATA / "cgu-accepted.yaml").read_text())
REFUSED = yaml.safe_load((DATA / "cgu-refused.yaml").read_text())
MIB = 1024 * 1024


def kubectl(hub: Hub, *args: str, stdin: str = "") -> str:
    """Run the real kubectl as administrator; a failure shows what it said."""
    command = [*hub.kubectl, *args]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{args}: {done.stdout}{done.stderr}"
    return done.stdout


def cgu(namespace: str, **spec: Any) -> dict[str, Any]:
    strategy = {"maxConcurrency": 1}
    return {
        "metadata": {"name": "group", "namespace": namespace},
        "spec": {"remediationStrategy": strategy, **spec},
    }


async def try_out(hub_client: Client, kind: Kind, body: dict[str, Any]) -> dict[str, Any]:
    """Have the API server judge an object without storing it."""
    answer = await hub_client.request(
        "POST",
        kind.path(body["metadata"]["namespace"]),
        params={"dryRun": "All", "fieldValidation": "Strict"},
        body={"apiVersion": kind.api_version, "kind": kind.kind, **body},
    )
    made: dict[str, Any] = msgspec.json.decode(answer)
    return made


def test_get_cgu_begins_with_namespace_name_and_age(hub: Hub, tmp_path: Path) -> None:
    space = f"crds-{uuid.uuid4().hex[:8]}"
    kubectl(hub, "create", "namespace", space)
    body = yaml.safe_load(MANUAL.read_text())
    body["metadata"]["namespace"] = space
    kubectl(hub, "apply", "-f", "-", stdin=yaml.safe_dump(body))
    conditions = [{"type": "Ready", "status": "False", "reason": "NotYet", "message": "soon done"}]
    kubectl(
        hub,
        *("patch", "cgu", "-n", space, body["metadata"]["name"], "--subresource=status"),
        *(
            "--type=merge",
            "-p",
            msgspec.json.encode({"status": {"conditions": conditions}}).decode(),
        ),
        *("--cache-dir", str(tmp_path)),
    )
    shown = kubectl(hub, "get", "cgu", "-A", "--cache-dir", str(tmp_path)).splitlines()
    assert shown[0].split() == ["NAMESPACE", "NAME", "AGE", "STATE", "DETAILS"]
    (row,) = (line.split() for line in shown if line.startswith(space))
    assert row[1] == "du-upgrade-4918"
    assert row[3:] == ["NotYet", "soon", "done"]
    kubectl(hub, "delete", "namespace", space, "--wait=false")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("cgu.spec", ["preCaching", "Starts at once, whatever `enable` says"]),
        ("cgu.spec.remediationStrategy.timeout", ["<integer>", "Minutes that the whole update"]),
        ("cgu.spec.batchTimeoutAction", ["ENUM: Continue Abort", "goes on with the next one"]),
        ("cgu.status.precaching.waits", ["Seconds spent in the state"]),
        ("precachingconfig.spec.spaceRequired", ["`35 GiB` or `40 GB`"]),
    ],
)
def test_kubectl_explain_reads_well(hub: Hub, tmp_path: Path, path: str, words: list[str]) -> None:
    text = " ".join(kubectl(hub, "explain", path, "--cache-dir", str(tmp_path)).split())
    for word in words:
        assert word in text


async def test_the_manuals_yaml_is_accepted_and_its_defaults_are_filled_in(
    hub_client: Client, namespace: str
) -> None:
    body = yaml.safe_load(MANUAL.read_text())
    body["metadata"]["namespace"] = namespace
    made = await try_out(hub_client, kinds.CGU, body)
    assert made["spec"] == {**body["spec"], "backup": False}

    least = await try_out(hub_client, kinds.CGU, cgu(namespace, actions={"afterCompletion": {}}))
    assert least["spec"] == {
        "backup": False,
        "preCaching": False,
        "enable": True,
        "remediationStrategy": {"maxConcurrency": 1, "timeout": 240},
        "actions": {"afterCompletion": {"deleteObjects": True}},
    }


@pytest.mark.parametrize("name", ACCEPTED)
async def test_what_existing_yaml_does_is_accepted(
    hub_client: Client, namespace: str, name: str
) -> None:
    made = await try_out(hub_client, kinds.CGU, cgu(namespace, **ACCEPTED[name]))
    assert made["spec"]["enable"] is True


@pytest.mark.parametrize("name", REFUSED)
async def test_nonsense_is_refused_with_a_message_that_helps(
    hub_client: Client, namespace: str, name: str
) -> None:
    spec, message = REFUSED[name]["spec"], REFUSED[name]["says"]
    with pytest.raises(Invalid) as refused:
        await try_out(hub_client, kinds.CGU, cgu(namespace, **spec))
    assert message in refused.value.message


async def test_an_upgrade_without_a_spec_is_refused(hub_client: Client, namespace: str) -> None:
    with pytest.raises(Invalid, match="spec: Required value"):
        await try_out(hub_client, kinds.CGU, {"metadata": {"name": "none", "namespace": namespace}})


async def test_a_pre_caching_config_needs_nothing_and_keeps_what_it_has(
    hub_client: Client, namespace: str
) -> None:
    body: dict[str, Any] = {"metadata": {"name": "config", "namespace": namespace}}
    assert "spec" not in await try_out(hub_client, kinds.PRE_CACHING_CONFIG, body)

    sample = yaml.safe_load((ROOT / "deploy/samples/precachingconfig.yaml").read_text())
    body["spec"] = sample["spec"]
    made = await try_out(hub_client, kinds.PRE_CACHING_CONFIG, body)
    assert made["spec"] == sample["spec"]

    body["spec"] = {"spaceRequired": 35}
    with pytest.raises(Invalid, match='spaceRequired in body must be of type string: "integer"'):
        await try_out(hub_client, kinds.PRE_CACHING_CONFIG, body)


NOW = "2026-01-27T19:07:24Z"
CLUSTERS = [f"edge-site-{i:04}-north" for i in range(5000)]
PLAN = {
    "conditions": [{"type": "Ready", "status": "False", "reason": "r", "message": "m"}],
    "placements": [f"group-policy-{i}-placement-abcde" for i in range(20)],
    "safeResourceNames": {f"ns/group-policy-{i}-placement": "x" for i in range(20)},
    "remediationPlan": [CLUSTERS[i : i + 100] for i in range(0, len(CLUSTERS), 100)],
}
PRE_CACHING = {
    **PLAN,
    "precaching": {
        "clusters": CLUSTERS,
        "status": dict.fromkeys(CLUSTERS, "PreparingToStart"),
        "waits": [{"spent": 100, "since": NOW, "clusters": CLUSTERS}],
        "failures": [
            {"cluster": c, "reason": "ClusterUnavailable", "message": "down", "since": NOW}
            for c in CLUSTERS[:100]
        ],
    },
}
UPDATE = {
    **PLAN,
    "precaching": {"clusters": CLUSTERS, "status": dict.fromkeys(CLUSTERS, "Succeeded")},
    "status": {
        "currentBatch": 50,
        "currentBatchRemediationProgress": {
            c: {"state": "InProgress", "policyIndex": 0} for c in CLUSTERS[-100:]
        },
    },
    "clusters": [
        {"name": c, "state": "timedout", "currentPolicy": {"name": "p", "status": "NonCompliant"}}
        for c in CLUSTERS[:-100]
    ],
}


@pytest.mark.parametrize(
    ("status", "whole"),
    [
        (PRE_CACHING, ["precaching.status", "precaching.waits", "precaching.failures"]),
        (UPDATE, ["clusters", "status.currentBatchRemediationProgress", "precaching.status"]),
    ],
    ids=["pre-caching", "update"],
)
async def test_the_status_of_5000_clusters_has_one_entry_per_list_and_map(
    hub_client: Client, namespace: str, status: dict[str, Any], whole: list[str]
) -> None:
    await hub_client.create(kinds.CGU, cgu(namespace, clusters=CLUSTERS))
    stored = await hub_client.merge_patch(
        kinds.CGU, "group", {"status": status}, namespace, subresource="status"
    )
    assert stored["status"] == status

    entries = stored["metadata"]["managedFields"]
    owned = next(e["fieldsV1"]["f:status"] for e in entries if e.get("subresource") == "status")
    for path in [*PLAN, "precaching.clusters", *whole]:
        assert entry_of(owned, path) == {}, path
    assert len(msgspec.json.encode(entries)) < 2_000
    assert len(msgspec.json.encode(stored)) < MIB


def entry_of(owned: Any, path: str) -> Any:
    """What a managedFields entry says about a field: {} when it is owned as one piece."""
    for name in path.split("."):
        owned = owned[f"f:{name}"]
    return owned


async def test_what_others_write_into_a_status_is_kept(hub_client: Client, namespace: str) -> None:
    await hub_client.create(kinds.CGU, cgu(namespace))
    status = {
        "conditions": [
            {"type": "Succeeded", "status": "True"},
            {
                "type": "Theirs",
                "status": "Unknown",
                "reason": "Why",
                "message": "",
                "lastTransitionTime": "2026-01-27T19:07:24Z",
                "observedGeneration": 3,
            },
        ],
        "status": {},
        "precaching": {"spec": {}},
        "placementRules": ["old"],
        "clusters": [
            {
                "name": "a",
                "currentManifestWork": {"name": "t", "status": {"manifests": [{"b": [1]}]}},
            }
        ],
    }
    stored = await hub_client.merge_patch(
        kinds.CGU, "group", {"status": status}, namespace, subresource="status"
    )
    assert stored["status"] == status


def without_rules(schema: Any) -> Any:
    """The same schema, as the existing operator has it: types alone."""
    rules = {"enum", "minimum", "minLength", "maxItems", "x-kubernetes-validations"}
    if isinstance(schema, list):
        return [without_rules(item) for item in schema]
    if isinstance(schema, dict):
        return {key: without_rules(value) for key, value in schema.items() if key not in rules}
    return schema


async def test_objects_stored_before_our_rules_came_can_be_finished(
    hub_client: Client, hub: Hub, namespace: str
) -> None:
    # A kind of its own: the rules of the shared one stay, and no earlier run is still ending.
    group = f"before-{uuid.uuid4().hex[:8]}.example.com"
    kind = Kind(group, "v1alpha1", "ClusterGroupUpgrade", "clustergroupupgrades")
    of = Definition(kind, DEFINITIONS[0].struct, has_status=True)
    ours = custom_resource_definition(of)
    await hub_client.apply(kinds.CRD, without_rules(ours), field_manager="talm-test")
    kubectl(hub, "wait", "--for=condition=Established", "--timeout=60s", f"crd/{kind.resource}")

    old = cgu(
        namespace,
        clusters=["", "a"],
        batchTimeoutAction="Retry",
        blockingCRs=[{"name": "", "namespace": ""}],
        clusterLabelSelectors=[{"matchExpressions": [{"key": "a", "operator": "In"}]}],
        remediationStrategy={"maxConcurrency": 1, "timeout": -5, "canaries": [""]},
    )
    old["metadata"]["finalizers"] = ["ran.openshift.io/cleanup-finalizer"]
    await hub_client.create(kind, old)
    await hub_client.apply(kinds.CRD, ours, field_manager="talm-test")
    await refuses(hub_client, kind, namespace)

    status = {"status": {"conditions": [{"type": "Succeeded", "status": "False"}]}}
    await hub_client.merge_patch(kind, "group", status, namespace, subresource="status")
    await hub_client.merge_patch(kind, "group", {"spec": {"enable": False}}, namespace)
    await hub_client.merge_patch(
        kind, "group", {"spec": {"remediationStrategy": {"maxConcurrency": 2}}}, namespace
    )
    with pytest.raises(Invalid, match="should be at least 1 chars long"):
        await hub_client.merge_patch(kind, "group", {"spec": {"clusters": ["", "b"]}}, namespace)
    await hub_client.delete(kind, "group", namespace)
    await hub_client.merge_patch(kind, "group", {"metadata": {"finalizers": None}}, namespace)
    assert await hub_client.list(kind, namespace) == []
    await hub_client.delete(kinds.CRD, kind.resource)


async def refuses(hub_client: Client, kind: Kind, namespace: str) -> None:
    """Wait until the API server judges by the new rules: it takes a CRD up a moment later."""
    async with asyncio.timeout(60):
        while True:
            try:
                body = cgu(namespace, batchTimeoutAction="Retry")
                body["metadata"]["name"] = "another"
                await try_out(hub_client, kind, body)
            except Invalid:
                return
            await asyncio.sleep(0.1)
