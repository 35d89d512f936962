"""That ctr prints such tables is for test_containerd.py."""

from __future__ import annotations

from talm.agent.stores.ctr_output import kept_blobs, server_version, unpacked

LIST, MANIFEST, CONFIG, LAYER, LOST, LOOSE = (f"sha256:{n}" + "0" * 63 for n in "abcdef")
CONTENT = f"""\
DIGEST	SIZE	AGE			LABELS
{LIST}	1B	2 days	containerd.io/gc.ref.content.m.0={MANIFEST},containerd.io/gc.ref.content.m.1={LOST}
{MANIFEST}	1B	2 days	containerd.io/distribution.source.a=b,c,containerd.io/gc.ref.content.l.0={LAYER},\
containerd.io/gc.ref.content.config={CONFIG}
{CONFIG}	1B	2 days	containerd.io/gc.ref.snapshot.native={LOOSE}
{LAYER}	1B	2 days	containerd.io/uncompressed={LOOSE}
{LOOSE}	1B	2 days	-

"""


def images(*rows: str) -> str:
    return "\n".join(["REF TYPE DIGEST SIZE PLATFORMS LABELS", *rows, ""])


def test_blobs_are_kept_that_an_image_leads_to() -> None:
    one = f"a:1 application/vnd.oci.image.index.v1+json {LIST} 1 KiB linux/amd64 -"
    assert kept_blobs(CONTENT, images(one)) == {LIST, MANIFEST, CONFIG, LAYER}
    part = f"a:1 application/vnd.oci.image.manifest.v1+json {MANIFEST}"
    assert kept_blobs(CONTENT, images(part, one)) == {LIST, MANIFEST, CONFIG, LAYER}


def test_without_an_image_nothing_stays() -> None:
    assert kept_blobs(CONTENT, images()) == frozenset()
    assert kept_blobs("", "") == frozenset()
    assert kept_blobs(CONTENT, images(f"a:1 type {LOST} 1 KiB", "b:1")) == frozenset()


def test_documents_that_lead_to_each_other_end_nothing() -> None:
    ring = CONTENT.replace(LOST, LIST)
    assert LAYER in kept_blobs(ring, images(f"a:1 type {LIST} 1 KiB"))


def test_an_image_is_unpacked_when_its_last_column_says_so() -> None:
    table = (
        "REF TYPE DIGEST STATUS SIZE UNPACKED\n"
        "a type sha256:1 complete (3/3) 1.0 KiB/1.0 KiB true\n"
        "b type sha256:2 incomplete (1/3) 1.0 KiB/2.0 KiB true\n"
        "c type sha256:3 complete (3/3) 1.0 KiB/1.0 KiB false\n"
        "d type sha256:4 unavailable (?/?)\n\n"
    )
    assert unpacked(table) == {"a": "sha256:1", "b": "sha256:2"}


def test_the_server_s_version_counts_and_not_the_program_s() -> None:
    said = "Client:\n  Version:  1.6.20~ds1\n\nServer:\n  Version:  {}\n  UUID: 1\n"
    assert server_version(said.format("v1.7.27")) == (1, 7)
    assert server_version(said.format("2.1.0")) == (2, 1)
    assert server_version("Client:\n  Version:  1.6.20~ds1\n") == ()
