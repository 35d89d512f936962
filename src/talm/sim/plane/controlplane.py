"""Starts and stops a real control plane: etcd, kube-apiserver, kube-controller-manager.

    directory/
      admin.kubeconfig          and one for each other user that was asked for
      logs/ audit.log           what the programs said, who called what
      pki/                      a CA of its own, kept: kubeconfigs survive a second start
      etcd/ etcd:1 peer:1       data, and Unix sockets: no port, nobody but us gets past RBAC
      port lock

Only the API server listens on TCP, on 127.0.0.1.  A second start with the same directory finds
the same data, users and (when it is still free) port.  Not here: what is installed on it.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

import aiohttp

from talm.errors import SetupError
from talm.sim.plane import commands
from talm.sim.plane.binaries import Programs, find_programs
from talm.sim.plane.identities import ADMIN, CONTROLLER_MANAGER, Authority, Identity, write_private
from talm.sim.plane.listen import LOOPBACK, ReservedPort
from talm.sim.plane.processes import Child, Progress, say_nothing, wait_until

HUB_CONTROLLERS: Final = (
    "namespace-controller,garbage-collector-controller,"
    "clusterrole-aggregation-controller,serviceaccount-controller"
)
# What a Job on a spoke meets as well.  There is no scheduler and no kubelet: the node is simulated.
SPOKE_CONTROLLERS: Final = (
    f"{HUB_CONTROLLERS},job-controller,ttl-after-finished-controller,"
    "pod-garbage-collector-controller"
)


@dataclass(slots=True)
class ControlPlane:
    """A control plane in `directory`: `await start()`, then `await stop()`, or `async with`.

    controllers: kube-controller-manager's list; "" runs none (no namespace is ever deleted then).
    fsync: False loses data in a power cut, not in a crash, and is what tests want.
    audit: writes `audit_log`, one JSON line per request at level Metadata.
    etcd: another control plane, running as long as this one, whose etcd keeps this one's data too.
    services: the addresses of Services; its first one is the API server's, as pods know it.
    """

    directory: Path
    name: str = "hub"
    controllers: str = HUB_CONTROLLERS
    fsync: bool = True
    audit: bool = False
    etcd: ControlPlane | None = None
    progress: Progress = say_nothing
    services: str = "10.0.0.0/24"
    server: str = field(default="", init=False)
    _programs: Programs = field(init=False)
    _authority: Authority = field(init=False)
    _port: ReservedPort | None = field(default=None, init=False)
    _lock: IO[str] | None = field(default=None, init=False)
    _etcd: Child | None = field(default=None, init=False)
    _api_server: Child | None = field(default=None, init=False)
    _manager: Child | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.directory = self.directory.absolute()

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig of `admin`, who may do everything."""
        return self.directory / "admin.kubeconfig"

    @property
    def audit_log(self) -> Path | None:
        """Where requests are recorded; None without `audit`."""
        return self.directory / "audit.log" if self.audit else None

    @property
    def kubectl(self) -> list[str]:
        """The first words of a kubectl command line, as admin."""
        return [*self._programs.kubectl, "--kubeconfig", str(self.kubeconfig)]

    @property
    def children(self) -> list[Child]:
        """The programs that were started, last one first."""
        return [child for child in (self._manager, self._api_server, self._etcd) if child]

    def kubeconfig_for(self, user: str, group: str = "") -> Path:
        """Return the kubeconfig of a user, written at the first call; RBAC says what it may."""
        identity = Identity(user, group) if user != ADMIN.name else ADMIN
        path = self.directory / f"{identity.file_name}.kubeconfig"
        if identity == ADMIN:
            path = self.kubeconfig
        if path.exists():
            return path
        return self._authority.write_kubeconfig(path, identity, name=self.name, server=self.server)

    def check(self) -> None:
        """Raise SetupError with the end of its log when a program has ended."""
        for child in self.children:
            child.check()

    async def start(self) -> Self:
        """Start everything and wait until it is ready; raises SetupError, leaving nothing behind.

        Call it in a thread that lives as long as the control plane should.
        """
        started = time.monotonic()
        self._programs = find_programs()
        if self.controllers and self._programs.controller_manager is None:
            raise SetupError(
                "KUBEBUILDER_ASSETS has no kube-controller-manager: without it no namespace is "
                "ever deleted and no Job runs; put it there or run 'make controlplane'"
            )
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._take_lock()
        try:
            self._prepare()
            self._start_etcd()
            await self.start_api_server()
            self._start_manager()
        except BaseException:
            self._abandon()
            raise
        self.progress(f"{self.name}: ready after {time.monotonic() - started:.1f} s")
        return self

    async def stop(self, *, kill: bool = False) -> None:
        """End everything, politely (about 2 s) or at once; the directory stays."""
        if kill:
            self._abandon()
            return
        try:
            await asyncio.gather(*(child.stop() for child in self.children if child != self._etcd))
            if self._etcd is not None:  # last: the others say good-bye to it
                await self._etcd.stop()
        finally:
            self._abandon()

    async def start_api_server(self) -> None:
        """Start the API server and wait until it is ready; on the same port as before."""
        if self._api_server is None:
            self._api_server = self._child("kube-apiserver", self._api_server_command())
        self._api_server.start()
        await self._wait_ready()

    async def stop_api_server(self, *, kill: bool = False) -> None:
        """End the API server alone: politely, or like a crash; etcd and clients stay."""
        if self._api_server is None:
            return
        if kill:
            self._api_server.kill()
        else:
            await self._api_server.stop()

    async def restart_api_server(self, *, kill: bool = False) -> None:
        """End the API server, start it again on the same port and wait until it is ready."""
        await self.stop_api_server(kill=kill)
        await self.start_api_server()

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

    def _take_lock(self) -> None:
        self._lock = _lock(self.directory)
        if self._lock is None:
            raise SetupError(f"a control plane is running in {self.directory} already")

    def _prepare(self) -> None:
        """Make keys, keep a port, write the kubeconfigs anew (the port may be another one)."""
        self._authority = Authority(self.directory / "pki")
        file = self.directory / "port"
        self._port = ReservedPort(int(file.read_text()) if file.exists() else 0)
        server = f"https://{LOOPBACK}:{self._port.number}"
        write_private(file, str(self._port.number).encode())
        for path in self.directory.glob("*.kubeconfig"):
            _move_kubeconfig(path, server)
        self.server = server
        for identity in (ADMIN, CONTROLLER_MANAGER):
            self.kubeconfig_for(identity.name)
        if self.audit_log is not None:
            write_private(commands.audit_policy(self.audit_log), commands.AUDIT_POLICY.encode())

    def _child(self, name: str, command: Sequence[str]) -> Child:
        log = self.directory / "logs" / f"{name}.log"
        return Child(f"{self.name}: {name}", command, log=log, cwd=self.directory)

    def _start_etcd(self) -> None:
        if self.etcd is not None:
            link = self.directory / commands.ETCD_SOCKET
            link.unlink(missing_ok=True)
            link.symlink_to(self.etcd.directory / commands.ETCD_SOCKET)
            return
        command = commands.etcd(self._programs.etcd, self.directory, fsync=self.fsync)
        self._etcd = self._child("etcd", command)
        self._etcd.start()

    def _api_server_command(self) -> list[str]:
        assert self._port is not None  # noqa: S101 - _prepare() has run
        return commands.api_server(
            self._programs.api_server,
            self._authority,
            port=self._port.number,
            etcd_prefix=f"/registry-{self.name}" if self.etcd else "/registry",
            audit_log=self.audit_log,
            services=self.services,
        )

    def _start_manager(self) -> None:
        command = self._programs.controller_manager
        if not self.controllers or command is None:
            return
        kubeconfig = self.kubeconfig_for(CONTROLLER_MANAGER.name)
        arguments = commands.controller_manager(
            command, self._authority, kubeconfig=kubeconfig, controllers=self.controllers
        )
        self._manager = self._child("kube-controller-manager", arguments)
        self._manager.start()

    async def _wait_ready(self) -> None:
        certificate, key = self._authority.client_pair(ADMIN)
        context = ssl.create_default_context(cafile=str(self._authority.certificate))
        context.load_cert_chain(certificate, key)
        timeout = aiohttp.ClientTimeout(total=5.0)
        connector = aiohttp.TCPConnector(ssl=context, force_close=True)

        async def ready() -> bool:
            try:
                async with session.get(f"{self.server}/readyz") as answer:
                    return answer.status == 200  # noqa: PLR2004 - OK
            except (TimeoutError, aiohttp.ClientError):
                return False

        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            await wait_until(
                ready,
                [child for child in (self._etcd, self._api_server) if child],
                what=f"{self.name}: waiting for the API server",
                progress=self.progress,
            )

    def _abandon(self) -> None:
        """Kill what runs, give back port and lock."""
        for child in self.children:
            child.kill()
        if self._port is not None:
            self._port.release()
        if self._lock is not None:
            self._lock.close()
        self._etcd = self._api_server = self._manager = self._port = self._lock = None


def _lock(directory: Path) -> IO[str] | None:
    """Take the directory's lock, held until the file is closed; None when somebody has it."""
    lock = (directory / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


def is_running(directory: Path) -> bool:
    """Whether some process runs a control plane in `directory`."""
    if not directory.is_dir():
        return False
    lock = _lock(directory)
    if lock is not None:
        lock.close()
    return lock is None


def _move_kubeconfig(path: Path, server: str) -> None:
    """Let a kubeconfig of ours point to another address."""
    config = json.loads(path.read_text())
    cluster = config["clusters"][0]["cluster"]
    if cluster["server"] != server:
        cluster["server"] = server
        write_private(path, json.dumps(config, indent=2).encode())


async def start(
    directory: Path,
    *,
    name: str = "hub",
    controllers: str = HUB_CONTROLLERS,
    fsync: bool = True,
    audit: bool = False,
    identities: Sequence[Identity] = (),
) -> ControlPlane:
    """Start a control plane with a kubeconfig for each of `identities`; raises SetupError."""
    plane = ControlPlane(directory, name, controllers, fsync, audit)
    await plane.start()
    for identity in identities:
        plane.kubeconfig_for(identity.name, identity.group)
    return plane
