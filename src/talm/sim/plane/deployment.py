"""The operator on a hub of our own, as `deploy/` installs it: its CRDs, its role, and nothing more.

It runs as a process beside the hub instead of as a pod in it, with a certificate of its service
account's name, so that the shipped role says what it may do.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from talm.api import kinds
from talm.api.words import OPERATOR_LEASE
from talm.errors import NotFound, SetupError
from talm.hub.settings import Settings
from talm.kube.client import Client
from talm.sim.plane import foreign_crds
from talm.sim.plane.controlplane import ControlPlane
from talm.sim.plane.processes import Child, Progress, say_nothing, wait_until

NAMESPACE: Final = "talm-system"
USER: Final = f"system:serviceaccount:{NAMESPACE}:talm-operator"
FIELD_MANAGER: Final = "talm-setup"
_KINDS: Final = {
    kind.kind: kind
    for kind in (kinds.CLUSTER_ROLE, kinds.CLUSTER_ROLE_BINDING, kinds.ROLE, kinds.ROLE_BINDING)
}


def deploy_folder() -> Path:
    """Find `deploy/`: the repository's, else the copy that the installed package carries."""
    package = Path(__file__).parents[2]
    for folder in (package.parents[1] / "deploy", package / "deploy"):
        if (folder / "rbac").is_dir():
            return folder
    raise SetupError(f"{package} has no deploy/rbac: install talm anew")


async def install(client: Client) -> None:
    """Install all CRDs, the operator's namespace and its roles; raises ApiError, SetupError."""
    folder = deploy_folder()
    await foreign_crds.install(client)
    await foreign_crds.apply_own(client, folder / "crds")
    await client.apply(
        kinds.NAMESPACE, {"metadata": {"name": NAMESPACE}}, field_manager=FIELD_MANAGER
    )
    for file in sorted((folder / "rbac").glob("*.yaml")):
        for body in yaml.load_all(file.read_text(), Loader=yaml.CSafeLoader):
            await client.apply(_KINDS[body["kind"]], body, field_manager=FIELD_MANAGER)


def operator(
    hub: ControlPlane,
    *,
    workload_image: str,
    log: Path,
    settings: Mapping[str, Any] | None = None,
) -> Child:
    """The process `talm run` against `hub`, not yet started.

    `settings`: more of its settings, by their names in `hub/settings.py`.  Those of the caller's
    environment do not reach it.
    """
    given = {
        "workload_image": workload_image,
        "kubeconfig": str(hub.kubeconfig_for(USER)),
        "namespace": NAMESPACE,
        "bind_address": "127.0.0.1:0",
        **(settings or {}),
    }
    names = [field.name for field in dataclasses.fields(Settings)]
    environment = {f"TALM_{name.upper()}": str(given.get(name, "")) for name in names}
    environment |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    command = [sys.executable, "-m", "talm", "run"]
    return Child("operator", command, log=log, cwd=hub.directory, environment=environment)


async def wait_leading(client: Client, process: Child, *, progress: Progress = say_nothing) -> None:
    """Wait until the operator holds its Lease; raises SetupError with the end of its log."""

    async def leads() -> bool:
        try:
            lease = await client.get(kinds.LEASE, OPERATOR_LEASE, NAMESPACE)
        except NotFound:
            return False
        return bool(lease["spec"].get("holderIdentity"))

    await wait_until(leads, [process], what="waiting for the operator", progress=progress)
