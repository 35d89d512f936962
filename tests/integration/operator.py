"""The operator as a process: `talm run` under the very role of deploy/rbac, to be killed and frozen.

Its log is printed when it is let go of: pytest shows that only for a test that fails.
"""

from __future__ import annotations

import asyncio
import functools
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import yaml

from talm.api import kinds
from talm.kube.client import Client
from talm.sim.plane import deployment
from talm.sim.plane.controlplane import ControlPlane
from talm.sim.plane.processes import Child

from .world import until

WORKLOAD_IMAGE = "registry.example.io/talm/agent:1"
SHOWN_LINES = 200
EXIT_S = 60.0
WORKING = '"event": "working"'


class Operator:
    """One operator: `async with Operator(...)` starts it and waits until it is at work.

    `user` is who it is to the API server; `at_work` False: it is not waited for; `quiet`: its log is not
    printed; `settings` are those of hub/settings.py.
    """

    def __init__(
        self,
        hub: ControlPlane,
        directory: Path,
        *,
        name: str = "operator",
        user: str = deployment.USER,
        at_work: bool = True,
        quiet: bool = False,
        **settings: Any,
    ) -> None:
        self.name = name
        self._at_work = at_work
        self._quiet = quiet
        self.log = directory / f"{name}.log"
        given = {
            "kubeconfig": str(hub.kubeconfig_for(user)),
            "shutdown_grace": 5,
            "log_level": "debug",
            **settings,
        }
        self._child: Child = deployment.operator(
            hub, workload_image=WORKLOAD_IMAGE, log=self.log, settings=given
        )

    async def __aenter__(self) -> Self:
        self.start()
        try:
            if self._at_work:
                await self.works()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self.signal(signal.SIGCONT)
        # Politely: the next one would wait for the Lease of a killed one.
        await self._child.stop()
        if not self._quiet:
            self.show()

    @property
    def runs(self) -> bool:
        return self._child.runs

    def start(self) -> None:
        """Start it, also again: the log goes on."""
        self._child.start()

    async def works(self, times: int = 1) -> None:
        """Wait until it has begun to work for the `times`th time; fails when it ends before."""

        async def begun() -> bool:
            self._child.check()
            return self.said(WORKING) >= times

        await until(begun, f"{self.name} is at work")

    def said(self, words: str) -> int:
        """How often the words are in its log."""
        return self.log.read_text(errors="replace").count(words) if self.log.exists() else 0

    def kill(self) -> None:
        """SIGKILL."""
        self._child.kill()

    def signal(self, number: signal.Signals) -> None:
        """SIGSTOP, SIGCONT, SIGTERM."""
        self._child.signal(number)

    async def ended(self) -> int:
        """Wait until it has ended by itself; its exit code."""
        async with asyncio.timeout(EXIT_S):
            while self._child.runs:  # noqa: ASYNC110 - a process has no event
                await asyncio.sleep(0.05)
        assert self._child.exit_code is not None
        return self._child.exit_code

    def show(self) -> None:
        """Print the end of its log."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        print(f"--- {self.name}: the last of {len(lines)} lines of its log")
        print("\n".join(lines[-SHOWN_LINES:]))


async def install(client: Client, users: Iterable[str] = ()) -> None:
    """Install CRDs and roles, bound to the operator's account and to `users`; wait until they count."""
    await deployment.install(client)
    for user in users:
        await _bind(client, user)
    for user in (deployment.USER, *users):
        await until(functools.partial(_may_work, client, user), f"{user} has its role")


async def _bind(client: Client, user: str) -> None:
    """The bindings of deploy/rbac once more, for another user."""
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}
    for file in sorted((deployment.deploy_folder() / "rbac").glob("*.yaml")):
        for body in yaml.safe_load_all(file.read_text()):
            kind = {k.kind: k for k in (kinds.CLUSTER_ROLE_BINDING, kinds.ROLE_BINDING)}.get(
                body["kind"]
            )
            if kind is not None:
                body["metadata"]["name"] += f"-{user}"
                await client.apply(
                    kind, {**body, "subjects": [subject]}, field_manager=deployment.FIELD_MANAGER
                )


async def _may_work(client: Client, user: str) -> bool:
    """Roles reach the authorizer a moment after they were stored: the first and the last one."""
    asks = [
        {"verb": "create", "group": "coordination.k8s.io", "resource": "leases"}
        | {"namespace": deployment.NAMESPACE},
        {"verb": "list", "group": kinds.CGU.group, "resource": kinds.CGU.plural},
    ]
    for ask in asks:
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": user, "resourceAttributes": ask},
        }
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        answer = yaml.safe_load(await client.request("POST", path, body=review))
        if not answer["status"]["allowed"]:
            return False
    return True
