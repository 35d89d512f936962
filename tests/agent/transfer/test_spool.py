from __future__ import annotations

import errno
from pathlib import Path

import pytest

from talm.agent.content.references import is_digest
from talm.agent.transfer.registry import digest_of
from talm.agent.transfer.spool import Spool, file_digest, storage_errors
from talm.errors import AgentError

DIGEST = digest_of(b"content")


async def test_one_run_at_a_time_works_in_a_spool(tmp_path: Path) -> None:
    async with Spool(tmp_path).locked(0):
        with pytest.raises(AgentError, match="another run works here"):
            async with Spool(tmp_path).locked(0):
                pass
    async with Spool(tmp_path).locked(0):
        pass


def test_a_blob_counts_whether_it_is_whole_or_in_part(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    assert spool.held(DIGEST) == 0
    spool.partial(DIGEST).write_bytes(b"con")
    assert spool.held(DIGEST) == 3
    spool.keep(DIGEST)
    assert spool.whole(DIGEST).read_bytes() == b"con"
    assert spool.held(DIGEST) == 3
    spool.drop(DIGEST)
    assert spool.held(DIGEST) == 0


async def test_a_file_hashes_to_the_digest_of_its_content(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    assert await file_digest(tmp_path / "file", "sha256") == DIGEST
    assert is_digest(await file_digest(tmp_path / "file", "sha512"))


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, "InsufficientSpace"),
        (errno.EDQUOT, "InsufficientSpace"),
        (errno.EIO, "StoreFailed"),
    ],
)
def test_a_full_disk_is_told_from_a_broken_one(number: int, kind: str) -> None:
    with pytest.raises(AgentError) as caught, storage_errors(Path("/spool")):
        raise OSError(number, "the disk says no")
    assert caught.value.kind == kind
