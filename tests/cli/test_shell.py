"""Colors, width, exit codes, completion and the time to start of the commands that look at a hub."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import click
import pytest
import pytest_asyncio
from aiohttp import web
from click.testing import CliRunner

from talm.api import kinds
from talm.cli import completion, shell
from talm.cli.completion import completion as completion_command
from talm.cli.explain import explain
from talm.cli.layout import ansi, plain
from talm.cli.status import status
from talm.cli.where import Where
from talm.errors import NoSuchObject, NotAllowed
from tests.cli.fleets import cgu_body
from tests.kube.apiserver import ApiServer, refuse, write_kubeconfig


@pytest.mark.parametrize(
    ("terminal", "environment", "paint"),
    [
        (True, {}, ansi),
        (True, {"NO_COLOR": "1"}, plain),
        (True, {"NO_COLOR": ""}, ansi),
        (True, {"TERM": "dumb"}, plain),
        (False, {}, plain),
    ],
)
def test_colors_are_for_terminals_that_want_them(
    terminal: bool, environment: dict[str, str], paint: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    assert shell.paint() is paint
    assert (shell.width() is None) is not terminal


def test_a_command_ends_with_its_code_and_ctrl_c_is_quiet() -> None:
    async def ends_with(code: int | None) -> int | None:
        return code

    async def interrupted() -> None:
        raise KeyboardInterrupt

    shell.run(ends_with(None))
    shell.run(ends_with(0))
    with pytest.raises(SystemExit) as ended:
        shell.run(ends_with(1))
    assert ended.value.code == 1
    with pytest.raises(SystemExit) as ended:
        shell.run(interrupted())
    assert ended.value.code == 130


def test_a_watch_has_no_documents() -> None:
    answer = CliRunner().invoke(status, ["--watch", "-o", "json"])
    assert answer.exit_code == 2
    assert "--watch shows a table or lines, not json" in answer.output


def test_to_explain_something_it_must_be_named() -> None:
    assert CliRunner().invoke(explain, []).exit_code == 2


def test_a_command_that_looks_loads_neither_operator_nor_fleet() -> None:
    # What it takes to answer within a second.
    script = "import sys, talm.cli.status, talm.kube.client\n"
    script += "heavy = ('talm.hub', 'talm.sim', 'talm.agent', 'prometheus_client')\n"
    script += "print([m for m in sys.modules if m.startswith(heavy)])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_every_shell_has_a_completion_script(name: str) -> None:
    answer = CliRunner().invoke(completion_command, [name])
    assert answer.exit_code == 0, answer.output
    assert "_TALM_COMPLETE" in answer.output
    assert "talm" in answer.output


def complete(words: str, **more: str) -> list[str]:
    """What bash would be told, with the cursor at the end of the words."""
    *_, last = words.split(" ")
    environment = {
        **os.environ,
        "_TALM_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
        **more,
    }
    done = subprocess.run(
        [sys.executable, "-m", "talm"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, (last, done.stderr)
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


def test_commands_and_options_are_completed() -> None:
    assert complete("talm st") == ["status"]
    assert complete("talm status --wa") == ["--watch"]


def test_kubectl_asks_a_program_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def asked(*words: str) -> list[str]:
        monkeypatch.setattr(sys, "argv", ["kubectl_complete-talm", *words])
        completion.for_kubectl()
        return capsys.readouterr().out.splitlines()

    *found, directive = asked("ex")
    assert [line.partition("\t")[0] for line in found] == ["explain"]
    assert directive == ":4"
    assert asked("status", "--wat")[0].startswith("--watch")
    assert len(asked()) > 5


# ---- with a hub ----------------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def hub(tmp_path: Path) -> AsyncIterator[tuple[ApiServer, Path]]:
    api = ApiServer()
    async with api.running():
        for name, namespace in (("night-1", "ztp"), ("night-2", "ztp"), ("day-1", "other")):
            body = cgu_body(name, {"spoke-1": "Active"}, namespace=namespace)
            fields = {key: body[key] for key in ("spec", "status")}
            api.put(kinds.CGU, name, namespace, **fields)
        yield api, write_kubeconfig(tmp_path / "config", api.url, {"token": "t"})


def asked(ctx: Any, what: Any, incomplete: str) -> Any:
    """Completion runs an event loop of its own, as in the process that a shell starts."""
    return asyncio.to_thread(what, ctx, None, incomplete)


def context(kubeconfig: Path, **params: str) -> click.Context:
    ctx = click.Context(status)
    ctx.params = {"kubeconfig": str(kubeconfig), **params}
    return ctx


async def test_names_of_namespaces_and_cgus_are_completed(hub: tuple[ApiServer, Path]) -> None:
    _, kubeconfig = hub
    ctx = context(kubeconfig)
    assert await asked(ctx, completion.cgus, "night") == ["night-1", "night-2"]
    assert await asked(ctx, completion.namespaces, "") == ["other", "ztp"]
    assert await asked(context(kubeconfig, namespace="other"), completion.cgus, "") == ["day-1"]


async def test_a_hub_that_refuses_or_is_not_there_completes_to_nothing(
    hub: tuple[ApiServer, Path], tmp_path: Path
) -> None:
    api, kubeconfig = hub
    away = write_kubeconfig(tmp_path / "away", "http://127.0.0.1:9", {})
    assert await asked(context(away), completion.cgus, "") == []
    assert await asked(context(tmp_path / "missing"), completion.cgus, "") == []

    async def forbid(_: web.Request) -> web.StreamResponse:
        return refuse(403, "Forbidden", "no")

    api.hook = forbid
    assert await asked(context(kubeconfig, name="night-1"), completion.clusters, "") == []


async def test_where_all_namespaces_are_forbidden_the_contexts_is_looked_into(
    hub: tuple[ApiServer, Path],
) -> None:
    api, kubeconfig = hub

    async def only_ztp(request: web.Request) -> web.StreamResponse | None:
        if "/namespaces/ztp/" in request.path:
            return None
        return refuse(403, "Forbidden", 'cgus is forbidden: User "me" cannot list')

    api.hook = only_ztp
    async with Where(kubeconfig).reader() as reader:
        with pytest.raises(
            NotAllowed, match=r'^User "me" cannot list; the ClusterRole talm-viewer'
        ):
            await reader.fleet()
        reader.namespace = "ztp"
        cgus, note = await reader.fleet()
        assert [cgu.metadata.name for cgu in cgus] == ["night-1", "night-2"]
        assert note == 'only namespace ztp is shown: User "me" cannot list'
        with pytest.raises(NotAllowed):
            await reader.fleet("other")
        with pytest.raises(NotAllowed):
            await reader.cgu("day-1", "other")


async def test_a_hub_without_our_crds_is_no_hub(hub: tuple[ApiServer, Path]) -> None:
    api, kubeconfig = hub
    api.missing.add(kinds.CGU.plural)
    async with Where(kubeconfig).reader() as reader:
        with pytest.raises(NoSuchObject, match="serves no clustergroupupgrades"):
            await reader.fleet()
