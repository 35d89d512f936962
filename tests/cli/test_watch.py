"""`talm status --watch`: what it follows, how it is drawn, when it ends."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import rich.console
from aiohttp import web

from talm.api import kinds
from talm.api.words import Phase, View
from talm.cli.rows import CguRow
from talm.cli.watch import Watched, draw, follow, tell
from talm.cli.where import Where
from talm.errors import NoSuchObject
from tests.cli.fleets import a_cgu, before, cgu_body, condition, record, view_body
from tests.kube.apiserver import ApiServer, refuse, write_kubeconfig

NS = "ztp-group-du-sno"
GOOD = condition("Succeeded", "True", "Completed", "All clusters are compliant")
BAD = condition("Succeeded", "False", "TimedOut", "Policy remediation took too long")
SOON_S = 20.0


class Hub:
    """A hub with one CGU, `up`, on the clusters c and d."""

    def __init__(self, api: ApiServer, kubeconfig: Path) -> None:
        self.api = api
        self.where = Where(kubeconfig)

    def put(self, states: dict[str, str], **more: Any) -> None:
        body = cgu_body("up", states, **more)
        self.uid: str = self.api.put(kinds.CGU, "up", NS, **body)["metadata"]["uid"]

    def told(self, cluster: str, done: int) -> None:
        view = view_body(a_cgu("up", {}), cluster, record(done, 100), uid=self.uid)
        fields = {key: view[key] for key in ("metadata", "spec", "status")}
        self.api.put(kinds.VIEW, View.PROGRESS, cluster, **fields)

    def end(self, end: dict[str, str]) -> None:
        over = {"completedAt": before(minutes=1)}
        self.put({"c": "Succeeded"}, conditions=[end], status=over)


@pytest_asyncio.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    api = ApiServer()
    async with api.running():
        made = Hub(api, write_kubeconfig(tmp_path / "config", api.url, {"token": "t"}))
        made.put({"c": "Active", "d": "Starting"})
        yield made


async def until(looks: AsyncIterator[list[CguRow]], question: Any) -> CguRow:
    async with asyncio.timeout(SOON_S):
        async for rows in looks:
            if rows and question(rows[0]):
                return rows[0]
    raise AssertionError("the watch has ended")


async def test_changes_of_the_cgu_and_of_records_are_followed(hub: Hub) -> None:
    async with (
        hub.where.reader() as reader,
        await Watched.begin(reader, "up", NS) as watched,
    ):
        looks = watched.looks(every_s=SOON_S)
        assert (await anext(looks))[0].states == {Phase.STARTING: 1, Phase.ACTIVE: 1}
        hub.told("c", 10)
        assert (await until(looks, lambda row: row.tally.records)).tally.bytes_done == 10 * 2**20
        hub.put({"c": "Active", "d": "Active"})
        await until(looks, lambda row: row.states.get(Phase.ACTIVE) == 2)
        hub.end(GOOD)
        await until(looks, lambda row: row.states.get(Phase.SUCCEEDED) == 1)
        with pytest.raises(StopAsyncIteration):
            await anext(looks)
    assert hub.api.lists < 10, "it is live by watches"


async def test_where_not_all_may_be_listed_each_cluster_is_watched(hub: Hub) -> None:
    async def refusing(request: web.Request) -> web.StreamResponse | None:
        everywhere = kinds.VIEW.plural in request.path and "/namespaces/" not in request.path
        if everywhere or kinds.MANIFEST_WORK.plural in request.path:
            return refuse(403, "Forbidden", 'x is forbidden: User "me" cannot list')
        return None

    hub.api.hook = refusing
    async with (
        hub.where.reader() as reader,
        await Watched.begin(reader, "up", NS) as watched,
    ):
        looks = watched.looks(every_s=SOON_S)
        (first,) = await anext(looks)
        assert first.notes == ('progress of 1 cluster unknown: User "me" cannot list',)
        hub.told("c", 10)
        assert not (await until(looks, lambda row: row.tally.records)).notes


@pytest.mark.parametrize(("end", "code"), [(GOOD, 0), (BAD, 1)])
async def test_in_a_pipe_it_ends_with_the_cgu_and_its_verdict(
    hub: Hub, end: dict[str, str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    task = asyncio.ensure_future(follow(hub.where, "up", everything=False, wide=False))
    async with asyncio.timeout(SOON_S):
        while "c  Active" not in (out := capsys.readouterr().out):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        assert "d  Starting" in out
        hub.end(end)
        assert await task == code


async def test_a_hub_that_falls_silent_is_said_to_be(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Watched, "silence_s", 200.0)
    async with (
        hub.where.reader() as reader,
        await Watched.begin(reader, "up", NS) as watched,
    ):
        hub.end(GOOD)
        async with asyncio.timeout(SOON_S):
            await tell(watched)
    assert "nothing heard from the hub for 3m20s: this may be old" in capsys.readouterr().err


async def test_a_cgu_that_is_deleted_ends_the_watch_with_a_sentence(hub: Hub) -> None:
    async with (
        hub.where.reader() as reader,
        await Watched.begin(reader, "up", NS) as watched,
    ):
        hub.api.delete(kinds.CGU, "up", NS)
        async with asyncio.timeout(SOON_S):
            with pytest.raises(NoSuchObject, match="up was deleted"):
                await tell(watched)


async def test_on_a_terminal_the_page_is_drawn_again(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = io.StringIO()
    console = rich.console.Console(file=file, force_terminal=True, width=100, height=30)
    async with (
        hub.where.reader() as reader,
        await Watched.begin(reader, "up", NS) as watched,
    ):
        task = asyncio.ensure_future(draw(watched, console, everything=False, wide=False))
        async with asyncio.timeout(SOON_S):
            while "Starting" not in file.getvalue():  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            hub.end(GOOD)
            assert await task == 0
    text = file.getvalue()
    assert "CLUSTER" in text
    assert text.rindex("Completed") > text.rindex("Starting")


async def test_an_unknown_name_is_said_at_once(hub: Hub) -> None:
    hub.api.delete(kinds.CGU, "up", NS)
    with pytest.raises(NoSuchObject, match="there are none"):
        await follow(hub.where, "up", everything=False, wide=False)
