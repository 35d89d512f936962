"""Which nodes pull, and which can now.

    runs another system, is no machine, is being deleted ──► left out, which the record says
    not ready                                            ──► waited for
    ready, cordoned and tainted ones too                 ──► pulls

A cordoned node gets its images as it gets the pods of a DaemonSet: it will be updated like the others.
"""

from __future__ import annotations

from typing import Final

from talm.api.meta import Condition, ObjectMeta, Wire

_OS_LABEL: Final = "kubernetes.io/os"
_LINUX: Final = "linux"
_VIRTUAL: Final = ("type", "virtual-kubelet")  # a label of nodes that stand for a service


class _NodeInfo(Wire, frozen=True, kw_only=True):
    operating_system: str = ""


class _Status(Wire, frozen=True, kw_only=True):
    conditions: tuple[Condition, ...] | None = None
    node_info: _NodeInfo = _NodeInfo()


class Node(Wire, frozen=True, kw_only=True):
    """What is read of a node."""

    metadata: ObjectMeta
    status: _Status = _Status()

    @property
    def name(self) -> str:
        """Its name: a DNS subdomain of at most 253 characters."""
        return self.metadata.name

    @property
    def is_ready(self) -> bool:
        """Whether its kubelet says so."""
        conditions = self.status.conditions or ()
        return any(c.type == "Ready" and c.status == "True" for c in conditions)


def left_out(node: Node) -> str:
    """Say why a node does not pull; "" when it does."""
    labels = node.metadata.labels or {}
    system = node.status.node_info.operating_system or labels.get(_OS_LABEL, _LINUX)
    if system != _LINUX:
        return f"it runs {system}"
    key, value = _VIRTUAL
    if labels.get(key) == value:
        return "it is no machine (virtual-kubelet)"
    if node.metadata.deletion_timestamp is not None:
        return "it is being deleted"
    return ""
