"""What keeps images on a real node, on every node, and until when."""

from __future__ import annotations

from typing import Final

import pytest

from talm.api import kinds
from talm.api.cgu import PrecachingSpec
from talm.api.pod import Nodes
from talm.api.progress import RunPhase
from talm.sim.images import SyntheticImage, build_image

from .nodespoke import Cached, NodeSpoke, big_image

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(600),  # the kubelet collects images every 5 minutes
]

COMPLETE: Final = {"Complete": "CompletionsReached"}


@pytest.mark.parametrize("nodes", Nodes)
async def test_pins_go_when_the_cgu_is_over_and_so_does_who_took_them(
    spoke: NodeSpoke, cached: Cached, nodes: Nodes
) -> None:
    namespace = f"talm-over-{nodes}"
    order = await spoke.order(namespace, cached.spec, nodes)
    assert await spoke.end_of_job(namespace) == COMPLETE
    assert cached.planned <= await spoke.pinned()
    await spoke.release(order)

    async def unpinned() -> bool:
        return not cached.planned & await spoke.pinned()

    await spoke.eventually(unpinned)
    assert cached.planned <= set(await spoke.listed())


async def test_where_all_nodes_pull_each_has_a_job_and_the_record_is_their_sum(
    spoke: NodeSpoke, cached: Cached
) -> None:
    namespace = "talm-all"
    await spoke.order(namespace, cached.spec, Nodes.ALL)
    assert await spoke.end_of_job(namespace) == COMPLETE
    jobs = await spoke.client.list(kinds.JOB, namespace)
    assert [job["status"].get("succeeded") for job in jobs] == [1, 1]
    record = await spoke.record(namespace)
    assert (record.phase, record.pinned) == (RunPhase.SUCCEEDED, True)
    assert record.nodes_done == record.nodes_total == 1
    assert record.images_done == record.images_total == len(cached.planned)


async def test_the_kubelet_collects_what_is_not_pinned_and_leaves_the_last_run_s_images(
    spoke: NodeSpoke, cached: Cached
) -> None:
    (earlier,) = await spoke.push([big_image("earlier")])
    specs = {"talm-earlier": PrecachingSpec(additional_images=(earlier,)), "talm-last": cached.spec}
    for namespace, spec in specs.items():
        await spoke.order(namespace, spec)
        assert await spoke.end_of_job(namespace) == {"Complete": "CompletionsReached"}
    filler = await pull_by_hand(spoke, build_image("filler", [{"zeros": bytes(64 << 20)}] * 5))

    async def collected() -> bool:
        return not {filler, earlier} & set(await spoke.listed())

    await spoke.eventually(collected)
    assert "is over the high threshold" in spoke.node.log("kubelet").read_text()
    assert cached.planned <= set(await spoke.listed())
    assert cached.planned <= await spoke.pinned()


async def pull_by_hand(spoke: NodeSpoke, image: SyntheticImage) -> str:
    await spoke.push([image])
    name = f"{spoke.line.address}/{image.repository}@{image.digest}"
    await spoke.node.ctr("images", "pull", "--plain-http", name)
    return name
