"""`talm agent`: the workload, as container entry point and by hand."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from talm.agent import leftovers
from talm.agent.main import plan_only, run_agent
from talm.agent.pins.releasing import release
from talm.agent.plan import Plan
from talm.agent.priority import lower_priority
from talm.agent.settings import Settings, default_termination_log
from talm.agent.stores.opening import STORES
from talm.agent.transfer.spool import Spool
from talm.api.pod import HOST_ENV, JOB_DEADLINE_ENV, LAST_OF_ENV, PINNED_FOR_ENV
from talm.api.progress import EXIT_CODES, FailureClass
from talm.errors import AgentError, TalmError

_LAST_S: Final = 4.9  # a run that can ends before: 1.5 s to flush, 3 s for the last record

_Decorator = Callable[[Callable[..., None]], Callable[..., None]]

_WHAT: Final[tuple[_Decorator, ...]] = (
    click.option(
        "--config",
        type=click.Path(path_type=Path),
        envvar="TALM_CONFIG",
        metavar="DIR",
        help="Mounted ConfigMap: platform.image, operators.indexes, … as files.",
    ),
    click.option(
        "--platform-image",
        default="",
        envvar="TALM_PLATFORM_IMAGE",
        metavar="IMAGE",
        help="Release image; replaces the ConfigMap's.",
    ),
    click.option(
        "--additional-image",
        "additional_images",
        multiple=True,
        envvar="TALM_ADDITIONAL_IMAGES",
        metavar="IMAGE",
        help="One more image (may be repeated; in the environment split by blanks).",
    ),
    click.option(
        "--operator-index",
        "operator_indexes",
        multiple=True,
        envvar="TALM_OPERATOR_INDEXES",
        metavar="IMAGE",
        help="A catalog of operators (may be repeated).",
    ),
    click.option(
        "--package",
        "packages",
        multiple=True,
        envvar="TALM_PACKAGES",
        metavar="NAME:CHANNEL",
        help="Cache the head of this channel (may be repeated).",
    ),
    click.option(
        "--from",
        "starts",
        multiple=True,
        envvar="TALM_FROM",
        metavar="NAME:CHANNEL:BUNDLE",
        help="Cache all bundles from this one to the head (may be repeated).",
    ),
    click.option(
        "--exclude",
        "excludes",
        multiple=True,
        envvar="TALM_EXCLUDES",
        metavar="PATTERN",
        help="Leave out images of the release: POSIX basic expression (may be repeated).",
    ),
    click.option(
        "--space-required",
        default="",
        envvar="TALM_SPACE_REQUIRED",
        metavar="GIB",
        help="Free space to insist on; replaces the ConfigMap's.",
    ),
)
_WHERE: Final[tuple[_Decorator, ...]] = (
    click.option(
        "--store",
        default="oci-layout:/var/lib/talm/images",
        show_default=True,
        envvar="TALM_STORE",
        metavar="KIND[:PLACE]",
        help=f"Where the images go: {STORES}.",
    ),
    click.option(
        "--spool",
        type=click.Path(path_type=Path),
        envvar="TALM_SPOOL",
        metavar="DIR",
        help="Where partial downloads wait; /var/lib/talm/spool, or .spool in an oci-layout elsewhere.",
    ),
)
_PINNED_FOR: Final[_Decorator] = click.option(
    "--pinned-for",
    default="",
    envvar=PINNED_FOR_ENV,
    metavar="RUN",
    help="Whose pins they are, so that a later run's stay when they are taken back.",
)
_HOW: Final[tuple[_Decorator, ...]] = (
    click.option(
        "--streams",
        type=click.IntRange(1, 64),
        default=4,
        show_default=True,
        envvar="TALM_STREAMS",
        help="Blobs in flight at once.",
    ),
    click.option(
        "--bandwidth",
        "bandwidth_mbit_s",
        type=click.FloatRange(0, min_open=True),
        envvar="TALM_BANDWIDTH",
        metavar="MBIT/S",
        help="Cap on all streams together, in Mbit/s; none unless given.",
    ),
    click.option(
        "--auth-file",
        type=click.Path(path_type=Path),
        envvar=["TALM_AUTH_FILE", "REGISTRY_AUTH_FILE"],
        metavar="FILE",
        help="auth.json with the registries' credentials.",
    ),
    click.option(
        "--host-root",
        type=click.Path(path_type=Path),
        default="/",
        envvar=HOST_ENV,
        metavar="DIR",
        help="Where the node's root is mounted; the kubelet's limits are looked for there.",
    ),
    click.option(
        "--kubelet-config",
        type=click.Path(path_type=Path),
        envvar="TALM_KUBELET_CONFIG",
        metavar="FILE",
        help="The kubelet's configuration, if not in a usual place below --host-root.",
    ),
    click.option(
        "--retry-for",
        "retry_for_s",
        type=click.FloatRange(0),
        default=600.0,
        show_default=True,
        envvar="TALM_RETRY_FOR",
        metavar="SECONDS",
        help="A request is given up when it has brought no byte for so long.",
    ),
    click.option(
        "--stall",
        "stall_s",
        type=click.FloatRange(0.1),
        default=30.0,
        show_default=True,
        envvar="TALM_STALL",
        metavar="SECONDS",
        help="A transfer without a byte for so long is cut and resumed.",
    ),
)


def _with(options: tuple[_Decorator, ...]) -> _Decorator:
    """Give a command options that others have too."""

    def add(command: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):
            command = option(command)
        return command

    return add


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
@_with(_WHAT)
@_with(_WHERE)
@_with(_HOW)
@click.option(
    "--progress-configmap",
    "progress_config_map",
    default="",
    envvar="TALM_PROGRESS_CONFIGMAP",
    metavar="NAMESPACE/NAME",
    help="Existing ConfigMap that gets the record, with this pod's account.",
)
@click.option(
    "--run",
    default="",
    envvar="TALM_RUN",
    help="Name of this run in the record; a random one unless given.",
)
@_PINNED_FOR
@click.option(
    "--job-deadline",
    "job_deadline_s",
    type=click.FloatRange(0, min_open=True),
    envvar=JOB_DEADLINE_ENV,
    metavar="SECONDS",
    help="The Job's activeDeadlineSeconds; 60 s before, pulling stops and the result is told.",
)
@click.option(
    "--termination-log",
    type=click.Path(path_type=Path),
    default=default_termination_log,
    envvar="TALM_TERMINATION_LOG",
    metavar="FILE",
    help="Gets class and text of a failure; /dev/termination-log in a container.",
)
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


def _end_anyway() -> None:
    """End the process 5 s after a signal, even where something will not let go (a dying disk)."""
    timer = threading.Timer(_LAST_S, os._exit, [EXIT_CODES[FailureClass.INTERRUPTED]])
    timer.daemon = True
    timer.start()


@agent.command()
@_with(_WHAT)
@_with(_WHERE)
@_with(_HOW)
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
@_with(_WHERE)
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
@_with(_WHERE)
@_PINNED_FOR
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
