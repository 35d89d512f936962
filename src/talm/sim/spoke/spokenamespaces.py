"""How a namespace looks while it lives and while it goes, as the namespace controller writes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def active(name: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A new namespace; `body` is what was sent, if anything."""
    meta = dict((body or {}).get("metadata") or {})
    meta["name"] = name
    meta["labels"] = {**(meta.get("labels") or {}), "kubernetes.io/metadata.name": name}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": meta,
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    }


def finishing(stamp: str, *, pods: bool, stuck: bool = False) -> dict[str, Any]:
    """Status of a terminating namespace: `pods` still end in it; `stuck` on a finalizer."""
    remaining = _condition(
        "NamespaceContentRemaining", "ContentRemoved", "All content successfully removed", stamp
    )
    finalizers = _condition(
        "NamespaceFinalizersRemaining",
        "ContentHasNoFinalizers",
        "All content-preserving finalizers finished",
        stamp,
    )
    if pods or stuck:
        what = "configmaps. has 1 resource instances" if stuck else "pods. has 1 resource instances"
        text = f"Some resources are remaining: {what}"
        remaining |= {"status": "True", "reason": "SomeResourcesRemain", "message": text}
    if stuck:
        text = "Some content in the namespace has finalizers remaining: example.com/hold in 1"
        finalizers |= {
            "status": "True",
            "reason": "SomeFinalizersRemain",
            "message": f"{text} resource instances",
        }
    return {
        "phase": "Terminating",
        "conditions": [
            _condition(
                "NamespaceDeletionDiscoveryFailure",
                "ResourcesDiscovered",
                "All resources successfully discovered",
                stamp,
            ),
            _condition(
                "NamespaceDeletionGroupVersionParsingFailure",
                "ParsedGroupVersions",
                "All legacy kube types successfully parsed",
                stamp,
            ),
            _condition(
                "NamespaceDeletionContentFailure",
                "ContentDeleted",
                "All content successfully deleted, may be waiting on finalization",
                stamp,
            ),
            remaining,
            finalizers,
        ],
    }


def _condition(kind: str, reason: str, message: str, stamp: str) -> dict[str, str]:
    return {
        "type": kind,
        "status": "False",
        "lastTransitionTime": stamp,
        "reason": reason,
        "message": message,
    }
