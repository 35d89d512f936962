"""`talm run`: where settings come from, what is refused, and how it ends."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from click.testing import CliRunner, Result

from talm.cli import run as command
from talm.cli.run import gather, run
from talm.errors import CredentialError, SetupError
from talm.hub import app
from talm.hub.settings import Settings, flag


@pytest.fixture(autouse=True)
def outside_of_a_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(command, "NAMESPACE_FILE", tmp_path / "no-such-file")
    for name in [name for name in os.environ if name.startswith("TALM_")]:
        monkeypatch.delenv(name)
    yield
    structlog.reset_defaults()


def file(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "settings.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_flag_beats_the_environment_which_beats_the_file(tmp_path: Path) -> None:
    config = file(tmp_path, "workers: 1\nconcurrency: 2\nlog-level: debug\nsetup_deadline: 9\n")
    environment = {"TALM_WORKERS": "3", "TALM_CONCURRENCY": "4", "TALM_PROFILE": ""}
    found = gather({"workers": 5, "concurrency": None}, environment, config)
    assert found == Settings(workers=5, concurrency=4, log_level="debug", setup_deadline=9)


def test_in_a_pod_the_namespace_is_the_pods_own_unless_it_is_given(tmp_path: Path) -> None:
    command.NAMESPACE_FILE.write_text("talm-two\n")
    assert gather({}, {}, None).namespace == "talm-two"
    assert gather({}, {"TALM_NAMESPACE": "given"}, None).namespace == "given"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("takeover", "true", True),
        ("takeover", "YES", True),
        ("leader_elect", "0", False),
        ("workers", "12", 12),
        ("graph_timeout", "2", 2.0),
        ("graph_timeout", "2.5", 2.5),
        ("namespace", "12", "12"),
    ],
)
def test_text_from_the_environment_is_what_it_says(name: str, text: str, value: Any) -> None:
    found = getattr(gather({}, {f"TALM_{name.upper()}": text}, None), name)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("workerz: 3", "'workerz' is no setting; see talm run --help"),
        ("1: 3", "1 is no setting"),
        ("workers: many", "workers is 'many': it must be of type int"),
        ("workers: 2.5", "workers is 2.5: it must be of type int"),
        ("workers: true", "workers is True: it must be of type int"),
        ("kubeconfig:", "kubeconfig is None: it must be of type str"),
        ("allowed-workload-images: [a, b]", "is ['a', 'b']: it must be of type str"),
        ("graph-timeout: soon", "graph-timeout is 'soon': it must be of type float"),
        ("takeover: perhaps", "takeover is 'perhaps': it must be of type bool"),
        ("- workers", "it must be a map of settings"),
        ("workers: [", "cannot be read"),
        (b"workers: \xff", "cannot be read"),
    ],
    ids=str,
)
def test_a_file_that_cannot_be_meant_is_refused_with_a_sentence(
    tmp_path: Path, text: str | bytes, complaint: str
) -> None:
    config = file(tmp_path, text)
    with pytest.raises(SetupError) as refused:
        gather({}, {}, config)
    assert str(refused.value).startswith(str(config))
    assert complaint in str(refused.value)


def test_a_wrong_variable_is_named() -> None:
    with pytest.raises(SetupError, match="TALM_WORKERS is 'x': it must be of type int"):
        gather({}, {"TALM_WORKERS": "x"}, None)


def test_an_empty_file_says_nothing_and_a_missing_one_is_an_error(tmp_path: Path) -> None:
    assert gather({}, {}, file(tmp_path, "")) == Settings()
    with pytest.raises(SetupError, match="cannot be read"):
        gather({}, {}, tmp_path / "missing.yaml")


def test_a_whole_number_and_a_truth_in_a_file_keep_their_types(tmp_path: Path) -> None:
    found = gather({}, {}, file(tmp_path, "graph-timeout: 3\ntakeover: yes\nworkers: '4'\n"))
    assert (found.graph_timeout, found.takeover, found.workers) == (3.0, True, 4)
    assert type(found.graph_timeout) is float


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(run, arguments)


def test_the_help_lists_every_setting_with_its_unit_and_default() -> None:
    text = " ".join(invoke("--help").output.split())
    for field in dataclasses.fields(Settings):
        assert f"--{flag(field.name)}" in text
        if field.metadata["unit"]:
            assert f"[{field.metadata['unit']}] Default: {field.default}." in text
    assert "--leader-elect / --no-leader-elect" in text
    assert "[json|console]" in text


def test_without_a_workload_image_nothing_starts() -> None:
    refused = invoke().exception
    assert isinstance(refused, SetupError)
    assert "TALM_WORKLOAD_IMAGE" in str(refused)


class Hub:
    """Stands in for the operator: it runs until it is asked to stop, and then for as long as it likes."""

    lingers = False
    error: Exception | None = None
    ended = ""

    def __init__(self, settings: Settings) -> None:
        Hub.ended = ""
        self.settings = settings

    async def run(self, stop: asyncio.Event) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            await stop.wait()
            if Hub.error is not None:
                raise Hub.error
            if Hub.lingers:
                os.kill(os.getpid(), signal.SIGTERM)
                await asyncio.Event().wait()
            Hub.ended = "well"
        except asyncio.CancelledError:
            Hub.ended = "in a hurry"
            raise


@pytest.fixture
def operator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "Operator", Hub)
    monkeypatch.setattr(Hub, "lingers", False)
    monkeypatch.setattr(Hub, "error", None)


@pytest.mark.usefixtures("operator")
def test_sigterm_asks_the_operator_to_stop() -> None:
    ended = invoke("--workload-image", "workload:1")
    assert (ended.exit_code, ended.exception, Hub.ended) == (0, None, "well")


@pytest.mark.usefixtures("operator")
def test_a_second_sigterm_does_not_wait_for_what_is_under_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Hub, "lingers", True)
    ended = invoke("--workload-image", "workload:1")
    assert (ended.exit_code, ended.exception, Hub.ended) == (0, None, "in a hurry")


@pytest.mark.usefixtures("operator")
def test_what_ends_the_operator_ends_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hub, "error", CredentialError("no token"))
    assert invoke("--workload-image", "workload:1").exception is Hub.error
