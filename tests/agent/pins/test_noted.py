from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from talm.agent.content.manifests import Image
from talm.agent.pins.base import PINNED, Verdict
from talm.agent.pins.noted import NOTE, NotedPins
from tests.agent.pins.conftest import image_of

A, B = image_of("a"), image_of("b")


class Names:
    """Pins in memory, which several runs share; `begun` lets a test be in the middle of one."""

    def __init__(self) -> None:
        self.pinned: set[str] = set()
        self.begun = asyncio.Event()
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    async def expect(self, images: Sequence[Image]) -> None:
        self.begun.set()
        await self.goes_on.wait()

    async def pin(self, image: Image) -> Verdict:
        self.pinned.add(image.digest)
        return PINNED

    async def conclude(self, images: Sequence[Image]) -> Verdict:
        self.pinned = {image.digest for image in images}
        return PINNED

    async def release(self, run: str = "") -> int:
        count = len(self.pinned)
        self.pinned.clear()
        return count


async def pull(names: Names, directory: Path, run: str, *images: Image) -> None:
    pins = NotedPins(names, directory, run)
    await pins.expect(images)
    for image in images:
        await pins.pin(image)
    await pins.conclude(images)


async def test_a_run_s_pins_are_taken_back_by_its_name(tmp_path: Path) -> None:
    names = Names()
    await pull(names, tmp_path, "run-1", A, B)
    assert await NotedPins(names, tmp_path, "").release("run-1") == 2
    assert not names.pinned
    assert await NotedPins(names, tmp_path, "").release("run-1") == 0


async def test_what_another_run_has_pinned_since_stays(tmp_path: Path) -> None:
    names = Names()
    await pull(names, tmp_path, "run-1", A)
    await pull(names, tmp_path, "run-2", A, B)
    assert await NotedPins(names, tmp_path, "").release("run-1") == 0
    assert names.pinned == {A.digest, B.digest}


async def test_a_run_that_has_only_begun_has_the_older_pins_too(tmp_path: Path) -> None:
    names = Names()
    await pull(names, tmp_path, "run-1", A)
    await NotedPins(names, tmp_path, "run-2").expect([A])
    assert await NotedPins(names, tmp_path, "").release("run-1") == 0
    assert names.pinned == {A.digest}


async def test_by_hand_everybody_s_pins_are_taken_back(tmp_path: Path) -> None:
    names = Names()
    await pull(names, tmp_path, "run-1", A)
    assert await NotedPins(names, tmp_path, "").release() == 1
    assert not (tmp_path / NOTE).exists()


async def test_pinning_and_unpinning_wait_for_each_other(tmp_path: Path) -> None:
    names = Names()
    await pull(names, tmp_path, "run-1", A)
    names.begun.clear()
    names.goes_on.clear()
    begins = asyncio.create_task(NotedPins(names, tmp_path, "run-2").expect([B]))
    await names.begun.wait()
    takes_back = asyncio.create_task(NotedPins(names, tmp_path, "").release("run-1"))
    await asyncio.wait([takes_back], timeout=0.3)
    assert not takes_back.done()
    names.goes_on.set()
    await begins
    assert await takes_back == 0
    assert names.pinned == {A.digest}
