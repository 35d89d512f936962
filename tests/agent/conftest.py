from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from talm.agent.content.layerfiles import LayerFiles
from talm.agent.content.manifests import Image, resolve
from talm.agent.content.references import parse
from talm.agent.progress import Progress
from talm.agent.settings import Settings
from talm.agent.stores.oci_layout import OciLayout
from talm.agent.transfer.download import Downloads
from talm.agent.transfer.node import Node
from talm.agent.transfer.registry import Registry, open_session
from talm.agent.transfer.spool import Spool
from talm.api.progress import FailureClass
from talm.sim.images import SyntheticImage, build_image

from .faultyregistry import FaultyRegistry, serve


@pytest.fixture
async def registry() -> AsyncIterator[FaultyRegistry]:
    async with serve() as registry:
        yield registry


@pytest.fixture(scope="session")
def release() -> SyntheticImage:
    """Two layers of 300 and 40 kB."""
    chance = random.Random(4)
    layers = [{"a": chance.randbytes(300_000)}, {"b": chance.randbytes(40_000)}]
    return build_image("openshift-release/release", layers)


@pytest.fixture
def big(release: SyntheticImage) -> str:
    """The digest of the release's largest blob."""
    return max(release.blobs, key=lambda digest: len(release.blobs[digest]))


async def until(holds: Callable[[], bool]) -> None:
    """Wait for something that tells nobody when it happens; the test's own timeout bounds it."""
    while not holds():  # noqa: ASYNC110
        await asyncio.sleep(0.005)


SettingsFor = Callable[..., Settings]


@pytest.fixture
def settings_for(tmp_path: Path) -> SettingsFor:
    """Settings of a run that gives up after 20 s without a byte; keywords replace any of them.

    What is given by position is an additional image, pulled as it is.
    """

    def settings(*images: str, **others: object) -> Settings:
        known: dict[str, object] = {
            "additional_images": images,
            "store": f"oci-layout:{tmp_path / 'images'}",
            "termination_log": tmp_path / "termination-log",
            "retry_for_s": 20.0,
            "stall_s": 20.0,
            "run": "run-1",
            "host_root": tmp_path / "host",
        }
        return Settings(**(known | others))  # type: ignore[arg-type]

    return settings


@dataclasses.dataclass(frozen=True, slots=True)
class Reader:
    """What reads images of the faulty registry, with an empty store and spool."""

    registry: Registry
    files: LayerFiles

    async def image(self, spec: str) -> Image:
        kind = FailureClass.IMAGE_NOT_FOUND
        return await resolve(self.registry, parse(spec), "amd64", kind)


@pytest.fixture
async def reader(tmp_path: Path) -> AsyncIterator[Reader]:
    store, spool = OciLayout(tmp_path / "images"), Spool(tmp_path / "spool")
    async with spool.locked(0), open_session(20.0) as session:
        registry = Registry(session, Node(), retry_for_s=20.0)
        downloads = Downloads(registry, spool, Progress("run"), streams=4)
        yield Reader(registry, LayerFiles(store, (spool,), downloads))
