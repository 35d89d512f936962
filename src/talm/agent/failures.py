"""How the workload fails: an `AgentError` of one of the classes that the hub knows."""

from __future__ import annotations

from talm.api.progress import EXIT_CODES, FailureClass
from talm.errors import AgentError


def failure(kind: FailureClass, message: str) -> AgentError:
    """Return the error of class `kind`, ready to be raised; its exit code goes with the class."""
    return AgentError(kind.value, message, EXIT_CODES[kind])


def invalid_spec(message: str) -> AgentError:
    """Return an InvalidSpec: the input is refused before a byte moves."""
    return failure(FailureClass.INVALID_SPEC, message)


def text_of(error: AgentError) -> str:
    """Return the message without the class in front."""
    return str(error).removeprefix(f"{error.kind}: ")
