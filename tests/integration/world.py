"""The bodies of a world for integration tests: one policy, where it applies, CGUs and their status."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from talm.api import kinds
from talm.api.words import Phase
from talm.errors import AlreadyExists, ApiError
from talm.kube.client import Client

NAMESPACE = "ztp-group-du-sno"
POLICY = "du-upgrade-platform-upgrade"
IMAGE = "registry.example.io/release/release@sha256:" + "a" * 64


def cgu(
    name: str, clusters: Sequence[str], *, namespace: str = NAMESPACE, **spec: Any
) -> dict[str, Any]:
    """A CGU as in the manual; `spec` overrides or adds."""
    return {
        "apiVersion": kinds.CGU.api_version,
        "kind": kinds.CGU.kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "preCaching": True,
            "enable": False,
            "clusters": list(clusters),
            "managedPolicies": [POLICY],
            "remediationStrategy": {"maxConcurrency": max(1, len(clusters)), "timeout": 240},
            **spec,
        },
    }


def policy(name: str = POLICY, image: str = IMAGE, *, namespace: str = NAMESPACE) -> dict[str, Any]:
    """A root policy that informs about a ClusterVersion."""
    wanted = {
        "apiVersion": "config.openshift.io/v1",
        "kind": "ClusterVersion",
        "metadata": {"name": "version"},
        "spec": {"desiredUpdate": {"image": image}},
    }
    template = {
        "apiVersion": "policy.open-cluster-management.io/v1",
        "kind": "ConfigurationPolicy",
        "metadata": {"name": f"{name}-config"},
        "spec": {
            "remediationAction": "inform",
            "object-templates": [{"complianceType": "musthave", "objectDefinition": wanted}],
        },
    }
    return {
        "apiVersion": kinds.POLICY.api_version,
        "kind": kinds.POLICY.kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "disabled": False,
            "remediationAction": "inform",
            "policy-templates": [{"objectDefinition": template}],
        },
    }


def everywhere(
    name: str = POLICY, *, namespace: str = NAMESPACE, label: str = "name"
) -> list[tuple[kinds.Kind, dict[str, Any]]]:
    """The placement and binding by which the policy is on every cluster that has the label."""
    labelled = {"matchExpressions": [{"key": label, "operator": "Exists"}]}
    placement = {
        "metadata": {"name": f"{name}-placement", "namespace": namespace},
        "spec": {
            "predicates": [{"requiredClusterSelector": {"labelSelector": labelled}}],
            "tolerations": [
                {"key": "cluster.open-cluster-management.io/unreachable", "operator": "Exists"},
                {"key": "cluster.open-cluster-management.io/unavailable", "operator": "Exists"},
            ],
        },
    }
    binding = {
        "metadata": {"name": f"{name}-binding", "namespace": namespace},
        "placementRef": {
            "apiGroup": kinds.PLACEMENT.group,
            "kind": "Placement",
            "name": f"{name}-placement",
        },
        "subjects": [{"apiGroup": kinds.POLICY.group, "kind": "Policy", "name": name}],
    }
    return [(kinds.PLACEMENT, placement), (kinds.PLACEMENT_BINDING, binding)]


async def prepare(
    client: Client, *, image: str = IMAGE, namespace: str = NAMESPACE, label: str = "name"
) -> None:
    """The namespace, the policy and its placement."""
    objects = [
        (kinds.NAMESPACE, {"metadata": {"name": namespace}}),
        (kinds.POLICY, policy(image=image, namespace=namespace)),
        *everywhere(namespace=namespace, label=label),
    ]
    for kind, body in objects:
        try:
            await client.create(kind, body)
        except AlreadyExists:
            continue


def phases(status: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = (status.get("precaching") or {}).get("status") or {}
    return found


def conditions(status: Mapping[str, Any]) -> dict[str, tuple[str, str, str]]:
    """type -> (status, reason, message)."""
    return {
        c["type"]: (c["status"], c["reason"], c["message"]) for c in status.get("conditions") or []
    }


def all_are(status: Mapping[str, Any], phase: Phase, count: int) -> bool:
    found = phases(status)
    return len(found) == count and set(found.values()) == {phase.value}


async def until(question: Callable[[], Awaitable[Any]], what: str, *, seconds: float = 60.0) -> Any:
    """Ask until the answer is true; fails with the last answer or error.  API errors are asked again."""
    began = time.monotonic()
    last: Any = None
    while time.monotonic() - began < seconds:
        try:
            last = await question()
            if last:
                return last
        except ApiError as exc:
            last = exc
        await asyncio.sleep(0.1)
    raise AssertionError(f"not within {seconds:g} s: {what}; last: {last!r}")
