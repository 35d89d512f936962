"""Chooses the hub of demo, tests and `make hub`: a cluster that exists, else one that is started.

Order: the kubeconfig that the caller names, $KUBECONFIG, a control plane of our own
(binaries.py says from which programs).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from talm.errors import SetupError
from talm.sim.plane.binaries import find_programs
from talm.sim.plane.controlplane import ControlPlane
from talm.sim.plane.identities import ADMIN


class Hub(Protocol):
    """An API server with everything that is needed to talk to it."""

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig of somebody who may do everything."""

    @property
    def kubectl(self) -> list[str]:
        """The first words of a kubectl command line."""

    def kubeconfig_for(self, user: str, group: str = "") -> Path:
        """The kubeconfig of a user; raises SetupError where users cannot be made."""


@dataclass(frozen=True, slots=True)
class ExistingCluster:
    """A cluster that somebody else runs."""

    kubeconfig: Path

    @property
    def kubectl(self) -> list[str]:
        """The first words of a kubectl command line; raises SetupError without any kubectl."""
        return [*_find_kubectl(), "--kubeconfig", str(self.kubeconfig)]

    def kubeconfig_for(self, user: str, group: str = "") -> Path:
        """The kubeconfig that was given, for `admin` only; raises SetupError."""
        if user == ADMIN.name and not group:
            return self.kubeconfig
        raise SetupError(
            f"no credentials for user {user} on the cluster of {self.kubeconfig}: "
            "they can be made only for a control plane that was started here"
        )


def _find_kubectl() -> list[str]:
    for name in ("kubectl", "oc"):
        if path := shutil.which(name):
            return [path]
    return list(find_programs().kubectl)


def existing_kubeconfig(named: Path | None = None) -> Path | None:
    """Return the kubeconfig of an existing cluster: `named`, else the first file in $KUBECONFIG.

    None when there is neither; raises SetupError when the file is not there.
    """
    path = named
    if path is None:
        paths = [part for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]
        if not paths:
            return None
        path = Path(paths[0])
    if not path.exists():
        raise SetupError(f"the kubeconfig {path} does not exist")
    return path


@asynccontextmanager
async def find_hub(own: ControlPlane, *, kubeconfig: Path | None = None) -> AsyncIterator[Hub]:
    """Yield the existing cluster, else `own`, started and stopped again; raises SetupError."""
    existing = existing_kubeconfig(kubeconfig)
    if existing is not None:
        yield ExistingCluster(existing)
        return
    async with own as hub:
        yield hub
