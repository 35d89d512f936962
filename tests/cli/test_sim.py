"""`talm sim`: what it refuses, and how it says so."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from talm.cli.sim import sim
from talm.errors import SetupError, Unreachable
from talm.sim.faults import FAULTS

KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: hub
contexts: [{name: hub, context: {cluster: hub, user: admin}}]
clusters: [{name: hub, cluster: {server: "http://127.0.0.1:9"}}]
users: [{name: admin, user: {token: none}}]
"""


def test_help_explains_every_fault() -> None:
    answer = CliRunner().invoke(sim, ["--help"])
    assert answer.exit_code == 0
    assert all(fault in answer.output for fault in FAULTS)


def test_an_unknown_fault_is_refused_with_the_known_ones() -> None:
    answer = CliRunner().invoke(sim, ["--faults", "offlin=10%"])
    assert isinstance(answer.exception, SetupError)
    assert "no fault is called 'offlin'; known are: offline, " in str(answer.exception)


def test_an_unreachable_hub_is_named(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(KUBECONFIG)
    answer = CliRunner().invoke(sim, ["--kubeconfig", str(path), "--clusters", "1"])
    assert isinstance(answer.exception, Unreachable)
    assert "http://127.0.0.1:9" in str(answer.exception)
