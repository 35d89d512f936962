"""Whenever somebody scrapes, in any weather: the totals are those of the CGUs as they are stored."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
from collections import Counter
from dataclasses import replace

import pytest

from talm.api import kinds
from talm.api.progress import ProgressRecord
from talm.api.words import Phase
from talm.core.model import Fact, Sight
from talm.hub.metrics import Metrics
from talm.hub.store import Store
from talm.spokes.base import Order
from tests.hub.fakehub import FakeHub, followed
from tests.hub.figures import Figures, added_up, measured, scraped
from tests.hub.given import put_cluster
from tests.hub.test_together import CLUSTERS, Shell, Spokes, put_upgrade
from tests.kube.waiting import until_true

PLANS = {"a": CLUSTERS[:5], "b": CLUSTERS[3:], "c": CLUSTERS[4:6]}
IMAGES, IMAGE_BYTES = 20, 5_000_000


class Telling(Spokes):
    """Workloads that tell more now and then, each of them after a second pod was needed.

    None ends before `may_end`.
    """

    def __init__(self, hub: FakeHub, rng: random.Random) -> None:
        super().__init__(hub, rng)
        self.done: Counter[tuple[str, str]] = Counter()
        self.may_end = asyncio.Event()

    def look(self, cluster: str, order: Order, now: dt.datetime) -> Sight:
        done = min(self.done[order.run, cluster] + 1 + self.rng.randrange(3), IMAGES)
        self.done[order.run, cluster] = done
        record = ProgressRecord(
            images_done=done,
            images_total=IMAGES,
            bytes_done=done * IMAGE_BYTES,
            bytes_total=IMAGES * IMAGE_BYTES,
            bytes_per_s=IMAGE_BYTES,
            attempt=2,
        )
        return replace(super().look(cluster, order, now), record=record)

    async def _before(self, fact: Fact) -> None:
        await super()._before(fact)
        if fact is Fact.JOB_SUCCEEDED:
            await self.may_end.wait()


def stored(hub: FakeHub) -> Figures:
    return added_up(body for key, body in hub.objects.items() if key[0] == kinds.CGU.plural)


def knows_all_cgus(store: Store, hub: FakeHub) -> bool:
    return set(store.cgus.cache) == {key[1:] for key in hub.objects if key[0] == kinds.CGU.plural}


async def compare_whenever_something_was_written(shell: Shell, seen: list[Figures]) -> None:
    compared = 0
    while True:
        await asyncio.sleep(0)
        if shell.hub.version != compared and knows_all_cgus(shell.store, shell.hub):
            compared = shell.hub.version
            seen.append(scraped(shell.metrics.text().decode()))
            assert seen[-1] == stored(shell.hub)
            if "clusters/Active" in seen[-1] and "bytes/done" in seen[-1]:
                assert isinstance(shell.spokes, Telling)
                shell.spokes.may_end.set()  # totals in mid-run were compared, too


@pytest.mark.parametrize("seed", range(2))
async def test_at_every_moment_and_after_a_restart_the_totals_are_the_statuses(seed: int) -> None:
    shell = Shell(seed, Telling)
    for cluster in CLUSTERS:
        put_cluster(shell.hub, cluster)
    put_upgrade(shell.hub)
    ends = sum(len(clusters) for clusters in PLANS.values())
    seen: list[Figures] = []
    async with shell.running():
        for number, (name, clusters) in enumerate(PLANS.items()):
            shell.create(name, clusters, f"2022-01-27T19:00:0{number}Z")
        comparing = asyncio.create_task(compare_whenever_something_was_written(shell, seen))
        succeeded = f"clusters/{Phase.SUCCEEDED}"
        await until_true(lambda: comparing.done() or stored(shell.hub).get(succeeded) == ends)
        assert not comparing.done(), comparing.exception()
        comparing.cancel()
    assert len(seen) > len(PLANS)
    assert measured(shell.metrics.text().decode()) == {"Succeeded": ends, "retries": ends}

    async with followed(shell.hub, Store(shell.hub.client, lambda *_: None)) as store:
        restarted = Metrics()
        restarted.follow(store, lambda: 0, lambda: 0)
        assert scraped(restarted.text().decode()) == stored(shell.hub)
