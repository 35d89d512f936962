"""The life of one pod on a simulated node, from its binding to its deletion.

Each step reports a status as a kubelet does.  The API server may fail in between: what must be
said is said again until it is heard, or until the pod is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import structlog

from talm.api import kinds
from talm.errors import ApiError, Conflict, CredentialError, NotFound
from talm.kube.client import Client
from talm.sim.node import podwire
from talm.sim.node.container import CannotStart, Container
from talm.sim.node.podfiles import Launch, NotYet, PodFiles
from talm.sim.node.podwire import PodObject, wire_time

log = structlog.get_logger(__name__)

_LOOK_AGAIN_S: Final = 1.0  # for a ConfigMap or an image that is not there yet
_SAY_AGAIN_S: Final = 0.5
_DEFAULT_GRACE_S: Final = 30
_CANNOT_START: Final = 128
_LAST_REQUEST_S: Final = 2.0


class Host(Protocol):
    """What a pod needs to know of its node."""

    name: str
    program: str
    images: dict[str, Sequence[str]]

    def log_file(self, namespace: str, pod: str) -> Path: ...


async def _undisturbed(request: Coroutine[Any, Any, object]) -> None:
    """Let a request finish when its pod's life is cut short: 2 s, then it is cut off too.

    A connection that is cut off in mid-request says its TLS good-bye in the background, and a
    loop that is closed in the meantime complains about it.
    """
    task = asyncio.create_task(request)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        with contextlib.suppress(ApiError, CredentialError, TimeoutError):
            await asyncio.wait_for(task, _LAST_REQUEST_S)
        raise


class _Gone(Exception):
    """The pod's object is no more, or is another one of the same name."""


class PodLife:
    """One pod; `run()` ends when its object is gone, and takes its process along."""

    def __init__(self, host: Host, client: Client, files: PodFiles, pod: PodObject) -> None:
        self._host = host
        self._client = client
        self._files = files
        self._bound = asyncio.Event()
        self._deleted = asyncio.Event()
        self._container: Container | None = None
        self.changed(pod)

    @property
    def pod(self) -> str:
        """The pod's name."""
        return self._pod.metadata.name

    def changed(self, pod: PodObject) -> None:
        """Take note of the pod's newest version."""
        self._pod = pod
        if pod.node_name:
            self._bound.set()
        if pod.metadata.deletion_timestamp is not None:
            self._deleted.set()

    async def kill(self, namespace: str) -> None:
        """Kill the container's processes when the pod is in `namespace`; returns when they are gone."""
        if self._container and self._pod.metadata.namespace == namespace:
            self._container.kill()
            await self._container.wait()

    async def run(self) -> None:
        """Live."""
        try:
            if not self._pod.node_name:
                await self._insist(self._bind)
                await self._bound.wait()
            if self._pod.phase not in podwire.TERMINAL:
                await self._live()
            await self._deleted.wait()
            await self._insist(self._delete)
        except _Gone:
            log.debug("pod is gone", pod=self._pod.metadata.name)
        finally:
            if self._container:
                self._container.kill()
            self._files.remove(self._pod)

    async def _live(self) -> None:
        if self._pod.phase == "Running":
            await self._report(podwire.lost("terminated"))  # its process ended with an earlier run
        elif reason := podwire.unsupported(self._pod.spec):
            status = podwire.refused("UnexpectedAdmissionError", reason, now=wire_time())
            await self._insist(lambda: self._patch(status))
        elif launch := await self._prepared():
            await self._report(await self._execute(launch))
        else:
            await self._report(podwire.lost("deleted"))

    async def _prepared(self) -> Launch | None:
        """Wait until everything that the container needs is there; None when it is deleted."""
        shown: Mapping[str, Any] = {}
        while not self._deleted.is_set():
            try:
                return await self._files.prepare(self._pod, self._entry(shown), self._host.program)
            except NotYet as exc:
                state = podwire.waiting(exc.reason, str(exc))
            if state != shown:
                await self._report(state)
                shown = state
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._deleted.wait(), _LOOK_AGAIN_S)
        return None

    def _entry(self, shown: Mapping[str, Any]) -> Sequence[str]:
        """Find what stands for the image; as with a kubelet the second attempt is the back-off."""
        image = self._pod.container["image"]
        if image in self._host.images:
            return self._host.images[image]
        if not shown:
            raise NotYet("ErrImagePull", f'failed to pull image "{image}": not found')
        raise NotYet("ImagePullBackOff", f'Back-off pulling image "{image}"')

    async def _execute(self, launch: Launch) -> dict[str, Any]:
        """Run the container to its end, or to the pod's; returns its final state."""
        meta = self._pod.metadata
        self._container = Container(launch, self._host.log_file(meta.namespace, meta.name))
        since = wire_time()
        try:
            await self._container.start()
        except CannotStart as exc:
            return podwire.not_started(_CANNOT_START, "StartError", str(exc))
        ended = asyncio.create_task(self._container.wait())
        deleted = asyncio.create_task(self._deleted.wait())
        try:
            await self._report(podwire.running(since))
            await asyncio.wait((ended, deleted), return_when=asyncio.FIRST_COMPLETED)
            code = await ended if ended.done() else await self._container.stop(self._grace_s())
        finally:
            ended.cancel()
            deleted.cancel()
        policy = self._pod.container.get("terminationMessagePolicy") or "File"
        words = self._container.last_words(policy, code)
        return podwire.terminated(code, words, since, wire_time())

    def _grace_s(self) -> float:
        granted = self._pod.metadata.deletion_grace_period_seconds
        return _DEFAULT_GRACE_S if granted is None else granted

    # --- requests ---

    async def _insist(self, request: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Repeat a request until the API server has taken it.  Raises _Gone."""
        while True:
            try:
                await _undisturbed(request())
                return
            except (NotFound, Conflict) as exc:
                raise _Gone from exc
            except (ApiError, CredentialError) as exc:
                log.warning("again", pod=self._pod.metadata.name, error=str(exc))
                await asyncio.sleep(_SAY_AGAIN_S)

    async def _report(self, state: Mapping[str, Any]) -> None:
        status = podwire.status(self._pod, state, now=wire_time())
        await self._insist(lambda: self._patch(status))

    async def _patch(self, status: Mapping[str, Any]) -> None:
        meta = self._pod.metadata
        patch = {"metadata": {"uid": meta.uid}, "status": status}
        await self._client.merge_patch(
            kinds.POD, meta.name, patch, meta.namespace, subresource="status"
        )

    async def _bind(self) -> None:
        meta = self._pod.metadata
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": self._host.name},
        }
        path = kinds.POD.path(meta.namespace, meta.name, "binding")
        await self._client.request("POST", path, body=binding)

    async def _delete(self) -> None:
        """Let the object go; only the node of a pod may do that at once."""
        meta = self._pod.metadata
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "gracePeriodSeconds": 0,
            "preconditions": {"uid": meta.uid},
        }
        path = kinds.POD.path(meta.namespace, meta.name)
        await self._client.request("DELETE", path, body=options)
