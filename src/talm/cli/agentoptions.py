"""The options of `talm agent`, in the groups in which its commands share them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import click

from talm.agent.settings import default_termination_log
from talm.agent.stores.opening import STORES
from talm.api.pod import HOST_ENV, JOB_DEADLINE_ENV, PINNED_FOR_ENV, PROGRESS_ENV, RUN_ENV

Decorator = Callable[[Callable[..., None]], Callable[..., None]]

WHAT: Final[tuple[Decorator, ...]] = (
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
        help="Release image, HOST[:PORT]/PATH[:TAG][@DIGEST]; replaces the ConfigMap's.",
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
        help="Index image of an operator catalog, for --package and --from (may be repeated).",
    ),
    click.option(
        "--package",
        "packages",
        multiple=True,
        envvar="TALM_PACKAGES",
        metavar="NAME:CHANNEL",
        help="Cache the newest bundle of an operator's channel, its head (may be repeated).",
    ),
    click.option(
        "--from",
        "starts",
        multiple=True,
        envvar="TALM_FROM",
        metavar="NAME:CHANNEL:BUNDLE",
        help="Cache every bundle from BUNDLE, the CSV that is installed or starts, to the head"
        " (may be repeated).",
    ),
    click.option(
        "--exclude",
        "excludes",
        multiple=True,
        envvar="TALM_EXCLUDES",
        metavar="PATTERN",
        help="Leave out images of the release whose NAME$PULLSPEC this POSIX basic expression"
        " matches, as grep -G (may be repeated).",
    ),
    click.option(
        "--space-required",
        default="",
        envvar="TALM_SPACE_REQUIRED",
        metavar="GIB",
        help="Free space to insist on, a whole number of GiB; replaces the ConfigMap's.",
    ),
)
WHERE: Final[tuple[Decorator, ...]] = (
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
PINNED_FOR: Final[Decorator] = click.option(
    "--pinned-for",
    default="",
    envvar=PINNED_FOR_ENV,
    metavar="RUN",
    help="Whose pins they are, so that a later run's stay when they are taken back.",
)
HOW: Final[tuple[Decorator, ...]] = (
    click.option(
        "--streams",
        type=click.IntRange(1, 64),
        default=4,
        show_default=True,
        envvar="TALM_STREAMS",
        help="Blobs that are downloaded at the same time.",
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
        help="auth.json with the registries' credentials; comes before the node's pull secret.",
    ),
    click.option(
        "--host-root",
        type=click.Path(path_type=Path),
        default="/",
        envvar=HOST_ENV,
        metavar="DIR",
        help="Where the node's root is mounted; its registries.conf, certificates, pull secret,"
        " proxies and kubelet's limits are read below it.",
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


TELLING: Final[tuple[Decorator, ...]] = (
    click.option(
        "--progress-configmap",
        "progress_config_map",
        default="",
        envvar=PROGRESS_ENV,
        metavar="NAMESPACE/NAME",
        help="Existing ConfigMap that gets the record, with this pod's account.",
    ),
    click.option(
        "--run",
        default="",
        envvar=RUN_ENV,
        help="Name of this run in the record; a random one unless given.",
    ),
    click.option(
        "--job-deadline",
        "job_deadline_s",
        type=click.FloatRange(0, min_open=True),
        envvar=JOB_DEADLINE_ENV,
        metavar="SECONDS",
        help="The Job's activeDeadlineSeconds; 60 s before, pulling stops and the result is told.",
    ),
    click.option(
        "--termination-log",
        type=click.Path(path_type=Path),
        default=default_termination_log,
        envvar="TALM_TERMINATION_LOG",
        metavar="FILE",
        help="Gets class and text of a failure; /dev/termination-log in a container.",
    ),
)


def with_options(options: tuple[Decorator, ...]) -> Decorator:
    """Give a command options that others have too."""

    def add(command: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):
            command = option(command)
        return command

    return add
