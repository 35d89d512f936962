from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talm.agent.content.references import Reference, is_loopback, parse, parse_lines
from talm.errors import AgentError

SHA256 = f"sha256:{'0a' * 32}"
SHA512 = f"sha512:{'0a' * 64}"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (f"quay.io/a/b@{SHA256}", ("quay.io", "a/b", "", SHA256)),
        (f"quay.io/a/b:4.10@{SHA512}", ("quay.io", "a/b", "4.10", SHA512)),
        ("quay.io/a:v1_x.Y-z", ("quay.io", "a", "v1_x.Y-z", "")),
        ("localhost/a", ("localhost", "a", "", "")),
        ("127.0.0.1:5000/a/b.c__d-e/f", ("127.0.0.1:5000", "a/b.c__d-e/f", "", "")),
        ("[::1]:5000/a:t", ("[::1]:5000", "a", "t", "")),
        ("[2001:db8::7]/a", ("[2001:db8::7]", "a", "", "")),
        ("Registry/a", ("Registry", "a", "", "")),
    ],
)
def test_a_reference_splits_into_its_parts_and_back(
    text: str, parts: tuple[str, str, str, str]
) -> None:
    assert parse(text) == Reference(*parts)
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ubi9", "names no registry"),
        ("openshift/release:4.10", "names no registry"),
        ("", "names no registry"),
        ("x; touch /p", "names no registry"),
        ("quay.io/a; touch /p", "not a repository path"),
        ("quay.io/../../etc", "not a repository path"),
        ("quay.io/A/b", "not a repository path"),
        ("quay.io/a//b", "not a repository path"),
        ("quay.io/", "not a repository path"),
        ("quay.io/a:", "not a tag"),
        ("quay.io/a:b c", "not a tag"),
        ("quay.io/a:-x", "not a tag"),
        (f"quay.io/a:{'t' * 129}", "not a tag"),
        ("quay.io/a@sha256:00", "not a digest"),
        (f"quay.io/a@{SHA256}0", "not a digest"),
        (f"quay.io/a@{SHA256.upper()}", "not a digest"),
        (f"quay.io/a@md5:{'0' * 32}", "not a digest"),
        ("quay.io/a@", "not a digest"),
        ("quay.io:0/a", "not a port"),
        ("quay.io:65536/a", "not a port"),
        ("quay.io:/a", "not a registry"),
        ("-quay.io/a", "not a registry"),
        ("quay..io/a", "not a registry"),
        ("[:::]:5000/a", "neither a host's name nor an address"),
        ("[1:2]/a", "neither a host's name nor an address"),
        (f"{'a' * 64}.example.com/a", "neither a host's name nor an address"),
        ("user@quay.io/a", "not a digest"),
        (f"quay.io/{'a' * 255}", "longer than 255"),
        ("quay.io/a\n", "not a repository path"),
        ("http://quay.io/a", "not a registry"),
        ("file:///etc/passwd", "not a registry"),
        ("quay.io/a?b=c", "not a repository path"),
        ("quay.io/%2e%2e/a", "not a repository path"),
        ("quay.io/\udcff", "not a repository path"),
        (f"quay.io/{'a-' * 500_000}", "not a repository path"),
    ],
    ids=lambda text: text[:40].encode("ascii", "backslashreplace").decode(),
)
def test_anything_else_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(AgentError, match=reason) as caught:
        parse(text)
    assert caught.value.kind == "InvalidSpec"


@given(st.text(max_size=80))
def test_every_text_is_a_reference_that_prints_as_it_was_or_is_refused(text: str) -> None:
    try:
        reference = parse(text)
    except AgentError:
        return
    assert str(reference) == text


def test_lines_are_trimmed_blank_ones_skipped_and_repeated_ones_kept_once() -> None:
    text = "\n  quay.io/a:1 \r\nquay.io/b:2\n\nquay.io/a:1"
    assert [str(r) for r in parse_lines("file", text)] == ["quay.io/a:1", "quay.io/b:2"]


def test_a_refused_line_is_named_with_its_number() -> None:
    with pytest.raises(AgentError, match=r"additionalImages, line 3: 'ubi9' is not"):
        parse_lines("additionalImages", "quay.io/a:1\n\nubi9\n")


@pytest.mark.parametrize(
    ("authority", "is_here"),
    [
        ("127.0.0.1:5000", True),
        ("127.9.8.7", True),
        ("localhost", True),
        ("localhost:5000", True),
        ("[::1]:5000", True),
        ("[::1]", True),
        ("127.0.0.1.example.com", False),
        ("localhost.example.com:5000", False),
        ("127.example.com", False),
        ("10.0.0.1", False),
    ],
)
def test_only_this_machine_is_loopback(authority: str, is_here: bool) -> None:
    assert is_loopback(authority) is is_here
