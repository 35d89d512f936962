"""A synthetic release of a chosen size: images that share bases, as real OCI images.

Half of the bytes are in three bases that stand upon each other, the rest in one layer per
component; a third of a layer is noise and the rest repeats, so that unpacking costs what it costs
elsewhere.  The same size gives the same bytes.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import aiohttp

from talm.sim.images import Layer, SyntheticImage, build_image, pack, push_image

RELEASE: Final = "release/release"
_BASES: Final = (0.28, 0.12, 0.10)  # shares of the whole; a base stands on the ones before it
_FILES: Final = 20
_NOISE: Final = 3000
_PATTERN: Final = 4000
_NOISE_SHARE: Final = _NOISE / (_NOISE + _PATTERN)
_PUSH_TIMEOUT: Final = aiohttp.ClientTimeout(total=300)


@dataclass(frozen=True)
class Release:
    """What to pull.  `references` are pull specs by digest; the release image is the last."""

    registry: str
    images: tuple[SyntheticImage, ...]

    @property
    def references(self) -> list[str]:
        """Every image's pull spec."""
        return [f"{self.registry}/{image.repository}@{image.digest}" for image in self.images]

    @property
    def digests(self) -> frozenset[str]:
        """Every image's digest."""
        return frozenset(image.digest for image in self.images)

    @property
    def unique_bytes(self) -> int:
        """The size of all blobs, each counted once."""
        sizes = {digest: len(blob) for image in self.images for digest, blob in image.blobs.items()}
        return sum(sizes.values())


def build(registry: str, *, size_mb: float, components: int, seed: int = 1) -> Release:
    """Build a release of about `size_mb` MB (10^6 bytes) whose images are at `registry`."""
    dice = random.Random(seed)  # noqa: S311
    total = size_mb * 1e6
    bases = [_layer(dice, f"base-{n}", total * share) for n, share in enumerate(_BASES)]
    weights = [dice.lognormvariate(0, 0.75) for _ in range(components)]
    scale = total * (1 - sum(_BASES)) / sum(weights)
    images = []
    for number, weight in enumerate(weights):
        name = f"component-{number:03d}"
        below = bases[: dice.choice((1, 2, 3, 3))]
        own = _layer(dice, name, weight * scale)
        images.append(build_image(f"release/{name}", [*below, own]))
    documents = {"release-manifests/image-references": _references(registry, images)}
    return Release(registry, (*images, build_image(RELEASE, [*bases, documents])))


async def push(release: Release, address: str) -> None:
    """Push it to the registry at `address` (HOST:PORT, plain HTTP)."""
    pushed: dict[str, str] = {}
    async with aiohttp.ClientSession(timeout=_PUSH_TIMEOUT) as session:
        for image in release.images:
            await push_image(session, address, image, mounts=pushed)
            pushed |= dict.fromkeys(image.blobs, image.repository)


def _layer(dice: random.Random, name: str, size: float) -> Layer:
    """Make a layer of about `size` bytes."""
    pattern = dice.randbytes(100) * (_PATTERN // 100)
    pieces = max(1, round(size / _FILES / _NOISE))
    return pack(
        {
            f"usr/lib/{name}/{n:02d}": b"".join(
                dice.randbytes(_NOISE) + pattern for _ in range(pieces)
            )
            for n in range(_FILES)
        }
    )


def _references(registry: str, images: Sequence[SyntheticImage]) -> bytes:
    tags = [
        {
            "name": image.repository.rpartition("/")[2],
            "from": {
                "kind": "DockerImage",
                "name": f"{registry}/{image.repository}@{image.digest}",
            },
        }
        for image in images
    ]
    stream = {"kind": "ImageStream", "apiVersion": "image.openshift.io/v1", "spec": {"tags": tags}}
    return json.dumps(stream).encode()
