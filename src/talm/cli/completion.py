"""`talm completion`: completion for shells, with the names of CGUs and clusters from the hub.

Names are read with the kubeconfig that the line so far names; whatever goes wrong, or takes longer than two
seconds, completes to nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

import click

from talm.errors import TalmError

_PATIENCE_S: Final = 2.0

Key = tuple[str, str]  # (namespace, name)


def namespaces(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Namespaces that have CGUs."""
    known = {namespace for namespace, _ in _read(_names(ctx, ""))}
    return sorted(name for name in known if name.startswith(incomplete))


def cgus(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Names of CGUs, of the namespace that was given or of all."""
    known = {name for _, name in _read(_names(ctx, ctx.params.get("namespace") or ""))}
    return sorted(name for name in known if name.startswith(incomplete))


def clusters(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Clusters of the CGU that was given."""
    known = _read(_clusters(ctx))
    return sorted(name for _, name in known if name.startswith(incomplete))


def _read(work: Coroutine[Any, Any, list[Key]]) -> list[Key]:
    async def in_time() -> list[Key]:
        async with asyncio.timeout(_PATIENCE_S):
            return await work

    with contextlib.suppress(TalmError, TimeoutError, OSError):
        return asyncio.run(in_time())
    return []


async def _names(ctx: click.Context, namespace: str) -> list[Key]:
    from talm.cli.where import Where

    where = Where(_kubeconfig(ctx), ctx.params.get("context"))
    async with where.reader() as reader:
        return await reader.names(namespace)


async def _clusters(ctx: click.Context) -> list[Key]:
    from talm.cli.where import Where
    from talm.core.fleet import stored_phases

    where = Where(_kubeconfig(ctx), ctx.params.get("context"))
    async with where.reader() as reader:
        cgu = await reader.cgu(ctx.params.get("name") or "", ctx.params.get("namespace") or "")
    return [("", cluster) for cluster in stored_phases(cgu.status)]


def _kubeconfig(ctx: click.Context) -> Path | None:
    given = ctx.params.get("kubeconfig")
    return Path(given) if given else None


def for_kubectl() -> None:
    """The program `kubectl_complete-talm`, which kubectl asks when `kubectl talm ...` is completed.

    Its arguments are the words so far, the last one unfinished; it prints the candidates and then a
    directive, 4: they are no files.  Source of the protocol: kubectl's plugin completion, cobra's words.
    """
    from click.shell_completion import ShellComplete

    from talm.cli.main import COMPLETE_VARIABLE, cli

    *words, unfinished = sys.argv[1:] or [""]
    found = ShellComplete(cli, {}, "talm", COMPLETE_VARIABLE).get_completions(words, unfinished)
    for item in found:
        if item.type == "plain":
            click.echo(f"{item.value}\t{item.help}" if item.help else item.value)
    click.echo(":4")


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for a shell.

    \b
    bash   source <(talm completion bash)
    zsh    source <(talm completion zsh)
    fish   talm completion fish | source

    kubectl completes `kubectl talm` by itself, where kubectl_complete-talm is in the PATH.
    """
    from click.shell_completion import get_completion_class

    from talm.cli.main import COMPLETE_VARIABLE, cli

    made = get_completion_class(shell)
    assert made is not None  # noqa: S101 (click has these three)
    click.echo(made(cli, {}, "talm", COMPLETE_VARIABLE).source())
