"""How far all clusters are together: what is stored of those that finished, and seen of those at work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from talm.api.cgu import FinishedSums, PrecachingProgress, PrecachingSpec
from talm.api.meta import changed
from talm.api.progress import ProgressRecord
from talm.api.words import FINAL_PHASES, Phase
from talm.core.model import Cluster, Fact, Outcomes, Sight, Snapshot
from talm.core.progress import at_the_end, attempt, begins_anew, name_of
from talm.core.tally import MOST_BYTES, MOST_IMAGES

from .given import (
    CNFDB,
    DONE,
    META,
    both,
    cgu,
    condition,
    later,
    one_pass,
    policy,
    snapshot,
    status,
    stored,
)

P, F = Phase, Fact
GIB: Final = 2**30
HALF: Final = ProgressRecord(
    images_done=10,
    images_total=20,
    bytes_done=2 * GIB,
    bytes_total=4 * GIB,
    bytes_per_s=100,
    eta_s=60,
)


def told(record: ProgressRecord | None, fact: Fact = F.JOB_ACTIVE) -> Sight:
    return Sight(fact, record=record)


def progress(seen: Snapshot, outcomes: Outcomes = DONE) -> PrecachingProgress:
    found = one_pass(seen, outcomes).status.precaching
    assert found is not None
    assert found.progress is not None
    return found.progress


def after(seen: Snapshot, outcomes: Outcomes = DONE, **changes: Any) -> Snapshot:
    """The snapshot with these changes, and what a pass over it has stored."""
    return stored(replace(seen, **changes), outcomes)


def stored_progress(seen: Snapshot) -> PrecachingProgress:
    assert seen.cgu.status.precaching is not None
    assert seen.cgu.status.precaching.progress is not None
    return seen.cgu.status.precaching.progress


def at_work(**sights: Sight) -> Snapshot:
    return snapshot(cgu(status(both(P.ACTIVE))), facts=sights)


# --- sums ---


def test_clusters_are_counted_by_state_before_anybody_has_told_anything() -> None:
    found = progress(snapshot())
    assert found.clusters == {"NotStarted": 2}
    assert (found.told, found.bytes_total, found.eta_s, found.without_estimate) == (0, 0, None, 2)


def test_what_clusters_at_work_tell_is_added_up_and_nothing_is_guessed_for_the_others() -> None:
    found = progress(at_work(cnfdb1=told(HALF), cnfdb2=told(None)))
    assert found == PrecachingProgress(
        clusters={"Active": 2},
        told=1,
        images_done=10,
        images_total=20,
        bytes_done=2 * GIB,
        bytes_total=4 * GIB,
        bytes_per_s=100,
        eta_s=60,
        without_estimate=1,
        updated_at=later(),
    )


def test_a_cluster_of_which_nothing_is_heard_keeps_what_it_has_and_has_no_rate() -> None:
    down = {
        "cnfdb1": Cluster("cnfdb1", available=False, since=later()),
        "cnfdb2": Cluster("cnfdb2"),
    }
    sights = {"cnfdb1": told(HALF), "cnfdb2": told(HALF)}
    found = progress(replace(at_work(**sights), clusters=down))
    assert (found.bytes_done, found.bytes_per_s, found.without_estimate) == (4 * GIB, 100, 1)


def test_nobody_takes_part_so_nothing_is_told() -> None:
    seen = stored(at_work(cnfdb1=told(HALF)))
    off = replace(seen, cgu=changed(seen.cgu, spec=cgu(pre_caching=False).spec))
    found = one_pass(off).status.precaching
    assert found is not None
    assert found.progress is None


# --- the end of a cluster ---


def test_the_totals_of_a_cluster_are_folded_in_with_its_end_and_stay_when_its_record_goes() -> None:
    seen = stored(at_work(cnfdb1=told(HALF), cnfdb2=told(HALF)))
    ended = after(
        seen,
        sights={"cnfdb1": told(HALF, F.JOB_FAILED), "cnfdb2": told(HALF)},
        now=later(seconds=9),
    )
    found = stored_progress(ended)
    assert found.clusters == {"Active": 1, "UnrecoverableError": 1}
    assert (found.told, found.bytes_done, found.bytes_total) == (2, 4 * GIB, 8 * GIB)
    assert found.finished == FinishedSums(
        clusters=1, images_done=10, images_total=20, bytes_done=2 * GIB, bytes_total=4 * GIB
    )
    gone = after(ended, sights={"cnfdb2": told(HALF)}, now=later(seconds=19))
    assert replace_time(stored_progress(gone)) == replace_time(found)


def replace_time(found: PrecachingProgress) -> PrecachingProgress:
    return changed(found, updated_at=None)


def test_who_has_succeeded_has_everything_though_its_last_record_may_be_older() -> None:
    found = progress(at_work(cnfdb1=told(HALF, F.JOB_SUCCEEDED)))
    assert found.finished == FinishedSums(
        clusters=1, images_done=20, images_total=20, bytes_done=4 * GIB, bytes_total=4 * GIB
    )


def test_an_end_of_which_no_record_ever_came_is_counted_as_a_state_alone() -> None:
    found = progress(at_work(cnfdb1=told(None, F.JOB_SUCCEEDED)))
    assert (found.clusters, found.told, found.finished) == ({"Active": 1, "Succeeded": 1}, 0, None)


def test_an_end_that_could_not_be_carried_out_is_not_folded_in_yet() -> None:
    seen = at_work(cnfdb1=told(HALF, F.JOB_SUCCEEDED))
    found = progress(seen, Outcomes({"cnfdb1": "DELETE: 500"}))
    assert (found.finished, found.told, found.bytes_done) == (None, 1, 2 * GIB)


def test_a_restart_loses_nothing_of_those_that_have_finished() -> None:
    ended = stored(at_work(cnfdb1=told(HALF, F.JOB_SUCCEEDED), cnfdb2=told(HALF)))
    restarted = replace(ended, sights={}, now=later(minutes=5))
    found = progress(restarted)
    assert (found.bytes_done, found.bytes_total) == (4 * GIB, 4 * GIB)
    again = after(restarted, sights={"cnfdb2": told(HALF)}, now=later(minutes=6))
    assert stored_progress(again).bytes_done == 6 * GIB


def test_while_the_update_runs_and_after_it_the_sums_stay() -> None:
    ends = dict.fromkeys(CNFDB, told(HALF, F.JOB_SUCCEEDED))
    done = stored(at_work(**ends))
    enabled = changed(done.cgu, spec=cgu(enable=True).spec)
    running = after(done, cgu=enabled, sights={}, now=later(minutes=1))
    complied = policy(compliant=CNFDB)
    over = after(running, policies={complied.name: (complied,)})
    assert over.cgu.status.status is not None
    assert over.cgu.status.status.completed_at is not None
    assert stored_progress(over).bytes_done == stored_progress(done).bytes_done == 8 * GIB


def test_a_cgu_that_others_ended_tells_no_rate_any_more() -> None:
    seen = stored(at_work(cnfdb1=told(HALF)))
    ended = changed(seen.cgu.status, conditions=(condition("Succeeded", "True"),))
    over = after(seen, cgu=changed(seen.cgu, status=ended), now=later(minutes=1))
    found = stored_progress(over)
    assert (found.bytes_done, found.bytes_per_s, found.eta_s) == (2 * GIB, 0, None)
    assert at_the_end(None, {}) is None


# --- attempts ---


def test_a_changed_specification_is_a_new_attempt_with_sums_of_its_own() -> None:
    ends = dict.fromkeys(CNFDB, told(HALF, F.JOB_SUCCEEDED))
    done = stored(at_work(**ends))
    assert done.cgu.status.precaching is not None
    assert done.cgu.status.precaching.attempt == 1
    other = policy(image="quay.io/another@sha256:" + "a" * 64)
    again = after(done, policies={other.name: (other,)}, sights={}, now=later(minutes=5))
    block = again.cgu.status.precaching
    assert block is not None
    assert (block.attempt, block.status) == (2, dict.fromkeys(CNFDB, "NotStarted"))
    assert block.spec_hash == name_of(block.spec) != done.cgu.status.precaching.spec_hash
    assert stored_progress(again).finished is None
    assert stored_progress(again).told == 0
    later_on = after(again, now=later(minutes=6)).cgu.status.precaching
    assert later_on is not None
    assert later_on.attempt == 2


def test_clusters_at_work_that_a_change_sends_back_begin_a_new_attempt_and_others_do_not() -> None:
    begun = {"a": P.STARTING, "b": P.SUCCEEDED, "c": P.PREPARING}
    back = {**begun, "a": P.NOT_STARTED}
    assert begins_anew(begun, back, renewed=True)
    assert not begins_anew(begun, back, renewed=False), "another CGU has the cluster now"
    assert not begins_anew(begun, begun, renewed=True)
    assert not begins_anew(begun, {**begun, "c": P.NOT_STARTED, "d": P.NOT_STARTED}, renewed=True)
    assert begins_anew(begun, {**begun, "b": P.NOT_STARTED}, renewed=False)


def test_a_specification_that_changes_before_anybody_has_begun_is_no_new_attempt() -> None:
    seen = stored(snapshot())
    other = policy(image="quay.io/another@sha256:" + "a" * 64)
    block = after(seen, policies={other.name: (other,)}).cgu.status.precaching
    assert block is not None
    assert block.attempt == 1
    assert seen.cgu.status.precaching is not None
    assert block.spec_hash != seen.cgu.status.precaching.spec_hash


def test_without_a_specification_there_is_neither_name_nor_attempt() -> None:
    assert name_of(None) == name_of(PrecachingSpec()) == ""
    assert attempt(None, None, anew=False) == attempt(None, PrecachingSpec(), anew=False) == 0


# --- records that anybody may have written ---


def test_counts_that_no_api_server_takes_are_kept_within_bounds() -> None:
    odd = ProgressRecord(
        images_done=2**62, images_total=2**40, bytes_done=-5, bytes_total=2**64 - 1,
        bytes_per_s=2**63, eta_s=2**40,
    )  # fmt: skip
    for fact in (F.JOB_ACTIVE, F.JOB_FAILED):
        found = progress(at_work(cnfdb1=told(odd, fact), cnfdb2=told(odd)))
        assert 0 <= found.images_done <= found.images_total == MOST_IMAGES
        assert (found.bytes_done, found.bytes_total) == (0, MOST_BYTES)
        assert found.bytes_per_s <= MOST_BYTES
        assert found.eta_s == MOST_IMAGES


# --- any order of records, moves and restarts ---

COUNTS: Final = st.integers(-3, 50)
RECORDS: Final = st.none() | st.builds(
    ProgressRecord,
    images_done=COUNTS,
    images_total=COUNTS,
    bytes_done=COUNTS,
    bytes_total=COUNTS,
    bytes_per_s=COUNTS,
    eta_s=st.none() | COUNTS,
)
FACTS: Final = st.sampled_from(
    [F.UNASKED, F.CLEAN, F.JOB_ACTIVE, F.JOB_ACTIVE, F.JOB_SUCCEEDED, F.JOB_FAILED, F.JOB_MISSING]
)
LOOKS: Final = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.tuples(FACTS, RECORDS))
STEPS: Final = st.lists(
    st.one_of(
        LOOKS.map(lambda looks: ("looks", looks)),
        st.sampled_from(["one", "two"]).map(lambda image: ("asks for", image)),
        st.sampled_from(["a", "b", "c"]).map(lambda cluster: ("fails at", cluster)),
        st.just(("is killed", "")),
    ),
    max_size=25,
)


@settings(max_examples=80)
@given(STEPS)
def test_nobody_has_more_than_it_needs_and_finished_sums_never_shrink_within_an_attempt(
    steps: list[tuple[str, Any]],
) -> None:
    names = ("a", "b", "c")
    seen = snapshot(
        cgu(clusters=names, meta=META),
        policies=[policy(clusters=names)],
        clusters={c: Cluster(c) for c in names},
    )
    for number, (what, of) in enumerate(steps):
        failing: Mapping[str, str] = {}
        match what:
            case "looks":
                sights = {c: Sight(fact, record=record) for c, (fact, record) in of.items()}
                seen = replace(seen, sights=sights)
            case "asks for":
                image = f"quay.io/{of}@sha256:" + "a" * 64
                asking = policy(clusters=names, image=image)
                seen = replace(seen, policies={asking.name: (asking,)})
            case "fails at":
                failing = {of: "500"}
            case _:
                seen = replace(seen, sights={})
        then = after(seen, Outcomes(failing), now=later(seconds=10 * number))
        if what != "is killed":
            holds(seen, then)
            seen = then


def holds(before: Snapshot, after: Snapshot) -> None:
    block, was = after.cgu.status.precaching, before.cgu.status.precaching
    if block is None or block.progress is None:
        return
    found = block.progress
    sums = found.finished or FinishedSums()
    for one in (found, sums):
        assert 0 <= one.bytes_done <= one.bytes_total
        assert 0 <= one.images_done <= one.images_total
    assert sums.bytes_total <= found.bytes_total
    assert sums.clusters <= sum(p in FINAL_PHASES for p in (block.status or {}).values())
    assert sum((found.clusters or {}).values()) == len(block.status or {})
    assert found.updated_at is not None
    if was is None or was.progress is None or was.attempt != block.attempt:
        assert was is None or was.attempt <= block.attempt
        return
    known = was.progress.finished or FinishedSums()
    assert known.clusters <= sums.clusters
    assert known.bytes_done <= sums.bytes_done
    assert known.bytes_total <= sums.bytes_total
    assert known.images_done <= sums.images_done
