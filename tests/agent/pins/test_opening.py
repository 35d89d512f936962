"""Who pins on a node, judged by the store, the cluster's API and the node itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from talm.agent.pins.base import PINNED, NoPins, Verdict
from talm.agent.pins.crio import DIRECTORY, OURS, own_list
from talm.agent.pins.noted import NOTE, NotedPins
from talm.agent.pins.opening import MANAGED, ClusterPins, open_pins
from talm.agent.stores.names import names_of
from talm.errors import AgentError
from tests.agent.pins.conftest import image_of

A = image_of("a")


@pytest.fixture(autouse=True)
def no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand on a node: there is no API server to ask."""
    for name in ("KUBERNETES_SERVICE_HOST", "KUBECONFIG"):
        monkeypatch.delenv(name, raising=False)


async def said(pins: ClusterPins) -> Verdict:
    await pins.expect([A])
    assert await pins.pin(A) == await pins.conclude([A])
    return await pins.pin(A)


def of_node(node: Path) -> ClusterPins:
    pins = open_pins(f"containers-storage:{node}", node / "spool", "run-1")
    assert isinstance(pins, ClusterPins)
    return pins


@pytest.mark.parametrize(
    ("store", "kind"),
    [
        ("oci-layout:/images", NoPins),
        ("containerd:/run/containerd.sock", NotedPins),
        ("containers-storage", ClusterPins),
    ],
)
def test_each_store_has_its_way(store: str, kind: type, tmp_path: Path) -> None:
    assert isinstance(open_pins(store, tmp_path, "run-1"), kind)


async def test_in_a_directory_nobody_collects_garbage(tmp_path: Path) -> None:
    assert await open_pins("oci-layout:/images", tmp_path, "run-1").conclude([A]) == PINNED


async def test_on_a_node_with_podman_alone_nothing_pins(tmp_path: Path) -> None:
    verdict = await said(of_node(tmp_path))
    assert verdict.pinned is False
    assert verdict.why == "there is no CRI-O here: no directory /etc/crio/crio.conf.d"
    assert await of_node(tmp_path).release("run-1") == 0


async def test_no_file_is_written_where_openshift_manages_the_node(node: Path) -> None:
    (node / MANAGED).mkdir()
    verdict = await said(of_node(node))
    assert verdict.pinned is False
    assert "OpenShift manages this node" in verdict.why
    assert not list((node / DIRECTORY).iterdir())


async def test_a_plain_crio_gets_a_file_and_a_note_whose_it_is(node: Path) -> None:
    """Nobody named crio runs here, so that the file is all that comes of it."""
    with pytest.raises(AgentError, match="no process crio is seen here"):
        await of_node(node).expect([A])
    assert own_list(node) == [names_of(A)[0]]
    assert (node / "spool" / NOTE).read_text() == "run-1\n"
    assert await of_node(node).release("run-2") == 0
    assert (node / DIRECTORY / OURS).exists()


async def test_what_the_cluster_does_not_say_is_asked_again(
    node: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    pins = of_node(node)
    with pytest.raises(Exception, match="none"):
        await pins.expect([A])
    assert not list((node / DIRECTORY).iterdir())
    monkeypatch.delenv("KUBECONFIG")
    (node / MANAGED).mkdir()
    assert (await said(pins)).pinned is False
