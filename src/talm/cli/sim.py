"""`talm sim`: play a fleet of spokes against a hub until it is stopped."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import click
import uvloop
from rich.console import Console
from rich.status import Status

from talm.hub.logs import set_up
from talm.kube.client import Client
from talm.sim.faults import FAULTS, Faults, parse_faults
from talm.sim.fleet import Fleet, FleetSettings
from talm.sim.links import LinkState
from talm.sim.spoke.spokejobs import JobPlan, Scenario

# \b keeps click from wrapping the table
_FAULTS = "\b\nFaults (N or N% of the clusters where clusters are meant):\n" + "\n".join(
    f"  {name:<16} {meaning}" for name, meaning in FAULTS.items()
)


@click.command("sim", short_help="Play a fleet of spokes against a hub.", epilog=_FAULTS)
@click.option(
    "--kubeconfig",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The hub. Default: $KUBECONFIG, ~/.kube/config, the pod's service account.",
)
@click.option("--context", help="Context of the kubeconfig.")
@click.option("--clusters", default=20, show_default=True, type=click.IntRange(1, 9999))
@click.option(
    "--faults", "fault_text", default="", help="What goes wrong: NAME=VALUE,... or @FILE.yaml."
)
@click.option("--seed", default=0, show_default=True, help="Draws who is hit by a fault.")
@click.option("--pace", default=1.0, show_default=True, help="Speed of the spokes.")
@click.option(
    "--job-seconds", default=60.0, show_default=True, help="How long a Job runs, at pace 1."
)
@click.option("--rtt-ms", default=0.0, show_default=True, help="Round trip between hub and spoke.")
@click.option(
    "--quiet-views/--honest-views",
    default=True,
    show_default=True,
    help="Leave out the status writes of views that change nothing (invisible, but CPU).",
)
@click.option(
    "--controllers/--agents-only",
    default=True,
    show_default=True,
    help="Play the hub's placements, policies and action collector too; not on a real OCM hub.",
)
@click.option(
    "--work-manager/--no-work-manager",
    default=True,
    show_default=True,
    help="The clusters have the add-on that answers views and carries out actions; without it "
    "they are reached by ManifestWorks.",
)
def sim(  # noqa: PLR0913 - a parameter per option
    *,
    kubeconfig: Path | None,
    context: str | None,
    clusters: int,
    fault_text: str,
    seed: int,
    pace: float,
    job_seconds: float,
    rtt_ms: float,
    quiet_views: bool,
    controllers: bool,
    work_manager: bool,
) -> None:
    """Play CLUSTERS spokes against a hub: their agents, Jobs, links that fail.

    Missing ManagedClusters (spoke-0001 ...) are created and stay when this ends (Ctrl-C).
    """
    settings = FleetSettings(
        pace=pace,
        scenario=_lasting(job_seconds),
        faults=parse_faults(fault_text, seed=seed) if fault_text else Faults(seed=seed),
        rtt_s=rtt_ms / 1000,
        quiet=quiet_views,
        controllers=controllers,
        add_ons=work_manager,
    )
    uvloop.run(_run(kubeconfig, context, clusters, settings))


def _lasting(seconds: float) -> Scenario:
    return lambda _cluster, _job: JobPlan(duration_s=seconds)


async def _run(
    kubeconfig: Path | None, context: str | None, clusters: int, settings: FleetSettings
) -> None:
    console = Console(stderr=True)
    set_up("console", "warning")
    done = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, done.set)
    async with await Client.connect(kubeconfig, user_agent="talm-sim", context=context) as client:
        with console.status(f"registering {clusters} clusters on {client.server}") as status:
            async with Fleet(client, clusters, settings) as fleet:
                await _show(fleet, status, done)
    console.print(f"stopped; the objects of {clusters} clusters stay on the hub")


async def _show(fleet: Fleet, status: Status, done: asyncio.Event) -> None:
    """Keep one line with what the fleet is doing, until told to stop."""
    while not done.is_set():
        up = sum(site.link.state is LinkState.UP for site in fleet)
        jobs = sum(len(uids) for uids in fleet.job_uids().values())
        status.update(f"{len(fleet)} spokes, {up} connected, {jobs} Jobs created; Ctrl-C ends")
        try:
            async with asyncio.timeout(1.0):
                await done.wait()
        except TimeoutError:
            continue
