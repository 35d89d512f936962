"""A hub that outlives the command that started it (`make hub`, `make hub-stop`).

    python -m talm.sim.plane.standing start [--crds DIRECTORY] DIRECTORY
    python -m talm.sim.plane.standing stop DIRECTORY

The programs of a control plane end with their parent, so `start` leaves a process of its own
behind (`serve`), which holds them until `stop` or a signal.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import click

from talm.errors import SetupError, TalmError
from talm.kube.client import Client
from talm.sim.plane import foreign_crds
from talm.sim.plane.binaries import find_programs
from talm.sim.plane.controlplane import ControlPlane, is_running
from talm.sim.plane.identities import write_private

USER_AGENT: Final = "talm-standing-hub"
START_TIMEOUT_S: Final = 180.0
STOP_TIMEOUT_S: Final = 60.0


def main() -> None:
    """Run the command; a TalmError is one line and exit code 1."""
    try:
        cli()
    except TalmError as error:
        click.echo(str(error), err=True)
        sys.exit(1)


@click.group()
def cli() -> None:
    """A hub that stays."""


@cli.command()
@click.option("--crds", type=click.Path(path_type=Path), help="Our own CRDs, installed as well.")
@click.argument("directory", type=click.Path(path_type=Path))
def start(directory: Path, crds: Path | None) -> None:
    """Start the hub of DIRECTORY unless it runs, and say how to use it."""
    directory = directory.absolute()
    if _server_process(directory) == 0:
        _launch(directory, crds)
    click.echo(
        f"\nThe hub runs; its data and logs are in {directory}\n\n"
        f"  export KUBECONFIG={ControlPlane(directory).kubeconfig}\n"
        f"  alias kubectl='{' '.join(find_programs().kubectl)}'\n\n"
        "'make hub-stop' ends it; 'make hub' starts it again with the same data."
    )


def _launch(directory: Path, crds: Path | None) -> None:
    """Start `serve` and pass on what it says until the hub is ready; raises SetupError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    _ready(directory).unlink(missing_ok=True)
    options = ["--crds", str(crds)] if crds else []
    output = directory / "serve.log"
    with output.open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "talm.sim.plane.standing", "serve", *options, str(directory)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _follow(server, output, _ready(directory))
    except BaseException:
        server.terminate()  # Ctrl-C too: it is in a session of its own and would go on
        raise


def _follow(server: subprocess.Popen[bytes], output: Path, ready: Path) -> None:
    """Print the server's output until `ready` exists; raises SetupError."""
    deadline = time.monotonic() + START_TIMEOUT_S
    with output.open(errors="replace") as lines:
        while True:
            is_ready, has_ended = ready.exists(), server.poll() is not None
            click.echo(lines.read(), nl=False)
            if is_ready:
                return
            if has_ended or time.monotonic() > deadline:
                raise SetupError(f"the hub did not start; its log is {output}")
            time.sleep(0.1)


@cli.command()
@click.argument("directory", type=click.Path(path_type=Path))
def stop(directory: Path) -> None:
    """End the hub of DIRECTORY; its data stays."""
    directory = directory.absolute()
    process = _server_process(directory)
    if process == 0:
        click.echo("no hub is running")
        return
    os.kill(process, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while _server_process(directory):
        if time.monotonic() > deadline:
            raise SetupError(f"the hub (process {process}) did not end; its log is in {directory}")
        time.sleep(0.1)
    click.echo(f"the hub has ended; its data is in {directory}")


@cli.command()
@click.option("--crds", type=click.Path(path_type=Path), help="Our own CRDs, installed as well.")
@click.argument("directory", type=click.Path(path_type=Path))
def serve(directory: Path, crds: Path | None) -> None:
    """Run the hub of DIRECTORY until SIGTERM or Ctrl-C."""
    asyncio.run(_serve(directory, crds))


async def _serve(directory: Path, crds: Path | None) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    async with ControlPlane(directory, progress=click.echo) as hub:
        async with await Client.connect(hub.kubeconfig, user_agent=USER_AGENT) as client:
            served = await foreign_crds.install(client)
            if crds is not None:
                served += await foreign_crds.apply_own(client, crds)
        click.echo(f"{hub.name}: {len(served)} CRDs installed")
        # Left behind at the end: it counts only while the hub's lock is held (_server_process).
        write_private(_ready(directory), str(os.getpid()).encode())
        await _until(ended, hub)


async def _until(ended: asyncio.Event, hub: ControlPlane) -> None:
    """Wait for the event; raises SetupError when one of the hub's programs ends before."""
    while not ended.is_set():
        hub.check()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), timeout=1.0)


def _ready(directory: Path) -> Path:
    return directory / "ready"


def _server_process(directory: Path) -> int:
    """The process that serves DIRECTORY, 0 when there is none (any more)."""
    ready = _ready(directory)
    if not ready.exists() or not is_running(directory):
        return 0
    return int(ready.read_text())


if __name__ == "__main__":
    main()
