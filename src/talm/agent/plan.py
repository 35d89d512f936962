"""What a run will do: the images, what of them is missing, in which order.  Pure.

Progress totals, the space that is needed, and what `talm agent plan` prints all come from here.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from talm.agent.content.manifests import Blob, Image
from talm.agent.failures import text_of
from talm.errors import AgentError

# A release of 16 GiB compressed takes 32 GiB unpacked; layers do not say it themselves.
UNPACKED_FACTOR: Final = 2


@dataclasses.dataclass(frozen=True, slots=True)
class PlannedImage:
    """One image and those of its blobs that the store lacks."""

    image: Image
    missing: tuple[Blob, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """All images in the order in which they are brought; bytes are compressed unless said.

    `spooled_bytes`: what of the missing bytes an earlier run has left in the spool.
    `failed`: images that cannot be had, and are not part of the rest.
    """

    images: tuple[PlannedImage, ...]
    spooled_bytes: int = 0
    warnings: tuple[str, ...] = ()
    failed: tuple[AgentError, ...] = ()

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """Every blob once."""
        return _once(blob for planned in self.images for blob in planned.image.blobs)

    @property
    def missing(self) -> tuple[Blob, ...]:
        """Every blob that the store lacks, once, in the order in which they are fetched."""
        return _once(blob for planned in self.images for blob in planned.missing)

    @property
    def cached(self) -> int:
        """How many images the store has whole."""
        return sum(not planned.missing for planned in self.images)

    @property
    def total_bytes(self) -> int:
        """The size of all blobs."""
        return sum(blob.size for blob in self.blobs)

    @property
    def missing_bytes(self) -> int:
        """The size of the blobs that the store lacks."""
        return sum(blob.size for blob in self.missing)

    @property
    def download_bytes(self) -> int:
        """What must still come over the link."""
        return self.missing_bytes - self.spooled_bytes

    @property
    def unpacked_bytes(self) -> int:
        """Estimated: what the missing blobs will take in a store that unpacks them."""
        return self.missing_bytes * UNPACKED_FACTOR

    def as_data(self) -> dict[str, object]:
        """Return the plan as `talm agent plan -o json` prints it."""
        return {
            "images": [_image_data(planned) for planned in self.images],
            "totals": {
                "images": len(self.images),
                "imagesCached": self.cached,
                "blobs": len(self.blobs),
                "blobsMissing": len(self.missing),
                "bytes": self.total_bytes,
                "bytesMissing": self.missing_bytes,
                "bytesSpooled": self.spooled_bytes,
                "bytesToDownload": self.download_bytes,
                "estimatedUnpackedBytes": self.unpacked_bytes,
            },
            "warnings": list(self.warnings),
            "failed": [{"class": e.kind, "text": text_of(e)} for e in self.failed],
        }


def make_plan(
    images: Iterable[Image],
    missing: Mapping[str, Sequence[Blob]],
    spooled: Mapping[str, int],
    warnings: Iterable[str] = (),
) -> Plan:
    """Plan `images`; `missing` by the image's digest, `spooled` bytes by the blob's.

    An image that is named twice is brought once; the same image under two names keeps both,
    since runtimes look for a name.
    """
    once = {(str(image.reference), image.digest): image for image in images}
    planned = [PlannedImage(image, tuple(missing[image.digest])) for image in once.values()]
    plan = Plan(_early_first(planned))
    held = sum(min(spooled.get(blob.digest, 0), blob.size) for blob in plan.missing)
    return dataclasses.replace(plan, spooled_bytes=held, warnings=tuple(warnings))


def _early_first(images: Sequence[PlannedImage]) -> tuple[PlannedImage, ...]:
    """Order so that images are complete early: always the one that needs the fewest bytes next.

    What an image before it brings counts as there.  What is cached comes first.
    """
    sharing: dict[str, list[int]] = defaultdict(list)
    needs = []
    for number, planned in enumerate(images):
        needs.append(sum(blob.size for blob in planned.missing))
        for blob in planned.missing:
            sharing[blob.digest].append(number)
    queue = [(need, number) for number, need in enumerate(needs)]
    heapq.heapify(queue)
    ordered: list[int] = []
    taken: set[int] = set()
    while queue:
        need, number = heapq.heappop(queue)
        if number in taken or need != needs[number]:
            continue  # has been taken, or needs less by now and is in the queue again
        taken.add(number)
        ordered.append(number)
        for blob in images[number].missing:
            for other in sharing.pop(blob.digest, ()):
                needs[other] -= blob.size
                if other not in taken:
                    heapq.heappush(queue, (needs[other], other))
    return tuple(images[number] for number in ordered)


def _once(blobs: Iterable[Blob]) -> tuple[Blob, ...]:
    return tuple({blob.digest: blob for blob in blobs}.values())


def _image_data(planned: PlannedImage) -> dict[str, object]:
    return {
        "image": str(planned.image.reference),
        "digest": planned.image.digest,
        "cached": not planned.missing,
        "bytes": sum(blob.size for blob in planned.image.blobs),
        "bytesMissing": sum(blob.size for blob in planned.missing),
        "blobs": [
            {"digest": blob.digest, "size": blob.size, "missing": blob in planned.missing}
            for blob in planned.image.blobs
        ],
    }
