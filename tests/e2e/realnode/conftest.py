"""One real node for all tests of this directory, and what a first run has brought to it."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from talm.api.cgu import PrecachingSpec
from talm.errors import SetupError
from talm.sim import programs
from talm.sim.catalogs import build_catalog
from talm.sim.images import build_image, build_release
from talm.sim.realnode.node import check_machine
from tests.conftest import skip_without, skip_without_program

from .nodespoke import REGISTRY, Cached, NodeSpoke, node_spoke


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def spoke(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NodeSpoke]:
    skip_without(own=True)
    skip_without_program("registry")
    try:
        check_machine()
    except SetupError as error:
        pytest.skip(str(error))
    directory = tmp_path_factory.mktemp("node")
    try:
        async with node_spoke(directory) as spoke:
            yield spoke
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def cached(spoke: NodeSpoke) -> Cached:
    """A release, a catalog with an operator and an image, brought by one run."""
    catalog = build_catalog(REGISTRY)
    release = await spoke.push(build_release(REGISTRY, size_mib=4))
    operator = catalog.bundles[catalog.head("ptp-operator", "stable")]
    operators = await spoke.push((*operator, catalog.index))
    said = [{"hello": programs.says("hello\n")}]
    (hello,) = await spoke.push([build_image("hello", said, command=["/hello"])])
    spec = PrecachingSpec(
        platform_image=release[-1],
        operators_indexes=(operators[-1],),
        operators_packages_and_channels=("ptp-operator:stable",),
        additional_images=(hello,),
    )
    planned = frozenset([*release, *operators, hello])
    await spoke.order("talm-cached", spec)
    await spoke.end_of_job("talm-cached")
    return Cached("talm-cached", spec, planned, hello)
