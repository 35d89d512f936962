"""Several registries in one specification: one that fails, one that keeps silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from talm.agent.content.references import Reference, parse
from talm.agent.content.resolving import Resolver
from talm.agent.main import run_agent
from talm.agent.spec import Spec
from talm.api.progress import EXIT_CODES, FailureClass
from talm.sim.images import SyntheticImage, build_image

from ..conftest import Reader, SettingsFor
from ..faultyregistry import Answers, FaultyRegistry, serve

F = FailureClass


@pytest.fixture
async def other() -> AsyncIterator[FaultyRegistry]:
    async with serve() as other:
        yield other


def dead(count: int) -> list[str]:
    """Images of a registry that nobody runs."""
    return [f"127.0.0.1:9/a/{n}:1" for n in range(count)]


def spec(*images: str) -> Spec:
    references: tuple[Reference, ...] = tuple(parse(image) for image in images)
    return Spec(None, references)


async def test_images_of_a_dead_registry_do_not_stop_those_of_another(
    registry: FaultyRegistry, release: SyntheticImage, settings_for: SettingsFor
) -> None:
    settings = settings_for(*dead(12), registry.add(release), retry_for_s=0.5)
    assert await run_agent(settings) == EXIT_CODES[F.REGISTRY_UNREACHABLE]
    assert registry.blob_bytes == sum(len(blob) for blob in release.blobs.values())
    assert settings.termination_log
    words = settings.termination_log.read_text()
    assert "12 of 13 images failed" in words
    assert "127.0.0.1:9/a/11:1: 127.0.0.1:9 was given up" in words


async def test_where_no_registry_answers_one_reason_is_enough(
    settings_for: SettingsFor,
) -> None:
    settings = settings_for(*dead(3), retry_for_s=0.5)
    assert await run_agent(settings) == EXIT_CODES[F.REGISTRY_UNREACHABLE]
    assert settings.termination_log
    assert "images failed" not in settings.termination_log.read_text()


async def test_a_registry_that_never_answers_is_not_waited_for_when_others_have_answered(
    registry: FaultyRegistry, other: FaultyRegistry, reader: Reader, release: SyntheticImage
) -> None:
    """Until the Job's deadline nobody else gives it up."""
    other.fails("/", *[Answers(503)] * 1000)
    silent = [f"{other.host}/a/{n}:1" for n in range(20)]
    resolver = Resolver(reader.registry, reader.files, "amd64", patience_s=1.0)
    async with asyncio.timeout(60):
        found = await resolver.resolve(spec(*silent, registry.add(release)))
    assert [str(image.reference) for image in found.images] == [registry.add(release)]
    assert {error.kind for error in found.errors} == {F.REGISTRY_UNREACHABLE}
    assert ["no answer for 1 s, others have come" in str(e) for e in found.errors] == [True] * 20


async def test_a_registry_that_has_answered_is_waited_for(
    registry: FaultyRegistry, reader: Reader, release: SyntheticImage
) -> None:
    image = registry.add(release)
    later = registry.add(build_image("a/later", [{"x": b"1"}]))
    registry.fails("/a/later", *[Answers(503)] * 3)
    resolver = Resolver(reader.registry, reader.files, "amd64", patience_s=0.01)
    assert len((await resolver.resolve(spec(image, later))).images) == 2


async def test_one_image_that_a_registry_refuses_does_not_give_up_its_others(
    registry: FaultyRegistry, reader: Reader, release: SyntheticImage
) -> None:
    image = registry.add(release)
    registry.fails("/a/odd", *[Answers(400)] * 20)
    resolver = Resolver(reader.registry, reader.files, "amd64")
    odd = [f"{registry.host}/a/odd:{n}" for n in range(20)]
    found = await resolver.resolve(spec(*odd, image))
    assert len(found.images) == 1
    assert ["400" in str(error) for error in found.errors] == [True] * 20


async def test_a_link_that_is_down_is_waited_for(
    registry: FaultyRegistry, reader: Reader, release: SyntheticImage
) -> None:
    image = registry.add(release)
    registry.fails("/", *[Answers(503)] * 3)
    resolver = Resolver(reader.registry, reader.files, "amd64", patience_s=0.01)
    assert [one.digest for one in (await resolver.resolve(spec(image))).images] == [release.digest]


async def test_excludes_without_a_release_are_told(
    registry: FaultyRegistry, reader: Reader, release: SyntheticImage
) -> None:
    wanted = Spec(None, (parse(registry.add(release)),), excludes=("^aws",))
    found = await Resolver(reader.registry, reader.files, "amd64").resolve(wanted)
    assert found.warnings == (
        "exclude patterns are given, but no release that they could apply to",
    )
