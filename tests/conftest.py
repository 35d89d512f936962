"""Fixtures for tests against a real API server, and the rule that CI skips nothing."""

from __future__ import annotations

import os
import shutil
import signal
import uuid
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
import pytest_asyncio
import structlog
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from talm.api.kinds import NAMESPACE
from talm.errors import SetupError
from talm.kube.client import Client
from talm.sim.plane import foreign_crds
from talm.sim.plane.binaries import find_crds, find_program, find_programs
from talm.sim.plane.controlplane import HUB_CONTROLLERS, ControlPlane
from talm.sim.plane.hubs import Hub, existing_kubeconfig, find_hub

OUR_CRDS = Path(__file__).parents[1] / "deploy" / "crds"
# Set in CI: a test that is skipped there proves nothing, so it fails the run.
NO_SKIP = "TALM_NO_SKIP"

# A kubelet has a port of its own, so that there is one at a time.
REAL_NODE = ("e2e/realnode/", "e2e/test_walk_through.py")

# How long an example takes on a busy machine says nothing about the code.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_configure() -> None:
    """Have children hear signals that whoever runs the tests in the background has them ignore."""
    for number, usual in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGHUP, signal.SIG_DFL),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slow files, so that two workers end at about the same time.

    A kubelet collects images after five minutes; `test_works.py` is the next slowest.
    """
    slow = ("realnode", "integration")
    items.sort(key=lambda i: ([name in i.path.parts for name in slow], i.path), reverse=True)


class WholeFiles(LoadScopeScheduling):  # type: ignore[misc]
    """A file's tests stay together, as its fixtures do; those with a real node are one after another."""

    def _split_scope(self, nodeid: str) -> str:
        """The name of the group that a test belongs to."""
        file = nodeid.partition("::")[0]
        return "real node" if any(part in file for part in REAL_NODE) else file


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> WholeFiles | None:
    """Take the place of xdist's own `loadgroup`, whose marks pytest 9.2 does not hear of (xdist 3.8)."""
    return WholeFiles(config, log) if config.getvalue("dist") == "loadgroup" else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skipped test into a failed one where nothing may be skipped."""
    report = yield
    if os.environ.get(NO_SKIP) and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which {NO_SKIP} forbids: {call.excinfo and call.excinfo.value}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a whole module that skips itself."""
    report = yield
    if os.environ.get(NO_SKIP) and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped, which {NO_SKIP} forbids: {report.longrepr}"
    return report


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    """Commands configure logging for their process, which is every later test's, too."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def skip_without(*, own: bool) -> None:
    """Skip the test, saying why, when this machine has no API server for it.

    `own`: a cluster that exists does not do; the test wants to start, stop and break its own.
    """
    try:
        if own or existing_kubeconfig() is None:
            find_programs()
            find_crds()
    except SetupError as error:
        pytest.skip(str(error))


def skip_without_program(name: str) -> None:
    """Skip the test, saying why, when `name` (registry, action-gc, ...) was not built."""
    try:
        find_program(name)
    except SetupError as error:
        pytest.skip(str(error))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    """A hub with the foreign CRDs and ours, shared by all tests: $KUBECONFIG's, else our own."""
    skip_without(own=False)
    own = ControlPlane(tmp_path_factory.mktemp("hub"), fsync=False)
    try:
        async with find_hub(own) as found:
            async with await Client.connect(found.kubeconfig, user_agent="talm-tests") as client:
                await foreign_crds.install(client)
                await foreign_crds.apply_own(client, OUR_CRDS)
            yield found
    finally:
        shutil.rmtree(own.directory / "etcd", ignore_errors=True)


@pytest_asyncio.fixture
async def hub_client(hub: Hub, request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    """A client of the shared hub that may do everything; its user agent names the test."""
    user_agent = f"talm-tests/{request.node.originalname}"
    async with await Client.connect(hub.kubeconfig, user_agent=user_agent) as client:
        yield client


@pytest_asyncio.fixture
async def namespace(hub_client: Client) -> AsyncIterator[str]:
    """A namespace of the shared hub for this test alone; its deletion is not waited for."""
    name = f"test-{uuid.uuid4().hex[:10]}"
    body = {"apiVersion": NAMESPACE.api_version, "kind": NAMESPACE.kind, "metadata": {"name": name}}
    await hub_client.create(NAMESPACE, body)
    yield name
    await hub_client.delete(NAMESPACE, name)


class StartControlPlane(Protocol):
    """Starts another control plane, ended with the test; keywords as for ControlPlane."""

    async def __call__(
        self, name: str, *, controllers: str = HUB_CONTROLLERS, **settings: Any
    ) -> ControlPlane: ...


@pytest_asyncio.fixture
async def start_control_plane(tmp_path: Path) -> AsyncIterator[StartControlPlane]:
    """Lets a test start control planes of its own, in tmp_path/NAME, without fsync."""
    skip_without(own=True)
    started: list[ControlPlane] = []

    async def start(
        name: str, *, controllers: str = HUB_CONTROLLERS, **settings: Any
    ) -> ControlPlane:
        settings = {"fsync": False, **settings}
        plane = ControlPlane(tmp_path / name, name, controllers, **settings)
        started.append(plane)
        return await plane.start()

    yield start
    for plane in reversed(started):  # one that lends its etcd was started first
        await plane.stop(kill=True)
        shutil.rmtree(plane.directory / "etcd", ignore_errors=True)
