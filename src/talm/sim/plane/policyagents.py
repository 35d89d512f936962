"""The policy engine of Open Cluster Management as processes, in the place of the simulated one.

    hub      governance-policy-propagator           root policy ──► a child policy per cluster
    cluster  governance-policy-framework-addon      child ──► the cluster ──► ConfigurationPolicies
             config-policy-controller               evaluates them, and enforces them
             governance-policy-framework-addon      what they say ──► child's status ──► hub

`make agents` builds them.  Each has an identity of its own and, as far as its module ships one, the
role that it ships (the propagator's lacks events.k8s.io, so that its events are refused; it does not
mind).  Nothing of it is served beyond loopback: no webhooks, no metrics, no leader election.
Placements are somebody else's: the propagator reads what was decided.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

from talm.api import kinds
from talm.api.kinds import Kind
from talm.errors import AlreadyExists
from talm.kube.client import Client
from talm.sim.plane import foreign_crds
from talm.sim.plane.binaries import find_crds, find_program
from talm.sim.plane.controlplane import ControlPlane
from talm.sim.plane.listen import LOOPBACK
from talm.sim.plane.processes import Child

PROPAGATOR: Final = "governance-policy-propagator"
FRAMEWORK: Final = "governance-policy-framework-addon"
CONTROLLER: Final = "config-policy-controller"
PROGRAMS: Final = (PROPAGATOR, FRAMEWORK, CONTROLLER)

_HUB, _SPOKE = "hub-policies", "spoke-policies"
_NOWHERE: Final = "0"  # what controller-runtime takes for "do not listen"
_ADD_ONS: Final = "open-cluster-management-agent-addon"
_DEPLOYMENT: Final = Kind("apps", "v1", "Deployment", "deployments")
_EVALUATION_BACKOFF_S: Final = 1
"""Between two evaluations of one policy; its default of 5 s is for clusters that do other work."""

_FRAMEWORK_ON_HUB: Final = (
    ("policy.open-cluster-management.io", "policies", ("get", "list", "watch", "update", "patch")),
    ("policy.open-cluster-management.io", "policies/status", ("get", "update", "patch")),
    ("events.k8s.io", "events", ("create", "update", "patch")),
)


async def install_on_hub(client: Client, clusters: tuple[str, ...]) -> None:
    """Let the hub serve what the propagator watches, and give everybody his rights.

    The clusters' namespaces must be there.  Raises ApiError, SetupError.
    """
    await foreign_crds.install(client, _HUB)
    await _grant(client, _HUB, PROPAGATOR)
    for cluster in clusters:
        await _grant_framework(client, cluster)


async def install_on_spoke(client: Client, cluster: str) -> None:
    """The same on a cluster, where policies are in a namespace of its own name."""
    await foreign_crds.install(client, _SPOKE)
    for agent in (FRAMEWORK, CONTROLLER):
        await _grant(client, _SPOKE, agent)
    for namespace in (cluster, _ADD_ONS):
        await _ensure(client, kinds.NAMESPACE, {"metadata": {"name": namespace}})
    await _ensure(client, _DEPLOYMENT, _deployment())


def propagator(hub: ControlPlane, *, log: Path) -> Child:
    """The hub's part; not started.  Raises SetupError when it was not built."""
    command = [
        str(find_program(PROPAGATOR)),
        "--leader-elect=false",
        "--enable-webhooks=false",
        "--disable-placementrule=true",
        f"--metrics-bind-address={_NOWHERE}",
        f"--health-probe-bind-address={_NOWHERE}",
    ]
    environment = {"KUBECONFIG": str(hub.kubeconfig_for(PROPAGATOR)), "WATCH_NAMESPACE": ""}
    return Child("policy propagator", command, log=log, cwd=hub.directory, environment=environment)


def framework(cluster: str, *, hub: ControlPlane, spoke: ControlPlane, log: Path) -> Child:
    """What carries policies and their status between hub and cluster; not started."""
    command = [
        str(find_program(FRAMEWORK)),
        f"--cluster-namespace={cluster}",
        f"--hub-cluster-configfile={hub.kubeconfig_for(_user_on_hub(cluster))}",
        f"--managed-cluster-configfile={spoke.kubeconfig_for(FRAMEWORK)}",
        "--leader-elect=false",
        "--disable-gatekeeper-sync=true",
        f"--metrics-bind-address={_NOWHERE}",
        f"--health-probe-bind-address={LOOPBACK}:0",  # it cannot do without
    ]
    return Child(
        f"policy framework of {cluster}", command, log=log, cwd=spoke.directory, environment=_LOCAL
    )


def controller(cluster: str, *, spoke: ControlPlane, log: Path) -> Child:
    """What evaluates and enforces on the cluster; not started."""
    command = [
        str(find_program(CONTROLLER)),
        "controller",
        f"--cluster-name={cluster}",
        "--leader-elect=false",
        f"--evaluation-backoff={_EVALUATION_BACKOFF_S}",
        f"--metrics-bind-address={_NOWHERE}",
        f"--health-probe-bind-address={_NOWHERE}",
    ]
    own = {"KUBECONFIG": str(spoke.kubeconfig_for(CONTROLLER)), "WATCH_NAMESPACE": cluster}
    return Child(
        f"policy controller of {cluster}",
        command,
        log=log,
        cwd=spoke.directory,
        environment={**_LOCAL, **own},
    )


_LOCAL: Final = {"OSDK_FORCE_RUN_MODE": "local"}


def _user_on_hub(cluster: str) -> str:
    """A name of its own for each cluster's; what registration calls it is too long for a certificate."""
    return f"{FRAMEWORK}:{cluster}"


async def _grant(client: Client, folder: str, agent: str) -> None:
    """Bind the role that the agent's module ships to a user of the agent's name."""
    role = yaml.load((find_crds(folder) / f"{agent}.yaml").read_text(), Loader=yaml.CSafeLoader)
    await _ensure(client, kinds.CLUSTER_ROLE, role)
    body = _binding(kinds.CLUSTER_ROLE, role["metadata"]["name"], agent)
    await _ensure(client, kinds.CLUSTER_ROLE_BINDING, body)


async def _grant_framework(client: Client, cluster: str) -> None:
    """The add-on's rights on the hub, which its module leaves to whoever deploys it."""
    rules: list[dict[str, Any]] = [
        {"apiGroups": [group], "resources": [resource], "verbs": list(verbs)}
        for group, resource, verbs in _FRAMEWORK_ON_HUB
    ]
    key = {"resourceNames": ["policy-encryption-key"], "verbs": ["get", "list", "watch"]}
    rules.append({"apiGroups": [""], "resources": ["secrets"], **key})
    where = {"name": FRAMEWORK, "namespace": cluster}
    await _ensure(client, kinds.ROLE, {"metadata": where, "rules": rules})
    body = _binding(kinds.ROLE, FRAMEWORK, _user_on_hub(cluster))
    await _ensure(client, kinds.ROLE_BINDING, {**body, "metadata": where})


def _binding(role: Kind, name: str, user: str) -> dict[str, Any]:
    group = kinds.CLUSTER_ROLE.group
    return {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": role.kind, "name": name},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
    }


def _deployment() -> dict[str, Any]:
    """The add-on's own Deployment: it takes its absence for its own removal, and stops working."""
    labels = {"name": FRAMEWORK}
    container = {"name": FRAMEWORK, "image": f"registry.example.com/{FRAMEWORK}:none"}
    return {
        "metadata": {"name": FRAMEWORK, "namespace": _ADD_ONS},
        "spec": {
            "replicas": 0,  # it runs beside the cluster
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


async def _ensure(client: Client, kind: Kind, body: dict[str, Any]) -> None:
    try:
        await client.create(kind, {"apiVersion": kind.api_version, "kind": kind.kind, **body})
    except AlreadyExists:
        return
