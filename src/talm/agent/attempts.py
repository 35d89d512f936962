"""Which attempt of its Job this is, and what became of those before it.

Asked of the pods of its own namespace; of the spool's note where no pods can be listed.  A pod that
was lost with its node cannot say so: then the node's boot id, noted by each run, is another one.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

import msgspec
import structlog

from talm.agent.endings import Deadline
from talm.agent.leftovers import SUCCEEDED, LastRun, boot_id
from talm.agent.pods import Pod
from talm.agent.progress import Progress
from talm.agent.sinks import connect
from talm.api import kinds
from talm.api.progress import CLASS_OF_CODE, FailureClass
from talm.errors import TalmError

log = structlog.get_logger()

REBOOTED: Final = "node rebooted"
_MAX_TEXT: Final = 200
# From the pod's start to the program's: its image comes over the same line.  More is a clock that
# was set in between, as after the boot of a node whose own clock is wrong.
_LONGEST_S: Final = 900.0
_PATIENCE_S: Final = 3.0
# After a reboot the API server of a single node may come up after us.
_PAUSES_S: Final = (0.0, 5.0, 15.0, 30.0, 60.0)


@dataclasses.dataclass(frozen=True, slots=True)
class History:
    """This run is the Job's `attempt`-th; `earlier` has one text for each of those before it.

    `started_before_s`: how long the Job had been running when this run began.
    """

    attempt: int = 1
    earlier: tuple[str, ...] = ()
    started_before_s: float = 0.0


def from_note(last: LastRun | None, boot: str) -> History:
    """Tell from the spool's note alone: what it knows is the run before this one."""
    if last is None or last.ended == SUCCEEDED:
        return History()
    end = last.ended or "killed"
    if last.ended in ("", FailureClass.INTERRUPTED) and last.boots.get(last.run, boot) != boot:
        end = REBOOTED
    return History(last.attempt + 1, (f"attempt {last.attempt}: {end}",))


def from_pods(
    pods: Sequence[Pod], run: str, boots: Mapping[str, str], began: dt.datetime
) -> History | None:
    """Tell from the pods of the namespace; None when this run's own pod is not among them.

    `boots` maps a run (its pod's uid) to the boot id of the node at its time.  `began` is by the
    node's clock, as is `startTime`; creation times are by the API server's: never compared.
    """
    own = next((pod for pod in pods if pod.metadata.uid == run), None)
    if own is None or not own.job:
        return None
    mine = sorted((pod for pod in pods if pod.job == own.job), key=lambda pod: pod.order)
    mine = mine[: mine.index(own) + 1]
    texts = []
    for number, (pod, after) in enumerate(itertools.pairwise(mine), 1):
        then, later = (boots.get(p.metadata.uid, "") for p in (pod, after))
        rebooted = bool(then and later and then != later)
        texts.append(f"attempt {number}: {_end_of(pod, rebooted)}")
    before = (own.order[0] - mine[0].order[0]).total_seconds()
    waited = (began - own.status.start_time).total_seconds() if own.status.start_time else 0.0
    return History(len(mine), tuple(texts), max(0.0, before) + min(max(0.0, waited), _LONGEST_S))


def _end_of(pod: Pod, rebooted: bool) -> str:
    """Say in a few words how a pod ended."""
    states = [container.state.terminated for container in pod.status.container_statuses or ()]
    end = next((state for state in states if state), None)
    kind = CLASS_OF_CODE.get(end.exit_code) if end else None
    if rebooted and kind in (None, FailureClass.INTERRUPTED):
        return REBOOTED
    if end and kind:
        return (end.message if end.message.startswith(kind) else str(kind))[:_MAX_TEXT]
    if pod.status.reason:
        return pod.status.reason
    if end:
        return f"exit code {end.exit_code}" + (f" ({end.reason})" if end.reason else "")
    return pod.status.phase or "gone"


@contextlib.asynccontextmanager
async def told(
    namespace: str, progress: Progress, deadline: Deadline, last: LastRun | None
) -> AsyncIterator[None]:
    """Find out and tell while the block runs; a block that ends at once waits 3 s for it.

    `namespace` "": there is nobody to ask for pods.
    """
    telling = asyncio.create_task(_tell(namespace, progress, deadline, last))
    patience_s = _PATIENCE_S
    try:
        yield
    except asyncio.CancelledError:
        patience_s = 0.0
        raise
    finally:
        await asyncio.wait([telling], timeout=patience_s)
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)


async def _tell(
    namespace: str, progress: Progress, deadline: Deadline, last: LastRun | None
) -> None:
    run, boot = progress.record.run, boot_id()
    boots = {**(last.boots if last else {}), run: boot}
    known = None
    for pause_s in _PAUSES_S if namespace else ():
        await asyncio.sleep(pause_s)
        try:
            known = from_pods(await _pods(namespace), run, boots, deadline.began)
            break
        except (TalmError, OSError, msgspec.MsgspecError) as exc:
            log.warning("pods not listed", namespace=namespace, error=str(exc))
    history = known or from_note(last, boot)
    deadline.started_before(history.started_before_s)
    progress.is_attempt(history.attempt, history.earlier)


async def _pods(namespace: str) -> list[Pod]:
    async with await connect() as client:
        found: list[dict[str, Any]] = await client.list(kinds.POD, namespace)
    return [msgspec.convert(pod, Pod) for pod in found]
