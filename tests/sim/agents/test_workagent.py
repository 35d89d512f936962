"""The work agent does what OCM's does, its faults included; beside the real one it is held in tests/e2e."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Mapping
from typing import Any

import pytest

from talm.api import kinds
from talm.errors import NotFound
from talm.sim.agents.workagent import WorkHabits
from talm.sim.agents.workwire import WORK_FINALIZER
from talm.sim.spoke.spokejobs import SpokeTimes

from ..oneworld import CLUSTER, World, config_map, job
from ..virtual import virtual

SPACE = "talm"
NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}}
COMPLETE = {"conditionRules": [{"type": "WellKnownConditions", "condition": "Complete"}]}
WATCH = {"feedbackScrapeType": "Watch"}
POLLS = WorkHabits(watches=False)


def told(resource: str, name: str, path: str, **more: Any) -> dict[str, Any]:
    """Rules about one object: made once, the field at `path` is told as `it`."""
    group = "batch" if resource == "jobs" else ""
    about = {"group": group, "resource": resource, "namespace": SPACE, "name": name}
    rule = {"type": "JSONPaths", "jsonPaths": [{"name": "it", "path": path}]}
    once = {"type": "CreateOnly"}
    return {
        "resourceIdentifier": about,
        "updateStrategy": once,
        "feedbackRules": [rule],
        **more,
    }


JOB = told("jobs", "pre-cache", '.status.conditions[?(@.type=="Complete")].status')


class Works:
    """A world with works, and what they say."""

    def __init__(self, habits: WorkHabits | None = None, **more: Any) -> None:
        self.world = World(habits=habits, **more)

    def put(self, name: str, *manifests: Mapping[str, Any], configs: tuple[Any, ...] = ()) -> None:
        meta = {"name": name, "namespace": CLUSTER}
        spec = {"workload": {"manifests": list(manifests)}, "manifestConfigs": list(configs)}
        self.world.hub.put(kinds.MANIFEST_WORK, {"metadata": meta, "spec": spec})

    async def edit(self, name: str, **meta: Any) -> None:
        patch = {"metadata": meta}
        await self.world.hub.merge_patch(kinds.MANIFEST_WORK, name, patch, CLUSTER)
        await asyncio.sleep(0.01)

    async def delete(self, name: str) -> None:
        await self.world.hub.delete(kinds.MANIFEST_WORK, name, CLUSTER)

    def get(self, name: str) -> dict[str, Any]:
        return self.world.hub.get(kinds.MANIFEST_WORK, name, CLUSTER)

    def is_there(self, name: str) -> bool:
        return any(o["metadata"]["name"] == name for o in self.world.hub.list(kinds.MANIFEST_WORK))

    def says(self, name: str, kind: str) -> str:
        conditions = (self.get(name).get("status") or {}).get("conditions") or ()
        return next((c["status"] for c in conditions if c["type"] == kind), "")

    def entry(self, name: str, ordinal: int) -> dict[str, Any]:
        found: dict[str, Any] = self.get(name)["status"]["resourceStatus"]["manifests"][ordinal]
        return found

    def value(self, name: str, ordinal: int = 1) -> Any:
        values = self.entry(name, ordinal).get("statusFeedback", {}).get("values", ())
        return next((v["fieldValue"] for v in values), None)

    def jobs(self) -> int:
        return sum(len(uids) for uids in self.world.spoke.job_uids().values())


class TestApplying:
    @virtual
    async def test_begins_with_the_finalizer_and_ends_with_what_is_there(self) -> None:
        works = Works()
        works.put("w", NAMESPACE, config_map("cm", SPACE, n="0"))
        await asyncio.sleep(1)
        assert works.get("w")["metadata"]["finalizers"] == [WORK_FINALIZER]
        assert (works.says("w", "Applied"), works.says("w", "Available")) == ("True", "True")
        assert works.entry("w", 1)["resourceMeta"] == {
            "ordinal": 1,
            "group": "",
            "version": "v1",
            "kind": "ConfigMap",
            "resource": "configmaps",
            "name": "cm",
            "namespace": SPACE,
        }

    @virtual
    async def test_goes_on_after_a_manifest_that_fails_and_tries_again(self) -> None:
        works = Works()
        works.put("w", config_map("cm", SPACE), NAMESPACE)  # the namespace comes too late
        await asyncio.sleep(0.001)
        await asyncio.sleep(1)
        assert works.says("w", "Applied") == "True"
        assert await works.world.spoke.get(kinds.CONFIG_MAP, SPACE, "cm")

    @virtual
    async def test_mends_what_it_keeps_and_leaves_what_it_made_once(self) -> None:
        works = Works(WorkHabits(resync_s=(60.0, 60.0)))
        once = told("configmaps", "once", ".data.n")
        both = (config_map("once", SPACE, n="0"), config_map("kept", SPACE, n="0"))
        works.put("w", NAMESPACE, *both, configs=(once,))
        await asyncio.sleep(1)
        for name in ("once", "kept"):
            patch = {"data": {"n": "1"}}
            await works.world.spoke.merge_patch(kinds.CONFIG_MAP, SPACE, name, patch)
        await asyncio.sleep(61)
        data = {
            name: (await works.world.spoke.get(kinds.CONFIG_MAP, SPACE, name))["data"]["n"]
            for name in ("once", "kept")
        }
        assert data == {"once": "1", "kept": "0"}

    @virtual
    async def test_an_annotation_is_no_reason_and_a_label_is(self) -> None:
        works = Works()
        works.put("w", NAMESPACE, config_map("cm", SPACE))
        await asyncio.sleep(1)
        await works.world.spoke.delete(kinds.CONFIG_MAP, SPACE, "cm", "Background")
        await works.edit("w", annotations={"poke": "1"})
        assert works.says("w", "Available") == "False"
        await asyncio.sleep(60)
        assert works.says("w", "Available") == "False"
        await works.edit("w", labels={"apply": "1"})
        assert await works.world.spoke.get(kinds.CONFIG_MAP, SPACE, "cm")
        # Nothing of the status has changed, so nobody looks before the poll.
        await asyncio.sleep(20)
        assert works.says("w", "Available") == "True"


class TestAJobThatHasEnded:
    @pytest.mark.parametrize(
        ("habits", "runs"), [(WorkHabits(), 1), (WorkHabits(freezes=False), 2)]
    )
    @virtual
    async def test_and_is_deleted_runs_again_only_where_no_rule_is_known(
        self, habits: WorkHabits, runs: int
    ) -> None:
        works = Works(habits)
        works.put("w", NAMESPACE, job(namespace=SPACE), configs=(JOB | COMPLETE,))
        await asyncio.sleep(120)
        assert works.value("w") == {"type": "String", "string": "True"}
        await works.world.spoke.delete(kinds.JOB, SPACE, "pre-cache", "Background")
        await asyncio.sleep(400)
        assert works.jobs() == runs

    @virtual
    async def test_before_the_work_is_taken_for_its_own(self) -> None:
        works = Works()
        await works.world.have(kinds.NAMESPACE, SPACE)
        await works.world.spoke.create(kinds.JOB, SPACE, job(namespace=SPACE))
        await asyncio.sleep(120)
        works.put("w", NAMESPACE, job(namespace=SPACE), configs=(JOB | COMPLETE,))
        await asyncio.sleep(1)
        assert works.says("w", "Complete") == "True"
        assert works.jobs() == 1


class TestFeedback:
    async def changed(self, works: Works, name: str, value: str) -> None:
        patch = {"data": {"n": value}}
        await works.world.spoke.merge_patch(kinds.CONFIG_MAP, SPACE, name, patch)

    @virtual
    async def test_comes_by_events_where_it_is_watched(self) -> None:
        works = Works()
        rules = (told("configmaps", "cm", ".data.n", **WATCH),)
        works.put("w", NAMESPACE, config_map("cm", SPACE, n="0"), configs=rules)
        await asyncio.sleep(1)
        await self.changed(works, "cm", "1")
        await asyncio.sleep(0.1)
        assert works.value("w") == {"type": "String", "string": "1"}

    @virtual
    async def test_of_one_watch_serves_every_work_on_that_kind_and_namespace(self) -> None:
        works = Works()
        watched = told("configmaps", "one", ".data.n", **WATCH)
        polled = told("configmaps", "two", ".data.n")
        works.put("w1", NAMESPACE, config_map("one", SPACE, n="0"), configs=(watched,))
        works.put("w2", NAMESPACE, config_map("two", SPACE, n="0"), configs=(polled,))
        await asyncio.sleep(1)
        await self.changed(works, "two", "1")
        await asyncio.sleep(0.1)
        assert works.value("w2") == {"type": "String", "string": "1"}

    @pytest.mark.parametrize("poll_s", [(10.0, 19.0), (60.0, 114.0)])
    @virtual
    async def test_comes_by_the_poll_else(self, poll_s: tuple[float, float]) -> None:
        works = Works(WorkHabits(watches=False, poll_s=poll_s))
        rules = (told("configmaps", "cm", ".data.n", **WATCH),)
        works.put("w", NAMESPACE, config_map("cm", SPACE, n="0"), configs=rules)
        await asyncio.sleep(1)
        await self.changed(works, "cm", "1")
        await asyncio.sleep(poll_s[0] - 2)
        assert works.value("w") == {"type": "String", "string": "0"}
        await asyncio.sleep(poll_s[1])
        assert works.value("w") == {"type": "String", "string": "1"}

    @virtual
    async def test_is_read_at_once_after_a_poke(self) -> None:
        works = Works(POLLS)
        rules = (told("configmaps", "cm", ".data.n"),)
        works.put("w", NAMESPACE, config_map("cm", SPACE, n="0"), configs=rules)
        await asyncio.sleep(1)
        await self.changed(works, "cm", "1")
        await works.edit("w", annotations={"poke": "1"})
        assert works.value("w") == {"type": "String", "string": "1"}

    @virtual
    async def test_keeps_the_value_of_what_is_gone_and_the_poll_tells_that_it_is(self) -> None:
        works = Works()
        rules = (told("configmaps", "cm", ".data.n", **WATCH),)
        works.put("w", NAMESPACE, config_map("cm", SPACE, n="0"), configs=rules)
        await asyncio.sleep(1)
        await works.world.spoke.delete(kinds.CONFIG_MAP, SPACE, "cm", "Background")
        await asyncio.sleep(1)
        assert works.says("w", "Available") == "True"
        await asyncio.sleep(20)
        assert works.says("w", "Available") == "False"
        assert works.value("w") == {"type": "String", "string": "0"}

    @virtual
    async def test_that_says_nothing_new_is_not_written(self) -> None:
        works = Works()
        works.put("w", NAMESPACE, config_map("cm", SPACE, n="0"))
        await asyncio.sleep(1)
        writes = len(works.world.hub.writes)
        await asyncio.sleep(200)
        assert len(works.world.hub.writes) == writes


class TestTheEnd:
    @virtual
    async def test_comes_when_all_that_was_made_is_gone(self) -> None:
        works = Works(times=SpokeTimes(namespace_s=6.0))
        works.put("w", NAMESPACE, config_map("cm", SPACE))
        await asyncio.sleep(5)
        await works.delete("w")
        await asyncio.sleep(5)
        assert works.says("w", "Deleting") == "True"
        await asyncio.sleep(15)
        assert not works.is_there("w")
        assert works.world.spoke.leftovers() == []

    @virtual
    async def test_of_one_work_leaves_what_another_has(self) -> None:
        works = Works()
        works.put("one", NAMESPACE, config_map("cm", SPACE))
        works.put("two", NAMESPACE)
        await asyncio.sleep(1)
        await works.delete("one")
        await asyncio.sleep(1)
        assert not works.is_there("one")
        assert await works.world.spoke.get(kinds.NAMESPACE, "", SPACE)
        with pytest.raises(NotFound):
            await works.world.spoke.get(kinds.CONFIG_MAP, SPACE, "cm")

    @virtual
    async def test_of_a_work_that_was_never_seen_comes_at_once_and_nothing_is_made(self) -> None:
        works = Works()
        works.world.link.down()
        works.put("w", NAMESPACE)
        await asyncio.sleep(1)
        await works.delete("w")
        assert not works.is_there("w")
        works.world.link.up(relist=True)
        await asyncio.sleep(400)
        assert works.world.spoke.leftovers() == []

    @virtual
    async def test_that_came_while_the_cluster_was_away_is_all_that_is_done(self) -> None:
        works = Works()
        works.put("w", NAMESPACE, job(namespace=SPACE))
        await asyncio.sleep(10)
        works.world.link.down()
        await works.delete("w")
        await asyncio.sleep(dt.timedelta(hours=1).total_seconds())
        works.world.site.restart_agents()
        works.world.link.up()
        await asyncio.sleep(60)
        assert not works.is_there("w")
        assert works.world.spoke.leftovers() == []
        assert works.jobs() == 1


@virtual
async def test_a_field_that_an_agent_leaves_out_is_told_as_if_the_object_lacked_it() -> None:
    works = Works(WorkHabits(mutes=frozenset({"it"})))
    works.put("w", NAMESPACE, job("pre-cache", SPACE), configs=(JOB,))
    await asyncio.sleep(200)
    (entry,) = [
        e
        for e in works.get("w")["status"]["resourceStatus"]["manifests"]
        if e["resourceMeta"]["kind"] == "Job"
    ]
    assert entry["statusFeedback"] == {}
