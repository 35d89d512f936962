"""The command line as a whole: quick help, exit codes, libraries that are absent."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

from talm.cli import main
from talm.errors import ApiError, CredentialError, LeadershipLost, SetupError, TalmError


def test_help_lists_every_command_without_importing_one() -> None:
    code = (
        "import sys\nfrom talm.cli.main import cli\n"
        "try:\n    cli.main(['--help'])\nfinally:\n"
        "    print([m for m in sys.modules if m.startswith('talm.') and m.split('.')[1] in"
        " ('hub', 'sim', 'kube', 'agent')])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(name in done.stdout for name in main.COMMANDS)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", list(main.COMMANDS))
def test_every_command_can_be_loaded_and_asked_for_help(name: str) -> None:
    answer = CliRunner().invoke(main.cli, [name, "--help"])
    assert answer.exit_code == 0
    assert "Usage:" in answer.output


def test_an_unknown_command_is_wrong_usage() -> None:
    assert CliRunner().invoke(main.cli, ["dance"]).exit_code == 2


@pytest.mark.parametrize(("name", "extra"), [("run", "talm[hub]"), ("demo", "talm[sim]")])
def test_a_library_that_is_absent_names_its_extra(
    name: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(_: str) -> None:
        raise ModuleNotFoundError("No module named 'trustme.x'", name="trustme.x")

    monkeypatch.setattr("importlib.import_module", absent)
    with pytest.raises(SetupError) as caught:
        main.load(name)
    assert str(caught.value) == (
        f"talm {name} needs trustme, which is not installed: pip install '{extra}'"
    )


def test_a_module_of_ours_that_is_absent_is_no_matter_of_extras(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def absent(_: str) -> None:
        raise ModuleNotFoundError("No module named 'talm.x'", name="talm.x")

    monkeypatch.setattr("importlib.import_module", absent)
    with pytest.raises(ModuleNotFoundError):
        main.load("run")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SetupError("x"), 2),
        (LeadershipLost("x"), 3),
        (CredentialError("x"), 4),
        (ApiError("GET", "/x", 500, "x"), 5),
        (TalmError("x"), 1),
    ],
)
def test_an_expected_error_is_a_sentence_and_an_exit_code(
    error: TalmError,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fails(**_: object) -> None:
        raise error

    monkeypatch.setattr(main.cli, "main", fails)
    with pytest.raises(SystemExit) as caught:
        main.main()
    assert caught.value.code == code
    assert capsys.readouterr().err == f"talm: {error}\n"
