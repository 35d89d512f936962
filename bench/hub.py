"""Pre-caching of N simulated spokes on a real API server, measured from outside the operator.

    python -m bench.hub                    50, 200 and 1,000 clusters, Jobs of 60 s (about 8 minutes)
    python -m bench.hub --short            50 and 200 clusters, Jobs of 5 s: what CI runs
    python -m bench.hub --profile existing the existing operator's workload and choreography
    python -m bench.hub --transport manifest-work
                                           one ManifestWork for each cluster, none of which answers views
    python -m bench.hub --clusters 5000 --job-seconds 120-420
                                           Jobs of 120 to 420 s, so that 17 of them end in a second

The operator is a process of its own, as it ships; the spokes (instant ones) are played by this
process.  Calls are counted from the API server's audit log, CPU and memory are the kernel's.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import uvloop
from rich.console import Console
from rich.table import Table
from tests.integration import world

from bench.measure import Usage, usage
from talm.api import kinds
from talm.api.cgu import ClusterGroupUpgrade
from talm.hub.logs import set_up
from talm.kube.client import Client
from talm.kube.watch import Informer
from talm.sim.fleet import Fleet, FleetSettings
from talm.sim.plane import foreign_crds
from talm.sim.plane.controlplane import ControlPlane
from talm.sim.spoke.spokejobs import JobPlan, SpokeTimes

ROOT = Path(__file__).parents[1]
NAME = "bench"
WRITES = frozenset({"create", "delete", "patch", "update"})
READS = frozenset({"get", "list"})
NAMESPACES = {"talm": "openshift-talm-pre-cache", "existing": "openshift-talo-pre-cache"}

# The API server's garbage collector takes a third of two cores otherwise; memory is not short here.
GO_GC = {"GOGC": "400"}

console = Console(width=160 if not sys.stdout.isatty() else None)


@dataclass
class Run:
    """Times are seconds since the CGU's creation."""

    clusters: int
    job_s: tuple[float, float]
    profile: str
    transport: str = "view-action"
    began: float = 0.0
    jobs: dict[str, float] = field(default_factory=dict)
    ends: dict[str, float] = field(default_factory=dict)
    shown: dict[str, float] = field(default_factory=dict)
    writes: Counter[str] = field(default_factory=Counter)
    reads: int = 0
    operator: Usage = field(default_factory=Usage)
    api_server: Usage = field(default_factory=Usage)
    done_s: float = 0.0

    def plan(self, cluster: str, _: Mapping[str, Any]) -> JobPlan:
        """Called by the simulator when a Job was created."""
        self.jobs[cluster] = time.monotonic() - self.began
        lasts = random.Random(cluster).uniform(*self.job_s)  # noqa: S311
        self.ends[cluster] = self.jobs[cluster] + lasts
        return JobPlan(duration_s=lasts, steps=2)

    def heard(self, _key: Any, _old: Any, new: ClusterGroupUpgrade | None) -> None:
        """Called for every change of the CGU."""
        if new is None or new.status.precaching is None:
            return
        now = time.monotonic() - self.began
        for cluster, phase in (new.status.precaching.status or {}).items():
            if phase == "Succeeded":
                self.shown.setdefault(cluster, now)

    def lags(self) -> list[float]:
        """From a Job's end on the spoke to the CGU's status, sorted."""
        return sorted(self.shown[c] - self.ends[c] for c in self.shown)


async def measure(run: Run, limit_s: float) -> Run:
    """One run on a fresh control plane; returns it with its figures."""
    with tempfile.TemporaryDirectory(prefix="talm-bench-") as directory:
        plane = ControlPlane(Path(directory), fsync=False, audit=True)
        async with plane, await Client.connect(plane.kubeconfig, user_agent="bench") as client:
            await foreign_crds.install(client)
            await foreign_crds.apply_own(client, ROOT / "deploy" / "crds")
            await client.create(kinds.NAMESPACE, {"metadata": {"name": "talm-system"}})
            settings = FleetSettings(
                quiet=True,
                times=SpokeTimes.instant(),
                scenario=run.plan,
                add_ons=run.transport == "view-action",
            )
            async with Fleet(client, run.clusters, settings) as fleet:
                await world.prepare(client)
                await _children(client, run.clusters)
                await _with_operator(run, plane, client, fleet.names, limit_s)
    return run


async def _children(client: Client, clusters: int) -> None:
    """Wait until the policy is on every cluster and has its verdict in the root's status."""

    async def judged() -> bool:
        root = await client.get(kinds.POLICY, world.POLICY, world.NAMESPACE)
        entries = (root.get("status") or {}).get("status") or []
        return len([e for e in entries if e.get("compliant")]) >= clusters

    await world.until(judged, "all clusters have a verdict", seconds=300)


async def _with_operator(
    run: Run, plane: ControlPlane, client: Client, names: list[str], limit_s: float
) -> None:
    arguments = [
        "--kubeconfig", str(plane.kubeconfig), "--workload-image", "bench", "--profile", run.profile,
        "--spoke-namespace", NAMESPACES[run.profile], "--bind-address", "127.0.0.1:0",
        "--log-level", "warning", "--transport", run.transport,
    ]  # fmt: skip
    operator = await asyncio.create_subprocess_exec(sys.executable, "-m", "talm", "run", *arguments)
    informer = Informer(client, kinds.CGU, ClusterGroupUpgrade, run.heard)
    watching = asyncio.ensure_future(informer.run())
    try:
        await asyncio.sleep(3)  # it leads by now, and its caches are filled
        before, server = usage(operator.pid), usage(plane.children[1].pid)
        run.began = time.monotonic()
        await client.create(kinds.CGU, world.cgu(NAME, names))
        await _wait(run, operator, limit_s)
        run.done_s = time.monotonic() - run.began
        await asyncio.sleep(1)  # the last patch's tail
        run.operator = usage(operator.pid) - before
        run.api_server = usage(plane.children[1].pid) - server
    finally:
        watching.cancel()
        if operator.returncode is None:
            operator.terminate()
        await operator.wait()
    _count(run, plane.directory / "audit.log")


async def _wait(run: Run, operator: asyncio.subprocess.Process, limit_s: float) -> None:
    told = 0.0
    while len(run.shown) < run.clusters:
        await asyncio.sleep(0.2)
        now = time.monotonic() - run.began
        if operator.returncode is not None:
            raise SystemExit(f"the operator ended with {operator.returncode}")
        if now > limit_s:
            raise SystemExit(f"not done after {limit_s:g} s: {len(run.shown)} of {run.clusters}")
        if now - told > 10:
            told = now
            console.print(f"  {now:5.0f} s: {len(run.jobs)} Jobs, {len(run.shown)} succeeded")


def _count(run: Run, audit_log: Path) -> None:
    """The operator's calls; its Lease and its events are not part of pre-caching."""
    with audit_log.open(encoding="utf-8") as lines:
        for line in lines:
            event = json.loads(line)
            agent, verb = event.get("userAgent", ""), event["verb"]
            resource = (event.get("objectRef") or {}).get("resource", "")
            if event["stage"] != "ResponseComplete" or not agent.startswith("talm/"):
                continue
            if resource in {"leases", "events"}:
                continue
            if verb in WRITES:
                run.writes[verb] += 1
            elif verb == "get" and resource:
                run.reads += 1


def table(runs: list[Run]) -> Table:
    """The figures, one row per run."""
    shown = Table(title="pre-caching, instant spokes", show_lines=False)
    for title in (
        "profile", "transport", "clusters", "first / half / all Jobs s", "all succeeded s",
        "status lag p50 / p99 s", "writes per cluster", "reads per cluster", "kB in / out per cluster",
        "CPU ms per cluster", "RSS MB", "API server CPU ms per cluster",
    ):  # fmt: skip
        shown.add_column(title, justify="right")
    for run in runs:
        jobs, lags, n = sorted(run.jobs.values()), run.lags(), run.clusters
        shown.add_row(
            run.profile,
            run.transport,
            f"{n:,}",
            f"{jobs[0]:.1f} / {jobs[n // 2]:.1f} / {jobs[-1]:.1f}",
            f"{run.done_s:.1f} (Jobs of {'-'.join(f'{s:g}' for s in dict.fromkeys(run.job_s))})",
            f"{lags[len(lags) // 2]:.2f} / {lags[int(len(lags) * 0.99)]:.2f}",
            f"{sum(run.writes.values()) / n:.1f} "
            + str({verb: round(count / n, 1) for verb, count in sorted(run.writes.items())}),
            f"{run.reads / n:.2f}",
            f"{run.operator.read_bytes / n / 1000:.0f} / {run.operator.written_bytes / n / 1000:.0f}",
            f"{run.operator.cpu_s * 1000 / n:.1f}",
            f"{run.operator.peak_mb:.0f}",
            f"{run.api_server.cpu_s * 1000 / n:.0f}",
        )
    return shown


def _span(text: str) -> tuple[float, float]:
    """Read `60` or `120-420`."""
    first, _, last = text.partition("-")
    return float(first), float(last or first)


@click.command()
@click.option("--clusters", multiple=True, type=int, help="How many; may be given several times.")
@click.option("--profile", type=click.Choice(list(NAMESPACES)), default="talm")
@click.option(
    "--transport", type=click.Choice(["view-action", "manifest-work"]), default="view-action"
)
@click.option("--job-seconds", default="60", show_default=True, help="60, or a span: 120-420.")
@click.option("--short", is_flag=True, help="50 and 200 clusters with Jobs of 5 s.")
@click.option("--limit", default=900.0, show_default=True, help="Seconds for one run.")
def main(
    clusters: tuple[int, ...],
    profile: str,
    transport: str,
    job_seconds: str,
    *,
    short: bool,
    limit: float,
) -> None:
    """Measure the operator; prints a table."""
    set_up("console", "warning")
    os.environ.update(GO_GC)  # for the children
    sizes = clusters or ((50, 200) if short else (50, 200, 1000))
    runs = []
    for size in sizes:
        console.print(f"{size} clusters, profile {profile}")
        job_s = _span("5" if short else job_seconds)
        runs.append(uvloop.run(measure(Run(size, job_s, profile, transport), limit)))
    console.print(table(runs))
    console.print(f"{os.cpu_count()} cores; the API server, etcd and the spokes share them")


if __name__ == "__main__":
    main()
