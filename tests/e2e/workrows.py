"""What a work agent does, a row a rule; both the real and the simulated one play them.

Not provoked: the resync after 4 to 6 min (a change of the labels has the same done at once), back-offs,
the eviction after an hour.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from talm.api import kinds
from talm.api.words import RUN_LABEL

from .workstage import WorkStage

Play = Callable[[WorkStage], Coroutine[Any, Any, None]]
ROWS: Final[dict[str, Play]] = {}
RUN_PATH: Final = ".metadata.labels." + RUN_LABEL.replace(".", r"\.")


def row(play: Play) -> Play:
    """Enter a play; its name is the row's namespace on the spoke."""
    ROWS[play.__name__.replace("_", "-")] = play
    return play


def space(stage: WorkStage) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": stage.space}}


def config_map(stage: WorkStage, name: str = "cm", **data: str) -> dict[str, Any]:
    meta = {"name": name, "namespace": stage.space, "labels": {RUN_LABEL: "run-1"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}


def job(stage: WorkStage) -> dict[str, Any]:
    container = {"name": "main", "image": "registry.example.io/none:1"}
    pod = {"restartPolicy": "Never", "containers": [container]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "pre-cache", "namespace": stage.space},
        "spec": {"backoffLimit": 0, "template": {"spec": pod}},
    }


def told(
    stage: WorkStage, resource: str, name: str, *, paths: dict[str, str], **more: Any
) -> dict[str, Any]:
    """The rules about one manifest: made once, these fields are fed back."""
    group = "batch" if resource == "jobs" else ""
    about = {"group": group, "resource": resource, "namespace": stage.space, "name": name}
    rules = [{"name": key, "path": path} for key, path in paths.items()]
    return {
        "resourceIdentifier": about,
        "updateStrategy": {"type": "CreateOnly"},
        "feedbackRules": [{"type": "JSONPaths", "jsonPaths": rules}],
        **more,
    }


JOB_PATHS: Final = {
    "uid": ".metadata.uid",
    "active": ".status.active",
    "succeeded": ".status.succeeded",
    "failed": ".status.failed",
    "complete": '.status.conditions[?(@.type=="Complete")].status',
    "failedReason": '.status.conditions[?(@.type=="Failed")].reason',
}
COMPLETE: Final = {"conditionRules": [{"type": "WellKnownConditions", "condition": "Complete"}]}
WATCH: Final = {"feedbackScrapeType": "Watch"}


@row
async def everything_is_made_and_told(stage: WorkStage) -> None:
    paths = {"uid": ".metadata.uid", "run": RUN_PATH, "n": ".data.n", "none": ".data.none"}
    rules = (told(stage, "configmaps", "cm", paths=paths, **WATCH),)
    await stage.work("w", space(stage), config_map(stage, n="0"), configs=rules)
    await stage.told("w", "is told", lambda t: t.value("n") == "0" and t.says("Available", "True"))
    await stage.there("is made", lambda found: len(found) == 2)
    await stage.data("cm", n="1")
    await stage.told("w", "a change is told", lambda t: t.value("n") == "1")


@row
async def a_job_that_ends_well_never_runs_again_by_its_rule(stage: WorkStage) -> None:
    rules = (told(stage, "jobs", "pre-cache", paths=JOB_PATHS, **COMPLETE, **WATCH),)
    await stage.work("w", space(stage), job(stage), configs=rules)
    await stage.told(
        "w", "is active", lambda t: t.value("active") == 1 and t.says("Available", "True")
    )
    await stage.end_pods("Succeeded")
    await stage.told("w", "is complete", lambda t: t.says("Complete", "True"))
    await stage.take(kinds.JOB, "pre-cache")
    await stage.edit("w", labels={"apply": "1"})
    await stage.told("w", "is missed", lambda t: t.manifest("pre-cache", "Available", "False"))
    await stage.there("is not made again", lambda found: len(found) == 1)


@row
async def a_job_that_fails_is_told_and_frozen_too(stage: WorkStage) -> None:
    rules = (told(stage, "jobs", "pre-cache", paths=JOB_PATHS, **COMPLETE, **WATCH),)
    await stage.work("w", space(stage), job(stage), configs=rules)
    await stage.end_pods("Failed")
    await stage.told(
        "w",
        "has failed",
        lambda t: t.value("failedReason") is not None and t.says("Complete", "True"),
    )


@row
async def without_the_rule_an_ended_job_that_is_deleted_runs_again(stage: WorkStage) -> None:
    rules = (told(stage, "jobs", "pre-cache", paths=JOB_PATHS, **WATCH),)
    await stage.work("w", space(stage), job(stage), configs=rules)
    await stage.end_pods("Succeeded")
    await stage.told("w", "is complete", lambda t: t.value("complete") == "True")
    await stage.there("the first", lambda found: len(found) == 2)
    await stage.take(kinds.JOB, "pre-cache")
    await stage.edit("w", labels={"apply": "1"})
    await stage.there("another", lambda found: len(found) == 2)
    await stage.told("w", "is active", lambda t: t.value("active") == 1)


@row
async def a_deletion_is_seen_by_the_poll_and_leaves_the_last_values(stage: WorkStage) -> None:
    rules = (told(stage, "configmaps", "cm", paths={"n": ".data.n"}, **WATCH),)
    await stage.work("w", space(stage), config_map(stage, n="0"), configs=rules)
    await stage.told("w", "is told", lambda t: t.value("n") == "0" and t.says("Available", "True"))
    await stage.take(kinds.CONFIG_MAP, "cm")
    await stage.told("w", "is missed", lambda t: t.manifest("cm", "Available", "False"))


@row
async def a_poke_is_no_reason_to_apply_and_a_label_is(stage: WorkStage) -> None:
    await stage.work("w", space(stage), config_map(stage, n="0"))
    await stage.told("w", "is there", lambda t: t.says("Available", "True"))
    await stage.take(kinds.CONFIG_MAP, "cm")
    await stage.edit("w", annotations={"poke": "1"})
    await stage.told("w", "is missed", lambda t: t.manifest("cm", "Available", "False"))
    await stage.there("it is not made", lambda found: len(found) == 1)
    await stage.edit("w", labels={"apply": "1"})
    await stage.told("w", "is there again", lambda t: t.says("Available", "True"))


@row
async def what_is_made_once_is_kept_and_the_rest_is_mended(stage: WorkStage) -> None:
    rules = (told(stage, "configmaps", "once", paths={"n": ".data.n"}, **WATCH),)
    both = (config_map(stage, "once", n="0"), config_map(stage, "always", n="0"))
    await stage.work("w", space(stage), *both, configs=rules)
    await stage.told("w", "is there", lambda t: t.value("n") == "0" and t.says("Available", "True"))
    await stage.data("once", n="1")
    await stage.data("always", n="1")
    await stage.told("w", "is changed", lambda t: t.value("n") == "1")
    await stage.edit("w", labels={"apply": "1"})
    await stage.there(
        "one is mended", lambda found: any("always" in f and '"0"' in f for f in found)
    )


@row
async def a_job_that_is_there_already_is_taken_for_its_own(stage: WorkStage) -> None:
    await stage.put(space(stage))
    await stage.put(job(stage))
    await stage.end_pods("Succeeded")
    rules = (told(stage, "jobs", "pre-cache", paths=JOB_PATHS, **COMPLETE, **WATCH),)
    await stage.work("w", space(stage), job(stage), configs=rules)
    await stage.told("w", "an old success is told", lambda t: t.says("Complete", "True"))
    await stage.remove("w")
    await stage.gone("w")
    await stage.there("it goes along", lambda found: not found)


@row
async def what_cannot_be_made_is_told_and_the_others_are_made(stage: WorkStage) -> None:
    lost = config_map(stage, "lost")
    lost["metadata"]["namespace"] = f"{stage.space}-nowhere"
    await stage.work("w", space(stage), lost, config_map(stage, n="0"))
    await stage.told(
        "w",
        "one is refused",
        lambda t: t.manifest("lost", "Applied", "False") and t.says("Available", "False"),
    )
    await stage.there("the other is made", lambda found: len(found) == 2)


@row
async def the_work_goes_last_of_all_that_it_has_made(stage: WorkStage) -> None:
    await stage.work("w", space(stage), config_map(stage, n="0"))
    await stage.told("w", "is there", lambda t: t.says("Available", "True") and t.is_seen)
    await stage.remove("w")
    await stage.gone("w")
    await stage.there("all is gone", lambda found: not found)


@row
async def what_two_works_have_stays_until_both_are_gone(stage: WorkStage) -> None:
    await stage.work("one", space(stage), config_map(stage, n="0"))
    await stage.told("one", "is there", lambda t: t.says("Available", "True"))
    await stage.work("two", space(stage), config_map(stage, n="0"))
    await stage.told("two", "is there", lambda t: t.says("Available", "True"))
    await stage.remove("one")
    await stage.gone("one")
    await stage.there("it stays", lambda found: len(found) == 2)
    await stage.remove("two")
    await stage.gone("two")
    await stage.there("it is gone", lambda found: not found)
