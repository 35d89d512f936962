"""Finds the programs of a control plane, the registry and the real agents.

Nothing is built or downloaded here: `make` does that and leaves links in one directory,
$TALM_CONTROLPLANE, else $TALM_CACHE/current, else ~/.cache/talm/current.  $KUBEBUILDER_ASSETS, a
directory with etcd, kube-apiserver, kubectl and perhaps kube-controller-manager, goes first.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from talm.errors import SetupError

# One file is four programs, chosen by its first argument.
_ALL_IN_ONE: Final = "kubernetes"
_OTHER_WAYS: Final = (
    "'make controlplane' builds it (Go is fetched when absent); or set KUBEBUILDER_ASSETS to a "
    "directory with etcd, kube-apiserver, kubectl and kube-controller-manager; "
    "or KUBECONFIG to an existing cluster, which then is the hub"
)

_TARGETS: Final = {
    "kubernetes": "controlplane",
    "registry": "controlplane",
    "containerd": "test-tools",
}

Command = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Programs:
    """How each program of a control plane is called: the first words of a command line.

    `controller_manager` is None when KUBEBUILDER_ASSETS has none and none was built.
    """

    etcd: Command
    api_server: Command
    kubectl: Command
    controller_manager: Command | None


def built_directory() -> Path:
    """Say where built programs are looked for."""
    if directory := os.environ.get("TALM_CONTROLPLANE"):
        return Path(directory)
    cache = os.environ.get("TALM_CACHE")
    return (Path(cache) if cache else Path.home() / ".cache" / "talm") / "current"


def find_programs() -> Programs:
    """Find the control plane's programs; raises SetupError that says how to get them."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets:
        return _from_assets(Path(assets))
    binary = built_directory() / _ALL_IN_ONE
    if not binary.exists():
        raise SetupError(f"no control plane at {binary}: {_OTHER_WAYS}")
    return Programs(
        etcd=(str(binary), "etcd"),
        api_server=(str(binary), "kube-apiserver"),
        kubectl=(str(binary), "kubectl"),
        controller_manager=(str(binary), "kube-controller-manager"),
    )


def _from_assets(assets: Path) -> Programs:
    missing = [
        name for name in ("etcd", "kube-apiserver", "kubectl") if not (assets / name).exists()
    ]
    if missing:
        raise SetupError(f"KUBEBUILDER_ASSETS is {assets}, which lacks {', '.join(missing)}")
    manager, built = assets / "kube-controller-manager", built_directory() / _ALL_IN_ONE
    command: Command | None = None
    if manager.exists():
        command = (str(manager),)
    elif built.exists():
        command = (str(built), "kube-controller-manager")
    return Programs(
        etcd=(str(assets / "etcd"),),
        api_server=(str(assets / "kube-apiserver"),),
        kubectl=(str(assets / "kubectl"),),
        controller_manager=command,
    )


def find_program(name: str) -> Path:
    """Find `registry`, `containerd`, `work-agent` and the like; raises SetupError."""
    path = built_directory() / name
    if not path.exists():
        target = _TARGETS.get(name, "agents")
        raise SetupError(f"no {name} at {path}: 'make {target}' builds it")
    return path


def find_crds(folder: str = "") -> Path:
    """Find the directory with the foreign kinds' CRDs; raises SetupError.

    `folder`: "" what every hub has; `spoke`, `hub-policies` and `spoke-policies` what agents need.
    """
    path = built_directory() / "crds" / folder
    if not path.exists():
        raise SetupError(f"no CRDs at {path}: 'make controlplane' fetches them")
    return path
