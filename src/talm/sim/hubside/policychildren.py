"""What a child policy is made of: its root, its cluster, and the action that a binding asks for."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from talm.api import kinds
from talm.api.words import HUB_TEMPLATES_ERROR
from talm.sim.hubside.policywire import (
    CLUSTER_LABEL,
    GROUP,
    NAMESPACE_LABEL,
    ROOT_LABEL,
    Policy,
)

_CLUSTER_NAME: Final = re.compile(r"\{\{hub\s+\.ManagedClusterName\s+hub\}\}")


def child_of(
    root: Policy, spec: Mapping[str, Any], cluster: str, *, action: str = ""
) -> dict[str, Any]:
    """The replicated policy of one cluster; `action` takes the place of the root's."""
    meta = root.metadata
    name = f"{meta.namespace}.{meta.name}"
    labels = {ROOT_LABEL: name, CLUSTER_LABEL: cluster, NAMESPACE_LABEL: cluster}
    annotations = {"argocd.argoproj.io/compare-options": "IgnoreExtraneous"}
    keep = spec.get("copyPolicyMetadata") is not False
    for given, own in ((meta.labels, labels), (meta.annotations, annotations)):
        for word, value in (given or {}).items():
            if keep or word.startswith(f"{GROUP}/"):
                own.setdefault(word, value)
    annotations.pop("kubectl.kubernetes.io/last-applied-configuration", None)
    text = json.dumps({**spec, **({"remediationAction": action} if action else {})})
    return {
        "apiVersion": kinds.POLICY.api_version,
        "kind": kinds.POLICY.kind,
        "metadata": {
            "name": name,
            "namespace": cluster,
            "labels": labels,
            "annotations": annotations,
        },
        "spec": json.loads(_CLUSTER_NAME.sub(cluster, text)),
    }


def mark_unresolved(child: Mapping[str, Any]) -> None:
    """Say on each template that its hub templates could not be resolved, as the real one does."""
    for template in child["spec"].get("policy-templates") or ():
        meta = template["objectDefinition"].setdefault("metadata", {})
        text = "failed to resolve the template: configmaps not found"
        meta["annotations"] = {**meta.get("annotations", {}), HUB_TEMPLATES_ERROR: text}


def change_into(child: Policy, body: Mapping[str, Any]) -> dict[str, Any]:
    """The patch that makes `body` of a child: what it has and `body` has not is taken away."""
    meta, spec = body["metadata"], body["spec"]
    labels = _emptied(child.metadata.labels) | meta["labels"]
    annotations = _emptied(child.metadata.annotations) | meta["annotations"]
    return {
        "metadata": {"labels": labels, "annotations": annotations},
        "spec": _emptied(child.open_spec()) | spec,
    }


def _emptied(old: Mapping[str, Any] | None) -> dict[str, Any]:
    return dict.fromkeys(old or {})
