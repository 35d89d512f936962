"""`talm agent`: the workload, as container entry point and by hand."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from typing import Any, Final

import click

from talm.agent import leftovers
from talm.agent.main import plan_only, run_agent
from talm.agent.nodes.coordinating import run_nodes
from talm.agent.pins.releasing import release
from talm.agent.plan import Plan
from talm.agent.priority import lower_priority
from talm.agent.settings import Settings
from talm.agent.transfer.spool import Spool
from talm.api.pod import LAST_OF_ENV, NODES_AT_ONCE, NODES_AT_ONCE_ENV
from talm.api.progress import EXIT_CODES, FailureClass
from talm.cli.agentoptions import HOW, PINNED_FOR, TELLING, WHAT, WHERE, with_options
from talm.errors import AgentError, TalmError

_LAST_S: Final = 4.9  # a run that can ends before: 1.5 s to flush, 3 s for the last record


class _PullByDefault(click.Group):
    """`talm agent --config …` is `talm agent pull --config …`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] != "--help"):
            args = ["pull", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_PullByDefault)
def agent() -> None:
    """The workload on a spoke: bring the images of the next release (default: pull)."""


@agent.command()
@with_options(WHAT)
@with_options(WHERE)
@with_options(HOW)
@PINNED_FOR
@with_options(TELLING)
@click.option(
    "--background/--foreground",
    envvar="TALM_BACKGROUND",
    help="Leave CPU and disk to others; a pod of the operator does.",
)
def pull(*, background: bool, **flags: Any) -> None:
    """Bring the images, resume what was begun, exit 0 only when the store has them all."""
    if background:
        lower_priority()
    sys.exit(asyncio.run(run_agent(Settings(**flags), on_signal=_end_anyway)))


@agent.command()
@with_options(TELLING)
@click.option(
    "--at-once",
    type=click.IntRange(1),
    default=NODES_AT_ONCE,
    show_default=True,
    envvar=NODES_AT_ONCE_ENV,
    metavar="N",
    help="Nodes that pull at the same time: they share a link.",
)
def nodes(at_once: int, **flags: Any) -> None:
    """Have every node of the cluster pull; exit 0 only when each has everything.

    Works in a pod of the operator's Job, which carries in an annotation the Job of one node.  Each
    node's record gets a ConfigMap of its own, their sum goes to --progress-configmap.
    """
    sys.exit(asyncio.run(run_nodes(Settings(**flags), at_once, on_signal=_end_anyway)))


def _end_anyway() -> None:
    """End the process 5 s after a signal, even where something will not let go (a dying disk)."""
    timer = threading.Timer(_LAST_S, os._exit, [EXIT_CODES[FailureClass.INTERRUPTED]])
    timer.daemon = True
    timer.start()


@agent.command()
@with_options(WHAT)
@with_options(WHERE)
@with_options(HOW)
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table")
def plan(output: str, **flags: Any) -> None:
    """Print what a pull would bring and what the store already has; nothing is moved."""
    try:
        found = asyncio.run(plan_only(Settings(**flags)))
    except AgentError as exc:
        click.echo(f"talm agent plan: {exc}", err=True)
        sys.exit(exc.exit_code)
    if output == "json":
        click.echo(json.dumps(found.as_data(), indent=2))
    else:
        _print_table(found)


@agent.command()
@with_options(WHERE)
def clean(**flags: Any) -> None:
    """Drop what failed runs have left in the spool; images in the store stay."""
    spool = Spool(Settings(**flags).spool_directory())
    try:
        freed = asyncio.run(leftovers.clean(spool))
    except AgentError as exc:
        click.echo(f"talm agent clean: {exc}", err=True)
        sys.exit(exc.exit_code)
    click.echo(f"{spool.directory}: {freed.files} files, {_mib(freed.size)} MiB freed")


@agent.command()
@with_options(WHERE)
@PINNED_FOR
@click.option(
    "--last-of",
    default="",
    envvar=LAST_OF_ENV,
    metavar="NAMESPACE",
    help="Delete this namespace afterwards, with this pod's account: the pod's own.",
)
def unpin(last_of: str, **flags: Any) -> None:
    """Let the node's garbage collection have the images again that runs have pinned."""
    try:
        count = asyncio.run(release(Settings(**flags), last_of))
    except TalmError as exc:
        click.echo(f"talm agent unpin: {exc}", err=True)
        sys.exit(exc.exit_code if isinstance(exc, AgentError) else 1)
    click.echo(f"{count} names unpinned")


def _print_table(plan: Plan) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("IMAGE", "STATE", box=None, pad_edge=False)
    table.add_column("MIB", justify="right")
    table.add_column("MISSING", justify="right")
    for planned in plan.images:
        missing = sum(blob.size for blob in planned.missing)
        state = "missing" if missing else "cached"
        size = sum(blob.size for blob in planned.image.blobs)
        table.add_row(str(planned.image.reference), state, _mib(size), _mib(missing))
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    console.print(
        f"{len(plan.images)} images, {plan.cached} of them cached; "
        f"{len(plan.missing)} of {len(plan.blobs)} blobs missing"
    )
    console.print(
        f"{_mib(plan.total_bytes)} MiB in all, {_mib(plan.missing_bytes)} MiB missing, "
        f"{_mib(plan.download_bytes)} MiB to download, "
        f"about {_mib(plan.unpacked_bytes)} MiB when unpacked"
    )
    for warning in plan.warnings:
        console.print(f"warning: {warning}", markup=False)


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f}"
