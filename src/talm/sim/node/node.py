"""A small node for a spoke's real API server: it binds pods to itself and runs them as processes.

A spoke may have several: the first to bind a pod has it, wherever the pod may go.

    Pod appears ─► bound ─► files, token ─► process ─► Running ─► Succeeded | Failed
                     │          └ not there: ContainerCreating, ImagePullBackOff, asked again
                     └ deletion at any time: SIGTERM, grace, SIGKILL, then the object goes

Each pod acts with its own service account and real RBAC (a token from the API server).
Not imitated: networks, mount namespaces, resources, probes, restarts, image pulls.
Everything else about Jobs and namespaces is done by Kubernetes' own controllers.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import structlog
import yaml

from talm.api import kinds
from talm.errors import AlreadyExists, SetupError
from talm.kube.cache import Key
from talm.kube.client import Client
from talm.kube.watch import Informer
from talm.sim.node import podwire
from talm.sim.node.podfiles import ClusterAccess, PodFiles
from talm.sim.node.podlife import PodLife
from talm.sim.node.podwire import PodObject, wire_time

log = structlog.get_logger(__name__)

_DEFAULT_SCHEDULER: Final = "default-scheduler"


class SimulatedNode:
    """One node.  `run()` serves until it is cancelled and leaves no process behind.

    kubeconfig: who may do everything on the spoke (it binds, reports and asks for tokens).
    directory: gets `pods/` (files of each pod), `logs/` (kept) and `host/` (hostPath volumes).
    images: image reference -> command line that stands for its program; an unknown image is never
    pulled (ImagePullBackOff).  It may be changed while the node runs.
    program: what the image's program is called in a container's `command`.
    """

    def __init__(
        self,
        kubeconfig: Path,
        directory: Path,
        *,
        images: Mapping[str, Sequence[str]],
        name: str = "node-1",
        program: str = "talm",
    ) -> None:
        self.name = name
        self.images = dict(images)
        self.program = program
        self.ready = asyncio.Event()
        self._kubeconfig = kubeconfig
        self._directory = directory.absolute()
        self._lives: dict[str, tuple[PodLife, asyncio.Task[None]]] = {}

    @property
    def logs(self) -> Path:
        """The directory of the pods' logs, which outlive the pods."""
        return self._directory / "logs"

    @property
    def host(self) -> Path:
        """What the pods of this node see as the node's own file system."""
        return self._directory / "host"

    def log_file(self, namespace: str, pod: str) -> Path:
        """Where a pod's output is; the file exists once the container was started."""
        return self.logs / f"{namespace}_{pod}.log"

    def host_path(self, path: str) -> Path:
        """Where a path of the node (a hostPath volume) really is."""
        return self.host / path.strip("/")

    async def kill(self, namespace: str, pod: str = "") -> None:
        """Kill (SIGKILL) what runs in a namespace's pods, as the kernel does when memory is short.

        With `pod` that one alone.  Returns when the processes are gone.
        """
        for life, _ in tuple(self._lives.values()):
            if pod in ("", life.pod):
                await life.kill(namespace)

    async def run(self) -> None:
        """Register the node, run its pods.  `ready` is set once both have begun."""
        for directory in (self.logs, self.host):
            directory.mkdir(parents=True, exist_ok=True)
        access = _access(self._kubeconfig)
        async with await Client.connect(self._kubeconfig, user_agent="talm-sim-node") as client:
            files = PodFiles(client, access, pods=self._directory / "pods", host=self.host)
            await self._register(client)
            informer = Informer(
                client, kinds.POD, PodObject, functools.partial(self._on_change, client, files)
            )
            following = asyncio.create_task(informer.run())
            try:
                await informer.synced.wait()
                self.ready.set()
                await following
            finally:
                following.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await following
                await self._end_all()

    def _on_change(
        self,
        client: Client,
        files: PodFiles,
        _: Key,
        old: PodObject | None,
        new: PodObject | None,
    ) -> None:
        """Tell the pod's life; a pod that is new and ours gets one, one that is gone loses it."""
        if old and old.metadata.uid in self._lives:
            life, task = self._lives[old.metadata.uid]
            if new is None or new.metadata.uid != old.metadata.uid:
                task.cancel()
            else:
                life.changed(new)
                return
        if new and new.metadata.uid not in self._lives and self._is_ours(new):
            uid = new.metadata.uid
            life = PodLife(self, client, files, new)
            task = asyncio.create_task(life.run())
            self._lives[uid] = (life, task)
            task.add_done_callback(functools.partial(self._on_end, uid))

    def _on_end(self, uid: str, task: asyncio.Task[None]) -> None:
        self._lives.pop(uid, None)
        if not task.cancelled() and (error := task.exception()):
            log.error("a pod's life broke off", uid=uid, exc_info=error)

    def _is_ours(self, pod: PodObject) -> bool:
        if pod.node_name:
            return pod.node_name == self.name
        return (
            pod.spec.get("schedulerName", _DEFAULT_SCHEDULER) == _DEFAULT_SCHEDULER
            and pod.metadata.deletion_timestamp is None
            and podwire.may_go_to(pod.spec, self.name, self._labels())
        )

    def _labels(self) -> dict[str, str]:
        return {
            "kubernetes.io/hostname": self.name,
            "kubernetes.io/os": "linux",
            "node-role.kubernetes.io/control-plane": "",
            "node-role.kubernetes.io/master": "",
            "node-role.kubernetes.io/worker": "",
        }

    async def _register(self, client: Client) -> None:
        node = {"metadata": {"name": self.name, "labels": self._labels()}}
        with contextlib.suppress(AlreadyExists):
            await client.create(kinds.NODE, node)
        await client.merge_patch(kinds.NODE, self.name, {"spec": {"taints": None}})
        status = _node_status(self.name)
        await client.merge_patch(kinds.NODE, self.name, {"status": status}, subresource="status")

    async def _end_all(self) -> None:
        """Like a power cut: processes are killed, nothing is reported."""
        tasks = [task for _, task in self._lives.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _node_status(name: str) -> dict[str, Any]:
    now = wire_time()
    capacity = {"cpu": "8", "memory": "32Gi", "pods": "110", "ephemeral-storage": "500Gi"}
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "KubeletReady",
        "message": "a simulated node, which has no kubelet",
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }
    return {
        "capacity": capacity,
        "allocatable": capacity,
        "conditions": [ready],
        "addresses": [{"type": "Hostname", "address": name}],
        "nodeInfo": {"kubeletVersion": "simulated", "operatingSystem": "linux"},
    }


def _access(kubeconfig: Path) -> ClusterAccess:
    """Read server and CA of the current context, for the pods' own kubeconfigs."""
    config = yaml.safe_load(kubeconfig.read_text())
    try:
        context = next(c for c in config["contexts"] if c["name"] == config["current-context"])
        name = context["context"]["cluster"]
        cluster = next(c["cluster"] for c in config["clusters"] if c["name"] == name)
        data = cluster.get("certificate-authority-data")
        ca = (
            base64.b64decode(data).decode()
            if data
            else (kubeconfig.parent / cluster["certificate-authority"]).read_text()
        )
    except (KeyError, StopIteration, OSError) as exc:
        raise SetupError(f"{kubeconfig}: no server with a CA in the current context") from exc
    return ClusterAccess(cluster["server"], ca)
