"""`python -m talm` is `talm`."""

from __future__ import annotations

from .cli.main import main

main()
