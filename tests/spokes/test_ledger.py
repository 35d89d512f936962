from __future__ import annotations

import datetime as dt

from talm.api.meta import Object, ObjectMeta
from talm.spokes.ledger import EXPECTED_WITHIN, Created, Ledger, Outcome, Present, number
from tests.spokes.hub import START

LATER = START + dt.timedelta(seconds=10)
MUCH_LATER = START + EXPECTED_WITHIN + dt.timedelta(seconds=1)


def meta(uid: str, version: int = 10, created: dt.datetime | None = None) -> ObjectMeta:
    return ObjectMeta(
        name="v", namespace="c", uid=uid, resource_version=str(version), creation_timestamp=created
    )


def cached(uid: str, version: int = 10, created: dt.datetime | None = None) -> Object:
    return Object(metadata=meta(uid, version, created))


def made(uid: str, version: int = 10) -> Created:
    return Created(uid, version, START)


def test_what_we_created_is_there_before_the_cache_shows_it() -> None:
    ledger = Ledger()
    ledger.created("c", "v", made("a"))
    found: Present[Object] | None = ledger.find("c", "v", None, LATER)
    assert found is not None
    assert (found.cached, found.uid, found.born) == (None, "a", 10)


def test_what_we_deleted_is_gone_although_the_cache_shows_it() -> None:
    ledger = Ledger()
    ledger.deleted("c", "v", "a", START)
    assert ledger.find("c", "v", cached("a"), LATER) is None
    assert ledger.find("c", "v", cached("b"), LATER) is not None


def test_an_older_object_in_the_cache_does_not_hide_the_new_one() -> None:
    ledger = Ledger()
    ledger.created("c", "v", made("b", 20))
    found = ledger.find("c", "v", cached("a", 15), LATER)
    assert found is not None and found.uid == "b"


def test_a_newer_object_than_ours_is_believed() -> None:
    ledger = Ledger()
    ledger.created("c", "v", made("b", 20))
    found = ledger.find("c", "v", cached("c", 25), LATER)
    assert found is not None and found.uid == "c"


def test_the_first_version_stays_known_when_the_object_changes() -> None:
    ledger = Ledger()
    ledger.created("c", "v", made("a", 10))
    found = ledger.find("c", "v", cached("a", 99), LATER)
    assert found is not None and (found.born, found.since) == (10, START)


def test_expectations_end_so_that_a_missed_event_hides_nothing_for_ever() -> None:
    ledger = Ledger()
    ledger.created("c", "v", made("a"))
    ledger.deleted("c", "w", "b", START)
    assert ledger.find("c", "v", None, MUCH_LATER) is None
    assert ledger.find("c", "w", cached("b"), MUCH_LATER) is not None


def test_what_vanishes_after_we_created_it_is_gone() -> None:
    ledger = Ledger()
    ledger.created("c", "v", made("a"))
    ledger.heard("c", "v", old=None, new=meta("a"), at=START)
    ledger.heard("c", "v", old=meta("a"), new=None, at=LATER)
    assert ledger.find("c", "v", None, LATER) is None


def test_a_deletion_that_is_heard_of_leaves_nothing_behind() -> None:
    ledger = Ledger()
    ledger.heard("c", "v", old=None, new=meta("a"), at=START)
    ledger.deleted("c", "v", "a", START)
    ledger.heard("c", "v", old=meta("a"), new=None, at=LATER)
    assert not ledger._pages


def test_an_object_is_never_younger_than_we_have_known_it() -> None:
    """The API server's clock may be ahead of ours: then ours counts."""
    ledger = Ledger()
    future = LATER + dt.timedelta(hours=1)
    ledger.heard("c", "v", old=None, new=meta("a", created=future), at=START)
    found = ledger.find("c", "v", cached("a", created=future), LATER)
    assert found is not None and found.since == START


def test_an_end_is_remembered_until_the_action_is_created_or_deleted_again() -> None:
    ledger = Ledger()
    end = Outcome("run", True, False, "", 5, 1, START)
    ledger.ended("c", "v", end)
    assert ledger.outcome("c", "v") == end
    ledger.created("c", "v", made("b"))
    assert ledger.outcome("c", "v") is None
    ledger.ended("c", "v", end)
    ledger.deleted("c", "v", "b", LATER)
    assert ledger.outcome("c", "v") is None
    ledger.ended("c", "v", end)
    ledger.forget_outcomes("c", ("v", "never heard of"))
    assert ledger.outcome("c", "v") is None


def test_resource_versions_compare_as_numbers() -> None:
    assert number("999") < number("1000")
    assert number("") == number("odd") == 0
