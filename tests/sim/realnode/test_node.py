"""What a real node says of a machine that it cannot run on.  Where it can: tests/e2e."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from talm.errors import SetupError
from talm.sim.realnode import node

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="for x86-64")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of programs in which everything is there; the only one on PATH."""
    for name in ("kubernetes", "containerd", "runc", "containerd-shim-runc-v2", "loopback"):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("TALM_CONTROLPLANE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(node, "_CNI_PLACES", (tmp_path,))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return tmp_path


def test_a_machine_with_everything_will_do(machine: Path) -> None:
    assert node.check_machine() == machine


@pytest.mark.parametrize(
    ("missing", "way"),
    [
        ("kubernetes", "make controlplane"),
        ("containerd", "make test-tools"),
        ("runc", "make test-tools"),
        ("containerd-shim-runc-v2", "make test-tools"),
        ("loopback", "make test-tools"),
    ],
)
def test_what_is_missing_is_named_with_the_way_to_get_it(
    machine: Path, missing: str, way: str
) -> None:
    (machine / missing).unlink()
    with pytest.raises(SetupError, match=missing) as caught:
        node.check_machine()
    assert way in str(caught.value)


def test_without_root_s_rights_there_is_no_node(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SetupError, match="root"):
        node.check_machine()
