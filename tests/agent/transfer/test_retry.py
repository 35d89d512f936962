from __future__ import annotations

import email.utils
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talm.agent.transfer.retry import Passing, Patience, insist, retry_after_s
from talm.errors import AgentError

from .clocks import VirtualTime


def test_retry_after_is_seconds_or_a_date_and_nonsense_is_nothing() -> None:
    assert retry_after_s("7") == 7.0
    assert 50 < retry_after_s(email.utils.formatdate(time.time() + 60, usegmt=True)) <= 60
    for nothing in ("", "-3", "soon", email.utils.formatdate(0, usegmt=True)):
        assert retry_after_s(nothing) == 0.0
    assert retry_after_s("Mon, 01 Jan 99999999999999 00:00:00 GMT") == 0.0


@given(
    st.text(max_size=40)
    | st.from_regex(r"(\w{3}, )?\d{1,20} (Jan|Dec|x) \d{1,20} \d+:\d+(:\d+)? ([+-]\d+|GMT)?")
)
def test_any_retry_after_is_a_time_to_wait(header: str) -> None:
    assert retry_after_s(header) >= 0.0


async def test_an_attempt_is_repeated_until_it_works() -> None:
    left = [Passing("503"), Passing("reset")]
    told: list[str] = []

    async def attempt() -> str:
        if left:
            raise left.pop(0)
        return "done"

    assert await insist(Patience(60.0, told.append), attempt) == "done"
    assert told == ["503", "reset"]


async def test_what_the_server_asks_for_beyond_the_patience_ends_it() -> None:
    async def attempt() -> None:
        raise Passing("429", retry_after_s=3600.0)

    with pytest.raises(AgentError, match="429; given up after 60 s") as caught:
        await insist(Patience(60.0, lambda _: None), attempt)
    assert caught.value.kind == "RegistryUnreachable"


async def given_up_after(error: Passing, *, persistent: bool) -> float | None:
    """How long an attempt that always fails so is repeated; None: for more than a day."""
    time = VirtualTime()
    patience = Patience(600.0, lambda _: None, persistent=persistent, clock=time.clock)

    async def attempt() -> None:
        if time.now > 1000.0 + 86_400:
            raise EOFError
        raise error

    try:
        await insist(patience, attempt)
    except EOFError:
        return None
    except AgentError as exc:
        assert exc.kind == "RegistryUnreachable"
    return time.now - 1000.0


@pytest.mark.parametrize("persistent", [False, True])
async def test_tls_and_names_that_fail_for_ten_minutes_are_given_up(persistent: bool) -> None:
    waited = await given_up_after(Passing("no such host", stubborn=True), persistent=persistent)
    assert waited is not None
    assert 570 < waited <= 600


async def test_other_failures_last_as_long_as_the_jobs_deadline_lets_them() -> None:
    assert await given_up_after(Passing("503"), persistent=True) is None
    assert await given_up_after(Passing("503", 3600.0), persistent=True) is None
    assert await given_up_after(Passing("503"), persistent=False) is not None


async def test_a_stubborn_failure_is_not_given_up_for_what_was_another_before() -> None:
    time = VirtualTime()
    patience = Patience(600.0, lambda _: None, persistent=True, clock=time.clock)
    while time.now < 3000.0:
        await patience.pause(Passing("reset"))
    await patience.pause(Passing("no such host", stubborn=True))


@given(st.integers(0, 40), st.floats(0, 60))
async def test_a_pause_grows_to_a_bound_is_spread_and_respects_the_server(
    failures: int, asked_for: float
) -> None:
    time = VirtualTime()
    patience = Patience(1e9, lambda _: None, clock=time.clock)
    for _ in range(failures):
        await patience.pause(Passing("reset"))
    await patience.pause(Passing("429", asked_for))
    longest = min(0.25 * 2**failures, 20.0)
    assert (
        longest / 2 <= time.slept[-1] - asked_for + 1e-9 and time.slept[-1] <= asked_for + longest
    )
