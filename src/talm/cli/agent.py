"""`talm agent`: the workload, as container entry point and by hand."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import click

from talm.agent.main import run_agent
from talm.agent.settings import Settings, default_termination_log


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
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    envvar="TALM_CONFIG",
    metavar="DIR",
    help="Mounted ConfigMap: platform.image, additionalImages, spaceRequired as files.",
)
@click.option(
    "--platform-image",
    default="",
    envvar="TALM_PLATFORM_IMAGE",
    metavar="IMAGE",
    help="Release image; replaces the ConfigMap's.",
)
@click.option(
    "--additional-image",
    "additional_images",
    multiple=True,
    envvar="TALM_ADDITIONAL_IMAGES",
    metavar="IMAGE",
    help="One more image (may be repeated; in the environment split by blanks).",
)
@click.option(
    "--store",
    default="oci-layout:/var/lib/talm/images",
    show_default=True,
    envvar="TALM_STORE",
    metavar="oci-layout:PATH",
    help="Where the images go.",
)
@click.option(
    "--spool",
    type=click.Path(path_type=Path),
    envvar="TALM_SPOOL",
    metavar="DIR",
    help="Where partial downloads wait; in the store's .spool unless given.",
)
@click.option(
    "--streams",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    envvar="TALM_STREAMS",
    help="Blobs in flight at once.",
)
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
@click.option(
    "--auth-file",
    type=click.Path(path_type=Path),
    envvar=["TALM_AUTH_FILE", "REGISTRY_AUTH_FILE"],
    metavar="FILE",
    help="auth.json with the registries' credentials.",
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
    "--retry-for",
    "retry_for_s",
    type=click.FloatRange(0),
    default=600.0,
    show_default=True,
    envvar="TALM_RETRY_FOR",
    metavar="SECONDS",
    help="A request is given up when it has brought no byte for so long.",
)
@click.option(
    "--stall",
    "stall_s",
    type=click.FloatRange(0.1),
    default=30.0,
    show_default=True,
    envvar="TALM_STALL",
    metavar="SECONDS",
    help="A transfer without a byte for so long is cut and resumed.",
)
def pull(**flags: Any) -> None:
    """Bring the images, resume what was begun, exit 0 only when the store has them all."""
    sys.exit(asyncio.run(run_agent(Settings(**flags))))
