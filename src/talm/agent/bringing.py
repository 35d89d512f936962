"""The images of one run on their way from the registry into the store, each for itself.

One that fails for good does not stop the others.  A blob leaves the spool with the last image that
lacked it; what a failed image has brought stays for the next run.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

import structlog

from talm.agent.content.manifests import Blob, Image
from talm.agent.pins.keeping import Keeper
from talm.agent.plan import Plan
from talm.agent.progress import Progress
from talm.agent.stores.base import ImageStore
from talm.agent.transfer.download import Downloads
from talm.agent.transfer.spool import Spool
from talm.api.pod import FINAL_CODES
from talm.errors import AgentError

log = structlog.get_logger()


class Bringing:
    """The images of one run on their way from the registry into the store."""

    def __init__(
        self,
        store: ImageStore,
        spool: Spool,
        downloads: Downloads,
        progress: Progress,
        keeper: Keeper,
    ) -> None:
        self._store = store
        self._spool = spool
        self._downloads = downloads
        self._progress = progress
        self._keeper = keeper
        self._awaited: Counter[str] = Counter()  # by digest: images that are not in the store yet

    async def bring_all(self, plan: Plan) -> list[AgentError]:
        """Bring all images in the plan's order; those that failed come back as errors."""
        await self._keeper.expect([planned.image for planned in plan.images])
        for planned in plan.images:
            self._awaited.update(blob.digest for blob in planned.missing)
        async with asyncio.TaskGroup() as group:
            ways = [
                group.create_task(self._bring(group, planned.image, planned.missing))
                for planned in plan.images
            ]
        return [error for way in ways if (error := way.result())]

    async def _bring(
        self, group: asyncio.TaskGroup, image: Image, missing: Sequence[Blob]
    ) -> AgentError | None:
        try:
            await self._downloads.bring(group, image, missing)
            await self._store.put(image, self._spool)
            await self._keeper.pin(image)
        except AgentError as exc:
            log.warning("image failed", image=str(image.reference), error=str(exc))
            self._progress.image_failed(exc, str(image.reference))
            return exc
        self._release(missing)
        self._progress.image_done(str(image.reference))
        return None

    def _release(self, blobs: Sequence[Blob]) -> None:
        """Drop what no other image waits for."""
        for blob in blobs:
            self._awaited[blob.digest] -= 1
            if not self._awaited[blob.digest]:
                self._spool.drop(blob.digest)


def raise_all(errors: Sequence[AgentError], images: int) -> None:
    """Raise the failure of a run, when one of its `images` failed; the text names every one.

    Its class is the first that another attempt may mend, so that there is one.
    """
    if len(errors) == 1:
        raise errors[0]
    if errors:
        first = next((error for error in errors if error.exit_code not in FINAL_CODES), errors[0])
        texts = "; ".join(str(error) for error in errors)
        raise AgentError(
            first.kind, f"{len(errors)} of {images} images failed: {texts}", first.exit_code
        )
