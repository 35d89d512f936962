from __future__ import annotations

from pathlib import Path

import pytest

from talm.agent.settings import DEFAULT_SPOOL, Settings


@pytest.mark.parametrize(
    ("store", "spool"),
    [
        ("oci-layout:/srv/images", Path("/srv/images/.spool")),
        ("oci-layout:/var/lib/talm/images", DEFAULT_SPOOL),
        ("containers-storage:", DEFAULT_SPOOL),
    ],
)
def test_the_spool_is_beside_the_images_or_in_the_nodes_own_place(store: str, spool: Path) -> None:
    assert Settings(store=store).spool_directory() == spool
    assert Settings(store=store, spool=Path("/x")).spool_directory() == Path("/x")
