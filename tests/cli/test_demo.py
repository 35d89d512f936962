"""`talm demo`: its help, what it refuses, what it leaves of its directory.  The walk itself is an
integration test (tests/integration/test_manual.py, test_demo.py)."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from talm.cli import demo as module
from talm.cli.demo import demo
from talm.errors import SetupError
from talm.sim.demo.breakage import BREAKS


def test_help_explains_every_break() -> None:
    answer = CliRunner().invoke(demo, ["--help"])
    assert answer.exit_code == 0
    assert all(
        name in answer.output and made.says in answer.output for name, made in BREAKS.items()
    )


@pytest.mark.parametrize("arguments", [["--clusters", "1"], ["--break", "everything"]])
def test_nonsense_is_wrong_usage(arguments: list[str]) -> None:
    assert CliRunner().invoke(demo, arguments).exit_code == 2


def test_a_machine_without_a_control_plane_is_told_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TALM_CONTROLPLANE", str(tmp_path))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    answer = CliRunner().invoke(demo, [])
    assert isinstance(answer.exception, SetupError)
    text = str(answer.exception)
    assert "make controlplane" in text and "KUBEBUILDER_ASSETS" in text and "KUBECONFIG" in text
    assert answer.output == ""


def made_by_a_run(directory: Path) -> Path:
    """A directory as a run leaves it."""
    for name in ("hub/pki/ca-key.pem", "hub/etcd/wal", "hub/logs/etcd.log", "logs/demo.log"):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text("x")
    (directory / "hub/link").symlink_to(directory / "hub/etcd")
    return directory


def test_logs_alone_stay_when_they_may_be_needed(tmp_path: Path) -> None:
    directory = made_by_a_run(tmp_path / "run")
    module._tidy(directory, keep_logs=True)
    left = [str(p.relative_to(directory)) for p in sorted(directory.rglob("*")) if p.is_file()]
    assert left == ["hub/logs/etcd.log", "logs/demo.log"]
    assert not (directory / "hub/pki").exists()


def test_nothing_stays_of_a_good_run(tmp_path: Path) -> None:
    directory = made_by_a_run(tmp_path / "run")
    module._tidy(directory, keep_logs=False)
    assert not directory.exists()
