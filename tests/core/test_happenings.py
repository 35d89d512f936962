"""Events of pre-caching: few, whatever the size of the fleet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import pytest

from talm.api.cgu import CguStatus, PrecachingFailure
from talm.api.meta import changed
from talm.api.words import Phase
from talm.core.happenings import MOST_NAMED, precaching_events
from talm.core.model import EventNote

from .given import CNFDB, both, status

P: Final = Phase
PREFIX: Final = "ClusterGroupUpgrade up: pre-caching "


def events(before: CguStatus, after: CguStatus) -> list[EventNote]:
    return list(precaching_events("up", before, after))


def notes(before: CguStatus, after: CguStatus) -> list[tuple[str, str]]:
    return [(e.reason, e.note.removeprefix(PREFIX)) for e in events(before, after)]


def failing(
    phases: Mapping[str, Phase], kinds: Mapping[str, str], named: Sequence[str] = (), **more: object
) -> CguStatus:
    """A status whose `failures` name the clusters in `named`, and count those in `kinds` by class."""
    entries = tuple(
        PrecachingFailure(
            cluster=c, reason=phases[c].value, failure_class=kinds.get(c, ""), message=f"why {c}"
        )
        for c in named
    )
    counts: dict[str, int] = {}
    for cluster, phase in phases.items():
        if phase in (P.FAILED, P.TIMED_OUT):
            word = kinds.get(cluster) or phase.value
            counts[word] = counts.get(word, 0) + 1
    base = status(phases)
    assert base.precaching is not None
    block = changed(base.precaching, failures=entries, failures_by_class=counts, **more)
    return changed(base, precaching=block)


def test_nothing_has_happened_so_nothing_is_told() -> None:
    for same in (CguStatus(), status(both(P.NOT_STARTED)), status(both(P.FAILED))):
        assert events(same, same) == []
    assert events(CguStatus(), status(both(P.NOT_STARTED))) == []


def test_the_start_is_told_when_the_first_cluster_leaves_not_started() -> None:
    waiting, begun = both(P.NOT_STARTED), {**both(P.NOT_STARTED), "cnfdb1": P.PREPARING}
    told = [("CguPrecachingStarted", "started on 2 clusters")]
    assert notes(status(waiting), status(begun)) == told
    assert notes(status(begun), status(both(P.PREPARING))) == []
    again = failing(begun, {}, attempt=2)
    told = [("CguPrecachingStarted", "started on 2 clusters (attempt 2)")]
    assert notes(status(waiting), again) == told


@pytest.mark.parametrize(
    ("phases", "reason", "text"),
    [
        ((P.SUCCEEDED, P.SUCCEEDED), "CguPrecachingCompleted", "completed on all clusters"),
        ((P.SUCCEEDED, P.FAILED), "CguPrecachingPartiallyDone", "failed on 1 cluster"),
        ((P.TIMED_OUT, P.FAILED), "CguPrecachingFailed", "failed on all clusters"),
    ],
)
def test_the_end_of_pre_caching_is_told_once(
    phases: tuple[Phase, Phase], reason: str, text: str
) -> None:
    before = status({"cnfdb1": P.ACTIVE, "cnfdb2": phases[1]})
    after = status(dict(zip(CNFDB, phases, strict=True)))
    found = events(before, after)[-1]
    assert (found.reason, found.action, found.note) == (
        reason,
        "PrecachingCompleted",
        PREFIX + text,
    )
    assert found.warning is (reason != "CguPrecachingCompleted")
    assert events(after, after) == []


def test_a_cluster_that_fails_is_named_with_its_cause_and_related_to_the_event() -> None:
    after = failing({"cnfdb1": P.FAILED, "cnfdb2": P.ACTIVE}, {}, ["cnfdb1"])
    (found,) = events(status(both(P.ACTIVE)), after)
    assert found == EventNote(
        "CguPrecachingClusterFailed",
        "PrecachingFailed",
        f"{PREFIX}failed on cnfdb1: why cnfdb1",
        warning=True,
        cluster="cnfdb1",
    )
    unsaid = failing({"cnfdb1": P.TIMED_OUT, "cnfdb2": P.ACTIVE}, {})
    (found,) = events(status(both(P.ACTIVE)), unsaid)
    assert found.note == f"{PREFIX}failed on cnfdb1: PrecacheTimeout"


def test_of_many_the_classes_alone_are_told_in_words_that_stay_the_same() -> None:
    names = [f"c{number:04}" for number in range(3000)]
    kinds = {c: "ImageNotFound" if n % 3 else "StoreFailed" for n, c in enumerate(names)}

    def after(failed: int) -> CguStatus:
        phases = {c: P.FAILED if n < failed else P.ACTIVE for n, c in enumerate(names)}
        return failing(phases, kinds, names[: min(failed, 100)])

    first = events(after(0), after(MOST_NAMED))
    assert [e.cluster for e in first] == names[:MOST_NAMED]
    told = [events(after(n), after(n + 500)) for n in (10, 510, 1010)]
    assert all(found == told[0] for found in told)
    assert [(e.cluster, e.note) for e in told[0]] == [
        ("", f"{PREFIX}fails on more clusters: {kind}; status.precaching.failures names clusters")
        for kind in ("ImageNotFound", "StoreFailed")
    ]
    assert events(after(1010), after(1010)) == []
