from __future__ import annotations

import asyncio
import datetime as dt
import os
from pathlib import Path

import pytest

from talm.agent import leftovers
from talm.agent.failures import failure
from talm.agent.leftovers import KEPT_FOR, Freed, LastRun
from talm.agent.transfer.registry import digest_of
from talm.agent.transfer.spool import Spool
from talm.api.progress import FailureClass
from talm.errors import AgentError

DIGEST, OTHER = digest_of(b"content"), digest_of(b"other")
NOW = dt.datetime(2022, 1, 28, 12, tzinfo=dt.UTC)
NOTE = LastRun("run-1", boots={"run-1": "boot-1"})


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """A spool with a whole blob, a partial one and a scratch directory, used by a run."""
    spool = Spool(tmp_path / "spool")
    (spool.directory / ".catalog-1").mkdir(parents=True)
    (spool.directory / ".catalog-1" / "index.db").write_bytes(b"x" * 4096)
    spool.whole(DIGEST).write_bytes(b"content")
    spool.partial(OTHER).write_bytes(b"oth")
    leftovers.write_note(spool, NOTE)
    return spool


def names(spool: Spool) -> set[str]:
    return {path.name for path in spool.directory.iterdir()}


def used_at(spool: Spool, when: dt.datetime) -> None:
    os.utime(spool.directory / ".last-run", (when.timestamp(), when.timestamp()))


def test_what_a_failed_run_left_is_kept_for_seven_days(spool: Spool) -> None:
    used_at(spool, NOW - KEPT_FOR)
    assert leftovers.expire(spool, NOW) == Freed()
    assert spool.held(DIGEST) == 7
    used_at(spool, NOW - KEPT_FOR - dt.timedelta(seconds=1))
    assert leftovers.expire(spool, NOW).files == 3
    assert names(spool) == {".last-run"}


def test_a_spool_that_no_run_has_used_has_no_age(tmp_path: Path) -> None:
    assert leftovers.expire(Spool(tmp_path), NOW) == Freed()


def test_what_no_run_goes_on_with_goes_at_the_next_one(spool: Spool) -> None:
    spool.piece(OTHER, 4096).write_bytes(b"er")
    (spool.directory / ".import-a/layers").mkdir(parents=True)
    (spool.directory / ".import-a/layers/1").write_bytes(b"copy")
    (spool.directory / "sha256-00.tar").write_bytes(b"put together")
    assert leftovers.sweep(spool).files == 3
    held = {spool.whole(DIGEST).name, spool.partial(OTHER).name, spool.piece(OTHER, 4096).name}
    assert names(spool) == {*held, ".last-run"}
    assert leftovers.sweep(spool) == Freed()


async def test_cleaning_drops_everything_and_says_how_much(spool: Spool) -> None:
    freed = await leftovers.clean(spool)
    assert freed.files == 3
    assert freed.size >= 4096
    assert names(spool) == {".lock"}
    assert leftovers.last_run(spool) is None


async def test_a_directory_with_somebody_s_files_is_no_spool(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters/one").write_text("kept")
    spool = Spool(tmp_path)
    with pytest.raises(AgentError, match="is no spool: it holds 'letters'"):
        await leftovers.clean(spool)
    with pytest.raises(AgentError, match="is no spool"):
        async with spool.locked(0):
            pass
    assert (tmp_path / "letters/one").read_text() == "kept"
    assert names(spool) == {"letters"}


async def test_a_spool_at_work_is_not_cleaned(spool: Spool) -> None:
    async with spool.locked(0):
        with pytest.raises(AgentError, match="another run works here"):
            await leftovers.clean(spool)
    assert spool.held(DIGEST) == 7


async def test_cleaning_where_nothing_is_makes_nothing(tmp_path: Path) -> None:
    assert await leftovers.clean(Spool(tmp_path / "none")) == Freed()
    assert not (tmp_path / "none").exists()


def test_a_link_in_the_spool_is_removed_and_not_followed(spool: Spool, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    (spool.directory / "link").symlink_to(outside)
    leftovers.empty(spool)
    assert (outside / "kept").exists()


def test_the_next_run_learns_of_the_one_before(spool: Spool) -> None:
    assert leftovers.last_run(spool) == NOTE
    (spool.directory / ".last-run").write_text("damaged")
    assert leftovers.last_run(spool) is None


def run(spool: Spool, name: str, error: BaseException | None = None) -> LastRun | None:
    """One run's block; returns the note that it found."""
    with leftovers.noted(spool, name) as last:
        if error:
            raise error
    return last


def test_a_note_says_how_each_run_ended_and_on_which_boot(spool: Spool) -> None:
    assert run(spool, "run-2") == NOTE
    assert leftovers.last_run(spool) == LastRun(
        "run-2", 2, "Succeeded", {"run-1": "boot-1", "run-2": leftovers.boot_id()}
    )
    with leftovers.noted(spool, "run-3"):
        note = leftovers.last_run(spool)
        assert note
        assert (note.run, note.attempt, note.ended) == ("run-3", 1, "")


@pytest.mark.parametrize(
    ("error", "ended"),
    [
        (failure(FailureClass.UNAUTHORIZED, "no"), "Unauthorized"),
        (asyncio.CancelledError(), "Interrupted"),
        (ValueError(), "Bug"),
    ],
)
def test_a_note_names_the_class_of_a_failure(
    spool: Spool, error: BaseException, ended: str
) -> None:
    with pytest.raises(type(error)):
        run(spool, "run-2", error)
    note = leftovers.last_run(spool)
    assert note
    assert (note.ended, note.attempt) == (ended, 2)


def test_a_note_does_not_grow_for_ever(spool: Spool) -> None:
    for number in range(20):
        run(spool, f"run-{number}")
    note = leftovers.last_run(spool)
    assert note
    assert list(note.boots) == [f"run-{number}" for number in range(10, 20)]


def test_a_note_that_cannot_be_written_costs_only_the_note(tmp_path: Path) -> None:
    leftovers.write_note(Spool(tmp_path / "none"), NOTE)
    assert leftovers.last_run(Spool(tmp_path / "none")) is None


def test_every_boot_has_an_id(monkeypatch: pytest.MonkeyPatch) -> None:
    assert leftovers.boot_id() == leftovers.boot_id()
    monkeypatch.setattr(leftovers, "_BOOT_ID", Path("/nonexistent"))
    assert leftovers.boot_id() == ""
