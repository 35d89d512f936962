"""A Job's bad end is told with the newest record there is: as rows, and along both ways in virtual time."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import replace

import msgspec
import pytest

from talm.api.ocm import ViewedObject
from talm.api.words import Phase, View
from talm.core.model import Fact
from talm.sim.spoke.spokejobs import JobPlan, Outcome
from talm.spokes.answers import Answer, Question
from talm.spokes.bycluster import Way
from talm.spokes.existing import EXISTING
from talm.spokes.facts import judge
from talm.spokes.lastlook import WAITS, last_look, wants_last_words
from talm.spokes.own import TALM
from tests.sim.virtual import virtual
from tests.spokes.test_facts import Picture
from tests.spokes.workworld import WorkWorld
from tests.spokes.world import ORDER

FAILED = msgspec.convert(
    {
        "status": {
            "conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]
        }
    },
    ViewedObject,
)
ENDED = Question(Answer.FOUND, FAILED, born=10, told=50)


def record(phase: str) -> ViewedObject:
    return ViewedObject(data={"record": json.dumps({"phase": phase})})


def asked(born: int, phase: str = "Downloading", **more: object) -> Question:
    found = Question(Answer.FOUND, record(phase), born=born, told=born)
    return replace(found, **more)  # type: ignore[arg-type]


AWAITED = Question(Answer.AWAITED, born=60, told=60, age=dt.timedelta(seconds=4))
ROWS = [
    ("older than the end", asked(40), Fact.STALE),
    ("asked again, no answer yet", AWAITED, Fact.UNANSWERED),
    ("asked again, and nobody answers", replace(AWAITED, age=WAITS), None),
    ("asked again and answered", asked(60), None),
    ("older, but final", asked(40, "Failed"), None),
    ("somebody took the view away", Question(), None),
]


@pytest.mark.parametrize(
    ("question", "fact"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_a_record_that_may_be_older_than_the_end_is_asked_for_once_more(
    question: Question, fact: Fact | None
) -> None:
    picture = Picture({View.JOB: ENDED, View.PROGRESS: question})
    found = last_look(picture, TALM)
    assert (found.fact if found else None) is fact
    assert wants_last_words(picture, TALM) is (fact is Fact.STALE)
    assert judge(picture, TALM, ORDER).fact is (fact or Fact.JOB_FAILED)
    assert judge(picture, EXISTING, ORDER).fact is Fact.JOB_FAILED


def test_a_job_that_goes_on_or_succeeded_makes_nobody_ask() -> None:
    for status in ({"active": 1}, {"succeeded": 1}):
        job = Question(Answer.FOUND, msgspec.convert({"status": status}, ViewedObject), told=50)
        assert last_look(Picture({View.JOB: job, View.PROGRESS: asked(40)}), TALM) is None


def pulling(done: float) -> Mapping[str, str]:
    told = {"phase": "Downloading", "bytesDone": int(done * 100), "bytesTotal": 100}
    return {"record": json.dumps(told)}


@virtual
@pytest.mark.parametrize("way", list(Way))
async def test_an_attempt_that_was_killed_is_told_by_its_newest_record(way: Way) -> None:
    """With thousands of clusters a view is read once a minute: its record is of the attempt's beginning."""
    plan = JobPlan(duration_s=50, outcome=Outcome.FAILS, steps=4, progress=pulling)
    many = replace(ORDER, clusters=3500)
    views = way is Way.VIEW_ACTION
    world = WorkWorld(way=way, views=views, order=many, scenario=lambda *_: plan)
    notes = []
    while world.phase is not Phase.FAILED:
        notes.append(world.look().note)
        if not await world.step():
            await asyncio.sleep(0.25)
    assert notes[-1] == (
        "BackoffLimitExceeded: Job has reached the specified backoff limit: ended without a record;"
        " last seen 75 %"
    )
