from __future__ import annotations

import pytest

from talm.agent.content.references import parse
from talm.agent.stores.names import names_of, repository
from talm.agent.transfer.registry import digest_of
from talm.sim.images import build_image

from .samples import resolved

DIGEST = digest_of(b"x")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("quay.io/a/b:1", "quay.io/a/b"),
        ("localhost:5000/b", "localhost:5000/b"),
        ("docker.io/busybox", "docker.io/library/busybox"),
        ("docker.io/me/busybox", "docker.io/me/busybox"),
        ("index.docker.io/busybox", "docker.io/library/busybox"),
    ],
)
def test_a_repository_is_written_as_runtimes_write_it(text: str, name: str) -> None:
    assert repository(parse(text)) == name


@pytest.mark.parametrize(
    ("reference", "tags"),
    [
        ("quay.io/a", (":latest",)),
        ("quay.io/a:1", (":1",)),
        ("quay.io/a@", ()),
        ("quay.io/a:1@", ()),
    ],
)
def test_an_image_is_named_by_digest_and_by_the_tag_that_led_to_it(
    reference: str, tags: tuple[str, ...]
) -> None:
    image = resolved(build_image("a", [{"f": b"x"}]), reference)
    by_digest = f"quay.io/a@{image.digest}"
    assert names_of(image) == (by_digest, *(f"quay.io/a{tag}" for tag in tags))
