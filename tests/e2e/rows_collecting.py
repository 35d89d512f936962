"""2.4: the hub's collector of actions.  The numbers are the rules'."""

from __future__ import annotations

import datetime as dt

from talm.api import kinds
from talm.errors import AlreadyExists

from .script import row
from .stage import Stage

KEPT = dt.timedelta(seconds=60)


async def _report(stage: Stage, action: str, moment: dt.datetime) -> None:
    """Write a result as an agent would whose clock says `moment`."""
    condition = {
        "type": "Completed",
        "status": "True",
        "reason": "ActionDone",
        "message": "Resource action is done.",
        "lastTransitionTime": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    patch = {"status": {"conditions": [condition], "result": None}}
    hub, name = stage.lane.hub, stage.called(action)
    await hub.merge_patch(kinds.ACTION, name, patch, stage.lane.cluster, subresource="status")


@row("2.4", "done or failed, an action goes 60 s after its condition")
async def collected(stage: Stage) -> None:
    async with stage.step("one that succeeds, one that fails"):
        await stage.make_space()
        await stage.action("done", "Create", template=stage.config_map("cm"))
        await stage.done("done")
        await stage.action("failed", "Create", template=stage.config_map("cm"))
        await stage.done("failed")
        reported = {name: stage.flip(name, kinds.ACTION) for name in ("done", "failed")}
    async with stage.step("they are collected"):
        for name, moment in reported.items():
            gone = await stage.collected(name)
            stage.note(f"{name}: after a minute", gone >= moment + KEPT)


@row("2.4", "without a condition it is kept, and fires when the spoke is back", alone=True)
async def pending(stage: Stage) -> None:
    async with stage.step("a reported action, then the agents are killed and one waits"):
        await stage.make_space()
        await stage.action("witness", "Create", template=stage.config_map("witness"))
        await stage.done("witness")
        await stage.lane.stop_agents()
        await stage.action("waiting", "Create", template=stage.config_map("cm"))
    async with stage.step("more than a minute passes"):
        await stage.collected("witness")
        stage.note("the waiting one is there", stage.latest(kinds.ACTION, "waiting") is not None)
    async with stage.step("the agents start"):
        await stage.lane.start_agents()
        await stage.done("waiting")


@row("2.4", "the minute counts from the spoke's clock", alone=True)
async def skewed(stage: Stage) -> None:
    ahead = dt.timedelta(seconds=8)
    async with stage.step("no agents; two actions"):
        await stage.make_space()
        await stage.lane.stop_agents()
        for name in ("behind", "ahead"):
            await stage.action(name, "Create", template=stage.config_map(name))
    began = stage.lane.now()
    async with stage.step("one is reported by a clock 2 minutes behind, one by a clock ahead"):
        await _report(stage, "ahead", began + ahead)
        await _report(stage, "behind", began - 2 * KEPT)
        gone = await stage.collected("behind")
        stage.note("behind: at first sight", gone < began + KEPT)
    async with stage.step("the other one is collected too"):
        gone = await stage.collected("ahead")
        moment = dt.datetime.fromtimestamp(int((began + ahead).timestamp()), dt.UTC)
        stage.note("ahead: a minute after what its clock said", gone >= moment + KEPT)


@row("2.4", "within the minute the name is taken, and nothing is carried out")
async def name_taken(stage: Stage) -> None:
    async with stage.step("a ConfigMap is created and taken away by hand"):
        await stage.make_space()
        await stage.action("a", "Create", template=stage.config_map("cm"))
        await stage.done("a")
        await stage.take(kinds.CONFIG_MAP, "cm", stage.space)
    async with stage.step("the same action once more"):
        try:
            await stage.action("a", "Create", template=stage.config_map("cm"))
            taken = False
        except AlreadyExists:
            taken = True
        stage.note("already exists", taken)
        await stage.barrier()
