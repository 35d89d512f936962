"""Which store is meant by `--store KIND[:PLACE]`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from talm.agent.failures import invalid_spec
from talm.agent.stores.base import ImageStore
from talm.agent.stores.containerd import DEFAULT_SOCKET, Containerd
from talm.agent.stores.containers_storage import ContainersStorage
from talm.agent.stores.oci_layout import OciLayout
from talm.agent.stores.signatures import Upstream
from talm.errors import AgentError

OCI_LAYOUT: Final = "oci-layout"
CONTAINERS_STORAGE: Final = "containers-storage"
CONTAINERD: Final = "containerd"

STORES: Final = f"{OCI_LAYOUT}:DIRECTORY, {CONTAINERS_STORAGE}[:ROOT] or {CONTAINERD}[:SOCKET]"


def open_store(text: str, upstream: Upstream | None = None) -> ImageStore:
    """Return the store; nothing is touched and nobody asked before its `prepare`.

    ROOT is where the node's file system is ("/" unless given), SOCKET containerd's own.
    `upstream` are the real registries, where a store's policy may want to see signatures.
    Raises AgentError (InvalidSpec) for another kind, a place that is missing or not absolute.
    """
    kind, colon, place = text.partition(":")
    path = Path(place)
    if colon and not place:
        raise _refused(text)
    if kind == OCI_LAYOUT and place:
        return OciLayout(path)
    if place and not path.is_absolute():
        raise _refused(text)
    if kind == CONTAINERS_STORAGE:
        return ContainersStorage(path if place else Path("/"), upstream)
    if kind == CONTAINERD:
        return Containerd(path if place else DEFAULT_SOCKET)
    raise _refused(text)


def _refused(text: str) -> AgentError:
    return invalid_spec(f"the store is {text!r}; this version knows {STORES}")
