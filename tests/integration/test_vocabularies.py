"""What a CGU's conditions are in each vocabulary, and what is put on hub and spokes in each profile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from talm.api import kinds
from talm.api.ocm import ManagedClusterAction, ManagedClusterView
from talm.api.words import EXISTING_NAMESPACE
from talm.kube.cache import Key
from talm.kube.watch import Informer
from talm.sim.spoke.spokejobs import SpokeTimes

from .conftest import SetScene
from .scene import QUICK, Scene, jobs

pytestmark = pytest.mark.integration

READY_LATER = (
    "Ready",
    "False",
    "PrecachingRequired",
    "Precaching is not completed (required)",
)
NOT_DONE = ("PrecachingDone", "False", "PrecachingNotDone", "Precaching is required and not done")
SPEC_MANUAL = (
    "PrecacheSpecValid",
    "True",
    "PrecacheSpecIsWellFormed",
    "Pre-caching spec is valid and consistent",
)
DONE = ("PrecachingDone", "True", "PrecachingCompleted", "Precaching is completed")
READY_WAITS = ("Ready", "False", "UpgradeNotStarted", "The ClusterGroupUpgrade CR is not enabled")
READY_RUNS = (
    "Ready",
    "False",
    "UpgradeNotCompleted",
    "The ClusterGroupUpgrade CR has upgrade policies that are still non compliant",
)
READY = (
    "Ready",
    "True",
    "UpgradeCompleted",
    "The ClusterGroupUpgrade CR has all clusters compliant with all the managed policies",
)
MANUAL = [
    [READY_LATER, NOT_DONE, SPEC_MANUAL],
    [READY_WAITS, DONE],
    [READY_RUNS, DONE],
    [READY, DONE],
]

SELECTED = (
    "ClustersSelected",
    "True",
    "ClusterSelectionCompleted",
    "All selected clusters are valid",
)
VALIDATED = ("Validated", "True", "ValidationCompleted", "Completed validation")
SPEC_CURRENT = (
    "PrecacheSpecValid",
    "True",
    "PrecacheSpecIsWellFormed",
    "Precaching spec is valid and consistent",
)
CACHING = ("PrecachingSuceeded", "False", "InProgress", "Precaching in progress for 1 clusters")
CACHED = (
    "PrecachingSuceeded",
    "True",
    "PrecachingCompleted",
    "Precaching is completed for all clusters",
)
NOT_ENABLED = ("Progressing", "False", "NotEnabled", "Not enabled")
PROGRESSING = ("Progressing", "True", "InProgress", "Remediating non-compliant policies")
COMPLIANT = "All clusters are compliant with all the managed policies"
PROGRESSED = ("Progressing", "False", "Completed", COMPLIANT)
SUCCEEDED = ("Succeeded", "True", "Completed", COMPLIANT)
CURRENT = [
    [SELECTED, VALIDATED, SPEC_CURRENT, CACHING],
    [SELECTED, VALIDATED, SPEC_CURRENT, CACHED, NOT_ENABLED],
    [SELECTED, VALIDATED, SPEC_CURRENT, CACHED, PROGRESSING],
    [SELECTED, VALIDATED, SPEC_CURRENT, CACHED, PROGRESSED, SUCCEEDED],
]
ALL = [
    [READY_LATER, NOT_DONE, SPEC_MANUAL, SELECTED, VALIDATED, CACHING],
    [READY_WAITS, DONE, SELECTED, VALIDATED, CACHED, NOT_ENABLED],
    [READY_RUNS, DONE, SELECTED, VALIDATED, CACHED, PROGRESSING],
    [READY, DONE, SELECTED, VALIDATED, CACHED, PROGRESSED, SUCCEEDED],
]


@pytest.mark.parametrize(
    ("vocabulary", "wanted"),
    [("manual", MANUAL), ("current", CURRENT), ("all", ALL)],
    ids=["manual", "current", "all"],
)
async def test_every_condition_comes_in_its_turn_and_its_place(
    scenes: SetScene, vocabulary: str, wanted: list[list[tuple[str, str, str, str]]]
) -> None:
    async with (
        scenes(1) as scene,
        scene.operator(conditions=vocabulary),
        scene.watch("up") as journal,
    ):
        await scene.create("up")
        await scene.holds("up", wanted[1][-1])
        await scene.edit("up", enable=True)
        await scene.holds("up", wanted[3][-1], wanted[3][0])
        await journal.catch_up()
        assert journal.conditions() == [[], *wanted]


class Seen:
    """Names of all views and actions that were ever there in the scene's clusters."""

    def __init__(self) -> None:
        self.views: set[str] = set()
        self.actions: set[str] = set()


@asynccontextmanager
async def looking(scene: Scene) -> AsyncIterator[Seen]:
    """Watch views and actions from before the CGU is made."""
    seen, mine = Seen(), set(scene.names)

    def note(names: set[str]) -> Callable[[Key, Any, Any], None]:
        def heard(key: Key, _old: Any, _new: Any) -> None:
            if key[0] in mine:
                names.add(key[1])

        return heard

    informers: list[Informer[Any]] = [
        Informer(scene.client, kinds.VIEW, ManagedClusterView, note(seen.views)),
        Informer(scene.client, kinds.ACTION, ManagedClusterAction, note(seen.actions)),
    ]
    tasks = [asyncio.ensure_future(informer.run()) for informer in informers]
    try:
        for informer in informers:
            await informer.synced.wait()
        yield seen
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# Its views have no interval, and the agent's own is 30 s: a Job that is over at the first look is quick.
@pytest.mark.parametrize(
    ("job_s", "times"),
    [(0.0, SpokeTimes.instant()), pytest.param(5.0, QUICK, marks=pytest.mark.long)],
    ids=["at once", "5 s"],
)
async def test_the_existing_operators_profile_uses_its_names_and_no_others(
    scenes: SetScene, job_s: float, times: SpokeTimes
) -> None:
    async with (
        scenes(3, scenario=jobs(job_s), times=times) as scene,
        scene.operator(
            profile="existing", spoke_namespace=EXISTING_NAMESPACE, conditions="current"
        ),
        looking(scene) as seen,
    ):
        await scene.create("up", enable=True)
        await scene.holds("up", SUCCEEDED)
        await scene.is_clean()
        scene.each_job_ran_once()
        assert {key[1:] for key in scene.fleet.job_uids()} == {(EXISTING_NAMESPACE, "pre-cache")}
        assert seen.views == {
            "view-precache-namespace",
            "view-precache-job",
            "view-precache-spec-configmap",
            "view-precache-service-acct",
            "view-precache-cluster-role-binding",
        }
        assert seen.actions == {
            "precache-ns-create",
            "precache-spec-cm-create",
            "precache-sa-create",
            "precache-crb-create",
            "precache-job-create",
            "precache-ns-delete",
            "precache-crb-delete",
        }
