from __future__ import annotations

import asyncio

import pytest

from talm.agent.content.manifests import Blob
from talm.agent.stores.turns import Turns

A, B, C = (Blob(f"sha256:{name}", 1) for name in "abc")


class Imports:
    """Imports that run until they are told to end."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.running: set[str] = set()

    async def begin(self, name: str, *blobs: Blob) -> None:
        self._ends[name] = asyncio.Event()
        self._tasks[name] = asyncio.create_task(self._run(name, blobs))
        await self.settle()

    async def end(self, name: str) -> None:
        self._ends[name].set()
        await self._tasks[name]
        await self.settle()

    async def cancel(self, name: str) -> None:
        self._tasks[name].cancel()
        with pytest.raises(asyncio.CancelledError):
            await self._tasks[name]
        await self.settle()

    async def settle(self) -> None:
        for _ in range(10):  # more steps than a turn takes
            await asyncio.sleep(0)

    async def _run(self, name: str, blobs: tuple[Blob, ...]) -> None:
        async with self._turns.of(blobs):
            self.running.add(name)
            try:
                await self._ends[name].wait()
            finally:
                self.running.remove(name)


@pytest.fixture
async def imports() -> Imports:
    return Imports(Turns(2))


async def test_two_run_at_once_and_the_third_when_one_has_ended(imports: Imports) -> None:
    for name, blob in (("1", A), ("2", B), ("3", C)):
        await imports.begin(name, blob)
    assert imports.running == {"1", "2"}
    await imports.end("1")
    assert imports.running == {"2", "3"}
    for name in ("2", "3"):
        await imports.end(name)


async def test_who_needs_the_same_layer_waits_and_others_go_ahead(imports: Imports) -> None:
    await imports.begin("1", A, B)
    await imports.begin("2", B, C)
    await imports.begin("3", C)
    assert imports.running == {"1", "3"}
    await imports.end("1")
    assert imports.running == {"3"}
    await imports.end("3")
    assert imports.running == {"2"}
    await imports.end("2")


@pytest.mark.parametrize("gone", ["1", "2"])
async def test_one_that_is_cancelled_leaves_its_place(imports: Imports, gone: str) -> None:
    for name in ("1", "2", "3"):
        await imports.begin(name, A)
    await imports.cancel(gone)
    (left,) = imports.running
    await imports.end(left)
    assert imports.running == {"3"}
    await imports.end("3")


async def test_what_brings_nothing_waits_for_a_place_only(imports: Imports) -> None:
    await imports.begin("1", A)
    await imports.begin("2")
    assert imports.running == {"1", "2"}
    for name in ("1", "2"):
        await imports.end(name)
