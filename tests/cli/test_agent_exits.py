"""Every class of failure, made to happen to a real process: exit code and last words."""

from __future__ import annotations

import asyncio
import dataclasses
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import pytest

from talm.api.progress import EXIT_CODES, FailureClass
from talm.sim.catalogs import build_catalog
from talm.sim.images import build_image
from tests.agent.faultyregistry import Answers, FaultyRegistry, Stalls, serve

F = FailureClass
IMAGE = build_image("a/b", [{"file": bytes(100_000)}])
ABSENT = f"sha256:{'0' * 64}"


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """How to bring it about: flags and environment, and whether the run has to be ended."""

    flags: tuple[str, ...]
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    is_ended: bool = False


Scenario = Callable[[FaultyRegistry, Path], Case]


def invalid_spec(_: FaultyRegistry, __: Path) -> Case:
    return Case(("--platform-image", "x; touch /p"))


def release_unreadable(registry: FaultyRegistry, _: Path) -> Case:
    return Case(("--platform-image", registry.add(IMAGE)))


def catalog_unreadable(registry: FaultyRegistry, _: Path) -> Case:
    return Case(("--operator-index", registry.add(IMAGE), "--package", "ptp-operator:stable"))


def package_not_found(registry: FaultyRegistry, _: Path) -> Case:
    index = registry.add(build_catalog(registry.host).index)
    return Case(("--operator-index", index, "--package", "no-such-operator:stable"))


def image_not_found(registry: FaultyRegistry, _: Path) -> Case:
    return Case(("--additional-image", f"{registry.host}/a/b@{ABSENT}"))


def unauthorized(registry: FaultyRegistry, _: Path) -> Case:
    registry.wants_tokens()
    return Case(("--additional-image", registry.add(IMAGE)))


def registry_unreachable(registry: FaultyRegistry, _: Path) -> Case:
    registry.fails("/manifests/", *[Answers(502)] * 100)
    return Case(("--additional-image", registry.add(IMAGE), "--retry-for", "0.5"))


def insufficient_space(registry: FaultyRegistry, _: Path) -> Case:
    return Case(("--additional-image", registry.add(IMAGE), "--space-required", "900000"))


def store_failed(registry: FaultyRegistry, directory: Path) -> Case:
    (directory / "file").write_text("in the way")
    place = f"oci-layout:{directory}/file/images"
    return Case(("--additional-image", registry.add(IMAGE), "--store", place))


def partly_cached(registry: FaultyRegistry, directory: Path) -> Case:
    return dataclasses.replace(
        interrupted(registry, directory), environment={"TALM_JOB_DEADLINE": "4"}, is_ended=False
    )


def interrupted(registry: FaultyRegistry, _: Path) -> Case:
    registry.fails("/blobs/", *[Stalls(10)] * 100)
    return Case(("--additional-image", registry.add(IMAGE)), is_ended=True)


SCENARIOS: Final[Mapping[FailureClass, Scenario]] = {
    F.INVALID_SPEC: invalid_spec,
    F.RELEASE_UNREADABLE: release_unreadable,
    F.CATALOG_UNREADABLE: catalog_unreadable,
    F.PACKAGE_NOT_FOUND: package_not_found,
    F.IMAGE_NOT_FOUND: image_not_found,
    F.UNAUTHORIZED: unauthorized,
    F.REGISTRY_UNREACHABLE: registry_unreachable,
    F.INSUFFICIENT_SPACE: insufficient_space,
    F.STORE_FAILED: store_failed,
    F.PARTLY_CACHED: partly_cached,
    F.INTERRUPTED: interrupted,
}


def test_every_class_has_a_code_of_its_own_and_a_scenario() -> None:
    assert set(EXIT_CODES) == set(SCENARIOS) == set(FailureClass)
    assert len(set(EXIT_CODES.values())) == len(EXIT_CODES)
    assert not {0, 1, 2} & set(EXIT_CODES.values())
    assert max(EXIT_CODES.values()) < 126


@pytest.mark.parametrize("kind", SCENARIOS, ids=str)
async def test_a_failure_is_told_by_exit_code_and_last_words(
    kind: FailureClass, tmp_path: Path
) -> None:
    log = tmp_path / "termination-log"
    async with serve() as registry:
        case = SCENARIOS[kind](registry, tmp_path)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "talm", "agent", "pull", *case.flags),
            env={
                "TALM_STORE": f"oci-layout:{tmp_path / 'images'}",
                "TALM_TERMINATION_LOG": str(log),
                **case.environment,
            },
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        if case.is_ended:
            while not any("/blobs/" in path for path in registry.asked):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            process.send_signal(signal.SIGTERM)
        output, _ = await process.communicate()
    assert process.returncode == EXIT_CODES[kind], output.decode()
    said, _, text = log.read_text().partition(": ")
    assert said == kind
    assert text


async def test_success_has_no_last_words(tmp_path: Path) -> None:
    log = tmp_path / "termination-log"
    async with serve() as registry:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "talm", "agent", "--additional-image", registry.add(IMAGE)),
            env={
                "TALM_STORE": f"oci-layout:{tmp_path / 'images'}",
                "TALM_TERMINATION_LOG": str(log),
            },
            cwd=tmp_path,
        )
        assert await process.wait() == 0
    assert not log.exists()
