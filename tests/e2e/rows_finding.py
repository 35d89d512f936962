"""1.3: how a view finds its object; the first check that fails decides."""

from __future__ import annotations

from typing import Any

from talm.api import kinds

from .script import row
from .stage import Stage


@row("1.3", "an empty name is refused first: no list, no selector")
async def no_name(stage: Stage) -> None:
    async with stage.step("views without a name: of a type, of none, of secrets"):
        await stage.view("typed", resource="configmaps", namespace="default")
        await stage.view("untyped")
        await stage.view("secret", resource="secrets")
        await stage.answered("typed", "untyped", "secret")


@row("1.3", "without a resource, kind and version are both needed")
async def no_type(stage: Stage) -> None:
    async with stage.step("views of a name: alone, with a kind, with a version"):
        await stage.view("name", name="x")
        await stage.view("kind", name="x", kind="ConfigMap")
        await stage.view("version", name="x", version="v1")
        await stage.answered("name", "kind", "version")


@row("1.3", "a kind that the spoke does not serve", alone=True)
async def unknown_kind(stage: Stage) -> None:
    for name, scope in {
        "group": {"apiGroup": "x.example", "version": "v1", "kind": "Foo"},
        "group-again": {"apiGroup": "x.example", "version": "v1", "kind": "Foo"},
        "kind": {"apiGroup": "batch", "version": "v1", "kind": "Foo"},
        "version": {"apiGroup": "batch", "version": "v7", "kind": "Job"},
        "core": {"version": "v1", "kind": "Foo"},
    }.items():
        async with stage.step(f"not served: {name}"):
            await stage.view(name, every_s=3600, name="x", **scope)  # worded otherwise next time
            await stage.answered(name)


@row("1.3", "a resource that the spoke does not serve", alone=True)
async def unknown_resource(stage: Stage) -> None:
    for number, word in enumerate(("widgets", "widgets.v1.example.com", "widgets.example.com")):
        async with stage.step(f"not served: {word}"):
            await stage.view(f"v{number}", name="x", resource=word)
            await stage.answered(f"v{number}")


@row("1.3", "secrets are refused, there or not")
async def secrets(stage: Stage) -> None:
    async with stage.step("a secret"):
        await stage.make_space()
        await stage.put(kinds.SECRET, "known", stage.space, type="Opaque")
    async with stage.step("it and another are looked at, by resource and by kind"):
        await stage.view("known", resource="secrets", name="known", namespace=stage.space)
        await stage.view("unknown", resource="secret", name="unknown", namespace=stage.space)
        await stage.view("kind", kind="Secret", version="v1", name="known", namespace=stage.space)
        await stage.answered("known", "unknown", "kind")
    stage.note("the spoke is not even asked", not stage.reads(kinds.SECRET, "known"))


@row("1.3", "an object that is not there")
async def not_found(stage: Stage) -> None:
    async with stage.step("a namespace"):
        await stage.make_space()
    async with stage.step("views of what is not there, in it, elsewhere and nowhere"):
        await stage.view("job", resource="jobs", name="pre-cache", namespace=stage.space)
        await stage.view("space", resource="namespaces", name="no-such-space")
        await stage.view("binding", resource="clusterrolebinding", name="no-such-binding")
        await stage.view("nowhere", resource="configmap", name="x", namespace="no-such-space")
        await stage.answered("job", "space", "binding", "nowhere")
    async with stage.step("views with a namespace too few and one too many"):
        await stage.view("few", resource="jobs", name="pre-cache")
        await stage.view("many", resource="clusterroles", name="x", namespace=stage.space)
        await stage.answered("few", "many")


@row("1.3", "a read that is forbidden")
async def forbidden(stage: Stage) -> None:
    name = stage.called("cm")
    text = f'configmaps "{name}" is forbidden: User "agent" cannot get resource "configmaps"'
    async with stage.step("a ConfigMap that the agent may not read"):
        await stage.make_space()
        await stage.put_data(name, "0")
        stage.lane.faults.refuse(name, text)
        await stage.view("v", resource="configmaps", name=name, namespace=stage.space)
        await stage.answered("v")


@row("1.3", "a spoke whose API server refuses connections", alone=True)
async def spoke_down(stage: Stage) -> None:
    scope = {"resource": "configmaps", "name": "cm", "namespace": stage.space}
    async with stage.step("a ConfigMap is shown"):
        await stage.make_space()
        await stage.put_data("cm", "0")
        await stage.view("v", every_s=2, **scope)
        await stage.shows("v", "0")
    async with stage.step("the API server goes"):
        await stage.lane.stop_spoke()
        await stage.says("v", "False")
    async with stage.step("it comes back"):
        flip = stage.flip("v")
        await stage.lane.start_spoke()
        await stage.says("v", "True")
        flipped_s = (stage.flip("v") - flip).total_seconds()
        stage.note("blind for its interval since the flip", flipped_s >= 2)


@row("1.3", "an object that is there is shown whole")
async def success(stage: Stage) -> None:
    async with stage.step("a namespace and a ConfigMap"):
        await stage.make_space()
        await stage.put_data("cm", "0")
    async with stage.step("they are looked at"):
        await stage.view("cm", resource="configmap", name="cm", namespace=stage.space)
        await stage.view("space", kind="Namespace", version="v1", name=stage.space)
        await stage.answered("cm", "space")
        result = (stage.latest(kinds.VIEW, "cm") or {})["status"]["result"]
    stage.note("managedFields are shown too", bool(result["metadata"].get("managedFields")))


@row("1.3", "resource wins over kind, group and version")
async def resource_wins(stage: Stage) -> None:
    async with stage.step("a view with both"):
        nonsense: dict[str, Any] = {"apiGroup": "x.example", "version": "v9", "kind": "Nonsense"}
        await stage.view("v", resource="jobs", name="x", namespace="default", **nonsense)
        await stage.answered("v")


@row("1.3", "a resource is matched as kubectl does: singular, plural, any case, kind")
async def words(stage: Stage) -> None:
    rbac = "rbac.authorization.k8s.io"
    found = ("jobs", "job", "Job", "JOBS", "cronjob", "configmap", "ConfigMaps", "job.batch")
    spaced: dict[str, dict[str, Any]] = {
        word: {"namespace": "default"} for word in (*found, "jobs.v1.batch")
    }
    plain: dict[str, dict[str, Any]] = {"namespaces": {}, f"clusterroles.v1.{rbac}": {}}
    for number, (word, scope) in enumerate({**spaced, **plain}.items()):
        async with stage.step(f"{word}, of an object that is not there: the answer says what"):
            await stage.view(f"v{number}", resource=word, name="x", **scope)
            await stage.answered(f"v{number}")


@row("1.3", "resource.group with dots has the spoke discovered at every poll", alone=True)
async def misread_group(stage: Stage) -> None:
    group = "rbac.authorization.k8s.io"
    readings = {"right": f"clusterroles.v1.{group}", "flawed": f"clusterroles.{group}"}
    for name, word in readings.items():
        async with stage.step(f"{word} is polled"):
            await stage.view(name, resource=word, name=f"{stage.space}-{name}", every_s=2)
            await stage.answered(name)
            reads = await stage.read_times(kinds.CLUSTER_ROLE, f"{stage.space}-{name}", 3)
            stage.note("discovered before every further read", stage.discovers_between(reads))
