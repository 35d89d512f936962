"""What a watcher of a CGU notes down."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from talm.api.cgu import ClusterGroupUpgrade
from talm.api.words import ConditionType, Phase
from talm.kube.client import Client
from talm.sim.demo.cguwatch import CguWatch

KEY = ("ztp", "du")


def new_watch() -> CguWatch:
    return CguWatch(cast(Client, None), KEY, ["a", "b"])


def see(watch: CguWatch, status: dict[str, Any], *, enable: bool = False) -> None:
    body = {
        "metadata": {"name": "du", "namespace": "ztp"},
        "spec": {"enable": enable, "remediationStrategy": {"maxConcurrency": 1}},
        "status": status,
    }
    watch.cgu_changed(KEY, None, msgspec.convert(body, ClusterGroupUpgrade))


def states(a: str, b: str, **more: Any) -> dict[str, Any]:
    return {"precaching": {"status": {"a": a, "b": b}, **more}}


def test_each_state_is_noted_once_and_an_absent_one_is_not_started() -> None:
    watch = new_watch()
    see(watch, {})
    see(watch, states("NotStarted", "PreparingToStart"))
    see(watch, states("Active", "PreparingToStart"))
    see(watch, states("Active", "Starting"))
    assert watch.facts()["states"] == {
        "a": ["NotStarted", "Active"],
        "b": ["NotStarted", "PreparingToStart", "Starting"],
    }
    assert watch.state("a") == Phase.ACTIVE
    assert watch.all_are(Phase.ACTIVE, Phase.STARTING)
    assert not watch.all_ended


def test_pre_caching_and_update_while_disabled_are_told_apart() -> None:
    watch = new_watch()
    see(watch, states("Starting", "Starting"))
    assert watch.precached_while_disabled and not watch.updated_while_disabled
    see(watch, {"status": {"startedAt": "2026-01-01T00:00:00Z"}}, enable=True)
    assert not watch.updated_while_disabled
    see(watch, {"status": {"startedAt": "2026-01-01T00:00:00Z"}})
    assert watch.updated_while_disabled


def test_pre_caching_that_waits_for_enable_is_noticed() -> None:
    watch = new_watch()
    see(watch, {})
    see(watch, states("Starting", "Starting"), enable=True)
    assert not watch.precached_while_disabled


def test_the_message_is_the_failure_else_the_update() -> None:
    watch = new_watch()
    failure = {"cluster": "a", "message": "broken", "reason": "UnrecoverableError"}
    see(watch, states("UnrecoverableError", "Succeeded", failures=[failure]))
    assert (watch.message("a"), watch.message("b")) == ("broken", "")
    progress = {"b": {"state": "InProgress"}}
    see(watch, {"status": {"currentBatchRemediationProgress": progress}}, enable=True)
    assert watch.message("b") == "update InProgress"
    see(watch, {"clusters": [{"name": "b", "state": "complete"}]}, enable=True)
    assert watch.message("b") == "update complete"
    assert [change.message for change in watch.journal if change.cluster == "b"][-2:] == [
        "update InProgress",
        "update complete",
    ]


def test_conditions_are_found_and_other_cgus_are_not_ours() -> None:
    watch = new_watch()
    assert watch.condition(ConditionType.READY).reason == ""
    see(watch, {"conditions": [{"type": "Ready", "status": "True", "reason": "UpgradeCompleted"}]})
    assert watch.condition(ConditionType.READY).reason == "UpgradeCompleted"
    seen = watch.cgu
    watch.cgu_changed(("ztp", "another"), None, None)
    watch.cgu_changed(KEY, seen, None)
    assert watch.cgu is seen
