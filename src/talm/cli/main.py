"""The command `talm`, also as `kubectl talm` and `oc talm`: a group whose commands are loaded when used."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from talm import __version__
from talm.errors import (
    ApiError,
    CredentialError,
    LeadershipLost,
    NoSuchObject,
    NotAllowed,
    SetupError,
    SeveralMatches,
    TalmError,
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A command: its module, which has a click command of the same name; its line in the help; the
    extra that installs what it needs."""

    module: str
    help: str
    extra: str


# in the order of the help page
COMMANDS: Final = {
    "status": Entry("talm.cli.status", "Show how far CGUs and their clusters are.", "hub"),
    "explain": Entry("talm.cli.explain", "Say what a CGU waits for, and what to do.", "hub"),
    "logs": Entry("talm.cli.logs", "Show what a cluster's workload told last.", "hub"),
    "run": Entry("talm.cli.run", "Run the operator.", "hub"),
    "demo": Entry("talm.cli.demo", "Follow the manual's walk-through on this machine.", "sim"),
    "sim": Entry("talm.cli.sim", "Play a fleet of spokes against a hub.", "sim"),
    "agent": Entry("talm.cli.agent", "Bring images to the node: the workload on a spoke.", "agent"),
    "completion": Entry("talm.cli.completion", "Print a script that completes commands.", "hub"),
}
COMPLETE_VARIABLE: Final = "_TALM_COMPLETE"  # with which a shell asks for completions
EXIT_CODES: Final = (
    (LeadershipLost, 3),
    (SetupError, 2),
    (CredentialError, 4),
    (ApiError, 5),
    (NoSuchObject, 6),
    (SeveralMatches, 7),
    (NotAllowed, 8),
)


class LazyGroup(click.Group):
    """Imports a command's module only when the command is asked for: `talm --help` stays quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return load(cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


def load(name: str) -> click.Command:
    """Import a command; raises SetupError that names the extra when a library is absent."""
    entry = COMMANDS[name]
    try:
        module = importlib.import_module(entry.module)
    except ModuleNotFoundError as exc:
        missing = (exc.name or "").partition(".")[0]
        if missing in ("", "talm"):
            raise
        raise SetupError(
            f"talm {name} needs {missing}, which is not installed: "
            f"pip install 'talm[{entry.extra}]'"
        ) from exc
    command = getattr(module, name)
    assert isinstance(command, click.Command)  # noqa: S101 (our own table)
    return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="talm")
def cli() -> None:
    """Pre-cache the next release on edge clusters, then update them batch by batch, from one hub."""


def _program(path: str) -> str:
    """The command as it was typed: kubectl runs a plugin by its file's name."""
    return "kubectl talm" if Path(path).name.startswith("kubectl-") else "talm"


def main() -> None:
    """Run the command line; an expected error is one sentence and an exit code.

    0 done; 1 a check failed or something unexpected; 2 wrong usage, setting or missing part; 3 the Lease
    was lost; 4 no usable credentials; 5 the API server refused or did not answer; 6 nothing has the name that
    was given; 7 several objects have it; 8 this user may not read it.
    """
    try:
        cli.main(prog_name=_program(sys.argv[0]), complete_var=COMPLETE_VARIABLE)
    except TalmError as exc:
        code = next((c for kind, c in EXIT_CODES if isinstance(exc, kind)), 1)
        click.echo(f"talm: {exc}", err=True)
        sys.exit(code)
