"""How the workload fails: an `AgentError` of one of the classes that the hub knows.

Messages repeat what others wrote: names in archives, lines of catalogs, words of registries.  They
end in logs, on terminals and in a ConfigMap, so nothing but printable text gets that far, and of a URL
neither a password nor the query, which may be a signature that opens a storage to whoever has it.
"""

from __future__ import annotations

import re
from typing import Final

from talm.api.progress import EXIT_CODES, FailureClass
from talm.errors import AgentError

_BREAK: Final = re.compile(r"\s*\n\s*")
_URL: Final = re.compile(
    r"""(\b[a-z][a-z0-9+.-]{0,20}://)  # a scheme
        (?:[^\s/?\#"'<>]*@)?          # who asks
        ([^\s?\#"'<>]*)
        ([?\#][^\s"'<>]*)?""",
    re.IGNORECASE | re.VERBOSE,
)


def printable(text: str) -> str:
    """Return `text` on one line, with what cannot be shown (or encoded) as its escape.

    Nor is shown who asks in a URL, and what.
    """
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in _BREAK.sub(" ", text.strip()))
    return _URL.sub(lambda url: f"{url[1]}{url[2]}{'?…' if url[3] else ''}", line)


def failure(kind: FailureClass, message: str) -> AgentError:
    """Return the error of class `kind`, ready to be raised; its exit code goes with the class."""
    return AgentError(kind.value, printable(message), EXIT_CODES[kind])


def invalid_spec(message: str) -> AgentError:
    """Return an InvalidSpec: the input is refused before a byte moves."""
    return failure(FailureClass.INVALID_SPEC, message)


def text_of(error: AgentError) -> str:
    """Return the message without the class in front."""
    return str(error).removeprefix(f"{error.kind}: ")
