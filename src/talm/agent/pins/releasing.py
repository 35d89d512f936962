"""Taking pins back: by hand on a node, in the short Job that the hub asks for, or on every node.

one node    Job: unpin ──► delete the namespace
all nodes   DaemonSet: unpin as each pod's first container ──► its pod is ready
            ──► all are: whoever sees it deletes the namespace
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import structlog

from talm.agent.pins.opening import open_pins
from talm.agent.settings import Settings
from talm.agent.sinks import connect
from talm.api import kinds
from talm.errors import ApiError, NotFound

log = structlog.get_logger()

PATIENCE_S: Final = 3600.0
_LOOK_S: Final = 10.0


async def release(settings: Settings, last_of: str = "") -> int:
    """Take back the pins of `settings.pinned_for` ("": of any run); returns how many there were.

    `last_of` is a namespace that is deleted then, with this process in it: nothing is left behind
    on the cluster.  Raises AgentError and ApiError; the namespace stays then, for another attempt.
    """
    run = settings.pinned_for
    count = await open_pins(settings.store, settings.spool_directory(), run).release(run)
    if last_of:
        await _delete(last_of)
    return count


async def leave(namespace: str, daemon_set: str, patience_s: float = PATIENCE_S) -> bool:
    """Wait until each pod of the DaemonSet is ready, then delete the namespace with all of them.

    False: not all were within `patience_s`; it is deleted all the same, since a node that is away
    for so long may never come back.  Raises ApiError when nothing can be asked or deleted.
    """
    give_up_at = time.monotonic() + patience_s
    while not (ready := await _all_ready(namespace, daemon_set)):
        if time.monotonic() >= give_up_at:
            break
        await asyncio.sleep(min(_LOOK_S, patience_s))
    await _delete(namespace)
    return ready


async def _all_ready(namespace: str, daemon_set: str) -> bool:
    """Ask; an API server that is away for a moment (it may be on a node of these) says no."""
    try:
        async with await connect() as client:
            found = await client.get(kinds.DAEMON_SET, daemon_set, namespace)
    except NotFound:
        return True
    except ApiError as exc:
        log.warning("not asked", daemon_set=daemon_set, error=str(exc))
        return False
    status: dict[str, Any] = found.get("status") or {}
    wanted = status.get("desiredNumberScheduled") or 0
    seen = status.get("observedGeneration") == found["metadata"].get("generation")
    return seen and 0 < wanted <= (status.get("numberReady") or 0)


async def _delete(namespace: str) -> None:
    async with await connect() as client:
        try:
            await client.delete(kinds.NAMESPACE, namespace)
        except NotFound:
            log.info("the namespace is gone already", namespace=namespace)
