"""What all commands that look at a hub have in common: options, a connection, a terminal or none.

Decided here: colors (terminals only, never with NO_COLOR) and width; that no library's log line gets
between the lines of a command.  Not here: what is read and shown.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import shutil
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import click

from talm.cli import completion
from talm.cli.layout import Paint, ansi, plain
from talm.cli.where import Where

_INTERRUPTED: Final = 130  # as shells have it: 128 + SIGINT

Command = Callable[..., None]


_OPTIONS: Final = (
    click.option(
        "-n",
        "--namespace",
        default="",
        shell_complete=completion.namespaces,
        help="Namespace of the CGU. Default: all namespaces.",
    ),
    click.option(
        "--kubeconfig",
        type=click.Path(dir_okay=False, path_type=Path),
        help="The hub. Default: $KUBECONFIG, ~/.kube/config, the pod's service account.",
    ),
    click.option("--context", help="Context of the kubeconfig."),
)


def hub_options(command: Command) -> Command:
    """-n, --kubeconfig, --context: the command gets one `where`."""

    @functools.wraps(command)
    def with_where(
        *, namespace: str, kubeconfig: Path | None, context: str | None, **rest: Any
    ) -> None:
        command(where=Where(kubeconfig, context, namespace), **rest)

    found: Command = with_where
    for option in reversed(_OPTIONS):
        found = option(found)
    return found


def name_argument(*, required: bool) -> Callable[[Command], Command]:
    """The CGU's name."""
    metavar = "CGU" if required else "[CGU]"
    return click.argument(
        "name", metavar=metavar, required=required, shell_complete=completion.cgus
    )


def cluster_option(*, required: bool) -> Callable[[Command], Command]:
    """--cluster, of the CGU that was named."""
    return click.option(
        "-c",
        "--cluster",
        required=required,
        default="",
        shell_complete=completion.clusters,
        help="Name of the ManagedCluster.",
    )


def run(work: Coroutine[Any, Any, int | None]) -> None:
    """Run a command to its end and exit with its code; Ctrl-C ends it quietly."""
    _silence()
    try:
        code = asyncio.run(work)
    except KeyboardInterrupt:
        code = _INTERRUPTED
    if code:
        sys.exit(code)


def _silence() -> None:
    import structlog

    nothing = structlog.make_filtering_bound_logger(logging.CRITICAL)
    structlog.configure(wrapper_class=nothing)


def is_terminal() -> bool:
    """Whether a person looks at it as it is printed."""
    return sys.stdout.isatty()


def paint() -> Paint:
    """Colors for terminals; https://no-color.org is honored."""
    dumb = os.environ.get("TERM") == "dumb"
    return ansi if is_terminal() and not os.environ.get("NO_COLOR") and not dumb else plain


def width() -> int | None:
    """The terminal's width; None where nothing is cut."""
    return shutil.get_terminal_size().columns if is_terminal() else None
