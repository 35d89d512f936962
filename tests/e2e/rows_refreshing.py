"""1.4: when a view is read again; 1.5: what trouble does to it.  The numbers are the rules'."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any

from talm.api import kinds

from .journal import Request
from .script import row
from .stage import Stage

SECOND = dt.timedelta(seconds=1)


def _gaps(reads: list[Request]) -> list[dt.timedelta]:
    return [later.moment - earlier.moment for earlier, later in itertools.pairwise(reads)]


@row("1.4(1)", "a new view is read at once, then it is polled")
async def polls(stage: Stage) -> None:
    async with stage.step("a ConfigMap is looked at every 3 s"):
        await stage.make_space()
        await stage.put_data("cm", "0")
        scope = {"resource": "configmap", "name": "cm", "namespace": stage.space}
        created = stage.lane.now()
        await stage.view("v", every_s=3, **scope)
        await stage.shows("v", "0")
        flip = stage.flip("v")
    async with stage.step("it changes: nobody tells the hub"):
        await stage.put_data("cm", "1")
        await stage.shows("v", "1")
        reads = await stage.read_times(kinds.CONFIG_MAP, "cm", 6)
    stage.note("the first read does not wait", reads[0].moment - created < 20 * SECOND)
    stage.note("the second waits for the interval", reads[1].moment >= flip + 3 * SECOND)
    # One that comes late on a busy machine has the next one come sooner after it.
    stage.note("the others do too", max(_gaps(reads[3:])) >= 2.5 * SECOND)


@row("1.4(1)", "the interval is 30 s when it is 0 or absent")
async def default_interval(stage: Stage) -> None:
    views = {"absent": None, "zero": 0}
    async with stage.step("views without interval and with 0"):
        await stage.make_space()
        for name, every_s in views.items():
            scope = {"resource": "configmap", "name": name, "namespace": stage.space}
            await stage.view(name, every_s=every_s, **scope)
            await stage.answered(name)
    async with stage.step("they are read again"):
        for name in views:
            reads = await stage.read_times(kinds.CONFIG_MAP, name, 2)
            since_flip = reads[1].moment - stage.flip(name)
            stage.note(f"{name}: after 30 s", since_flip >= 30 * SECOND)
            stage.note(f"{name}: before 60 s", since_flip < 60 * SECOND)


@row("1.4(2)", "within the interval since a flip nothing forces a read")
async def gate(stage: Stage) -> None:
    async with stage.step("a ConfigMap that is not there is looked at every 4 s"):
        await stage.make_space()
        scope = {"resource": "configmap", "name": "cm", "namespace": stage.space}
        await stage.view("v", every_s=4, **scope)
        await stage.answered("v")
        absent = stage.flip("v")
    async with stage.step("it comes, and the view is written to"):
        await stage.put_data("cm", "0")
        await stage.poke(kinds.VIEW, "v")
        await stage.says("v", "True")
        second = (await stage.read_times(kinds.CONFIG_MAP, "cm", 2))[1]
        present = stage.flip("v")
    stage.note("no read within 4 s since the flip", second.moment >= absent + 4 * SECOND)
    async with stage.step("it goes, and the view is written to: True closes the gate again"):
        known = len(stage.reads(kinds.CONFIG_MAP, "cm"))
        await stage.take(kinds.CONFIG_MAP, "cm", stage.space)
        await stage.poke(kinds.VIEW, "v")
        await stage.says("v", "False")
        third = (await stage.read_times(kinds.CONFIG_MAP, "cm", known + 1))[known]
    stage.note("no read within 4 s since the flip", third.moment >= present + 4 * SECOND)


@row("1.4(2)", "later, any write to the view has it read at once")
async def pokes(stage: Stage) -> None:
    async with stage.step("a ConfigMap is looked at every 12 s and has been read again once"):
        await stage.make_space()
        await stage.put_data("cm", "0")
        scope = {"resource": "configmap", "name": "cm", "namespace": stage.space}
        await stage.view("v", every_s=12, **scope)
        count = len(await stage.read_times(kinds.CONFIG_MAP, "cm", 2))
    patches: dict[str, dict[str, Any]] = {
        "annotation": {"metadata": {"annotations": {"poked": "1"}}},
        "label": {"metadata": {"labels": {"poked": "1"}}},
        "spec": {"spec": {"scope": {"updateIntervalSeconds": 11}}},
    }
    for number, (what, patch) in enumerate(patches.items(), start=1):
        async with stage.step(f"it changes, and the view's {what} is written"):
            await stage.put_data("cm", str(number))
            await stage.edit(kinds.VIEW, "v", patch)
            await stage.shows("v", str(number))
            count += 2
            reads = await stage.read_times(kinds.CONFIG_MAP, "cm", count)
            stage.note("read at once", reads[-2].moment - reads[-3].moment < 10 * SECOND)
            stage.note("its new status has it read again", _gaps(reads)[-1] < 10 * SECOND)


@row("1.4(3)", "a view that saw nothing is blind for its interval")
async def blind(stage: Stage) -> None:
    async with stage.step("a ConfigMap that is not there is looked at every 3 s"):
        await stage.make_space()
        scope = {"resource": "configmap", "name": "cm", "namespace": stage.space}
        await stage.view("v", every_s=3, **scope)
        await stage.answered("v")
        flip = stage.flip("v")
    async with stage.step("it comes at once"):
        await stage.put_data("cm", "0")
        await stage.says("v", "True")
    stage.note("seen after the interval only", stage.flip("v") >= flip + 3 * SECOND)


@row("1.4(3)", "a view that is made anew is read at once")
async def made_anew(stage: Stage) -> None:
    scope = {"resource": "configmap", "name": "cm", "namespace": stage.space}
    async with stage.step("a ConfigMap that is not there is looked at once a minute"):
        await stage.make_space()
        await stage.view("v", every_s=60, **scope)
        await stage.answered("v")
    async with stage.step("it comes, and the view is deleted and made anew"):
        await stage.put_data("cm", "0")
        await stage.remove(kinds.VIEW, "v")
        await stage.view("v", every_s=60, **scope)
        await stage.says("v", "True")
    reads = await stage.read_times(kinds.CONFIG_MAP, "cm", 2)
    stage.note("within the interval", _gaps(reads)[0] < 50 * SECOND)


@row("1.4(4)", "the time of the flip is no heartbeat")
async def no_heartbeat(stage: Stage) -> None:
    async with stage.step("a ConfigMap is looked at every 2 s"):
        await stage.make_space()
        await stage.put_data("cm", "0")
        scope = {"resource": "configmap", "name": "cm", "namespace": stage.space}
        await stage.view("v", every_s=2, **scope)
        await stage.read_times(kinds.CONFIG_MAP, "cm", 3)
    async with stage.step("it changes: only the result moves"):
        await stage.put_data("cm", "1")
        await stage.shows("v", "1")


@row("1.4(5)", "a failure keeps the old result beside it")
async def kept_result(stage: Stage) -> None:
    scope = {"resource": "configmap", "name": "cm", "namespace": stage.space}
    async with stage.step("a ConfigMap is looked at every 2 s"):
        await stage.make_space()
        await stage.put_data("cm", "0")
        await stage.view("v", every_s=2, **scope)
        await stage.shows("v", "0")
    async with stage.step("it goes"):
        await stage.take(kinds.CONFIG_MAP, "cm", stage.space)
        await stage.says("v", "False")
    async with stage.step("another of the same name comes: another uid"):
        await stage.put_data("cm", "1")
        await stage.shows("v", "1")


@row("1.4(6)", "a changed scope waits for the next allowed read")
async def scope_changed(stage: Stage) -> None:
    async with stage.step("a ConfigMap is looked at every 4 s"):
        await stage.make_space()
        await stage.put_data("one", "1")
        await stage.put_data("two", "2")
        scope = {"resource": "configmap", "name": "one", "namespace": stage.space}
        await stage.view("v", every_s=4, **scope)
        await stage.shows("v", "1")
        flip = stage.flip("v")
    async with stage.step("the view is pointed at another one"):
        await stage.edit(kinds.VIEW, "v", {"spec": {"scope": {"name": "two"}}})
        await stage.shows("v", "2")
        read = (await stage.read_times(kinds.CONFIG_MAP, "two", 1))[0]
    stage.note("not before the interval has passed", read.moment >= flip + 4 * SECOND)


@row("1.4(7)", "the status is written at each interval, also when that changes nothing")
async def always_written(stage: Stage) -> None:
    async with stage.step("two views, of what is there and of what is not, every 2 s"):
        await stage.make_space()
        for name in ("found", "missing"):
            space = stage.space if name == "found" else "no-such-space"
            await stage.view(name, every_s=2, resource="namespace", name=space)
        for name in ("found", "missing"):
            writes = await stage.written(name, 4)
            stage.note(f"{name}: all four accepted", all(one.code == 200 for one in writes))
    for name in ("found", "missing"):
        changes = stage.changes_of(kinds.VIEW, name)
        stage.note(f"{name}: made, then changed once", len(changes) == 2)


@row("1.4(8)", "a deleted view is forgotten")
async def forgotten(stage: Stage) -> None:
    async with stage.step("two views, every 2 s"):
        await stage.make_space()
        for name in ("gone", "witness"):
            scope = {"resource": "configmap", "name": name, "namespace": stage.space}
            await stage.view(name, every_s=2, **scope)
            await stage.answered(name)
    async with stage.step("one of them is deleted"):
        await stage.remove(kinds.VIEW, "gone")
        await stage.another_read(kinds.CONFIG_MAP, "witness")
        reads = len(stage.reads(kinds.CONFIG_MAP, "gone"))
        for _ in range(3):
            await stage.another_read(kinds.CONFIG_MAP, "witness")
        stage.note("not read again", len(stage.reads(kinds.CONFIG_MAP, "gone")) == reads)


@row("1.4(9)", "a lost write is tried again, and the object read anew for it")
async def lost_view_write(stage: Stage) -> None:
    scope = {"resource": "configmap", "name": "cm", "namespace": stage.space}
    async with stage.step("a new view whose first two answers get lost"):
        await stage.make_space()
        await stage.put_data("cm", "0")
        stage.lane.faults.lose_writes(stage.called("v"), 2)
        await stage.view("v", every_s=60, **scope)
        await stage.shows("v", "0")
    stage.note("two lost, one arrived", [w.code for w in stage.writes("v")] == [0, 0, 200])
    reads = stage.reads(kinds.CONFIG_MAP, "cm")
    stage.note("three reads", len(reads) == 3)
    quick = all(gap < 50 * SECOND for gap in _gaps(reads))
    stage.note("without waiting for the interval", quick)


@row("1.5", "offline: a new view has no status, an old one keeps its own", alone=True)
async def offline_views(stage: Stage) -> None:
    scope = {"resource": "configmap", "name": "cm", "namespace": stage.space}
    async with stage.step("a ConfigMap is looked at every 2 s"):
        await stage.make_space()
        await stage.put_data("cm", "0")
        await stage.view("old", every_s=2, **scope)
        await stage.shows("old", "0")
    async with stage.step("the agents are cut off; it changes; a new view is made"):
        await stage.lane.cut_hub()
        await stage.put_data("cm", "1")
        await stage.view("new", every_s=2, **scope)
        await stage.another_read(kinds.CONFIG_MAP, "cm")
        stage.note("the new view has no status", not stage.condition(kinds.VIEW, "new"))
        await stage.shows("old", "0")
    async with stage.step("the agents are back"):
        await stage.lane.mend_hub()
        await stage.shows("new", "1")
        await stage.shows("old", "1")


@row("1.5", "a restarted agent looks at every view, behind the same gate", alone=True)
async def restarted_views(stage: Stage) -> None:
    views = {"closed": 60, "open": 2}
    async with stage.step("views with a long and with a short interval"):
        await stage.make_space()
        for name, every_s in views.items():
            scope = {"resource": "configmap", "name": name, "namespace": stage.space}
            await stage.view(name, every_s=every_s, **scope)
            await stage.answered(name)
    async with stage.step("the agents are killed; both objects come; the agents start"):
        await stage.lane.stop_agents()
        for name in views:
            await stage.put_data(name, "0")
        await stage.lane.start_agents()
        await stage.shows("open", "0")
        await stage.another_read(kinds.CONFIG_MAP, "open")
    stage.note("the closed one is not read", len(stage.reads(kinds.CONFIG_MAP, "closed")) == 1)


@row("1.5", "a watch that died silently: timers go on, new views are not seen", alone=True)
async def dead_watch(stage: Stage) -> None:
    async with stage.step("a view, every 2 s"):
        await stage.make_space()
        scope = {"resource": "configmap", "name": "old", "namespace": stage.space}
        await stage.view("old", every_s=2, **scope)
        await stage.answered("old")
        await stage.another_read(kinds.CONFIG_MAP, "old")
    async with stage.step("the watch dies; its object comes; a new view is made"):
        await stage.lane.freeze_watches()
        await stage.put_data("old", "0")
        scope = {"resource": "configmap", "name": "new", "namespace": stage.space}
        await stage.view("new", every_s=2, **scope)
        await stage.shows("old", "0")
        await stage.another_read(kinds.CONFIG_MAP, "old")
        stage.note("the new one is not read", not stage.reads(kinds.CONFIG_MAP, "new"))
    async with stage.step("the dead watch is noticed"):
        await stage.lane.thaw_watches()
        await stage.answered("new")
