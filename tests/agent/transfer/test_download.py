"""Blobs on their way into the spool: in which order, in how many ranges, through which faults."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from talm.agent.content.manifests import Blob, Image
from talm.agent.content.references import parse
from talm.agent.progress import Progress
from talm.agent.transfer.bandwidth import Bucket
from talm.agent.transfer.download import Downloads
from talm.agent.transfer.mirrors import read_mirrors
from talm.agent.transfer.node import Node
from talm.agent.transfer.registry import Registry, digest_of, open_session
from talm.agent.transfer.spool import Spool
from talm.errors import AgentError
from talm.sim.images import SyntheticImage

from ..conftest import until
from ..faultyregistry import (
    Answers,
    Changes,
    Cuts,
    FaultyRegistry,
    IgnoresRange,
    MovesRange,
    Stalls,
    serve,
)
from .clocks import VirtualTime

Fault = Answers | Changes | Cuts | IgnoresRange | MovesRange | Stalls


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """One run's downloads from the faulty registry."""

    downloads: Downloads
    spool: Spool
    progress: Progress
    reference: str

    async def bring(self, *blobs: Blob) -> None:
        image = Image(parse(self.reference), (), blobs)
        async with asyncio.TaskGroup() as group:
            bringing = group.create_task(self._outcome(group, image))
        if error := bringing.result():
            raise error

    async def _outcome(self, group: asyncio.TaskGroup, image: Image) -> AgentError | None:
        try:
            await self.downloads.bring(group, image, image.blobs)
        except AgentError as exc:
            return exc
        return None


Runs = Callable[..., AbstractAsyncContextManager[Run]]


@pytest.fixture
def run(registry: FaultyRegistry, tmp_path: Path) -> Runs:
    """A run with ranges of 50,000 bytes; the spool is the same for all runs of a test."""

    @asynccontextmanager
    async def begin(
        *, streams: int = 4, retry_for_s: float = 20.0, stall_s: float = 20.0,
        node: Node | None = None, bucket: Bucket | None = None,
    ) -> AsyncIterator[Run]:  # fmt: skip
        spool, progress = Spool(tmp_path / "spool"), Progress("run")
        async with spool.locked(0), open_session(stall_s) as session:
            access = Registry(session, node or Node(), retry_for_s=retry_for_s)
            bucket = bucket or Bucket(None)
            downloads = Downloads(access, spool, progress, streams=streams, bucket=bucket)
            downloads.range_bytes = 50_000
            yield Run(downloads, spool, progress, f"{registry.host}/openshift/release:4.10")

    return begin


def blob(registry: FaultyRegistry, size: int, salt: bytes = b"") -> Blob:
    content = (salt + bytes(range(251)) * (size // 251 + 1))[:size]
    digest = digest_of(content)
    registry.blobs[digest] = content
    return Blob(digest, size)


def asked(registry: FaultyRegistry) -> list[str]:
    return [path.rpartition("/")[2] for path in registry.asked]


async def test_blobs_are_asked_for_in_the_order_of_their_images(
    registry: FaultyRegistry, run: Runs
) -> None:
    blobs = [blob(registry, 1000 * (9 - n)) for n in range(8)]
    async with run(streams=1) as bringing:
        await bringing.bring(*blobs)
    assert asked(registry) == [one.digest for one in blobs]


async def test_a_big_blob_comes_in_ranges(registry: FaultyRegistry, run: Runs) -> None:
    big = blob(registry, 275_000)
    async with run() as bringing:
        await bringing.bring(big)
        assert bringing.spool.whole(big.digest).read_bytes() == registry.blobs[big.digest]
    assert sorted(registry.ranges) == sorted(
        f"bytes={start}-{min(start + 50_000, 275_000) - 1}" for start in range(0, 275_000, 50_000)
    )
    assert registry.blob_bytes == big.size
    assert bringing.progress.record.bytes_done == big.size


async def test_a_big_blob_has_every_stream_that_comes_free_before_those_planned_after_it(
    registry: FaultyRegistry, run: Runs
) -> None:
    big, others = blob(registry, 275_000), [blob(registry, 900, bytes([n])) for n in range(9)]
    registry.fails(big.digest, Stalls(10))
    async with run(streams=2) as bringing:
        work = asyncio.create_task(bringing.bring(big, *others))
        await until(lambda: asked(registry).count(big.digest) == 6)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
    first, free, *rest = asked(registry)
    assert (first, free) == (big.digest, others[0].digest)
    assert rest[:5] == [big.digest] * 5


@pytest.mark.parametrize("streams", [1, 4])
async def test_a_small_blob_and_a_single_stream_come_in_one_piece(
    registry: FaultyRegistry, run: Runs, streams: int
) -> None:
    one = blob(registry, 275_000 if streams == 1 else 99_000)
    async with run(streams=streams) as bringing:
        await bringing.bring(one)
    assert (asked(registry), registry.ranges) == ([one.digest], [])


@pytest.mark.parametrize(
    "fault",
    [
        Answers(500), Answers(503, (("Retry-After", "0"),)), Answers(408), Answers(425),
        Answers(429, (("Retry-After", "1"),)), Cuts(0), Cuts(20_000), Stalls(20_000), MovesRange(),
    ],
    ids=str,
)  # fmt: skip
async def test_a_range_that_fails_in_passing_costs_nothing_but_what_is_missing(
    registry: FaultyRegistry, run: Runs, fault: Fault
) -> None:
    big = blob(registry, 275_000)
    registry.fails(big.digest, fault, fault)
    stalls = isinstance(fault, Stalls)
    async with run(stall_s=0.5 if stalls else 20.0) as bringing:
        await bringing.bring(big)
        assert bringing.spool.whole(big.digest).read_bytes() == registry.blobs[big.digest]
    # A range that was moved is not read, but it was sent; a busy machine may stall by itself.
    if not stalls:
        assert registry.blob_bytes <= big.size + (100_000 if isinstance(fault, MovesRange) else 0)


async def test_a_blob_that_must_wait_lets_others_use_its_stream(
    registry: FaultyRegistry, run: Runs
) -> None:
    first, *others = (blob(registry, 1000 + n) for n in range(4))
    registry.fails(first.digest, Answers(429, (("Retry-After", "2"),)))
    async with run(streams=1) as bringing:
        await bringing.bring(first, *others)
    assert asked(registry) == [b.digest for b in (first, *others, first)]


GARBAGE = {
    "a wrong beginning": {"partial": bytes(1000)},
    "all of it wrong": {"partial": bytes(40_000)},
    "more than there is": {"partial": bytes(50_000)},
    "a wrong piece": {"partial-20000": bytes(1000)},
    "a piece beyond the end": {"partial-90000": bytes(1000)},
    "a piece that never began": {"partial-10000": b""},
}


@pytest.mark.parametrize("name", GARBAGE)
async def test_what_a_power_failure_left_in_the_spool_costs_at_most_the_blob_again(
    registry: FaultyRegistry, run: Runs, name: str
) -> None:
    one = blob(registry, 40_000)
    async with run() as bringing:
        for suffix, content in GARBAGE[name].items():
            file = bringing.spool.whole(one.digest)
            file.with_name(f"{file.name}.{suffix}").write_bytes(content)
        await bringing.bring(one)
        assert bringing.spool.whole(one.digest).read_bytes() == registry.blobs[one.digest]
        assert bringing.spool.pieces(one.digest) == []
    assert registry.blob_bytes <= 2 * one.size


async def test_a_registry_without_ranges_still_gives_big_blobs(
    registry: FaultyRegistry, run: Runs
) -> None:
    big = blob(registry, 275_000)
    registry.fails(big.digest, *[IgnoresRange()] * 100)
    async with run() as bringing:
        await bringing.bring(big)
        assert bringing.spool.whole(big.digest).read_bytes() == registry.blobs[big.digest]
        assert bringing.progress.record.bytes_done == big.size


@pytest.mark.parametrize("times", [1, 100])
async def test_a_big_blob_that_arrives_wrong_is_fetched_once_more_and_then_refused(
    registry: FaultyRegistry, run: Runs, times: int
) -> None:
    big = blob(registry, 275_000)
    registry.fails(big.digest, *[Changes()] * times)
    async with run() as bringing:
        if times == 1:
            await bringing.bring(big)
            assert bringing.spool.whole(big.digest).read_bytes() == registry.blobs[big.digest]
        else:
            with pytest.raises(AgentError, match=r"openshift/release:4\.10: no intact copy"):
                await bringing.bring(big)
            assert bringing.spool.held(big.digest) == 0
    assert registry.blob_bytes == 2 * big.size


async def test_a_run_that_was_killed_among_ranges_is_continued_without_refetching(
    registry: FaultyRegistry, run: Runs
) -> None:
    big = blob(registry, 275_000)
    registry.fails(big.digest, Cuts(20_000), Answers(403))
    async with run() as bringing:
        with pytest.raises(AgentError, match="403"):
            await bringing.bring(big)
        held, moved = bringing.spool.held(big.digest), registry.blob_bytes
    async with run() as bringing:
        await bringing.bring(big)
        assert bringing.spool.whole(big.digest).read_bytes() == registry.blobs[big.digest]
    assert registry.blob_bytes - moved == big.size - held


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Answers(401), "Unauthorized"),  # without a challenge there is nothing to answer
        (Answers(403), "Unauthorized"),
        (Answers(404), "ImageNotFound"),
        (Answers(410), "ImageNotFound"),
        (Answers(400), "RegistryUnreachable"),
    ],
    ids=str,
)
async def test_what_no_retry_changes_fails_at_once_with_image_and_registry(
    registry: FaultyRegistry, run: Runs, fault: Fault, kind: str
) -> None:
    one = blob(registry, 1000)
    registry.fails(one.digest, *[fault] * 100)
    async with run() as bringing:
        with pytest.raises(AgentError) as caught:
            await bringing.bring(one)
        assert bringing.reference in str(caught.value)
    assert caught.value.kind == kind
    assert len(registry.asked) == 1


async def test_a_full_disk_fails_at_once_with_the_image(
    registry: FaultyRegistry, run: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = blob(registry, 1000)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    async with run() as bringing:
        with pytest.raises(AgentError, match="No space left") as caught:
            await bringing.bring(one)
        assert bringing.reference in str(caught.value)
    assert caught.value.kind == "InsufficientSpace"
    assert len(registry.asked) == 1


@pytest.mark.parametrize("size", [40_000, 275_000], ids=["in one piece", "in ranges"])
async def test_a_mirror_that_serves_a_damaged_blob_is_not_asked_for_it_again(
    registry: FaultyRegistry, run: Runs, tmp_path: Path, size: int
) -> None:
    one = blob(registry, size)
    file = tmp_path / "node/etc/containers/registries.conf"
    file.parent.mkdir(parents=True)
    async with serve() as mirror:
        mirror.blobs[one.digest] = bytes(one.size)
        text = f'[[registry]]\nlocation="{registry.host}"\n[[registry.mirror]]\nlocation="{mirror.host}"'
        file.write_text(text)
        async with run(node=Node(read_mirrors(tmp_path / "node"))) as bringing:
            await bringing.bring(one)
        assert mirror.blob_bytes == size
    assert registry.blob_bytes == size


async def test_a_registry_that_always_cuts_and_heeds_no_range_is_given_up(
    registry: FaultyRegistry, run: Runs
) -> None:
    """The same bytes again and again are no progress, and cost a metered link."""
    one = blob(registry, 40_000)
    registry.fails(one.digest, *[Cuts(20_000, ranged=False)] * 100)
    async with run(retry_for_s=1.0) as bringing:
        with pytest.raises(
            AgentError, match=r"received 20000 of 40000.*given up after 1 s"
        ) as caught:
            await bringing.bring(one)
    assert caught.value.kind == "RegistryUnreachable"
    assert registry.blob_bytes < 20 * 20_000


async def test_a_registry_that_always_serves_another_range_is_given_up_and_keeps_what_came(
    registry: FaultyRegistry, run: Runs
) -> None:
    one = blob(registry, 40_000)
    registry.fails(one.digest, Cuts(20_000), *[MovesRange()] * 100)
    async with run(retry_for_s=1.0) as bringing:
        with pytest.raises(AgentError, match="asked from byte 20000, the registry serves"):
            await bringing.bring(one)
        assert bringing.spool.held(one.digest) == 20_000


async def test_all_streams_share_the_bandwidth(
    registry: FaultyRegistry, release: SyntheticImage, run: Runs
) -> None:
    time = VirtualTime()
    blobs = [blob(registry, 40_000, bytes([n])) for n in range(5)]
    async with run(bucket=Bucket(10_000.0, time.clock)) as bringing:
        await bringing.bring(*blobs)
    assert time.now - 1000.0 >= 200_000 / 10_000.0 - 1
