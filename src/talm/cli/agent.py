"""`talm agent`: the workload, as container entry point and by hand."""

from __future__ import annotations

import asyncio
import json
import math
import os
import sys
import threading
from typing import Any, Final

import click
import structlog

from talm.agent import leftovers
from talm.agent.bringing import raise_all
from talm.agent.main import plan_only, run_agent
from talm.agent.nodes.coordinating import run_nodes
from talm.agent.pins.releasing import leave as leave_namespace
from talm.agent.pins.releasing import release
from talm.agent.plan import Plan
from talm.agent.priority import lower_priority
from talm.agent.settings import Settings
from talm.agent.transfer.spool import Spool
from talm.api.pod import DAEMON_SET_ENV, LAST_OF_ENV, NODES_AT_ONCE, NODES_AT_ONCE_ENV
from talm.api.progress import EXIT_CODES, FailureClass
from talm.cli.agentoptions import HOW, PINNED_FOR, TELLING, WHAT, WHERE, with_options
from talm.errors import AgentError, TalmError

# The image comes last: it is what gets copied, and is never cut.
_ROW: Final = "{:<8} {:>9} {:>12}  {}"
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


@agent.command(short_help="Bring the images (what `talm agent` does by itself).")
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


@agent.command(short_help="Have every node of the cluster pull.")
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


@agent.command(short_help="Say what a pull would bring, and bring nothing.")
@with_options(WHAT)
@with_options(WHERE)
@with_options(HOW)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="For people, or for programs with sizes in bytes.",
)
def plan(output: str, **flags: Any) -> None:
    """Print what a pull would bring and what the store already has; the store stays as it is.

    Manifests, and the layers with the release's list and the catalogs, are read from the
    registry unless they are here.  Exit 0: every image that is wanted was found.
    """
    # What is printed is for a pipe; what is logged is not part of it.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        found = asyncio.run(plan_only(Settings(**flags)))
        if output == "json":
            click.echo(json.dumps(found.as_data(), indent=2))
        else:
            _print_table(found)
        raise_all(found.failed, len(found.images) + len(found.failed))
    except AgentError as exc:
        click.echo(f"talm agent plan: {exc}", err=True)
        sys.exit(exc.exit_code)


@agent.command(short_help="Drop what failed runs have left in the spool.")
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


@agent.command(short_help="Take back the pins of earlier runs.")
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


@agent.command(short_help="Wait for the other nodes, then delete the namespace.")
@click.option(
    "--last-of",
    required=True,
    envvar=LAST_OF_ENV,
    metavar="NAMESPACE",
    help="The pods' namespace, which is deleted with this pod's account.",
)
@click.option(
    "--daemon-set",
    required=True,
    envvar=DAEMON_SET_ENV,
    metavar="NAME",
    help="Whose pods must all be ready.",
)
def leave(last_of: str, daemon_set: str) -> None:
    """Once every pod of a DaemonSet is ready, or an hour is over, delete its namespace.

    For the pods that the operator has unpin on every node of a cluster.
    """
    try:
        ready = asyncio.run(leave_namespace(last_of, daemon_set))
    except TalmError as exc:
        click.echo(f"talm agent leave: {exc}", err=True)
        sys.exit(1)
    click.echo("all nodes are through" if ready else "not all nodes were through in time")


def _print_table(plan: Plan) -> None:
    click.echo(_ROW.format("STATE", "SIZE MIB", "MISSING MIB", "IMAGE"))
    for planned in plan.images:
        missing = sum(blob.size for blob in planned.missing)
        size = sum(blob.size for blob in planned.image.blobs)
        state = "missing" if missing else "cached"
        click.echo(_ROW.format(state, _mib(size), _mib(missing), planned.image.reference))
    click.echo(
        f"{len(plan.images)} images, {plan.cached} of them cached; "
        f"{len(plan.missing)} of {len(plan.blobs)} blobs missing"
    )
    click.echo(
        f"{_mib(plan.total_bytes)} MiB in all, each blob once; "
        f"{_mib(plan.missing_bytes)} MiB missing, "
        f"{_mib(plan.download_bytes)} MiB of it to download; "
        f"about {_mib(plan.unpacked_bytes)} MiB of disk when unpacked"
    )
    for warning in plan.warnings:
        click.echo(f"warning: {warning}")


def _mib(size: int) -> str:
    """Round up: a little is not nothing."""
    return f"{math.ceil(size / 2**20 * 10) / 10:.1f}"
