"""Names of many clusters in few bytes: `site-001`, `site-004` and `west` are `site-{001,004}` and `west`.

As a shell writes them.  No name in Kubernetes has a brace or a comma.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def fold(names: Iterable[str]) -> tuple[str, ...]:
    """Put names together that are the same up to their last dash."""
    groups: dict[str, list[str]] = {}
    for name in sorted(names):
        head, dash, tail = name.rpartition("-")
        groups.setdefault(head + dash, []).append(tail)
    folded: list[str] = []
    for head, tails in groups.items():
        if head and len(tails) > 1:
            folded.append(f"{head}{{{','.join(tails)}}}")
        else:
            folded += (head + tail for tail in tails)
    return tuple(folded)


def unfold(entries: Iterable[str]) -> Iterator[str]:
    """Tell the names again, in any order."""
    for entry in entries:
        head, brace, tails = entry.partition("{")
        if not brace:
            yield entry
        else:
            for tail in tails.removesuffix("}").split(","):
                yield head + tail
