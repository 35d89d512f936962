"""How long to wait before the next attempt: doubling, with a limit and with jitter."""

from __future__ import annotations

import random

# An API server (or a proxy before it) that asks for more has lost its clock.
_LONGEST_ASKED_S = 120.0


class Backoff:
    """Delays of one thing that fails, in seconds: `first_s`, doubling, at most `longest_s`.

    Jitter takes up to half away, so that those who failed together do not return together.
    """

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self.failures = 0

    def next_s(self, asked_s: float | None = None) -> float:
        """The next delay; never shorter than what the API server asked for (Retry-After)."""
        # 2**63 s is far beyond any limit, and a float still.
        delay = min(self._longest_s, self._first_s * 2.0 ** min(self.failures, 63))
        self.failures += 1
        jittered = delay * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load
        if asked_s is None:
            return jittered
        asked = min(asked_s, _LONGEST_ASKED_S)
        return max(jittered, asked * random.uniform(1.0, 1.1))  # noqa: S311

    def reset(self) -> None:
        """It works again: the next failure starts from `first_s`."""
        self.failures = 0
