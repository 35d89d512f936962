"""2.3: how often an action is carried out, and in which order.  The numbers are the rules'."""

from __future__ import annotations

from talm.api import kinds

from .script import row
from .stage import Stage


@row("2.3(1)", "Completed=True is final")
async def final(stage: Stage) -> None:
    async with stage.step("a ConfigMap is created"):
        await stage.make_space()
        await stage.action("a", "Create", template=stage.config_map("cm", n="0"))
        await stage.done("a")
    async with stage.step("the action is written to, and then asks for something else"):
        await stage.poke(kinds.ACTION, "a")
        template = stage.config_map("other")
        await stage.edit(kinds.ACTION, "a", {"spec": {"kube": {"template": template}}})
        await stage.barrier()


@row("2.3(2)", "a failed action runs exactly twice, and once more at each edit")
async def twice(stage: Stage) -> None:
    async with stage.step("a ConfigMap that is there"):
        await stage.make_space()
        await stage.put_data("cm", "0")
        await stage.action("a", "Create", template=stage.config_map("cm", n="1"))
        await stage.done("a", runs=2)
        await stage.barrier()
    async with stage.step("the action is written to"):
        await stage.poke(kinds.ACTION, "a")
        await stage.written("a", 3)
        await stage.barrier()
    async with stage.step("the cause goes, and the action is written to again"):
        await stage.take(kinds.CONFIG_MAP, "cm", stage.space)
        await stage.poke(kinds.ACTION, "a")
        await stage.succeeded("a")
        await stage.barrier()


@row("2.3(2)", "an error that is worded differently each time runs until its text is stable")
async def changing_text(stage: Stage) -> None:
    async with stage.step("a ConfigMap that is refused with three texts"):
        await stage.make_space()
        stage.lane.faults.refuse(stage.called("cm"), "first", "second", "third")
        await stage.action("a", "Create", template=stage.config_map(stage.called("cm")))
        await stage.done("a", runs=4)
        await stage.barrier()


@row("2.3(2)", "a restarted agent does again what is not known as done", alone=True)
async def restarted_actions(stage: Stage) -> None:
    async with stage.step("one action that fails, one that succeeds"):
        await stage.make_space()
        await stage.put_data("there", "0")
        await stage.action("failed", "Create", template=stage.config_map("there"))
        await stage.action("succeeded", "Create", template=stage.config_map("made"))
        await stage.done("failed", runs=2)
        await stage.done("succeeded")
        await stage.barrier()
    async with stage.step("the agents are killed and start again"):
        await stage.lane.stop_agents()
        await stage.lane.start_agents()
        await stage.written("failed", 3)
        await stage.barrier()


@row("2.3(3)", "a lost result: Create fails as already exists though it was this very action")
async def lost_create(stage: Stage) -> None:
    async with stage.step("a ConfigMap is created, the result gets lost"):
        await stage.make_space()
        stage.lane.faults.lose_writes(stage.called("a"))
        await stage.action("a", "Create", template=stage.config_map("cm", n="0"))
        await stage.done("a", runs=3)
        await stage.barrier()


@row("2.3(3)", "a lost result: Delete fails as not found though it was this very action")
async def lost_delete(stage: Stage) -> None:
    async with stage.step("a ConfigMap"):
        await stage.make_space()
        await stage.put_data("cm", "0")
    async with stage.step("it is deleted, the result gets lost until it is gone"):
        stage.lane.faults.lose_writes(stage.called("a"), 100)
        where = {"resource": "configmaps", "namespace": stage.space, "name": "cm"}
        await stage.action("a", "Delete", **where)
        await stage.until(lambda: stage.refused("DELETE", "cm"), "it is deleted once more in vain")
        stage.lane.faults.lose_writes(stage.called("a"), 0)
        await stage.until(lambda: stage.condition(kinds.ACTION, "a"), "the result arrives")
        await stage.barrier()
        stage.forget_requests()


@row("2.3(4)", "connected agents carry out actions in the order of their creation")
async def in_order(stage: Stage) -> None:
    async with stage.step("three actions, quickly, not by name"):
        await stage.make_space()
        for name in ("c", "a", "b"):
            await stage.action(name, "Create", template=stage.config_map(name))
        await stage.barrier()


@row("2.3(4)", "a short absence keeps the order of creation", alone=True)
async def in_order_later(stage: Stage) -> None:
    async with stage.step("the agents are cut off; three actions, not by name"):
        await stage.make_space()
        await stage.barrier()
        await stage.lane.cut_hub()
        for name in ("c", "a", "b"):
            await stage.action(name, "Create", template=stage.config_map(name))
    async with stage.step("the agents are back"):
        await stage.lane.mend_hub()
        for name in ("c", "a", "b"):
            await stage.done(name)
        await stage.barrier()


@row("2.3(4)", "a long absence ends in a list, and the order is by name", alone=True)
async def by_name(stage: Stage) -> None:
    async with stage.step("the agents are cut off; three actions, not by name"):
        await stage.make_space()
        await stage.barrier()
        await stage.lane.cut_hub()
        for name in ("c", "a", "b"):
            await stage.action(name, "Create", template=stage.config_map(name))
    async with stage.step("the agents are back, too late to go on where they were"):
        await stage.lane.mend_hub(expired=True)
        for name in ("c", "a", "b"):
            await stage.done(name)
        await stage.barrier()


@row("2.3(4)", "a restarted agent takes what is pending in no order", alone=True)
async def in_no_order(stage: Stage) -> None:
    async with stage.step("the agents are killed; three actions, not by name"):
        await stage.make_space()
        await stage.barrier()
        await stage.lane.stop_agents()
        for name in ("c", "a", "b"):
            await stage.action(name, "Create", template=stage.config_map(name))
    async with stage.step("the agents start", ordered=False):
        await stage.lane.start_agents()
        for name in ("c", "a", "b"):
            await stage.done(name)
        await stage.barrier()


@row("2.3(5)", "deleting an action undoes nothing")
async def undoes_nothing(stage: Stage) -> None:
    async with stage.step("a ConfigMap is created"):
        await stage.make_space()
        await stage.action("a", "Create", template=stage.config_map("cm", n="0"))
        await stage.done("a")
    async with stage.step("the action is deleted"):
        await stage.remove(kinds.ACTION, "a")
        await stage.barrier()


@row("2.3(5)", "deleting an action before it was seen prevents it", alone=True)
async def prevented(stage: Stage) -> None:
    async with stage.step("the agents are killed; two actions; one of them is deleted"):
        await stage.make_space()
        await stage.barrier()
        await stage.lane.stop_agents()
        for name in ("a", "b"):
            await stage.action(name, "Create", template=stage.config_map(name))
        await stage.remove(kinds.ACTION, "a")
    async with stage.step("the agents start"):
        await stage.lane.start_agents()
        await stage.done("b")
        await stage.barrier()
