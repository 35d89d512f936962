from __future__ import annotations

import json
from typing import Any

import pytest

from talm.agent.content.manifests import Unreadable, choose, media_type_of, read_body
from talm.agent.transfer.registry import OCI_INDEX, OCI_MANIFEST, Document, digest_of

PART = {"digest": digest_of(b"x"), "size": 1}


def document(media_type: str = OCI_MANIFEST, **body: Any) -> Document:
    return Document(digest_of(b""), media_type, json.dumps(body).encode())


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"schemaVersion": 1, "fsLayers": []},
        {"config": PART},
        {"layers": [PART]},
        {"config": PART, "layers": [PART], "manifests": [PART]},
        {"manifests": [PART], "layers": []},
        {"config": PART, "layers": "none"},
        {"config": PART, "layers": [{"digest": "sha256:../../etc/passwd", "size": 1}]},
        {"config": {"digest": PART["digest"], "size": -1}, "layers": []},
        {"config": {"size": 1}, "layers": []},
    ],
    ids=str,
)
def test_what_is_neither_an_image_nor_a_list_is_unreadable(body: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        read_body(document(**body))


def test_what_is_no_json_is_unreadable() -> None:
    with pytest.raises(Unreadable):
        read_body(Document(digest_of(b""), OCI_MANIFEST, b"<html>"))


def test_the_linux_image_of_the_architecture_is_chosen() -> None:
    entries = [("amd64", "windows"), ("arm64", "linux"), ("amd64", "linux")]
    body = read_body(
        document(
            OCI_INDEX,
            manifests=[
                {
                    "digest": digest_of(f"{a}{o}".encode()),
                    "size": 1,
                    "platform": {"architecture": a, "os": o},
                }
                for a, o in entries
            ],
        )
    )
    assert body.manifests
    assert choose(body.manifests, "amd64") is body.manifests[2]
    with pytest.raises(Unreadable, match="only for amd64, arm64, amd64"):
        choose(body.manifests, "s390x")


@pytest.mark.parametrize(
    ("said", "served", "stored"),
    [
        (OCI_INDEX, "application/json", OCI_INDEX),
        ("", OCI_INDEX, OCI_INDEX),
        ("", "application/json", OCI_INDEX),
    ],
)
def test_the_stored_type_is_what_the_document_says_of_itself(
    said: str, served: str, stored: str
) -> None:
    more = {"mediaType": said} if said else {}
    assert media_type_of(document(served, manifests=[PART], **more)) == stored
