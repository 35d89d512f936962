"""What the real policy engine did, as recorded.  `python -m tests.e2e.policygolden` records it anew,
which takes a minute; read the difference before it is committed."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Final

from .policyplays import play_all
from .policyrows import ROWS

FILE: Final = Path(__file__).with_name("policy-engine.golden")


def recorded() -> dict[str, str]:
    """Transcripts by the rows' names."""
    parts = ("\n" + FILE.read_text(encoding="utf-8")).split("\n# ")[1:]
    found = (part.partition("\n") for part in parts)
    return {slug: transcript.strip("\n") for slug, _, transcript in found}


def record() -> None:
    """Write the file."""
    with tempfile.TemporaryDirectory() as directory:
        played = asyncio.run(play_all(Path(directory), real_engine=True))
    text = "\n".join(f"# {slug}\n{played[slug]}\n" for slug in ROWS)
    FILE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    record()
