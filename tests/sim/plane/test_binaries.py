"""Which programs are taken, and what is said when there are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from talm.errors import SetupError
from talm.sim.plane.binaries import find_crds, find_program, find_programs


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.delenv("TALM_CONTROLPLANE", raising=False)
    monkeypatch.setenv("TALM_CACHE", str(tmp_path / "cache"))


def put(directory: Path, *names: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        (directory / name).touch()
    return directory


def test_what_was_built_is_found_in_the_cache(tmp_path: Path) -> None:
    current = put(tmp_path / "cache" / "current", "kubernetes", "registry", "crds")
    assert find_programs().kubectl == (str(current / "kubernetes"), "kubectl")
    assert find_program("registry") == current / "registry"
    assert find_crds() == current / "crds"


def test_kubebuilder_assets_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    current = put(tmp_path / "cache" / "current", "kubernetes")
    assets = put(tmp_path / "assets", "etcd", "kube-apiserver", "kubectl")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(assets))
    programs = find_programs()
    assert programs.api_server == (str(assets / "kube-apiserver"),)
    # The usual assets have no controller manager: the built one fills in.
    assert programs.controller_manager == (str(current / "kubernetes"), "kube-controller-manager")
    put(assets, "kube-controller-manager")
    assert find_programs().controller_manager == (str(assets / "kube-controller-manager"),)


def test_incomplete_assets_are_an_error_that_names_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(put(tmp_path, "etcd")))
    with pytest.raises(SetupError, match="lacks kube-apiserver, kubectl"):
        find_programs()


def test_without_any_program_the_message_names_every_way_to_one() -> None:
    with pytest.raises(SetupError, match=r"make controlplane.*KUBEBUILDER_ASSETS.*KUBECONFIG"):
        find_programs()


@pytest.mark.parametrize(
    "name", ["registry", "action-gc", "config-policy-controller", "containerd"]
)
def test_a_missing_program_is_named_with_the_command_that_builds_it(name: str) -> None:
    with pytest.raises(
        SetupError, match=rf"no {name} at .*'make (controlplane|agents|test-tools)' builds it"
    ):
        find_program(name)
