"""What the real agents did, as recorded.  `python -m tests.e2e.golden` records it anew, which
takes a minute and a half; read the difference before it is committed."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Final

from .plays import IN_ORDER
from .real import perform_for_real

FILE: Final = Path(__file__).with_name("real-agents.golden")


def recorded() -> dict[str, str]:
    """Transcripts by their titles."""
    text = FILE.read_text(encoding="utf-8")
    parts = ("\n" + text).split("\n# ")[1:]
    return {part.splitlines()[0]: f"# {part.rstrip()}\n" for part in parts}


def record() -> None:
    """Write the file."""
    with tempfile.TemporaryDirectory() as directory:
        played = asyncio.run(perform_for_real(list(IN_ORDER), Path(directory), real=True))
    FILE.write_text("\n".join(played[row.slug] for row in IN_ORDER), encoding="utf-8")


if __name__ == "__main__":
    record()
