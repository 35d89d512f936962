"""What a record says, and who is asked to verify before the update starts."""

from __future__ import annotations

import datetime as dt

import pytest

from talm.api.cacherecord import CacheRecord
from talm.api.cgu import PrecachingSpec
from talm.api.progress import ProgressRecord
from talm.api.words import Phase
from talm.core.model import Move, Rules, Snapshot
from talm.core.precache_spec import spec_hash
from talm.core.verification import cached_at, known_to_be_cached, record_of, send_back, why

from .given import cgu

NOW = dt.datetime(2022, 1, 28, 20, 0, 0, tzinfo=dt.UTC)
SPEC = PrecachingSpec(platform_image="registry.example.io/release@sha256:1")
OTHER = PrecachingSpec(platform_image="registry.example.io/release@sha256:2")
DAY = dt.timedelta(hours=24)


def record(move: Move, told: ProgressRecord | None = None) -> CacheRecord:
    return record_of(move, spec=SPEC, run="run-1", cgu="ztp/up", now=NOW, told=told)


def cached(*, hours: float = 1, spec: PrecachingSpec = SPEC, **more: str) -> CacheRecord:
    at = f"{NOW - dt.timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}"
    fields = {"spec_hash": spec_hash(spec), "at": at, "result": Phase.SUCCEEDED.value, **more}
    return CacheRecord(**fields)


def seen(limit: dt.timedelta | None = DAY, **records: CacheRecord) -> Snapshot:
    rules = Rules(verify_after=limit)
    return Snapshot(now=NOW, rules=rules, cgu=cgu(), clusters={}, records=records)


def asked(of: Snapshot, *clusters: str) -> list[str]:
    moves = send_back(of, clusters, lambda _: spec_hash(SPEC))
    assert all(move == Move(move.cluster, Phase.NOT_STARTED) for move in moves)
    return [move.cluster for move in moves]


def test_a_record_says_what_was_cached_when_by_whom_and_how_much() -> None:
    told = ProgressRecord(
        phase="Succeeded", images_done=187, images_total=187, bytes_done=9, bytes_total=9,
        pinned=True,
    )  # fmt: skip
    assert record(Move("c1", Phase.SUCCEEDED, why="the Job has succeeded"), told) == CacheRecord(
        spec_hash=spec_hash(SPEC),
        at="2022-01-28T20:00:00Z",
        result="Succeeded",
        images="187",
        byte_count="9",
        pinned="true",
        run="run-1",
        cgu="ztp/up",
    )


def test_the_job_is_believed_where_the_workloads_last_word_is_older() -> None:
    told = ProgressRecord(
        phase="Downloading", images_done=80, images_total=187, bytes_done=4, bytes_total=9,
        pinned=True,
    )  # fmt: skip
    found = record(Move("c1", Phase.SUCCEEDED), told)
    assert (found.images, found.byte_count, found.pinned) == ("187", "9", "")


def test_a_bad_end_is_told_with_its_reason_and_with_what_is_there() -> None:
    told = ProgressRecord(phase="Failed", images_done=80, images_total=187, bytes_done=4)
    found = record(Move("c1", Phase.FAILED, why="no space" * 1000), told)
    assert (found.result, found.images, found.byte_count) == ("UnrecoverableError", "80", "4")
    assert found.reason.startswith("no space")
    assert len(found.reason) == 1024


def test_without_a_word_of_the_workload_nothing_is_said_of_counts_and_pins() -> None:
    found = record(Move("c1", Phase.TIMED_OUT, why="too slow"))
    assert (found.images, found.byte_count, found.pinned) == ("", "", "")


BAD = [
    None,
    CacheRecord(),
    cached(spec=OTHER),
    cached(result="UnrecoverableError"),
    cached(at="yesterday"),
    cached(at="2022-01-28T19:00:00"),  # of which place?
]


@pytest.mark.parametrize("found", BAD)
def test_a_record_that_is_missing_of_another_hash_bad_or_unreadable_says_nothing(
    found: CacheRecord | None,
) -> None:
    assert cached_at(found, spec_hash(SPEC)) is None


def test_only_those_are_asked_that_nobody_has_verified_lately() -> None:
    of = seen(
        fresh=cached(hours=24),
        old=cached(hours=24.001),
        other=cached(spec=OTHER),
        failed=cached(result="PrecacheTimeout"),
        ahead=cached(hours=-25),
        theirs=cached(cgu="ztp/another", run="run-2"),
    )
    names = ("fresh", "old", "other", "failed", "ahead", "theirs", "unknown")
    assert asked(of, *names) == ["old", "other", "failed", "ahead", "unknown"]


def test_each_cluster_is_asked_for_its_own_specification() -> None:
    of = seen(one=cached(), two=cached(), three=cached(spec=OTHER))
    wanted = {"one": spec_hash(SPEC), "two": spec_hash(OTHER), "three": spec_hash(OTHER)}
    assert [move.cluster for move in send_back(of, wanted, wanted.__getitem__)] == ["two"]


def test_nobody_is_asked_where_that_is_switched_off() -> None:
    assert asked(seen(None, old=cached(hours=1000)), "old", "unknown") == []


def test_users_are_told_since_when_it_is_cached_or_that_nobody_knows() -> None:
    asked = "asked whether everything is still cached before the update starts"
    assert why(cached(), "the update starts") == f"{asked}: it was at 2022-01-28T19:00:00Z"
    for found in (None, CacheRecord(), cached(result="PrecacheTimeout")):
        assert why(found, "the update starts") == f"{asked}: no record on the hub says that it was"


def test_people_read_since_when_a_cluster_is_cached_for_what_is_wanted_and_whether_pinned() -> None:
    name, at = spec_hash(SPEC), "cached for this specification at 2022-01-28T19:00:00Z"
    assert known_to_be_cached(cached(), name) == at
    assert known_to_be_cached(cached(pinned="true"), name) == f"{at}, pinned"
    assert known_to_be_cached(cached(pinned="false"), name) == f"{at}, not pinned"
    for found in BAD:
        assert known_to_be_cached(found, name) == ""
