from __future__ import annotations

from collections.abc import Sequence

from talm.agent.content.manifests import Image
from talm.agent.failures import failure
from talm.agent.pins.base import LATER, PINNED, NoPins, Verdict, unpinned
from talm.agent.pins.keeping import Keeper
from talm.agent.progress import Progress
from talm.api.progress import FailureClass
from talm.errors import Forbidden
from tests.agent.pins.conftest import image_of

A, B = image_of("a"), image_of("b")


class Script:
    """Pins that answer as they are told to."""

    def __init__(self, *verdicts: Verdict, end: Verdict = PINNED) -> None:
        self.verdicts = list(verdicts)
        self.end = end
        self.refuses = 0
        self.expected: list[Sequence[Image]] = []

    async def expect(self, images: Sequence[Image]) -> None:
        self.expected.append(images)
        if self.refuses:
            self.refuses -= 1
            raise Forbidden("PATCH", "pinnedimagesets", 403, "you may not")

    async def pin(self, image: Image) -> Verdict:
        if not self.verdicts:
            raise failure(FailureClass.STORE_FAILED, "ctr is gone")
        return self.verdicts.pop(0)

    async def conclude(self, images: Sequence[Image]) -> Verdict:
        return self.end

    async def release(self, run: str = "") -> int:
        return 0


async def told(pins: Script | NoPins) -> list[tuple[bool | None, str]]:
    """What the record says after each of two images, and at the end."""
    progress = Progress("run")
    keeper = Keeper(pins, progress)
    said = []
    await keeper.expect([A, B])
    for image in (A, B):
        await keeper.pin(image)
        said.append((progress.record.pinned, progress.record.not_pinned))
    await keeper.conclude([A, B])
    return [*said, (progress.record.pinned, progress.record.not_pinned)]


async def test_the_record_says_pinned_while_every_image_is() -> None:
    assert await told(Script(PINNED, PINNED)) == [(True, "")] * 3


async def test_one_image_that_is_not_counts_for_all_until_the_end() -> None:
    assert await told(Script(unpinned("label lost"), PINNED)) == [
        (False, "label lost"),
        (False, "label lost"),
        (True, ""),
    ]


async def test_what_is_pinned_at_the_end_is_not_told_before() -> None:
    assert await told(Script(LATER, LATER)) == [(None, ""), (None, ""), (True, "")]


async def test_a_pin_that_fails_fails_nothing() -> None:
    ended = await told(Script(end=unpinned("the set is too long")))
    assert ended == [(False, "StoreFailed: ctr is gone")] * 2 + [(False, "the set is too long")]


async def test_who_may_not_pin_is_told_why() -> None:
    script = Script()
    script.refuses = 9
    refused = "PATCH pinnedimagesets: 403: you may not"
    assert (await told(script))[-1] == (False, refused)


async def test_what_could_not_be_announced_is_announced_again_at_the_end() -> None:
    script = Script()
    script.refuses = 1
    assert (await told(script))[-1] == (True, "")
    assert len(script.expected) == 2


async def test_where_nobody_collects_garbage_everything_is_safe() -> None:
    assert await told(NoPins(PINNED)) == [(True, "")] * 3
