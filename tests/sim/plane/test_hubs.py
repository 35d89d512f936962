"""Which hub is taken: the one that is named, $KUBECONFIG's, one of our own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from talm.errors import SetupError
from talm.sim.plane.controlplane import ControlPlane
from talm.sim.plane.hubs import existing_kubeconfig, find_hub


@pytest.fixture
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config"
    path.touch()
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join([str(path), "/another"]))
    return path


async def test_an_existing_cluster_is_taken_and_nothing_is_started(
    kubeconfig: Path, tmp_path: Path
) -> None:
    own = ControlPlane(tmp_path / "own")
    async with find_hub(own) as hub:
        assert hub.kubeconfig == kubeconfig
        assert hub.kubeconfig_for("admin") == kubeconfig
        with pytest.raises(SetupError, match="user talm-operator"):
            hub.kubeconfig_for("talm-operator")
    assert not own.directory.exists()


def test_the_one_that_is_named_goes_first(kubeconfig: Path, tmp_path: Path) -> None:
    named = tmp_path / "named"
    named.touch()
    assert existing_kubeconfig(named) == named
    assert existing_kubeconfig() == kubeconfig


def test_a_kubeconfig_that_is_not_there_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nowhere"))
    with pytest.raises(SetupError, match="nowhere does not exist"):
        existing_kubeconfig()


def test_without_any_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    assert existing_kubeconfig() is None
