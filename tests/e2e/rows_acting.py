"""2.2: what an action does, and the words in which it fails."""

from __future__ import annotations

from talm.api import kinds

from .script import row
from .stage import Stage

JOB = {"apiVersion": "batch/v1", "kind": "Job"}


@row("2.2", "Create takes kind and name from the template; the result is the template")
async def create(stage: Stage) -> None:
    async with stage.step("a namespace, by an action"):
        template = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": stage.space}}
        await stage.action("space", "Create", template=template)
        await stage.done("space")
    async with stage.step("a ConfigMap; resource and name beside the template say otherwise"):
        other = {"resource": "secrets", "name": "other"}
        await stage.action("cm", "Create", template=stage.config_map("cm", n="1"), **other)
        await stage.done("cm")
    async with stage.step("the action's namespace goes before none in the template"):
        template = stage.config_map("spaced", namespace="", n="2")
        await stage.action("spaced", "Create", namespace=stage.space, template=template)
        await stage.done("spaced")
        await stage.barrier()


@row("2.2", "Create without a namespace, or with two")
async def create_misplaced(stage: Stage) -> None:
    async with stage.step("a namespaced kind without a namespace"):
        await stage.make_space()
        await stage.action("none", "Create", template=stage.config_map("cm", namespace=""))
        await stage.done("none")
    async with stage.step("a namespace that the template contradicts"):
        template = stage.config_map("cm")
        await stage.action("two", "Create", namespace="default", template=template)
        await stage.done("two")
        await stage.barrier()


@row("2.2", "Create of a kind that the spoke does not serve", alone=True)
async def create_unknown(stage: Stage) -> None:
    async with stage.step("a group and a kind that nobody knows"):
        await stage.make_space()
        template = {**stage.config_map("cm"), "apiVersion": "x.example/v1", "kind": "Foo"}
        await stage.action("group", "Create", template=template)
        await stage.done("group")
        await stage.barrier()
    async with stage.step("a kind that its group does not have"):
        await stage.action("kind", "Create", template={**stage.config_map("cm"), "kind": "Foo"})
        await stage.done("kind")
        await stage.barrier()


@row("2.2", "Create of what exists, and into what does not")
async def create_refused(stage: Stage) -> None:
    async with stage.step("a ConfigMap that is there"):
        await stage.make_space()
        await stage.put_data("cm", "0")
        await stage.action("again", "Create", template=stage.config_map("cm", n="1"))
        await stage.done("again")
    async with stage.step("a namespace that is not there"):
        template = stage.config_map("cm", namespace=stage.called("absent"))
        await stage.action("nowhere", "Create", template=template)
        await stage.done("nowhere")
        await stage.barrier()


@row("2.2", "Create while the namespace terminates")
async def create_terminating(stage: Stage) -> None:
    ending = stage.called("ending")
    async with stage.step("a namespace is deleted by an action and held by a finalizer"):
        await stage.make_space()
        await stage.put(kinds.NAMESPACE, ending)
        await stage.lane.hold_namespace(ending)
        await stage.action("delete", "Delete", resource="namespaces", name=ending)
        await stage.done("delete")
    async with stage.step("into it, and it itself again"):
        await stage.action("into", "Create", template=stage.config_map("cm", namespace=ending))
        template = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ending}}
        await stage.done("into")
        await stage.action("itself", "Create", template=template)
        await stage.done("itself")
        await stage.barrier()
    async with stage.step("it is looked at"):
        await stage.view("v", resource="configmap", name="cm", namespace=ending)
        await stage.answered("v")


@row("2.2", "Delete names a resource as views do, is Foreground and has no result")
async def delete(stage: Stage) -> None:
    async with stage.step("three ConfigMaps"):
        await stage.make_space()
        for name in ("one", "two", "three"):
            await stage.put_data(name, "0")
    for name, word in {"one": "configmaps", "two": "configmap", "three": "ConfigMap"}.items():
        async with stage.step(f"one is deleted as {word}"):
            await stage.action(name, "Delete", resource=word, name=name, namespace=stage.space)
            await stage.done(name)
            await stage.absent(kinds.CONFIG_MAP, name, stage.space)
            await stage.barrier()


@row("2.2", "Delete of what is not there")
async def delete_absent(stage: Stage) -> None:
    async with stage.step("a ConfigMap, a namespace, a binding"):
        await stage.make_space()
        where = {"namespace": stage.space, "name": stage.called("x")}
        await stage.action("cm", "Delete", resource="configmaps", **where)
        await stage.done("cm")
        await stage.action("space", "Delete", resource="namespaces", name=stage.called("x"))
        await stage.done("space")
        name = stage.called("x")
        await stage.action("binding", "Delete", resource="clusterrolebinding", name=name)
        await stage.done("binding")
    async with stage.step("no such resource"):
        await stage.action("widget", "Delete", resource="widgets", **where)
        await stage.done("widget")
        await stage.barrier()


@row("2.2", "Update replaces: what the template lacks is lost")
async def update(stage: Stage) -> None:
    old = {"labels": {"a": "1", "b": "1"}, "annotations": {"a": "1"}}
    async with stage.step("a ConfigMap with labels, annotations, data"):
        await stage.make_space()
        body = stage.config_map("cm", n="0", m="0")
        await stage.lane.spoke.create(
            kinds.CONFIG_MAP, {**body, "metadata": body["metadata"] | old}
        )
    async with stage.step("another label, other data, no annotation"):
        template = stage.config_map("cm", n="1")
        template["metadata"]["labels"] = {"b": "2"}
        await stage.action("update", "Update", template=template)
        await stage.done("update")
    async with stage.step("no data at all; the namespace is the action's"):
        template = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cm"}}
        await stage.action("empty", "Update", namespace=stage.space, template=template)
        await stage.done("empty")
        await stage.barrier()


@row("2.2", "Update is guarded by the template's resourceVersion")
async def update_guarded(stage: Stage) -> None:
    async with stage.step("a ConfigMap that has changed since"):
        await stage.make_space()
        await stage.put_data("cm", "0")
        old = await stage.lane.spoke.get(kinds.CONFIG_MAP, "cm", stage.space)
        await stage.put_data("cm", "1")
        new = await stage.lane.spoke.get(kinds.CONFIG_MAP, "cm", stage.space)
    for name, known in {"stale": old, "fresh": new}.items():
        async with stage.step(f"its {name} version is in the template"):
            template = stage.config_map("cm", n="2")
            template["metadata"]["resourceVersion"] = known["metadata"]["resourceVersion"]
            await stage.action(name, "Update", template=template)
            await stage.done(name)
            await stage.barrier()


@row("2.2", "Update that changes nothing succeeds without a request and without a result")
async def update_nothing(stage: Stage) -> None:
    async with stage.step("a template that is the object itself"):
        await stage.make_space()
        await stage.put_data("cm", "0")
        template = await stage.lane.spoke.get(kinds.CONFIG_MAP, "cm", stage.space)
        await stage.action("same", "Update", template=template)
        await stage.done("same")
        await stage.barrier()


@row("2.2", "Update of what is not there")
async def update_absent(stage: Stage) -> None:
    async with stage.step("a ConfigMap"):
        await stage.make_space()
        await stage.action("cm", "Update", template=stage.config_map("cm"))
        await stage.done("cm")
        await stage.barrier()


@row("2.2", "any other type is invalid")
async def other_type(stage: Stage) -> None:
    async with stage.step("Apply, create, and none"):
        await stage.make_space()
        for name, kind in {"apply": "Apply", "lower": "create", "none": ""}.items():
            await stage.action(name, kind, template=stage.config_map("cm"))
            await stage.done(name)
        await stage.barrier()


@row("2.2", "without spec.kube no condition ever comes, and nobody else is held up", alone=True)
async def without_kube(stage: Stage) -> None:
    kinds_of_action = ("Create", "Update", "Delete")
    async with stage.step("one of each type, and then another action"):
        await stage.make_space()
        for kind in kinds_of_action:
            await stage.action(kind.lower(), kind)
        await stage.barrier()
        await stage.barrier()
    for kind in kinds_of_action:
        condition = stage.condition(kinds.ACTION, kind.lower())
        stage.note(f"{kind} has no condition", not condition)
