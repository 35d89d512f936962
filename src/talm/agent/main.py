"""One run of the workload: what to pull, what is missing, bring it, ask the store, say so.

    spec ──► resolve ──► plan ──► space? ──► spool ──► store, image by image ──► asked

Each step can be killed and repeated: what arrived is not fetched again.  Exit code 0 means that
the store, asked, has every image; any other has a class (`api/progress.py`).
Not here: what to pull (resolving.py), in which order (plan.py), how a run ends (running.py).
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from talm.agent import attempts, leftovers
from talm.agent.bringing import Bringing, raise_all
from talm.agent.content.layerfiles import LayerFiles
from talm.agent.content.resolving import Resolved, Resolver
from talm.agent.endings import Deadline
from talm.agent.failures import failure
from talm.agent.nodefacts import Room
from talm.agent.pins.imagesets import PATIENCE_S
from talm.agent.pins.keeping import Keeper
from talm.agent.pins.opening import open_pins
from talm.agent.plan import Plan, make_plan
from talm.agent.progress import Progress
from talm.agent.running import run
from talm.agent.settings import Settings
from talm.agent.spec import Spec
from talm.agent.stores.base import ImageStore
from talm.agent.stores.opening import open_store
from talm.agent.transfer.bandwidth import Bucket
from talm.agent.transfer.download import Downloads
from talm.agent.transfer.node import read_node
from talm.agent.transfer.registry import Registry, open_session
from talm.agent.transfer.spool import Spool
from talm.api.progress import FailureClass, RunPhase
from talm.errors import AgentError

_LOCK_PATIENCE_S: Final = 60.0  # twice a pod's grace: the run before is gone by then


async def run_agent(settings: Settings, on_signal: Callable[[], None] = lambda: None) -> int:
    """Do one run and return the process's exit code, as `running.run` says."""
    progress = Progress(settings.run or str(uuid.uuid4()))
    return await run(
        settings, progress, lambda deadline: pull(settings, progress, deadline), on_signal
    )


async def pull(settings: Settings, progress: Progress, deadline: Deadline) -> None:
    """Bring every image of the spec into the store.  Raises AgentError.

    One image that fails for good does not stop the others; the text names them all.
    """
    spec = settings.spec()
    spool = Spool(settings.spool_directory())
    keeper = _keeper(settings, spool, progress, deadline)
    namespace = (settings.progress_target() or ("", ""))[0]
    async with spool.locked(_LOCK_PATIENCE_S):
        leftovers.expire(spool, dt.datetime.now(dt.UTC))
        leftovers.sweep(spool)
        with leftovers.noted(spool, progress.record.run) as last:
            async with attempts.told(namespace, progress, deadline, last):
                await _bring(settings, spec, spool, progress, keeper)
        with _warned_only(progress):
            leftovers.empty(spool)


def _keeper(settings: Settings, spool: Spool, progress: Progress, deadline: Deadline) -> Keeper:
    """The run's pins; asking whether they count must not cost it its good end."""

    def patience_s() -> float:
        return max(0.0, min(PATIENCE_S, deadline.left_s() / 2))

    run = settings.pinned_for or progress.record.run
    return Keeper(open_pins(settings.store, spool.directory, run, patience_s), progress)


async def _bring(
    settings: Settings, spec: Spec, spool: Spool, progress: Progress, keeper: Keeper
) -> None:
    """Resolve, plan, check the space, bring, and ask the store."""
    node = read_node(settings.host_root, settings.auth_file, os.environ)
    async with open_session(settings.stall_s) as session:
        registry = Registry(
            session,
            node,
            retry_for_s=settings.retry_for_s,
            on_retry=progress.retrying,
            persistent=settings.job_deadline_s is not None,
        )
        bucket = Bucket(settings.bytes_per_s)
        store = open_store(settings.store, registry)
        await store.prepare()
        downloads = Downloads(registry, spool, progress, streams=settings.streams, bucket=bucket)
        progress.enter(RunPhase.RESOLVING)
        files = LayerFiles(store, (spool,), downloads)
        resolved = await Resolver(registry, files, settings.architecture).resolve(spec)
        plan = await look(resolved, store, spool)
        _tell_plan(plan, resolved, progress)
        room = Room(settings, store)
        room.check(plan, spec.space_required_gib)
        progress.enter(RunPhase.DOWNLOADING)
        errors = await Bringing(store, spool, downloads, progress, keeper).bring_all(plan)
    raise_all([*resolved.errors, *errors], len(plan.images) + len(resolved.errors))
    progress.enter(RunPhase.VERIFYING)
    await _verify(plan, store, progress)
    await keeper.conclude([planned.image for planned in plan.images])
    with _warned_only(progress):
        for warning in room.warnings():
            progress.warn(warning)


@contextlib.contextmanager
def _warned_only(progress: Progress) -> Iterator[None]:
    """Tell what goes wrong when every image is there; it makes no failure of the run."""
    try:
        yield
    except AgentError as exc:
        progress.warn(str(exc))


def _tell_plan(plan: Plan, resolved: Resolved, progress: Progress) -> None:
    progress.planned(
        images=len(plan.images) + len(resolved.errors),
        total=plan.total_bytes,
        held=plan.total_bytes - plan.download_bytes,
        names=[str(planned.image.reference) for planned in plan.images],
    )
    for error in resolved.errors:
        progress.image_failed(error)
    for warning in plan.warnings:
        progress.warn(warning)


async def _verify(plan: Plan, store: ImageStore, progress: Progress) -> None:
    """Ask the store for every image.  Raises AgentError (StoreFailed) that names what it lacks."""
    errors = []
    for image in (planned.image for planned in plan.images):
        if not await store.has(image):
            text = f"{store.directory} has lost {image.reference}"
            errors.append(failure(FailureClass.STORE_FAILED, text))
            progress.image_lost(errors[-1], str(image.reference))
    raise_all(errors, len(plan.images))


async def plan_only(settings: Settings) -> Plan:
    """Return what `pull` would do; nothing is changed but a directory that is removed again.

    What must be read to know it (catalogs, the release's list) is read from the store and the
    spool where they have it.  Raises AgentError when it cannot be known; a single image that
    cannot be had is in `Plan.failed`.
    """
    spec = settings.spec()
    store = open_store(settings.store)
    spool = Spool(settings.spool_directory())
    node = read_node(settings.host_root, settings.auth_file, os.environ)
    progress = Progress("plan")  # says what is tried again, which may take its time
    with tempfile.TemporaryDirectory(prefix="talm-plan-") as directory:
        scratch = Spool(Path(directory))
        async with open_session(settings.stall_s) as session:
            registry = Registry(
                session, node, retry_for_s=settings.retry_for_s, on_retry=progress.retrying
            )
            downloads = Downloads(registry, scratch, progress, streams=settings.streams)
            files = LayerFiles(store, (spool, scratch), downloads)
            resolved = await Resolver(registry, files, settings.architecture).resolve(spec)
        plan = await look(resolved, store, spool)
    short = Room(settings, store).shortages(plan, spec.space_required_gib)
    warnings = (*plan.warnings, *short)
    return dataclasses.replace(plan, warnings=warnings, failed=resolved.errors)


async def look(resolved: Resolved, store: ImageStore, spool: Spool) -> Plan:
    """Ask store and spool what is there, and plan the rest."""
    missing = {image.digest: await store.missing(image) for image in resolved.images}
    digests = {blob.digest for blobs in missing.values() for blob in blobs}
    spooled = {digest: spool.held(digest) for digest in digests}
    return make_plan(resolved.images, missing, spooled, resolved.warnings)
