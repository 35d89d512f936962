"""What the pod of profile `talm` may do and see, rule by rule; to the byte it is in the golden files."""

from __future__ import annotations

from typing import Any

import pytest

from talm.api.pod import FINAL_CLASSES, Nodes, StoreKind
from talm.api.progress import EXIT_CODES, PROGRESS_CONFIG_MAP, REJECTED_CODE, FailureClass
from talm.api.words import MANUAL_NAMESPACE, Action
from talm.spokes.base import PodTerms
from talm.spokes.own import TALM
from tests.spokes.world import other

WRITTEN = {
    StoreKind.OCI_LAYOUT: {"/var/lib/talm"},
    StoreKind.CONTAINERD: {"/var/lib/talm"},
    StoreKind.CONTAINERD_K3S: {"/var/lib/talm"},
    StoreKind.CONTAINERS_STORAGE: {
        "/var/lib/talm", "/run/containers", "/tmp", "/var/lib/containers", "/etc/crio/crio.conf.d",  # noqa: S108
    },
}  # fmt: skip


def made(action: Action, **terms: Any) -> dict[str, Any]:
    order = other(pod=PodTerms(**terms))
    body = TALM.action(action, "spoke1", order, namespace=MANUAL_NAMESPACE)
    template: dict[str, Any] = body["spec"]["kube"]["template"]
    return template


def job(store: StoreKind = StoreKind.CONTAINERD, **terms: Any) -> dict[str, Any]:
    spec: dict[str, Any] = made(Action.JOB_CREATE, store=store, **terms)["spec"]
    return spec


def pod(store: StoreKind, **terms: Any) -> dict[str, Any]:
    spec: dict[str, Any] = job(store, **terms)["template"]["spec"]
    return spec


def container(store: StoreKind) -> dict[str, Any]:
    (only,) = pod(store)["containers"]
    found: dict[str, Any] = only
    return found


def test_a_reboot_costs_one_of_seven_attempts_a_refusal_all_and_an_eviction_none() -> None:
    spec = job()
    assert (spec["backoffLimit"], spec["template"]["spec"]["restartPolicy"]) == (6, "Never")
    evicted, final = spec["podFailurePolicy"]["rules"]
    assert evicted["action"] == "Ignore"
    assert evicted["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    codes = set(final["onExitCodes"]["values"])
    assert final["action"] == "FailJob"
    assert codes == {2, REJECTED_CODE, *(EXIT_CODES[kind] for kind in FINAL_CLASSES)}
    assert EXIT_CODES[FailureClass.UNAUTHORIZED] in codes
    passing = ("REGISTRY_UNREACHABLE", "STORE_FAILED", "PARTLY_CACHED", "INTERRUPTED")
    assert not codes & {EXIT_CODES[FailureClass[name]] for name in passing}


def test_the_jobs_deadline_is_told_to_the_workload() -> None:
    spec = job()
    environment = {e["name"]: e.get("value") for e in container(StoreKind.CONTAINERD)["env"]}
    assert environment["TALM_JOB_DEADLINE"] == str(spec["activeDeadlineSeconds"])


@pytest.mark.parametrize("store", StoreKind)
def test_it_runs_on_any_node_in_that_nodes_network_and_asks_for_little(store: StoreKind) -> None:
    spec = pod(store, pull_secrets=("login",))
    assert spec["tolerations"] == [{"operator": "Exists"}]
    assert (spec["hostNetwork"], spec["dnsPolicy"]) == (True, "Default")
    assert spec["imagePullSecrets"] == [{"name": "login"}]
    assert container(store)["resources"]["requests"]["cpu"] == "10m"
    environment = {e["name"]: e.get("value") for e in container(store)["env"]}
    assert environment["TALM_BACKGROUND"] == "true"


@pytest.mark.parametrize("store", StoreKind)
def test_a_path_that_a_node_lacks_hangs_no_pod(store: StoreKind) -> None:
    paths = [volume["hostPath"] for volume in pod(store)["volumes"] if "hostPath" in volume]
    assert paths
    assert all(path["type"] == "" for path in paths)


@pytest.mark.parametrize("store", StoreKind)
def test_it_writes_to_no_more_of_the_node_than_its_store_needs(store: StoreKind) -> None:
    paths = {v["name"]: v["hostPath"]["path"] for v in pod(store)["volumes"] if "hostPath" in v}
    mounts = container(store)["volumeMounts"]
    written = {paths[m["name"]] for m in mounts if m["name"] in paths and not m.get("readOnly")}
    assert written <= WRITTEN[store]
    assert {mount["name"] for mount in mounts} >= set(paths), "what is not used is not mounted"


@pytest.mark.parametrize("store", StoreKind)
def test_only_a_chroot_takes_a_privileged_pod(store: StoreKind) -> None:
    rights = container(store)["securityContext"]
    assert rights["runAsUser"] == 0
    if store is StoreKind.CONTAINERS_STORAGE:
        assert rights["privileged"]
    else:
        assert "privileged" not in rights
        assert not rights["allowPrivilegeEscalation"]
        assert rights["capabilities"] == {"drop": ["ALL"]}
        assert rights["seLinuxOptions"] == {"type": "spc_t"}


def test_the_namespace_admits_the_pod_on_every_node() -> None:
    metadata = made(Action.NS_CREATE)["metadata"]
    assert metadata["annotations"]["openshift.io/node-selector"] == ""
    modes = {f"pod-security.kubernetes.io/{mode}" for mode in ("enforce", "audit", "warn")}
    assert {metadata["labels"][mode] for mode in modes} == {"privileged"}


def test_the_account_may_patch_one_config_map_and_list_pods() -> None:
    rules = made(Action.ROLE_CREATE)["rules"]
    core = [rule for rule in rules if rule["apiGroups"] == [""]]
    patch, pods = core
    assert (patch["resources"], patch["verbs"]) == (["configmaps"], ["patch"])
    assert patch["resourceNames"] == [PROGRESS_CONFIG_MAP]
    assert (pods["resources"], pods["verbs"]) == (["pods"], ["list"])


@pytest.mark.parametrize("nodes", Nodes)
def test_no_account_reaches_what_a_node_offers_below_itself(nodes: Nodes) -> None:
    actions = [Action.ROLE_CREATE]
    if nodes is Nodes.ALL:
        actions.append(Action.NODE_READER_CREATE)
    rules = [rule for action in actions for rule in made(action, nodes=nodes)["rules"]]
    resources = {resource for rule in rules for resource in rule["resources"]}
    verbs = {verb for rule in rules for verb in rule["verbs"]}
    assert not any(resource.startswith("nodes/") for resource in resources)
    assert "*" not in resources | verbs
