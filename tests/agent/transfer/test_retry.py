from __future__ import annotations

import email.utils
import time

import pytest

from talm.agent.transfer.retry import Passing, Patience, insist, retry_after_s
from talm.errors import AgentError


def test_retry_after_is_seconds_or_a_date_and_nonsense_is_nothing() -> None:
    assert retry_after_s("7") == 7.0
    assert 50 < retry_after_s(email.utils.formatdate(time.time() + 60, usegmt=True)) <= 60
    for nothing in ("", "-3", "soon", email.utils.formatdate(0, usegmt=True)):
        assert retry_after_s(nothing) == 0.0


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
