"""The command `talm`: its commands, and the exit codes of what is expected to go wrong."""

from __future__ import annotations

import importlib
import subprocess
import sys
import types

import click
import pytest

from talm import __version__, errors
from talm.cli import main as entrance
from talm.cli.main import COMMANDS, Entry, load, main


def talm(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "talm", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_the_help_lists_the_commands_in_order_without_loading_them() -> None:
    script = (
        "import sys; from talm.cli.main import cli\ntry: cli(['--help'])\nexcept SystemExit: pass\n"
    )
    script += "assert not [m for m in sys.modules if m.startswith('talm.hub')]"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    places = [done.stdout.index(f"  {name} ") for name in COMMANDS]
    assert places == sorted(places)


def test_version_and_unknown_commands() -> None:
    assert talm("--version").stdout == f"talm, version {__version__}\n"
    unknown = talm("fly")
    assert unknown.returncode == 2
    assert "No such command 'fly'" in unknown.stderr


def test_every_command_of_the_table_is_there() -> None:
    for name in COMMANDS:
        assert isinstance(load(name), click.Command)


def test_an_operator_without_a_workload_image_ends_with_code_2_and_a_sentence() -> None:
    refused = talm("run")
    assert refused.returncode == 2
    assert refused.stderr == (
        "talm: workload-image is not set: there is no default image; give --workload-image or "
        "TALM_WORKLOAD_IMAGE\n"
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.SetupError("no hub"), 2),
        (errors.LeadershipLost("gone"), 3),
        (errors.CredentialError("no token"), 4),
        (errors.Unreachable("GET", "/apis", 0, "connection refused"), 5),
        (errors.Forbidden("GET", "/apis", 403, "no"), 5),
        (errors.BadSpec("odd"), 1),
        (errors.Bug("broken"), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_expected_errors_are_one_sentence_and_a_code(
    error: errors.TalmError,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(entrance.cli, "main", fail)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == code
    assert capsys.readouterr().err == f"talm: {error}\n"


def test_a_missing_library_names_the_extra_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(COMMANDS, "odd", Entry("talm.cli.odd", "", "hub"))

    def importing(name: str, library: str) -> types.ModuleType:
        raise ModuleNotFoundError(f"No module named {library!r}", name=library)

    monkeypatch.setattr(importlib, "import_module", lambda n: importing(n, "aiohttp.web"))
    with pytest.raises(errors.SetupError, match=r"needs aiohttp.*pip install 'talm\[hub\]'"):
        load("odd")
    monkeypatch.setattr(importlib, "import_module", lambda n: importing(n, "talm.cli.odd"))
    with pytest.raises(ModuleNotFoundError):
        load("odd")
