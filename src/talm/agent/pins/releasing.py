"""Taking pins back: by hand on a node, or in the short Job that the hub asks for."""

from __future__ import annotations

import structlog

from talm.agent.pins.opening import open_pins
from talm.agent.settings import Settings
from talm.agent.sinks import connect
from talm.api import kinds
from talm.errors import NotFound

log = structlog.get_logger()


async def release(settings: Settings, last_of: str = "") -> int:
    """Take back the pins of `settings.pinned_for` ("": of any run); returns how many there were.

    `last_of` is a namespace that is deleted then, with this process in it: nothing is left behind
    on the cluster.  Raises AgentError and ApiError; the namespace stays then, for another attempt.
    """
    run = settings.pinned_for
    count = await open_pins(settings.store, settings.spool_directory(), run).release(run)
    if last_of:
        async with await connect() as client:
            try:
                await client.delete(kinds.NAMESPACE, last_of)
            except NotFound:
                log.info("the namespace is gone already", namespace=last_of)
    return count
