"""OCM's own agents as processes, in the place of the simulated ones.

`make agents` builds them.  They come with everything that they do: the simulated ones are held
to them row by row (tests/e2e).
"""

from __future__ import annotations

from pathlib import Path

from talm.sim.plane.binaries import find_program
from talm.sim.plane.listen import LOOPBACK, ReservedPort
from talm.sim.plane.processes import Child


def view_action_agent(cluster: str, *, hub: Path, spoke: Path, log: Path) -> Child:
    """The agent that answers a cluster's views and carries out its actions; not started.

    `hub` and `spoke` are kubeconfigs with which it may do everything.  Raises SetupError when it
    was not built.
    """
    command = [
        str(find_program("view-action-agent")),
        f"-cluster-name={cluster}",
        f"-hub-kubeconfig={hub}",
        f"-spoke-kubeconfig={spoke}",
    ]
    return Child(f"view and action agent of {cluster}", command, log=log, cwd=hub.parent)


def work_agent(cluster: str, *, hub: Path, spoke: Path, log: Path) -> Child:
    """The agent that carries out a cluster's ManifestWorks; not started.

    The spoke must serve AppliedManifestWorks (`foreign_crds.install_on_spoke`); of two agents on one
    spoke, works of one name would share one.  Raises SetupError when it was not built.
    """
    with ReservedPort() as reserved:
        port = reserved.number
    command = [
        str(find_program("work-agent")),
        f"--kubeconfig={spoke}",
        "--workload-source-driver=kube",
        f"--workload-source-config={hub}",
        f"--spoke-cluster-name={cluster}",
        f"--agent-id=agent-of-{cluster}",
        "--disable-leader-election",
        "--namespace=open-cluster-management-agent",
        f"--listen={LOOPBACK}:{port}",  # its probes, which nobody asks; it cannot choose for itself
    ]
    return Child(f"work agent of {cluster}", command, log=log, cwd=hub.parent)


def action_collector(*, hub: Path, log: Path) -> Child:
    """The hub's garbage collector of actions; not started.  Raises SetupError."""
    command = [str(find_program("action-gc")), f"-hub-kubeconfig={hub}"]
    return Child("action collector", command, log=log, cwd=hub.parent)
