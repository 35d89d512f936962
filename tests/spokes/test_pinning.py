"""What is asked for the sake of pins: its bodies to the byte, and when it is asked.

`python -m tests.spokes.test_pinning` writes the golden file anew.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import yaml

from talm.api.kinds import ACTION
from talm.api.pod import Nodes, StoreKind
from talm.api.words import MANUAL_NAMESPACE
from talm.core.model import Effect, Fact, Sight
from talm.core.removal import Removal
from talm.errors import Unreachable
from talm.spokes.base import Order, PodTerms
from talm.spokes.manifests import check_spoke_namespace
from talm.spokes.pinning import (
    PinningTransport,
    release_actions,
    rights_actions,
    unpin_namespace,
)
from tests.spokes.hub import Clock, MemoryHub
from tests.spokes.test_manifests import Plain
from tests.spokes.world import ORDER, other

GOLDEN = Path(__file__).parent / "golden" / "pinning.yaml"
CONTAINERD = PodTerms(StoreKind.CONTAINERD)
ALL_NODES = PodTerms(StoreKind.CONTAINERD, nodes=Nodes.ALL)
CRIO = PodTerms(StoreKind.CONTAINERS_STORAGE)
OPENSHIFT = PodTerms(StoreKind.CONTAINERS_STORAGE, image_sets=True)
DIRECTORY = PodTerms(StoreKind.OCI_LAYOUT)


def render() -> str:
    bodies = []
    for terms in (OPENSHIFT, CONTAINERD, ALL_NODES):
        order = other(pod=terms)
        bodies += rights_actions("spoke1", order, MANUAL_NAMESPACE)
        bodies += release_actions("spoke1", order)
    return yaml.dump_all(bodies, Dumper=Plain, sort_keys=False, width=100)


def test_every_body_is_as_in_the_golden_file() -> None:
    assert render() == GOLDEN.read_text(encoding="utf-8")


class Walked:
    """A transport that does what it is told; `refused`: its requests fail."""

    def __init__(self) -> None:
        self.done: list[Effect] = []
        self.refused = False

    def look(self, cluster: str, order: Order, now: dt.datetime) -> Sight:
        return Sight(Fact.CLEAN)

    async def carry_out(self, cluster: str, effects: tuple[Effect, ...], order: Order) -> None:
        if self.refused:
            raise Unreachable("POST", "actions", 0, "refused")
        self.done += effects

    def removals(
        self, order: Order, now: dt.datetime, asks: Callable[[str], bool]
    ) -> Mapping[str, Removal]:
        return {}

    def watch(self, on_change: Callable[[str], None]) -> None:
        on_change("spoke1")


class Scene:
    def __init__(self, terms: PodTerms, *, answers: bool = True) -> None:
        self.hub = MemoryHub(Clock())
        self.walked = Walked()
        self.transport = PinningTransport(
            self.walked,
            self.hub,
            answers=lambda _: answers,
            terms=lambda _: terms,
            namespace=MANUAL_NAMESPACE,
        )

    async def do(self, *effects: Effect, order: Order = ORDER) -> None:
        await self.transport.carry_out("spoke1", effects, order)

    @property
    def asked(self) -> list[str]:
        """The actions on the hub, without what their names have in common."""
        self.hub.deliver()
        names = sorted(name for _, name in self.hub.actions.objects)
        return [name.removeprefix("pre-cache-") for name in names]


@pytest.mark.parametrize(
    ("terms", "asked"),
    [
        (CONTAINERD, ["1-namespace", "2-role", "3-binding", "4-pods"]),
        (PodTerms(StoreKind.CONTAINERD_K3S), ["1-namespace", "2-role", "3-binding", "4-pods"]),
        (CRIO, ["1-namespace", "2-role", "3-binding", "4-pods"]),
        (OPENSHIFT, ["1-binding", "2-role", "3-set"]),
        (DIRECTORY, []),
    ],
    ids=["containerd", "k3s", "crio", "openshift", "directory"],
)
async def test_unpinning_is_asked_for_as_the_store_needs_it(
    terms: PodTerms, asked: list[str]
) -> None:
    scene = Scene(terms)
    await scene.do(Effect.UNPIN)
    assert scene.asked == [f"run-1-unpin-{what}" for what in asked]
    assert not scene.walked.done


@pytest.mark.parametrize(("nodes", "kind"), [(Nodes.ONE, "Job"), (Nodes.ALL, "DaemonSet")])
async def test_as_many_nodes_unpin_as_have_pulled(nodes: Nodes, kind: str) -> None:
    scene = Scene(CONTAINERD)
    await scene.do(Effect.UNPIN, order=other(pod=PodTerms(nodes=nodes)))
    name = "pre-cache-run-1-unpin-4-pods"
    body = await scene.hub.get(ACTION, name, "spoke1")
    assert body["spec"]["kube"]["template"]["kind"] == kind


async def test_asking_twice_is_asking_once() -> None:
    scene = Scene(CONTAINERD)
    await scene.do(Effect.UNPIN)
    before = scene.asked
    await scene.do(Effect.UNPIN)
    assert scene.asked == before


async def test_two_runs_ask_side_by_side() -> None:
    scene = Scene(CONTAINERD)
    await scene.do(Effect.UNPIN)
    await scene.do(Effect.UNPIN, order=other(run="run-2"))
    assert len(scene.asked) == 8
    assert unpin_namespace("run-1") != unpin_namespace("run-2")


async def test_what_else_is_asked_for_is_carried_out_before() -> None:
    scene = Scene(CONTAINERD)
    await scene.do(Effect.REMOVE, Effect.UNPIN)
    assert scene.walked.done == [Effect.REMOVE]
    assert len(scene.asked) == 4
    scene = Scene(CONTAINERD)
    scene.walked.refused = True
    with pytest.raises(Unreachable):
        await scene.do(Effect.REMOVE, Effect.UNPIN)
    assert not scene.asked


@pytest.mark.parametrize("terms", [CONTAINERD, CRIO, DIRECTORY])
async def test_rights_on_the_cluster_are_given_only_where_image_sets_pin(terms: PodTerms) -> None:
    scene = Scene(terms)
    await scene.do(Effect.PREPARE)
    assert not scene.asked
    assert scene.walked.done == [Effect.PREPARE]


async def test_the_right_to_make_an_image_set_is_there_before_the_job() -> None:
    scene = Scene(OPENSHIFT)
    scene.walked.refused = True
    with pytest.raises(Unreachable):
        await scene.do(Effect.PREPARE)
    assert scene.asked == ["run-1-pin-1-role", "run-1-pin-2-binding"]


@pytest.mark.parametrize("effect", [Effect.PREPARE, Effect.UNPIN])
async def test_a_cluster_that_carries_no_actions_out_is_asked_for_nothing(effect: Effect) -> None:
    scene = Scene(OPENSHIFT, answers=False)
    await scene.do(effect)
    assert not scene.asked


def test_looking_is_the_other_transport_s_business() -> None:
    scene = Scene(CONTAINERD)
    assert scene.transport.look("spoke1", ORDER, dt.datetime.now(dt.UTC)) == Sight(Fact.CLEAN)
    heard: list[str] = []
    scene.transport.watch(heard.append)
    assert heard == ["spoke1"]


def test_the_namespace_is_one_that_may_be_deleted() -> None:
    assert check_spoke_namespace(unpin_namespace("0123456789abcdef"))


def test_the_actions_are_in_order_of_their_names() -> None:
    for terms in (CONTAINERD, OPENSHIFT):
        names = [body["metadata"]["name"] for body in release_actions("c", other(pod=terms))]
        assert names == sorted(names)


if __name__ == "__main__":
    GOLDEN.write_text(render(), encoding="utf-8")
