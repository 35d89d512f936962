"""`talm demo`: the manual's walk-through on this machine, checked line by line."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import structlog
from rich.console import Console

from talm.cli.render import Screen
from talm.cli.walk import Walk
from talm.sim.demo.breakage import BREAKS
from talm.sim.demo.demoworld import REAL_AT_MOST, DemoWorld, check_programs
from talm.sim.demo.expectations import read_manual

_INTERRUPTED: Final = 128 + signal.SIGINT
_BREAKS: Final = "\b\nBreaks:\n" + "\n".join(f"  {n:<10} {b.says}" for n, b in BREAKS.items())


@click.command(epilog=_BREAKS)
@click.option(
    "--clusters",
    "count",
    default=2,
    show_default=True,
    type=click.IntRange(2, 100),
    help=f"How many clusters; {REAL_AT_MOST} at most have an API server and a node of their own, "
    "the others exist in memory.",
)
@click.option(
    "--break", "broken", type=click.Choice(list(BREAKS)), help="Break something and see it noticed."
)
@click.option("--keep", is_flag=True, help="Leave everything running at the end, until Ctrl-C.")
def demo(count: int, broken: str | None, keep: bool) -> None:
    """Follow the manual's walk-through: a hub, two clusters, the operator, a registry.

    Everything runs on this machine, on loopback, and ends with this command; your kubeconfig is
    neither read nor changed.  Each expectation of the manual is checked against what kubectl
    prints: ✓ it holds, ✗ it does not.  The exit code is 0 when all hold, 1 when one does not.
    """
    check_programs()
    screen = Screen(Console(highlight=False))
    directory = Path(tempfile.mkdtemp(prefix="talm-demo-"))
    keep_logs = True
    try:
        with _logs_in(directory / "logs"):
            holds = _run(directory, count, broken, keep=keep, screen=screen)
        keep_logs = not holds
    except asyncio.CancelledError:
        keep_logs = False
        screen.note("Ended; nothing is left running.")
        sys.exit(_INTERRUPTED)
    finally:
        if keep_logs:
            screen.note(f"The logs are in {directory}")
        _tidy(directory, keep_logs=keep_logs)
    sys.exit(0 if holds else 1)


def _run(directory: Path, count: int, broken: str | None, *, keep: bool, screen: Screen) -> bool:
    """Run the event loop; a signal ends everything in it and then raises CancelledError."""

    async def main() -> bool:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - we are in it
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        return await _demo(directory, count, broken, keep=keep, screen=screen)

    return asyncio.run(main())


async def _demo(
    directory: Path, count: int, broken: str | None, *, keep: bool, screen: Screen
) -> bool:
    started = time.monotonic()
    clusters = [f"cnfdb{number}" for number in range(1, count + 1)]
    manual = read_manual()
    screen.step(f"Starting a hub, {count} clusters, a registry, an update graph and the operator")
    screen.note(
        "(kubectl stands for the manual's oc; a line with ✓ or ✗ is what the manual promises)"
    )
    async with DemoWorld(directory, clusters, progress=screen.note) as world:
        screen.note(f"everything runs after {time.monotonic() - started:.0f} s")
        walk = Walk(world, manual, screen, BREAKS[broken] if broken else None)
        holds = await walk.run()
        _summarize(walk, len(manual.beyond), screen, time.monotonic() - started)
        if keep:
            _explain(world, screen)
            await _stay(world)
    return holds


def _summarize(walk: Walk, beyond: int, screen: Screen, seconds: float) -> None:
    held = sum(verdict.holds for verdict in walk.verdicts)
    total = len(walk.verdicts)
    if held == total:
        of_manual = f"All {total - beyond} expectations of the manual hold"
        screen.end(True, f"✓ {of_manual}, and {beyond} beyond it ({seconds:.0f} s).")
        return
    screen.end(False, f"✗ {total - held} of {total} expectations do not hold ({seconds:.0f} s):")
    for verdict in walk.verdicts:
        if not verdict.holds:
            screen.verdict(False, verdict.expectation.says, verdict.seen)


def _explain(world: DemoWorld, screen: Screen) -> None:
    """Say how to look around."""
    binary = " ".join(world.hub.kubectl[:-2])
    screen.step("Everything is left running; look around in another shell:")
    lines = [
        f"alias kubectl='{binary}'",
        f"export KUBECONFIG={world.hub.kubeconfig}   # the hub",
        *(f"export KUBECONFIG={s.plane.kubeconfig}   # {n}" for n, s in world.spokes.items()),
        "",
        f"logs of the operator:  {world.operator.log if world.operator else ''}",
        *(f"agents of {n}:      {s.logs}/*.log" for n, s in world.spokes.items()),
        *(f"images of {n}:      {s.images}" for n, s in world.spokes.items()),
    ]
    screen.output("\n".join(lines))
    screen.end(True, "Ctrl-C ends it and removes it all.")


async def _stay(world: DemoWorld) -> None:
    """Wait for a signal; raises SetupError when a part ends by itself."""
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            world.check()
            await asyncio.sleep(1.0)


@contextlib.contextmanager
def _logs_in(directory: Path) -> Iterator[None]:
    """Send what our own parts log to a file: the terminal is the user's."""
    directory.mkdir(parents=True)
    with (directory / "demo.log").open("w") as file:
        before = structlog.get_config()
        structlog.configure(
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
            logger_factory=structlog.WriteLoggerFactory(file=file),
        )
        handler = logging.StreamHandler(file)
        logging.getLogger().addHandler(handler)
        try:
            yield
        finally:
            logging.getLogger().removeHandler(handler)
            structlog.configure(**before)


def _tidy(directory: Path, *, keep_logs: bool) -> None:
    """Remove data, keys and images; the logs too unless they may be needed."""
    if not keep_logs:
        shutil.rmtree(directory, ignore_errors=True)
        return
    for path in sorted(directory.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            with contextlib.suppress(OSError):
                path.rmdir()  # only an empty one goes
        elif path.suffix != ".log":
            path.unlink(missing_ok=True)
