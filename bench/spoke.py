"""A release through an emulated edge link into real stores, by talm and by plain pulls side by side.

    python -m bench.spoke --short          30 MB through 50 Mbit/s: about a minute
    python -m bench.spoke                  350 MB, three links, every store and contender (hours)
    python -m bench.spoke --link 20/60 --store containerd --condition flapping
    python -m bench.spoke --help           every choice

Conditions: steady; loss (0.5 % of the packets); flapping (15 s up, 30 s down); faults (5 % of the
requests for blobs get 503, 5 % 429, 15 % are cut, 2 % fall silent, 2 % have another content);
kill (SIGKILL at half of the bytes, and again).

    registry ── origin (counts, breaks) ══ edge link ══ contender in a network namespace ── store

Measured: the time from a process's start until the store's own tool has listed every image by
digest, over unique bytes / bandwidth (under `flapping`: over a transfer that wastes no second of
the link being up); blob bytes sent per unique byte; TCP payload that crossed the link; CPU time of
the process tree and the runtime's daemon; peak memory of the tree (PSS: shared pages count once)
and of its root alone, which is talm without the store's tool (RSS).  Under `kill`: the payload of
the second run over the bytes that had not arrived; the other figures are the second run's.

`refetch` counts what the origin has sent, with what a broken connection never delivered, but not
what it has spoiled; `on the link` counts what arrived, with headers and spoiled content.  On a
link that flaps the second one is the measure of waste.

The loops try an image ten times; batches of 10 with a barrier is what the existing workload does.
`ctr` pulls through containerd's own transfer and unpacker; the kubelet's way (CRI) is not measured.

Needs root on Linux with /dev/net/tun.  All of it, registry included, runs in namespaces (network,
processes, mounts) that end with this process, however it ends; its directory stays only when it is
killed outright.  The link is an emulator of our own, bench/edgelink.py: `tc netem` is not in every
kernel.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from bench import contenders, edgelink, release
from bench.contenders import CONTENDERS, STORES, Contender
from bench.edgelink import Link
from bench.origin import Origin
from bench.running import Bench, Case, Result, measure
from talm.errors import SetupError
from talm.sim.plane.processes import WRAPPER
from talm.sim.plane.registry import Registry

PORT: Final = 5000
ADDRESS: Final = f"{edgelink.HUB}:{PORT}"
LINKS: Final = ("20/60", "50/40", "200/20")
LOSS: Final = 0.005
UP_S, DOWN_S = 15.0, 30.0
CONDITIONS: Final = ("steady", "loss", "flapping", "faults", "kill")
TITLES: Final = (
    "link", "condition", "store", "by", "s", "ratio", "refetch", "on the link", "CPU s",
    "peak MB tree / root", "2nd run / missing",
)  # fmt: skip
CASE_COLUMNS: Final = 4  # the first ones say which case it is
INSIDE: Final = "TALM_BENCH_INSIDE"  # the directory, in the process that has its own namespaces
TERMINATED: Final = 128 + signal.SIGTERM

console = Console(width=172 if not sys.stdout.isatty() else None, highlight=False)


def cases(
    links: Sequence[Link], conditions: Sequence[str], chosen: Sequence[Contender]
) -> Iterator[Case]:
    """Every combination, contenders innermost: what is compared runs close together."""
    for link in links:
        for condition in conditions:
            changes: dict[str, float] = {}
            if condition == "loss":
                changes = {"loss": LOSS}
            elif condition == "flapping":
                changes = {"up_s": UP_S, "down_s": DOWN_S}
            for contender in chosen:
                yield Case(dataclasses.replace(link, **changes), condition, contender)


def table(results: list[Result], unique: int) -> Table:
    """The figures, one row per run."""
    shown = Table(title=f"{unique / 1e6:.0f} MB of unique blobs through an edge link")
    for title in TITLES:
        shown.add_column(title, justify="left" if title in ("store", "by") else "right")
    for result in results:
        shown.add_row(*row(result, unique))
    return shown


def row(result: Result, unique: int) -> list[str]:
    """The cells of one run; after a kill only the second run's bytes can be compared."""
    case, traffic = result.case, result.traffic
    cells = [case.link.name, case.condition, case.contender.store, case.contender.name]
    if result.failed:
        return [*cells, result.failed]
    spent = [f"{result.cpu_s:.1f}", f"{result.peaks.tree_mb:.0f} / {result.peaks.root_mb:.0f}"]
    if case.condition == "kill":
        part = f"{result.second / result.missing:.3f}"
        return [*cells, f"{result.wall_s:.1f}", "", "", "", *spent, part]
    moved = [f"{traffic.refetch(unique):.3f}", f"{traffic.link / unique:.3f}"]
    ratio = f"{result.wall_s / case.link.ideal_s(unique):.2f}"
    return [*cells, f"{result.wall_s:.1f}", ratio, *moved, *spent, ""]


async def compare(choice: Choice, at: Path) -> None:
    """Run them one after the other and print the table, also of what was done when interrupted."""
    size_mb = choice.size_mb or (30.0 if choice.short else 350.0)
    images = choice.images or (12 if choice.short else 52)
    console.print(f"building a release of {size_mb:g} MB in {images} images")
    made = release.build(ADDRESS, size_mb=size_mb, components=images - 1)
    results: list[Result] = []
    async with Registry(at / "registry") as registry:
        await release.push(made, registry.address)
        origin = Origin(registry.url)
        async with origin.serve("0.0.0.0", PORT):  # noqa: S104 - of a namespace of our own
            bench = Bench(at, origin, made, choice.limit_s)
            try:
                for case in choice.cases():
                    console.print(f"  {case.name}")
                    results.append(await measure(bench, case))
                    figures = " | ".join(row(results[-1], made.unique_bytes)[CASE_COLUMNS:])
                    console.print(f"    {figures}", markup=False)
            finally:
                console.print(table(results, made.unique_bytes))
    console.print(f"{os.cpu_count()} cores, shared with the registry and the link")


def parse_link(text: str) -> Link:
    """Read RATE/RTT, Mbit/s and ms; raises click.BadParameter."""
    rate, _, rtt = text.partition("/")
    with suppress(ValueError):
        if float(rate) > 0 and float(rtt) >= 0:
            return Link(float(rate), float(rtt))
    raise click.BadParameter(f"{text!r} is not RATE/RTT, like 20/60")


def outside(directory: Path | None) -> int:
    """Run this program again in namespaces of its own; returns its exit code.

    Whatever it has started ends with it, and it ends with us; then the directory goes.
    """
    fault = ""
    if os.geteuid():
        fault = "it makes network namespaces, which needs root's rights"
    elif not Path("/dev/net/tun").exists():
        fault = "there is no /dev/net/tun for the edge link"
    elif absent := [name for name in ("unshare", "nsenter", "ip") if not shutil.which(name)]:
        fault = f"no {', '.join(absent)}"
    if fault:
        raise click.ClickException(f"cannot run here: {fault}")
    wrapper = [sys.executable, "-I", "-S", str(WRAPPER), str(os.getpid())]
    options = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    again = [sys.executable, "-m", "bench.spoke", *sys.argv[1:]]
    with tempfile.TemporaryDirectory(prefix="talm-", dir=directory) as at:
        environment = {**os.environ, INSIDE: at}
        process = subprocess.Popen([*wrapper, "unshare", *options, *again], env=environment)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the inner one's to act upon
        signal.signal(signal.SIGTERM, lambda *_: process.kill())
        code = process.wait()
    return code if code >= 0 else TERMINATED


@dataclasses.dataclass(frozen=True)
class Choice:
    """The flags."""

    short: bool
    links: Sequence[Link]
    stores: Sequence[str]
    conditions: Sequence[str]
    by: str
    size_mb: float | None
    images: int | None
    limit_s: float

    def cases(self) -> list[Case]:
        """What is to be run; `--short` leaves out what takes long or says nothing in a minute."""
        links = self.links or [parse_link(text) for text in (LINKS[1:2] if self.short else LINKS)]
        stores = self.stores or STORES
        chosen = [c for c in CONTENDERS if c.store in stores and c.name.startswith(self.by)]
        if not self.short:
            return list(cases(links, self.conditions or CONDITIONS, chosen))
        quick = [c for c in chosen if c.in_short]
        ours = [c for c in quick if c.name == "talm"]
        return [
            *cases(links, self.conditions or ["steady"], quick),
            *([] if self.conditions else cases(links, ["kill"], ours[:1])),
        ]


def _links(_context: click.Context, _option: click.Parameter, texts: Sequence[str]) -> list[Link]:
    return [parse_link(text) for text in texts]


_DOC: Final = (__doc__ or "").replace("\n\n    ", "\n\n\b\n    ")


@click.command(help=_DOC)
@click.option("--short", is_flag=True, help="30 MB through 50/40: about a minute.")
@click.option(
    "--link", "links", multiple=True, callback=_links, metavar="RATE/RTT",
    help=f"Mbit/s and ms (may be repeated); {', '.join(LINKS)} unless given.",
)  # fmt: skip
@click.option("--store", "stores", multiple=True, type=click.Choice(STORES))
@click.option("--condition", "conditions", multiple=True, type=click.Choice(CONDITIONS))
@click.option("--by", default="", help="Only contenders whose name begins so: talm, podman, ctr.")
@click.option("--size", "size_mb", type=click.FloatRange(1), help="MB of unique blobs; 350.")
@click.option("--images", type=click.IntRange(2), help="How many; 52.")
@click.option("--limit", "limit_s", default=3600.0, show_default=True, help="Seconds for one run.")
@click.option(
    "--directory", type=click.Path(path_type=Path, exists=True),
    help="Where stores are made, on a file system that overlay can be put upon.",
)  # fmt: skip
def main(directory: Path | None, **flags: Any) -> None:
    choice = Choice(**flags)
    if INSIDE not in os.environ:
        sys.exit(outside(directory))
    at = Path(os.environ[INSIDE])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    if fault := contenders.overlay_fault(at):
        raise click.ClickException(f"cannot run here: {fault}; see --directory")
    try:
        asyncio.run(compare(choice, at))
    except SetupError as exc:
        raise click.ClickException(str(exc)) from exc


if __name__ == "__main__":
    main()
