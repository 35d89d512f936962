from __future__ import annotations

import asyncio

import msgspec
import pytest

from talm.agent.failures import failure
from talm.agent.progress import Progress
from talm.agent.sinks import LogSink, TerminalSink
from talm.api.progress import FailureClass, ProgressRecord, RunPhase
from talm.errors import AgentError, Unreachable

from .conftest import until


class Board:
    """A sink that shows every record it was told, and can be out of reach."""

    def __init__(self, interval_s: float = 3600.0) -> None:
        self.interval_s = interval_s
        self.records: list[ProgressRecord] = []
        self.refusals = 0
        self.hangs = False
        self.tries = 0
        self.closed = False

    async def write(self, record: ProgressRecord) -> None:
        self.tries += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.refusals:
            self.refusals -= 1
            raise Unreachable("PATCH", "configmaps", 0, "the link is down")
        self.records.append(record)

    async def close(self) -> None:
        self.closed = True

    def phases(self) -> list[str]:
        return [record.phase for record in self.records]


async def until_told(board: Board, count: int) -> None:
    await until(lambda: len(board.records) >= count)


async def test_a_phase_is_told_at_once_and_counts_wait_for_their_turn() -> None:
    progress, board = Progress("run-1"), Board()
    async with progress.told_to([board]):
        await until_told(board, 1)
        progress.planned(images=2, total=100, held=40)
        progress.gained(10)
        progress.enter(RunPhase.DOWNLOADING)
        await until_told(board, 2)
        progress.finish(None)
    assert board.phases() == ["Starting", "Downloading", "Succeeded"]
    assert board.records[1].bytes_done == 50
    assert board.records[1].heartbeat is not None
    assert board.closed


async def test_counts_are_told_at_the_sinks_own_pace() -> None:
    progress, board = Progress("run-1"), Board(interval_s=0.01)
    async with progress.told_to([board]):
        for _ in range(3):
            progress.gained(1)
            await until_told(board, len(board.records) + 1)
        progress.finish(None)
    assert [record.bytes_done for record in board.records] == sorted(
        record.bytes_done for record in board.records
    )


async def test_a_record_that_could_not_be_delivered_is_delivered_later() -> None:
    progress, board = Progress("run-1"), Board(interval_s=0.01)
    board.refusals = 3
    async with progress.told_to([board]):
        await until_told(board, 1)
        progress.finish(None)
    assert board.phases() == ["Starting", "Succeeded"]


async def test_the_last_record_is_offered_until_it_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("talm.agent.progress._AGAIN_S", 0.001)
    progress, board = Progress("run-1"), Board()
    async with progress.told_to([board]):
        await until_told(board, 1)
        board.refusals = 5
        progress.finish(None)
    assert board.phases() == ["Starting", "Succeeded"]


async def test_a_write_that_hangs_is_given_up_and_made_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("talm.agent.progress._WRITE_S", 0.01)
    progress, board = Progress("run-1"), Board(interval_s=0.01)
    board.hangs = True
    async with progress.told_to([board]):
        await until(lambda: board.tries > 1)
        board.hangs = False
        progress.finish(None)
    assert board.phases()[-1] == "Succeeded"


async def test_a_trouble_that_stays_is_logged_once(capsys: pytest.CaptureFixture[str]) -> None:
    progress, board = Progress("run-1"), Board(interval_s=0.001)
    board.refusals = 5
    async with progress.told_to([board]):
        await until_told(board, 1)
        progress.finish(None)
    assert capsys.readouterr().out.count("the link is down") == 1


async def test_a_run_without_news_still_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("talm.agent.progress._HEARTBEAT_S", 0.01)
    progress, board = Progress("run-1"), Board(interval_s=0.001)
    async with progress.told_to([board]):
        await until_told(board, 3)
        progress.finish(None)
    assert all(record.heartbeat for record in board.records)


@pytest.mark.parametrize("hurried", [False, True])
async def test_a_sink_that_hangs_does_not_keep_the_process(
    monkeypatch: pytest.MonkeyPatch, hurried: bool
) -> None:
    patience = {"_LAST_WORD_S": 0.05, "_PATIENCE_S": 3600.0} if hurried else {"_PATIENCE_S": 0.05}
    for name, value in patience.items():
        monkeypatch.setattr(f"talm.agent.progress.{name}", value)
    progress, stuck, board = Progress("run-1"), Board(), Board()
    stuck.hangs = True
    hurry = asyncio.Event()
    async with progress.told_to([stuck, board], hurry):
        progress.finish(failure(FailureClass.UNAUTHORIZED, "no"))
        if hurried:
            hurry.set()
    assert board.records[-1].error_class == "Unauthorized"
    assert board.records[-1].error_text == "no"
    assert stuck.closed


async def test_a_count_goes_backwards_only_with_a_stated_restart() -> None:
    progress = Progress("run-1")
    progress.planned(images=1, total=100, held=0)
    progress.gained(60)
    progress.dropped(0)
    assert progress.record.restarts == 0
    progress.dropped(60)
    assert (progress.record.bytes_done, progress.record.restarts) == (0, 1)


async def test_a_passing_trouble_is_shown_and_forgotten_at_the_good_end() -> None:
    progress = Progress("run-1")
    progress.retrying("503")
    assert progress.record.error_text == "503"
    progress.finish(None)
    assert (progress.record.error_text, progress.record.phase) == ("", "Succeeded")


async def test_a_warning_is_told_once_and_outlives_the_good_end() -> None:
    progress = Progress("run-1")
    progress.warn("88 % full")
    progress.warn("88 % full")
    progress.finish(None)
    assert progress.record.warnings == ("88 % full",)


async def test_a_failed_image_is_named_and_what_was_not_begun_is_missing() -> None:
    progress = Progress("run-1")
    progress.planned(images=4, total=100, held=0, names=["a", "b", "c"])
    progress.image_failed(failure(FailureClass.IMAGE_NOT_FOUND, "manifest x: 404"))
    progress.image_done("a")
    progress.image_failed(failure(FailureClass.UNAUTHORIZED, "401"), "b")
    assert (progress.record.error_class, progress.record.error_text) == ("Unauthorized", "401")
    progress.finish(failure(FailureClass.PARTLY_CACHED, "stopped"))
    told = progress.told()
    assert [(f.image, f.error_class) for f in told.failed] == [
        ("", "ImageNotFound"),
        ("b", "Unauthorized"),
    ]
    assert (told.images_done, told.images_failed, told.images_missing) == (1, 2, 1)
    assert told.missing == ("c",)
    assert told.error_text == "stopped; 1 of 4 images and 0.0 of 0.0 MiB are here; missing: c"


async def test_an_image_that_the_store_has_lost_is_taken_back_as_a_restart() -> None:
    progress = Progress("run-1")
    progress.planned(images=2, total=100, held=0, names=["a", "b"])
    progress.image_done("a")
    progress.image_done("b")
    progress.image_lost(failure(FailureClass.STORE_FAILED, "lost a"), "a")
    now = progress.record
    assert (now.images_done, now.images_failed, now.restarts) == (1, 1, 1)
    assert [failed.image for failed in now.failed] == ["a"]


async def test_the_current_image_is_the_first_that_is_not_there() -> None:
    progress = Progress("run-1")
    progress.planned(images=3, total=100, held=0, names=["a", "b", "c"])
    assert progress.record.current_image == "a"
    progress.image_done("b")
    assert progress.record.current_image == "a"
    progress.image_failed(failure(FailureClass.UNAUTHORIZED, "401"), "a")
    assert progress.record.current_image == "c"
    progress.image_done("c")
    assert progress.record.current_image == ""


async def test_bytes_that_turn_out_not_to_count_are_a_restart() -> None:
    progress = Progress("run-1")
    progress.gained(50)
    progress.planned(images=1, total=100, held=50)
    assert progress.record.restarts == 0
    progress.planned(images=1, total=100, held=40)
    assert (progress.record.restarts, progress.record.bytes_done) == (1, 40)


async def test_rate_and_the_time_that_is_left_are_told_while_it_runs() -> None:
    now = [0.0]
    progress = Progress("run-1", clock=lambda: now[0])
    progress.planned(images=1, total=1000, held=0)
    assert (progress.told().bytes_per_s, progress.told().eta_s) == (0, None)
    progress.gained(200)
    now[0] = 10.0
    assert (progress.told().bytes_per_s, progress.told().eta_s) == (20, 40)
    progress.finish(None)
    assert (progress.told().bytes_per_s, progress.told().eta_s) == (0, None)


async def test_the_record_fits_into_its_share_of_a_config_map() -> None:
    progress = Progress("run-1")
    progress.finish(failure(FailureClass.IMAGE_NOT_FOUND, "x" * 100_000))
    assert len(msgspec.json.encode(progress.record)) < 16 << 10


async def test_log_and_terminal_show_a_whole_run(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress("run-1")
    async with progress.told_to([LogSink(), TerminalSink()]):
        progress.planned(images=1, total=2 << 20, held=0)
        progress.gained(2 << 20)
        progress.image_done()
        progress.finish(None)
    shown = capsys.readouterr().out
    assert "mib=2.0/2.0" in shown
    assert "Succeeded 1/1 images" in shown


def test_the_record_tells_what_happened_last() -> None:
    progress = Progress("run")
    progress.is_attempt(2, ["attempt 1: node rebooted"])
    progress.enter(RunPhase.DOWNLOADING)
    progress.retrying("503")
    progress.retrying("503")
    progress.warn("88 % full")
    progress.warn("88 % full")
    progress.finish(AgentError("ImageNotFound", "gone", 14))
    assert [line.partition(" ")[2] for line in progress.record.lines] == [
        "attempt 1: node rebooted",
        "phase Downloading",
        "trying again after 503 (2 times)",
        "warning: 88 % full",
        "ImageNotFound: gone",
        "phase Failed",
    ]
