"""Events: sent once, counted when they repeat, never in the way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from talm.api.kinds import CGU, EVENT, MANAGED_CLUSTER
from talm.errors import LeadershipLost
from talm.kube.client import Client
from talm.kube.events import ANNOTATION_BYTES, EventLimits, EventRecorder, Regarding
from tests.kube.apiserver import ApiServer, refuse
from tests.kube.waiting import PATIENCE_S, until_true

UPDATE = Regarding(CGU, "du-upgrade", "ztp", uid="u-1")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def recorder_of(client: Client, clock: Clock, **limits: Any) -> EventRecorder:
    return EventRecorder(
        client,
        controller="talm.io/hub",
        instance="talm-0",
        limits=EventLimits(**limits),
        clock=clock,
    )


@contextlib.asynccontextmanager
async def sending(recorder: EventRecorder) -> AsyncIterator[None]:
    task = asyncio.create_task(recorder.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


def events(api: ApiServer) -> list[dict[str, Any]]:
    return list(api.truth(EVENT).values())


async def test_an_event_says_who_saw_what_about_which_object(
    api: ApiServer, client: Client, clock: Clock
) -> None:
    recorder = recorder_of(client, clock)
    async with sending(recorder):
        recorder.record(UPDATE, "Started", "2 clusters", action="Precache", type="Warning")
        await until_true(lambda: bool(events(api)))
    (event,) = events(api)
    assert event["regarding"] == {
        "apiVersion": "ran.openshift.io/v1alpha1",
        "kind": "ClusterGroupUpgrade",
        "name": "du-upgrade",
        "namespace": "ztp",
        "uid": "u-1",
    }
    assert event["metadata"]["namespace"] == "ztp"
    assert event["metadata"]["name"].startswith("du-upgrade.")
    assert (event["type"], event["reason"], event["action"], event["note"]) == (
        "Warning",
        "Started",
        "Precache",
        "2 clusters",
    )
    assert event["reportingController"] == "talm.io/hub"
    assert event["reportingInstance"] == "talm-0"
    assert "series" not in event


async def test_events_of_cluster_scoped_objects_live_in_default(
    api: ApiServer, client: Client, clock: Clock
) -> None:
    recorder = recorder_of(client, clock)
    recorder.record(Regarding(MANAGED_CLUSTER, "cnfdb1"), "Silent", "gone", action="Wait")
    await recorder.flush()
    assert events(api)[0]["metadata"]["namespace"] == "default"


async def test_annotations_and_a_related_object_are_told_and_tell_events_apart(
    api: ApiServer, client: Client, clock: Clock
) -> None:
    recorder = recorder_of(client, clock)
    c1 = Regarding(MANAGED_CLUSTER, "c1")

    def record(related: Regarding | None = None, **annotations: str) -> None:
        recorder.record(
            UPDATE, "Done", "done", action="Update", annotations=annotations, related=related
        )

    record()
    record(a="1", b="2")
    record(b="2", a="1")
    record(a="1", b="3")
    record(c1, a="1", b="2")
    await recorder.flush()
    told = sorted(
        (
            sorted(event["metadata"].get("annotations", {}).items()),
            event.get("related", {}).get("name", ""),
            event.get("series", {}).get("count", 1),
        )
        for event in events(api)
    )
    assert told == [
        ([], "", 1),
        ([("a", "1"), ("b", "2")], "", 2),
        ([("a", "1"), ("b", "2")], "c1", 1),
        ([("a", "1"), ("b", "3")], "", 1),
    ]


async def test_annotations_that_are_too_large_together_are_left_out_and_it_is_said(
    api: ApiServer, client: Client, clock: Clock
) -> None:
    recorder = recorder_of(client, clock)
    details = {"long": "c" * ANNOTATION_BYTES, "short": "1", "half": "ü" * (ANNOTATION_BYTES // 4)}
    recorder.record(UPDATE, "Done", "done", action="Update", annotations=details)
    await recorder.flush()
    (event,) = events(api)
    del details["long"]
    assert event["metadata"]["annotations"] == details | {"cgu.openshift.io/truncated": "true"}


async def test_a_repetition_counts_up_in_one_event_and_is_written_now_and_then(
    api: ApiServer, client: Client, clock: Clock
) -> None:
    recorder = recorder_of(client, clock, series_s=10.0)
    async with sending(recorder):
        recorder.record(UPDATE, "Failed", "no answer", action="Retry")
        await until_true(lambda: bool(events(api)))
        for _ in range(4):
            recorder.record(UPDATE, "Failed", "no answer", action="Retry")
        recorder.record(UPDATE, "Failed", "another reason", action="Retry")
        await until_true(lambda: len(events(api)) == 2)
        assert all("series" not in event for event in events(api)), "not yet due"
        clock.now += 11
        recorder.record(UPDATE, "Other", "wakes the sender", action="Retry")
        await until_true(lambda: any("series" in event for event in events(api)))
    (repeated,) = [event for event in events(api) if "series" in event]
    assert repeated["series"]["count"] == 5
    assert repeated["series"]["lastObservedTime"] > repeated["eventTime"]


async def test_after_the_window_the_same_is_a_new_event(
    api: ApiServer, client: Client, clock: Clock
) -> None:
    recorder = recorder_of(client, clock, window_s=600.0)
    for _ in range(2):
        recorder.record(UPDATE, "Started", "again", action="Precache")
        await recorder.flush()
        clock.now += 601
    assert len(events(api)) == 2


async def test_a_series_whose_event_was_deleted_begins_anew(
    api: ApiServer, client: Client, clock: Clock
) -> None:
    recorder = recorder_of(client, clock)
    recorder.record(UPDATE, "Started", "again", action="Precache")
    await recorder.flush()
    api.delete(EVENT, events(api)[0]["metadata"]["name"], "ztp")
    recorder.record(UPDATE, "Started", "again", action="Precache")
    await recorder.flush()
    assert len(events(api)) == 1


async def test_when_too_many_wait_the_oldest_is_dropped_and_counted(
    api: ApiServer, client: Client, clock: Clock
) -> None:
    recorder = recorder_of(client, clock, waiting=3)
    for number in range(5):
        recorder.record(UPDATE, "Failed", f"cluster {number}", action="Retry")
    assert len(recorder) == 3
    assert recorder.dropped == 2
    await recorder.flush()
    assert sorted(event["note"] for event in events(api)) == [f"cluster {n}" for n in (2, 3, 4)]


@pytest.mark.parametrize("character", ["x", "ä", "🎈"])
async def test_a_long_note_is_cut_to_what_the_api_server_takes(
    api: ApiServer, client: Client, clock: Clock, character: str
) -> None:
    recorder = recorder_of(client, clock)
    recorder.record(UPDATE, "Failed", character * 2000, action="Retry")
    await recorder.flush()
    note = events(api)[0]["note"]
    assert 1020 <= len(note.encode()) <= 1024
    assert note.endswith(f"{character}…")


async def test_while_the_api_server_is_busy_events_wait_and_arrive_later(
    api: ApiServer, client: Client, clock: Clock
) -> None:
    busy = 2

    async def refuse_some(request: web.Request) -> web.StreamResponse | None:
        nonlocal busy
        busy -= 1
        return refuse(429, "TooManyRequests", **{"Retry-After": "0.01"}) if busy >= 0 else None

    api.hook = refuse_some
    recorder = recorder_of(client, clock)
    async with sending(recorder):
        recorder.record(UPDATE, "Failed", "one", action="Retry")
        recorder.record(UPDATE, "Failed", "two", action="Retry")
        await until_true(lambda: len(events(api)) == 2)
    assert recorder.dropped == 0


async def test_an_event_that_is_refused_is_dropped_and_the_next_is_sent(
    api: ApiServer, client: Client, clock: Clock
) -> None:
    async def refuse_ztp(request: web.Request) -> web.StreamResponse | None:
        return refuse(403, "Forbidden") if "/ztp/" in request.path else None

    api.hook = refuse_ztp
    recorder = recorder_of(client, clock)
    recorder.record(UPDATE, "Failed", "its namespace is going", action="Retry")
    recorder.record(Regarding(CGU, "other", "lab"), "Failed", "fine", action="Retry")
    await recorder.flush()
    assert [event["note"] for event in events(api)] == ["fine"]
    assert recorder.dropped == 1


async def test_flush_gives_up_in_time_and_counts_what_is_lost(
    api: ApiServer, client: Client, clock: Clock
) -> None:
    async def hang(request: web.Request) -> None:
        await asyncio.sleep(3600)

    api.hook = hang
    recorder = recorder_of(client, clock)
    recorder.record(UPDATE, "Failed", "one", action="Retry")
    async with asyncio.timeout(PATIENCE_S):
        await recorder.flush(timeout_s=0.05)
    assert (len(recorder), recorder.dropped) == (0, 1)


async def test_what_was_being_sent_at_the_end_is_flushed(
    api: ApiServer, client: Client, clock: Clock
) -> None:
    asked = asyncio.Event()

    async def hang(request: web.Request) -> None:
        asked.set()
        await asyncio.sleep(3600)

    api.hook = hang
    recorder = recorder_of(client, clock)
    async with sending(recorder):
        recorder.record(UPDATE, "Ended", "all done", action="Stop")
        async with asyncio.timeout(PATIENCE_S):
            await asked.wait()
        recorder.record(UPDATE, "Ended", "all done", action="Stop")
    api.hook = None
    await recorder.flush()
    assert [event["series"]["count"] for event in events(api)] == [2]


async def test_a_lost_lease_ends_the_sender(client: Client, clock: Clock) -> None:
    def lost() -> None:
        raise LeadershipLost("not renewed")

    client.guard = lost
    recorder = recorder_of(client, clock)
    recorder.record(UPDATE, "Started", "late", action="Precache")
    with pytest.raises(LeadershipLost):
        await recorder.run()
