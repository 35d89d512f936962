"""The facts as tables: what views and actions say together."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

import msgspec
import pytest

from talm.api.meta import ObjectMeta
from talm.api.ocm import ViewedObject, ViewedStatus
from talm.api.words import MANUAL_NAMESPACE, RUN_LABEL, Action, View
from talm.core.model import Fact
from talm.spokes.answers import Answer, Deed, Question, State
from talm.spokes.existing import EXISTING
from talm.spokes.facts import judge
from talm.spokes.own import TALM
from talm.spokes.profile import Profile
from talm.spokes.seen import stale_views
from tests.spokes.world import ORDER

BOTH = pytest.mark.parametrize("profile", [TALM, EXISTING], ids=lambda profile: profile.name)
LONG = dt.timedelta(hours=1)
NS, JOB, PROGRESS = View.NAMESPACE, View.JOB, View.PROGRESS

FOUND = Question(Answer.FOUND, born=100)
MISSING = Question(Answer.MISSING, born=100)
AWAITED = Question(Answer.AWAITED, born=100)
PENDING = Deed(State.PENDING, present=True, age=LONG)
FRESH = Deed(State.PENDING, present=True, age=dt.timedelta(seconds=1))
DONE_BEFORE = Deed(State.DONE, present=True, version=50, age=LONG)
DONE_AFTER = Deed(State.DONE, present=True, version=150, age=LONG)
DONE_NOW = Deed(State.DONE, present=True, version=50)
DONE_GONE = Deed(State.DONE, version=50, age=LONG)
MOOT_BEFORE = Deed(State.DONE, present=True, moot=True, version=50, age=LONG)
MOOT_AFTER = Deed(State.DONE, present=True, moot=True, version=150, age=LONG)
FAILED_DUE = Deed(State.FAILED, present=True, text="no", version=50, age=LONG)
FAILED_NOW = Deed(State.FAILED, present=True, text="no", version=50)


@dataclass
class Picture:
    """A cluster as drawn in a table; a `Seen`."""

    views: dict[View, Question] = field(default_factory=dict)
    actions: dict[Action, Deed] = field(default_factory=dict)
    old_jobs: tuple[str, ...] = ()
    succeeded: bool = False

    def view(self, view: View) -> Question:
        return self.views.get(view, Question())

    def action(self, action: Action) -> Deed:
        return self.actions.get(action, Deed())

    def is_old_job(self, uid: str) -> bool:
        return uid in self.old_jobs

    def has_succeeded(self) -> bool:
        return self.succeeded


def fact(picture: Picture, profile: Profile) -> Fact:
    return judge(picture, profile, ORDER).fact


def all_needs(deed: Deed, profile: Profile = TALM) -> dict[Action, Deed]:
    return dict.fromkeys(profile.needs, deed)


def setup(job: Deed, needs: Deed = DONE_BEFORE) -> dict[Action, Deed]:
    return all_needs(needs) | {Action.JOB_CREATE: job}


def found(*, labels: dict[str, str] | None = None, uid: str = "", **counts: int) -> Question:
    meta = ObjectMeta(uid=uid, labels=labels)
    status = msgspec.convert(counts, ViewedStatus)
    return Question(Answer.FOUND, ViewedObject(metadata=meta, status=status), born=100)


GOING = Question(
    Answer.FOUND,
    ViewedObject(metadata=ObjectMeta(deletion_timestamp=dt.datetime(2026, 1, 1, tzinfo=dt.UTC))),
    born=100,
)

NAMESPACE_ROWS = [
    # the namespace's view, its deletion, profile talm, profile existing
    (None, PENDING, Fact.UNASKED, Fact.UNASKED),
    (AWAITED, PENDING, Fact.UNANSWERED, Fact.UNANSWERED),
    (MISSING, FRESH, Fact.UNANSWERED, Fact.CLEAN),
    (MISSING, PENDING, Fact.CLEAN, Fact.CLEAN),
    (MISSING, MOOT_AFTER, Fact.CLEAN, Fact.CLEAN),
    (MISSING, Deed(), Fact.CLEAN, Fact.CLEAN),
    (FOUND, PENDING, Fact.LEFTOVERS, Fact.LEFTOVERS),
    (FOUND, DONE_AFTER, Fact.LEFTOVERS, Fact.LEFTOVERS),
    (FOUND, MOOT_AFTER, Fact.STALE, Fact.STALE),
    (FOUND, MOOT_BEFORE, Fact.LEFTOVERS, Fact.LEFTOVERS),
    (FOUND, FAILED_DUE, Fact.LEFTOVERS_KEPT, Fact.LEFTOVERS_KEPT),
    (FOUND, FAILED_NOW, Fact.LEFTOVERS, Fact.LEFTOVERS),
    (FOUND, DONE_GONE, Fact.LEFTOVERS_KEPT, Fact.LEFTOVERS_KEPT),
    (FOUND, Deed(), Fact.LEFTOVERS_KEPT, Fact.LEFTOVERS_KEPT),
    (GOING, Deed(), Fact.LEFTOVERS, Fact.LEFTOVERS),
    (GOING, FAILED_DUE, Fact.LEFTOVERS, Fact.LEFTOVERS),
]


@pytest.mark.parametrize("view, deletion, talm, existing", NAMESPACE_ROWS)
def test_the_namespace_tells_when_nothing_has_been_set_up(
    view: Question | None, deletion: Deed, talm: Fact, existing: Fact
) -> None:
    picture = Picture({NS: view} if view else {}, {Action.NS_DELETE: deletion})
    assert fact(picture, TALM) is talm
    assert fact(picture, EXISTING) is existing


TALM_SETUP_ROWS = [
    (setup(FRESH), Fact.SETTING_UP),
    (setup(PENDING), Fact.JOB_UNASKED),
    (setup(PENDING, PENDING), Fact.JOB_UNASKED),
    (setup(DONE_BEFORE), Fact.JOB_UNASKED),
    (setup(DONE_GONE), Fact.JOB_UNASKED),
    (setup(FAILED_DUE), Fact.SETUP_LOST),
    (setup(FAILED_NOW), Fact.SETTING_UP),
    (setup(DONE_BEFORE, FAILED_DUE), Fact.SETUP_LOST),
    (setup(Deed()), Fact.SETUP_LOST),
    (setup(DONE_BEFORE) | {Action.ROLE_CREATE: Deed()}, Fact.SETUP_LOST),
    (setup(Deed(State.PENDING, present=True, age=LONG, deadline_s=60)), Fact.SETUP_LOST),
    (setup(Deed(State.DONE, present=True, age=LONG, deadline_s=60)), Fact.JOB_UNASKED),
]


@pytest.mark.parametrize("actions, expected", TALM_SETUP_ROWS)
def test_profile_talm_believes_its_actions_until_it_asks_about_the_job(
    actions: dict[Action, Deed], expected: Fact
) -> None:
    assert fact(Picture({NS: MISSING}, actions), TALM) is expected


WHOSE_ROWS = [
    (MISSING, MOOT_AFTER, Fact.STALE),
    (None, MOOT_AFTER, Fact.STALE),
    (AWAITED, MOOT_AFTER, Fact.UNANSWERED),
    (MISSING, MOOT_BEFORE, Fact.JOB_MISSING),
    (found(uid="n", labels={RUN_LABEL: ORDER.run}), MOOT_AFTER, Fact.JOB_UNASKED),
    (found(), MOOT_AFTER, Fact.JOB_UNASKED),
    (found(uid="n", labels={RUN_LABEL: "other"}), MOOT_AFTER, Fact.JOB_OTHER),
    (found(uid="n"), MOOT_AFTER, Fact.JOB_OTHER),
]


@pytest.mark.parametrize("view, creation, expected", WHOSE_ROWS)
def test_a_namespace_that_existed_already_must_be_ours(
    view: Question | None, creation: Deed, expected: Fact
) -> None:
    actions = setup(DONE_BEFORE) | {Action.NS_CREATE: creation}
    picture = Picture({NS: view} if view else {}, actions)
    assert fact(picture, TALM) is expected
    assert (NS in stale_views(picture, TALM)) is (expected is Fact.STALE)


JOB_ROWS = [
    # the Job's view, the Job's action, profile talm, profile existing
    (AWAITED, PENDING, Fact.UNANSWERED, Fact.UNANSWERED),
    (AWAITED, Deed(), Fact.UNANSWERED, Fact.UNANSWERED),
    (AWAITED, FAILED_DUE, Fact.SETUP_LOST, Fact.UNANSWERED),
    (MISSING, PENDING, Fact.SETTING_UP, Fact.SETTING_UP),
    (MISSING, Deed(), Fact.JOB_MISSING, Fact.JOB_MISSING),
    (MISSING, DONE_AFTER, Fact.STALE, Fact.STALE),
    (MISSING, DONE_BEFORE, Fact.JOB_MISSING, Fact.JOB_MISSING),
    (MISSING, DONE_NOW, Fact.SETTING_UP, Fact.SETTING_UP),
    (MISSING, DONE_GONE, Fact.JOB_MISSING, Fact.JOB_MISSING),
    (MISSING, FAILED_DUE, Fact.SETUP_LOST, Fact.JOB_MISSING),
    (MISSING, FAILED_NOW, Fact.SETTING_UP, Fact.SETTING_UP),
]


@pytest.mark.parametrize("view, deed, talm, existing", JOB_ROWS)
def test_the_question_about_the_job_tells_when_it_is_not_seen(
    view: Question, deed: Deed, talm: Fact, existing: Fact
) -> None:
    picture = Picture({JOB: view}, {Action.JOB_CREATE: deed})
    assert fact(picture, TALM) is talm
    assert fact(picture, EXISTING) is existing
    assert (stale_views(picture, TALM) == (JOB,)) is (talm is Fact.STALE)


@pytest.mark.parametrize(
    "profile, again", [(TALM, Fact.SETUP_LOST), (EXISTING, Fact.JOB_MISSING)], ids=lambda v: str(v)[:9]
)  # fmt: skip
def test_a_changed_timeout_replaces_an_action_that_is_open(profile: Profile, again: Fact) -> None:
    old = Deed(State.PENDING, present=True, age=LONG, deadline_s=60)
    for view in (AWAITED, MISSING):
        assert fact(Picture({JOB: view}, {Action.JOB_CREATE: old}), profile) is again
    seen = Picture({JOB: found(active=1)}, {Action.JOB_CREATE: old})
    assert fact(seen, profile) is Fact.JOB_ACTIVE


DEPENDENCIES = tuple(EXISTING.setup_views)


def dependencies(**changed: Question | None) -> dict[View, Question]:
    views: dict[View, Question | None] = dict.fromkeys(DEPENDENCIES, FOUND)
    views |= {View[name]: question for name, question in changed.items()}
    return {view: question for view, question in views.items() if question is not None}


EXISTING_SETUP_ROWS = [
    (dependencies(), {}, Fact.JOB_UNASKED),
    (dependencies(), {Action.NS_CREATE: FAILED_DUE}, Fact.JOB_UNASKED),
    (dependencies(ACCOUNT=None), {}, Fact.SETUP_LOST),
    (dependencies(ACCOUNT=MISSING), {Action.SA_CREATE: PENDING}, Fact.SETTING_UP),
    (dependencies(ACCOUNT=AWAITED), {Action.SA_CREATE: PENDING}, Fact.SETTING_UP),
    (dependencies(ACCOUNT=AWAITED), {Action.SA_CREATE: DONE_AFTER}, Fact.SETTING_UP),
    (dependencies(ACCOUNT=MISSING), {Action.SA_CREATE: DONE_AFTER}, Fact.STALE),
    (dependencies(ACCOUNT=MISSING), {Action.SA_CREATE: DONE_BEFORE}, Fact.SETUP_LOST),
    (dependencies(ACCOUNT=MISSING), {Action.SA_CREATE: DONE_NOW}, Fact.SETTING_UP),
    (dependencies(ACCOUNT=MISSING), {}, Fact.SETUP_LOST),
    (dependencies(ACCOUNT=MISSING), {Action.SA_CREATE: FAILED_DUE}, Fact.SETUP_LOST),
    (dependencies(ACCOUNT=MISSING), {Action.SA_CREATE: FAILED_NOW}, Fact.SETTING_UP),
    (
        dependencies(ACCOUNT=AWAITED),
        {Action.SA_CREATE: PENDING, Action.NS_CREATE: FAILED_DUE},
        Fact.SETUP_LOST,
    ),
    ({}, all_needs(PENDING, EXISTING), Fact.SETUP_LOST),
    ({}, {Action.JOB_CREATE: PENDING}, Fact.JOB_UNASKED),
]


@pytest.mark.parametrize("views, actions, expected", EXISTING_SETUP_ROWS)
def test_profile_existing_believes_its_views(
    views: dict[View, Question], actions: dict[Action, Deed], expected: Fact
) -> None:
    assert fact(Picture({NS: MISSING, **views}, actions), EXISTING) is expected


def test_a_specification_of_another_run_is_told_where_the_result_shows_it() -> None:
    def spec(data: dict[str, str] | None) -> Question:
        return Question(Answer.FOUND, ViewedObject(data=data), born=100)

    image = ORDER.spec.platform_image
    for data in (None, {}, {"platform.image": image}, {"platform.image": image, "odd": "key"}):
        views = {NS: MISSING, **dependencies(SPEC=spec(data))}
        assert fact(Picture(views), EXISTING) is Fact.JOB_UNASKED
    views = {NS: MISSING, **dependencies(SPEC=spec({"platform.image": "other"}))}
    assert fact(Picture(views), EXISTING) is Fact.JOB_OTHER


WHOSE_JOB = [
    (found(active=1), Fact.JOB_ACTIVE, Fact.JOB_ACTIVE),
    (found(active=1, uid="j", labels={RUN_LABEL: ORDER.run}), Fact.JOB_ACTIVE, Fact.JOB_ACTIVE),
    (found(active=1, uid="j", labels={RUN_LABEL: "other"}), Fact.JOB_OTHER, Fact.JOB_ACTIVE),
    (found(active=1, uid="j"), Fact.JOB_OTHER, Fact.JOB_ACTIVE),
    (found(active=1, uid="old", labels={RUN_LABEL: ORDER.run}), Fact.JOB_OTHER, Fact.JOB_OTHER),
]


@pytest.mark.parametrize("job, talm, existing", WHOSE_JOB)
def test_identity_is_compared_only_where_it_is_there(
    job: Question, talm: Fact, existing: Fact
) -> None:
    picture = Picture({JOB: job}, old_jobs=("old",))
    assert fact(picture, TALM) is talm
    assert fact(picture, EXISTING) is existing


def test_a_seen_job_wins_over_everything_else() -> None:
    actions = setup(FAILED_DUE, FAILED_DUE) | {Action.NS_DELETE: FAILED_DUE}
    views = {JOB: found(active=1, ready=1), NS: FOUND}
    assert fact(Picture(views, actions), TALM) is Fact.JOB_ACTIVE
    assert fact(Picture(views | {JOB: found(succeeded=1)}, actions), TALM) is Fact.JOB_SUCCEEDED


@BOTH
@pytest.mark.parametrize("job", [None, AWAITED, MISSING])
def test_a_success_written_on_the_deletion_stands_when_the_job_is_gone(
    profile: Profile, job: Question | None
) -> None:
    views = {JOB: job} if job else {}
    ended = Deed(State.DONE, present=True, succeeded=ORDER.run)
    assert fact(Picture(views, {Action.NS_DELETE: ended}), profile) is Fact.JOB_SUCCEEDED
    others = Deed(State.DONE, present=True, succeeded="other")
    assert fact(Picture(views, {Action.NS_DELETE: others}), profile) is not Fact.JOB_SUCCEEDED


@BOTH
def test_a_success_on_record_stands_when_the_deletion_is_collected(profile: Profile) -> None:
    assert fact(Picture(succeeded=True), profile) is Fact.JOB_SUCCEEDED
    running = Picture({JOB: found(active=1, ready=1)}, succeeded=True)
    assert fact(running, profile) is Fact.JOB_ACTIVE


def test_a_job_that_meets_no_namespace_makes_everything_be_created_again() -> None:
    text = f'jobs.batch "pre-cache" is lost: namespaces "{MANUAL_NAMESPACE}" not found'
    lost = Deed(State.FAILED, present=True, text=text, age=LONG)
    picture = Picture({JOB: MISSING}, {Action.JOB_CREATE: lost})
    assert fact(picture, EXISTING) is Fact.SETUP_LOST
    picture.actions[Action.JOB_CREATE] = FAILED_DUE
    assert fact(picture, EXISTING) is Fact.JOB_MISSING


@pytest.mark.parametrize("job", [found(), found(active=1, ready=0)])
def test_a_pod_that_cannot_start_for_a_failed_need_is_no_running_job(job: Question) -> None:
    actions = setup(DONE_BEFORE) | {Action.SA_CREATE: FAILED_DUE}
    assert fact(Picture({JOB: job, NS: MISSING}, actions), TALM) is Fact.SETUP_LOST
    actions[Action.SA_CREATE] = FAILED_NOW
    assert fact(Picture({JOB: job, NS: MISSING}, actions), TALM) is Fact.SETTING_UP
    assert fact(Picture({JOB: job}, actions), TALM) in (Fact.JOB_PENDING, Fact.JOB_ACTIVE)


def test_only_the_job_s_view_missing_is_told_by_the_record_s_view() -> None:
    assert fact(Picture({PROGRESS: FOUND}), TALM) is Fact.JOB_UNASKED


def test_the_record_of_the_workload_goes_along() -> None:
    def record(run: str) -> Question:
        meta = ObjectMeta(uid="p", labels={RUN_LABEL: run})
        return Question(Answer.FOUND, ViewedObject(metadata=meta, data={"record": "{}"}), born=1)

    views = {JOB: found(active=1), PROGRESS: record(ORDER.run)}
    assert judge(Picture(views), TALM, ORDER).progress == {"record": "{}"}
    views[PROGRESS] = record("other")
    assert judge(Picture(views), TALM, ORDER).progress == {}
    assert judge(Picture({JOB: found(active=1)}), EXISTING, ORDER).progress == {}


def test_waiting_for_time_says_until_when_and_why() -> None:
    sight = judge(Picture({JOB: MISSING}, {Action.JOB_CREATE: FAILED_NOW}), TALM, ORDER)
    assert (sight.note, sight.recheck) == ("no", dt.timedelta(seconds=5))
    sight = judge(Picture({NS: MISSING}, setup(FRESH)), TALM, ORDER)
    assert sight.recheck == dt.timedelta(seconds=1)


def test_a_failure_is_told_in_the_workloads_own_words_when_they_are_known() -> None:
    labels = {RUN_LABEL: ORDER.run}
    record = '{"phase": "Failed", "errorClass": "ImageNotFound", "errorText": "x@sha256:1: 404"}'
    failed = {
        "conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]
    }
    job = ViewedObject(
        metadata=ObjectMeta(labels=labels), status=msgspec.convert(failed, ViewedStatus)
    )
    told = ViewedObject(metadata=ObjectMeta(labels=labels), data={"record": record})
    views = {JOB: Question(Answer.FOUND, result=job, born=100)}
    silent = judge(Picture(views=dict(views)), TALM, ORDER)
    views[PROGRESS] = Question(Answer.FOUND, result=told, born=100)
    spoken = judge(Picture(views=views), TALM, ORDER)
    assert (silent.fact, spoken.fact) == (Fact.JOB_FAILED, Fact.JOB_FAILED)
    assert "ImageNotFound" not in silent.note
    assert spoken.note == silent.note + ": ImageNotFound: x@sha256:1: 404"
