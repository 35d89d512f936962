from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from talm.agent.failures import failure
from talm.agent.nodes.standing import Standing, State
from talm.agent.nodes.total import Total
from talm.agent.record import MAX_BYTES
from talm.api.progress import FailureClass, ProgressRecord, RunPhase

F, S = FailureClass, State


def record(images: int = 0, size: int = 0, **others: object) -> ProgressRecord:
    known: dict[str, object] = {
        "images_done": images, "images_total": 10, "bytes_done": size, "bytes_total": 1000,
    }  # fmt: skip
    return ProgressRecord(**(known | others))  # type: ignore[arg-type]


def at(node: str, state: State = S.PULLS, said: ProgressRecord | None = None) -> Standing:
    error = failure(F.UNAUTHORIZED, "401 of registry.example") if state is S.FAILED else None
    return Standing(node, state, record=said, error=error)


def total(*standings: Standing) -> Total:
    made = Total("run-1")
    made.sum_up(standings)
    return made


def test_counts_of_all_nodes_are_added_up() -> None:
    told = total(
        at("a", S.DONE, record(10, 1000)), at("b", S.PULLS, record(3, 250)), at("c", S.WAITS)
    ).told()
    assert (told.images_done, told.images_total) == (13, 20)
    assert (told.bytes_done, told.bytes_total) == (1250, 2000)
    assert (told.nodes_done, told.nodes_failed, told.nodes_total) == (1, 0, 3)
    assert (told.run, told.phase, told.restarts) == ("run-1", RunPhase.DOWNLOADING, 0)


def test_a_node_that_failed_is_named_with_its_reason() -> None:
    told = total(at("a", S.FAILED, record(2)), at("b", S.PULLS, record(5))).told()
    (entry,) = told.failed
    assert (entry.node, entry.image, entry.error_class) == ("a", "", F.UNAUTHORIZED)
    assert entry.error_text == "node a: 401 of registry.example"
    assert (told.error_class, told.nodes_failed) == (F.UNAUTHORIZED, 1)


def test_what_a_node_tries_again_is_the_last_error_until_it_passes() -> None:
    made = total(at("a"), at("b", said=record(error_class=F.STORE_FAILED, error_text="busy")))
    assert (made.record.error_class, made.record.error_text) == (F.STORE_FAILED, "node b: busy")
    made.sum_up([at("a"), at("b", said=record(1))])
    assert (made.record.error_class, made.record.error_text) == ("", "")


def test_what_a_pod_waits_for_is_told_now_and_at_the_end() -> None:
    stuck = Standing("a", S.PULLS, stuck="ErrImagePull: not found")
    made = total(stuck, at("b"))
    words = "waits for its pod (ErrImagePull: not found)"
    assert made.record.error_class == F.PARTLY_CACHED
    assert made.record.error_text == f"node a: {words}"
    assert made.record.lines[0].endswith(f"node a {words}")
    made.finish(failure(F.PARTLY_CACHED, "stopped"))
    assert made.record.failed[0].error_text == f"node a {words}"


def test_what_hinders_the_coordination_is_told_until_it_passes() -> None:
    made = total(at("a"))
    made.hindered("list nodes: 403")
    told = (made.record.error_class, made.record.error_text)
    assert told == (F.PARTLY_CACHED, "list nodes: 403")
    made.sum_up([at("a")])
    assert (made.record.error_class, made.record.error_text) == ("", "")


def test_a_pod_that_is_replaced_does_not_take_its_counts_back_before_the_next_has_counted() -> None:
    made = total(at("a", said=record(4, 400)))
    made.sum_up([at("a", said=ProgressRecord(run="next"))])
    assert (made.record.images_done, made.record.bytes_done, made.record.restarts) == (4, 400, 0)
    made.sum_up([at("a", said=record(4, 350, run="next"))])
    assert (made.record.bytes_done, made.record.restarts) == (350, 1)


def test_a_node_that_has_gone_is_no_longer_counted_which_is_a_restart() -> None:
    made = total(at("a", said=record(4, 400)), at("b", said=record(5, 500)))
    made.sum_up([at("b", said=record(5, 500))])
    assert (made.record.images_done, made.record.nodes_total, made.record.restarts) == (5, 1, 1)


@given(st.lists(st.tuples(st.integers(0, 10), st.integers(0, 1000)), min_size=2, max_size=6))
def test_counts_never_go_backwards_but_with_a_restart(steps: list[tuple[int, int]]) -> None:
    made = Total("run-1")
    for images, size in steps:
        before = made.record
        made.sum_up([at("a", said=record(images, size)), at("b", said=record(1, 1))])
        after = made.record
        backwards = after.images_done < before.images_done or after.bytes_done < before.bytes_done
        assert after.restarts == before.restarts + backwards


def test_no_time_is_promised_while_nodes_wait_for_their_turn() -> None:
    now = [0.0]
    made = Total("run-1")
    made._meter = type(made._meter)(lambda: now[0])
    for second in range(5):
        now[0] = float(second)
        made.sum_up([at("a", said=record(0, 100 * second)), at("b", S.WAITS)])
    assert made.told().bytes_per_s > 0
    assert made.told().eta_s is None
    made.sum_up([at("a", said=record(0, 500)), at("b", said=record())])
    assert made.told().eta_s is not None


def test_what_was_there_before_the_coordination_began_counts_for_no_speed() -> None:
    now = [0.0]
    made = Total("run-1")
    made._meter = type(made._meter)(lambda: now[0])
    made.sum_up([at("a", said=record(5, 900))])
    now[0] = 5.0
    assert made.told().bytes_per_s == 0


def test_nodes_that_are_left_out_are_told_once() -> None:
    made = Total("run-1")
    for _ in range(2):
        made.leave_out({"w": "it runs windows"})
    assert made.record.warnings == ("node w is left out: it runs windows",)


def test_everything_is_pinned_only_when_every_node_says_so() -> None:
    assert total(at("a"), at("b")).record.pinned is None
    assert total(at("a", said=record(pinned=True)), at("b")).record.pinned is True
    no = record(pinned=False, not_pinned="403")
    mixed = total(at("a", said=record(pinned=True)), at("b", said=no), at("c", said=no)).record
    assert (mixed.pinned, mixed.not_pinned) == (False, "node b: 403")


def test_a_record_of_many_nodes_is_bounded_and_its_counts_are_complete() -> None:
    nodes = [at(f"worker-{n}.site.example.com", S.FAILED, record(1, 10)) for n in range(1000)]
    made = total(*nodes)
    made.finish(failure(F.UNAUTHORIZED, "x" * 100_000))
    told = made.told()
    assert len(msgspec.json.encode(told)) <= MAX_BYTES
    assert (told.nodes_failed, told.nodes_total, told.images_done) == (1000, 1000, 1000)
    assert told.failed
    assert told.error_class == F.UNAUTHORIZED


def test_whoever_is_stopped_says_of_every_node_how_far_it_is() -> None:
    made = total(
        at("a", S.DONE, record(10, 1000, images_missing=0)),
        at("b", S.PULLS, record(3, 250)),
        at("c", S.WAITS),
        at("d", S.AWAITED),
    )
    made.finish(failure(F.PARTLY_CACHED, "stopped"))
    told = made.told()
    assert {entry.node: entry.error_text for entry in told.failed} == {
        "b": "node b has 3 of 10 images",
        "c": "node c waits for its turn",
        "d": "node d not ready",
    }
    assert told.error_text.endswith(
        "1 of 4 nodes have everything; b pulls, c waits for its turn, d not ready"
    )
    assert told.phase == RunPhase.FAILED


def test_a_sum_that_succeeded_names_nothing() -> None:
    made = total(at("a", S.DONE, record(10, 1000)))
    made.finish(None)
    told = made.told()
    assert (told.phase, told.error_text, told.failed) == (RunPhase.SUCCEEDED, "", ())
