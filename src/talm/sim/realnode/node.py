"""Starts and ends one real node beside a control plane: containerd, kubelet, scheduler.

    ControlPlane ◄── kube-scheduler
         ▲
         └────────── box: process 1 · containerd ──► shims ──► runc ──► containers · kubelet

The node has files, processes, mounts and cgroups of its own (box.py), and the machine's network, of
which it uses loopback only: pods have to share it (`hostNetwork`), others are not started.
There is no kube-proxy: what pods are told of the API server is the address where it listens.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

from talm.api import kinds
from talm.api.kinds import Kind
from talm.errors import NotFound, SetupError
from talm.kube.client import Client
from talm.sim.plane import commands
from talm.sim.plane.binaries import find_program
from talm.sim.plane.controlplane import SPOKE_CONTROLLERS, ControlPlane
from talm.sim.plane.processes import Child, Progress, say_nothing, wait_until
from talm.sim.realnode import disk
from talm.sim.realnode.box import Box, cgroup_of
from talm.sim.realnode.disk import ImageDisk
from talm.sim.realnode.pause import write_pause

# What a kubelet needs besides: a node that becomes ready, and the CA in each pod's token volume.
CONTROLLERS: Final = (
    f"{SPOKE_CONTROLLERS},daemonset-controller,node-lifecycle-controller,"
    "root-ca-certificate-publisher-controller"
)
SERVICES: Final = "127.0.0.0/24"
"""For the `ControlPlane`: its own Service is 127.0.0.1 then, where it listens."""

NAMESPACE: Final = "k8s.io"
"""containerd's namespace of all that the kubelet sees."""

_SERVICE: Final = Kind("", "v1", "Service", "services")
_BOX: Final = (sys.executable, "-m", "talm.sim.realnode.box")
_INSTALL: Final = "'make test-tools' installs it as root on Debian"
_CNI_PLACES: Final = (Path("/opt/cni/bin"), Path("/usr/lib/cni"), Path("/usr/libexec/cni"))


@dataclass(slots=True)
class RealNode:
    """A node of `plane`, which was started with CONTROLLERS and SERVICES.

    `await start()`, then `await stop()`, or `async with`; in a thread that lives as long as it should.
    mirrors: registry, as images name it -> URL where it really is (containerd's `certs.d`).
    """

    plane: ControlPlane
    directory: Path
    mirrors: Mapping[str, str] = field(default_factory=dict)
    images: ImageDisk = field(default_factory=ImageDisk)
    name: str = "node-1"
    progress: Progress = say_nothing
    _first: int = field(default=0, init=False)
    _children: list[Child] = field(default_factory=list, init=False)

    def host_path(self, path: str) -> Path:
        """Where a path of the node is seen from out here, as long as the node runs."""
        return Path(f"/proc/{self._first}/root", path.lstrip("/"))

    def log(self, program: str) -> Path:
        """What one of its programs has said: box, containerd, kubelet, kube-scheduler."""
        return self.directory / "logs" / f"{program}.log"

    @property
    def socket(self) -> Path:
        """containerd's."""
        return self.host_path(disk.SOCKET)

    async def ctr(self, *arguments: str) -> str:
        """Run containerd's own client in the kubelet's namespace; raises SetupError."""
        return await self._ask("ctr", "-a", str(self.socket), "-n", NAMESPACE, *arguments)

    async def cri_images(self) -> list[dict[str, Any]]:
        """Ask for the images as the kubelet does: `digests` and `tags` (names), and `pinned`."""
        lines = (await self._ask("cri-images", str(self.socket))).splitlines()
        return [json.loads(line) for line in lines]

    def check(self) -> None:
        """Raise SetupError with the end of its log when one of its programs has ended."""
        for child in self._children:
            child.check()

    async def start(self) -> Self:
        """Start it and wait until pods are scheduled to it; raises SetupError, leaving nothing."""
        started = time.monotonic()
        cni_programs = check_machine()
        self.directory = self.directory.absolute()
        self.directory.mkdir(parents=True, exist_ok=True)
        disk.lay_out(self.directory, cni_programs=cni_programs, mirrors=self.mirrors)
        try:
            await self._make_box()
            await self._start_containerd()
            self.progress(f"{self.name}: containerd runs")
            await self._start_kubernetes()
        except BaseException:
            await self.stop()
            raise
        self.progress(f"{self.name}: ready after {time.monotonic() - started:.1f} s")
        return self

    async def stop(self) -> None:
        """End everything; containers are killed with their box.  The directory stays."""
        for child in reversed(self._children):
            # The first one holds the box, and removes what is not in it.
            await child.stop() if child is self._children[0] else child.kill()
        self._children.clear()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    # --- the steps of a start ---

    async def _make_box(self) -> None:
        first = self.directory / "first"
        first.unlink(missing_ok=True)
        box = Box(disk.binds(self.directory), disk.disks(self.images), str(first))
        self._start("box", (*_BOX, "hold", json.dumps(dataclasses.asdict(box))))

        async def is_there() -> bool:
            return first.exists()

        await self._wait(is_there, "waiting for the node's box")
        self._first = int(first.read_text())

    async def _start_containerd(self) -> None:
        program = str(find_program("containerd"))
        self._enter("containerd", program, "containerd", "--config", disk.CONTAINERD_CONFIG)

        async def answers() -> bool:
            with contextlib.suppress(SetupError):
                return bool(await self.ctr("version"))
            return False

        await self._wait(answers, "waiting for containerd")
        archive = self.directory / "pause.tar"
        write_pause(archive, disk.PAUSE_IMAGE)
        await self.ctr("images", "import", str(archive))

    async def _start_kubernetes(self) -> None:
        program = str(find_program("kubernetes"))
        scheduler = self.plane.kubeconfig_for("system:kube-scheduler")
        command = commands.scheduler((program, "kube-scheduler"), kubeconfig=scheduler)
        self._start("kube-scheduler", command)
        disk.write_kubelet(
            self.directory,
            kubeconfig=self.plane.kubeconfig_for(f"system:node:{self.name}", "system:nodes"),
            cgroup=cgroup_of(self._children[0].pid),
            images=self.images,
        )
        async with await Client.connect(self.plane.kubeconfig, user_agent="talm-sim") as client:
            await _tell_pods_where(client, self.plane.server)
            self._enter(
                "kubelet",
                program,
                "kubelet",
                f"--kubeconfig={disk.KUBECONFIG}",
                f"--config={disk.KUBELET_CONFIG}",
                f"--hostname-override={self.name}",
                "--v=2",
            )

            async def is_ready() -> bool:
                with contextlib.suppress(NotFound):
                    return _takes_pods(await client.get(kinds.NODE, self.name))
                return False

            await self._wait(is_ready, "waiting for the kubelet")

    def _enter(self, name: str, *command: str) -> None:
        self._start(name, (*_BOX, "enter", str(self._first), *command))

    def _start(self, name: str, command: tuple[str, ...] | list[str]) -> None:
        child = Child(f"{self.name}: {name}", command, log=self.log(name), cwd=self.directory)
        self._children.append(child)
        child.start()

    async def _wait(self, true: Callable[[], Awaitable[bool]], what: str) -> None:
        await wait_until(true, self._children, what=f"{self.name}: {what}", progress=self.progress)

    async def _ask(self, *arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            find_program("containerd"),
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        if process.returncode:
            raise SetupError(f"{' '.join(arguments)}: {errors.decode(errors='replace').strip()}")
        return output.decode(errors="replace")


def check_machine() -> Path:
    """Find what a node needs of this machine; returns the directory of the CNI programs.

    Raises SetupError that says what is missing and how to get it.
    """
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise SetupError("a real node needs Linux on x86-64: its synthetic programs are for that")
    if os.geteuid():
        raise SetupError("a real node takes root's rights")
    for program in ("kubernetes", "containerd"):
        find_program(program)
    for program in ("runc", "containerd-shim-runc-v2"):
        if shutil.which(program) is None:
            raise SetupError(f"no {program}: {_INSTALL}")
    for place in _CNI_PLACES:
        if (place / "loopback").exists():
            return place
    raise SetupError(f"no CNI program 'loopback' in {_CNI_PLACES[0]} and the like: {_INSTALL}")


async def _tell_pods_where(client: Client, server: str) -> None:
    """Let the API server's own Service have the port where it listens, since nothing forwards.

    The API server sets it to 443 at its start only.
    """
    number = urlsplit(server).port
    port = {"name": "https", "protocol": "TCP", "port": number, "targetPort": number}
    patch = {"spec": {"ports": [port]}}
    await client.merge_patch(_SERVICE, "kubernetes", patch, "default")


def _takes_pods(node: Mapping[str, Any]) -> bool:
    conditions = node["status"].get("conditions") or ()
    is_ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return is_ready and not node["spec"].get("taints")
