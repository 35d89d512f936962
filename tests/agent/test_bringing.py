from __future__ import annotations

import pytest

from talm.agent.bringing import raise_all
from talm.agent.failures import failure
from talm.api.progress import EXIT_CODES, FailureClass
from talm.errors import AgentError

F = FailureClass
GONE, AWAY = failure(F.IMAGE_NOT_FOUND, "a: 404"), failure(F.REGISTRY_UNREACHABLE, "b: 503")
REFUSED = failure(F.UNAUTHORIZED, "c: 401")


def test_no_failed_image_is_no_failure() -> None:
    raise_all([], 3)


@pytest.mark.parametrize(
    ("errors", "kind"),
    [
        ([GONE, AWAY], F.REGISTRY_UNREACHABLE),  # another attempt brings one of them
        ([AWAY, GONE], F.REGISTRY_UNREACHABLE),
        ([GONE, REFUSED], F.IMAGE_NOT_FOUND),
    ],
)
def test_several_failures_have_the_class_that_another_attempt_may_mend(
    errors: list[AgentError], kind: FailureClass
) -> None:
    with pytest.raises(AgentError) as caught:
        raise_all(errors, 5)
    assert caught.value.exit_code == EXIT_CODES[kind]
    assert str(caught.value) == f"{kind}: 2 of 5 images failed: {errors[0]}; {errors[1]}"


def test_a_single_failure_is_told_as_it_is() -> None:
    with pytest.raises(AgentError) as caught:
        raise_all([GONE], 5)
    assert caught.value is GONE
