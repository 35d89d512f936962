"""One run of the workload: what to pull, what is missing, bring it, ask the store, say so.

    spec ──► resolve ──► what is missing? ──► space? ──► spool ──► store, image by image ──► asked

Each step can be killed and repeated: what arrived is not fetched again.  Exit code 0 means that
the store, asked, has every image; any other has a class (`api/progress.py`).
Not here: expanding a release or a catalog into its images; that will sit between spec and resolve.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import sys
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import structlog

from talm.agent.credentials import read_auth_file
from talm.agent.download import Downloads
from talm.agent.failures import failure
from talm.agent.manifests import Blob, Image, resolve
from talm.agent.progress import ConfigMapSink, LogSink, Progress, Sink, TerminalSink
from talm.agent.registry import Registry, open_session
from talm.agent.settings import Settings
from talm.agent.spec import Spec
from talm.agent.spool import Spool
from talm.agent.stores.base import ImageStore
from talm.agent.stores.oci_layout import OciLayout
from talm.api.progress import FailureClass, RunPhase
from talm.errors import AgentError

log = structlog.get_logger()

CRASHED: Final = 1
_LOCK_PATIENCE_S: Final = 60.0  # twice a pod's grace: the run before is gone by then


async def run_agent(settings: Settings) -> int:
    """Do one run and return the process's exit code; nothing is raised but by a cancelled caller.

    SIGTERM and SIGINT end it as Interrupted: record written, exit within 5 s, what arrived kept.
    """
    progress = Progress(settings.run or str(uuid.uuid4()))
    try:
        sinks = _sinks(settings)
    except AgentError as exc:
        log.warning("failed", failure=exc.kind, text=str(exc))
        _leave_message(settings.termination_log, exc)
        return exc.exit_code
    async with progress.told_to(sinks):
        error = await _outcome(settings, progress)
        progress.finish(error)
        _leave_message(settings.termination_log, error)
    return error.exit_code if error else 0


async def _outcome(settings: Settings, progress: Progress) -> AgentError | None:
    """Pull, and turn every way to fail into an error of a class."""
    work = asyncio.create_task(pull(settings, progress))
    with _signals_cancel(work):
        try:
            await work
        except asyncio.CancelledError:
            return failure(FailureClass.INTERRUPTED, "ended by a signal; what arrived is kept")
        except AgentError as exc:
            return exc
        except Exception as exc:
            log.exception("crashed")
            return AgentError("Bug", f"{type(exc).__name__}: {exc}", CRASHED)
    return None


async def pull(settings: Settings, progress: Progress) -> None:
    """Bring every image of the spec into the store.  Raises AgentError.

    One image that fails for good does not stop the others; the first one's class is the run's,
    and the text names them all.
    """
    spec = settings.spec()
    store = OciLayout(settings.layout_directory())
    store.create()
    spool = Spool(settings.spool or store.directory / ".spool")
    auths = read_auth_file(settings.auth_file)
    async with spool.locked(_LOCK_PATIENCE_S), open_session(settings.stall_s) as session:
        registry = Registry(
            session, auths, retry_for_s=settings.retry_for_s, on_retry=progress.retrying
        )
        progress.enter(RunPhase.RESOLVING)
        images = await _resolve(registry, spec, settings.architecture)
        missing = {image.digest: await store.missing(image) for image in images}
        _plan(spec, images, missing, spool=spool, progress=progress)
        progress.enter(RunPhase.DOWNLOADING)
        downloads = Downloads(registry, spool, progress, streams=settings.streams)
        run = _Run(store, spool, downloads, progress)
        errors = await run.bring_all(images, missing)
    _raise_all(errors, len(images))
    progress.enter(RunPhase.VERIFYING)
    for image in images:
        if not await store.has(image):
            raise failure(FailureClass.STORE_FAILED, f"{store.directory} lost {image.reference}")


async def _resolve(registry: Registry, spec: Spec, architecture: str) -> tuple[Image, ...]:
    """Read the manifests of all images, the release first."""
    images = []
    for reference in spec.images:
        kind = (
            FailureClass.RELEASE_UNREADABLE
            if reference == spec.release
            else FailureClass.IMAGE_NOT_FOUND
        )
        images.append(await resolve(registry, reference, architecture, kind))
    return tuple(images)


def _plan(
    spec: Spec,
    images: Sequence[Image],
    missing: dict[str, tuple[Blob, ...]],
    *,
    spool: Spool,
    progress: Progress,
) -> None:
    """Set the totals and check the space.  Raises AgentError (InsufficientSpace).

    Nothing is checked when nothing is missing: a run that finds all of it cached succeeds.
    """
    every = {blob.digest: blob.size for image in images for blob in image.blobs}
    wanted = {blob.digest: blob.size for blobs in missing.values() for blob in blobs}
    spooled = sum(min(spool.held(digest), size) for digest, size in wanted.items())
    needed = sum(wanted.values()) - spooled
    total = sum(every.values())
    progress.planned(images=len(images), total=total, held=total - needed)
    free = shutil.disk_usage(spool.directory).free
    least = max(needed, spec.space_required_gib << 30)
    if needed and free < least:
        raise failure(
            FailureClass.INSUFFICIENT_SPACE,
            f"{spool.directory}: {least / 2**30:.2f} GiB needed, {free / 2**30:.2f} GiB free",
        )


class _Run:
    """The images of one run on their way from the registry into the store."""

    def __init__(
        self, store: ImageStore, spool: Spool, downloads: Downloads, progress: Progress
    ) -> None:
        self._store = store
        self._spool = spool
        self._downloads = downloads
        self._progress = progress

    async def bring_all(
        self, images: Sequence[Image], missing: dict[str, tuple[Blob, ...]]
    ) -> list[AgentError]:
        """Bring all images; those that failed come back as errors, in the order of `images`."""
        async with asyncio.TaskGroup() as group:
            ways = [
                group.create_task(self._bring(group, image, missing[image.digest]))
                for image in images
            ]
        return [error for way in ways if (error := way.result())]

    async def _bring(
        self, group: asyncio.TaskGroup, image: Image, missing: Sequence[Blob]
    ) -> AgentError | None:
        self._progress.working_on(str(image.reference))
        try:
            await self._downloads.bring(group, image, missing)
            await self._store.put(image, self._spool)
        except AgentError as exc:
            log.warning("image failed", image=str(image.reference), error=str(exc))
            return exc
        self._progress.image_done()
        return None


def _raise_all(errors: Sequence[AgentError], images: int) -> None:
    if len(errors) == 1:
        raise errors[0]
    if errors:
        first = errors[0]
        texts = "; ".join(str(error) for error in errors)
        raise AgentError(
            first.kind, f"{len(errors)} of {images} images failed: {texts}", first.exit_code
        )


def _sinks(settings: Settings) -> list[Sink]:
    target = settings.progress_target()
    sinks: list[Sink] = [TerminalSink() if sys.stderr.isatty() else LogSink()]
    if target:
        sinks.append(ConfigMapSink(*target))
    return sinks


@contextlib.contextmanager
def _signals_cancel(work: asyncio.Task[None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        loop.add_signal_handler(number, work.cancel)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


def _leave_message(file: Path | None, error: AgentError | None) -> None:
    """Write `CLASS: text` where the kubelet reads a pod's last words (it keeps 4096 bytes)."""
    if file is None or error is None:
        return
    try:
        file.write_bytes(str(error).encode()[:4096])
    except OSError as exc:
        log.warning("no termination message", file=str(file), error=str(exc))
