from __future__ import annotations

import pytest

from talm.agent.content.excludes import check_patterns, exclude
from talm.agent.content.references import parse
from talm.agent.content.release import Component
from talm.errors import AgentError


def component(name: str, digit: str = "0") -> Component:
    return Component(name, parse(f"quay.io/ocp/art@sha256:{digit * 64}"))


RELEASE = [component("etcd", "e"), component("coredns"), component("aws-ebs-csi-driver")]


@pytest.mark.parametrize(
    ("pattern", "gone"),
    [
        ("aws", ["aws-ebs-csi-driver"]),
        ("dns", ["coredns"]),
        ("ee", ["etcd"]),  # in the digest; documented, and reported by the count
        ("^aws", ["aws-ebs-csi-driver"]),
        ("^dns", []),
        (r"e\{64\}$", ["etcd"]),
        ("(aws)", []),
        (r"\(aws\)", ["aws-ebs-csi-driver"]),
        ("etcd[$]quay", ["etcd"]),
        ("aws|dns", []),
        (r"aws\|dns", ["coredns", "aws-ebs-csi-driver"]),
        ("quay.io", ["etcd", "coredns", "aws-ebs-csi-driver"]),
        ("x; touch /p", []),
        ("$(touch /p)", []),
    ],
)
async def test_an_expression_is_posix_basic_and_sees_name_and_pull_spec(
    pattern: str, gone: list[str]
) -> None:
    excluded = await exclude(RELEASE, [pattern])
    kept = {component.name for component in excluded.kept}
    assert [c.name for c in RELEASE if c.name not in kept] == gone
    assert excluded.dropped == ((pattern, len(gone)),)


async def test_several_expressions_drop_what_any_of_them_matches() -> None:
    excluded = await exclude(RELEASE, ["etcd", "dns"])
    assert [component.name for component in excluded.kept] == ["aws-ebs-csi-driver"]
    assert excluded.warnings == ()


async def test_without_expressions_nothing_is_dropped() -> None:
    assert (await exclude(RELEASE, [])).kept == tuple(RELEASE)


async def test_an_expression_that_drops_nothing_or_everything_is_reported() -> None:
    excluded = await exclude(RELEASE, ["azure", "quay", "dns"])
    assert excluded.kept == ()
    assert excluded.warnings == (
        "the exclude pattern 'azure' drops no image of the release",
        "the exclude pattern 'quay' drops every image of the release",
    )


BOMB = r"\(\(a\{1,255\}\)\{1,255\}\)\{1,255\}"


@pytest.mark.parametrize("pattern", ["[", r"\(", r"a\{1", "x\0y", "x" * 5000, BOMB, "\udcff["])
async def test_what_is_no_expression_is_an_invalid_spec_that_names_it(pattern: str) -> None:
    with pytest.raises(AgentError, match=r"^InvalidSpec: the exclude pattern ") as caught:
        await check_patterns(["^etcd", pattern, "^dns"])
    assert repr(pattern[:9])[:-1] in str(caught.value)
    assert "/tmp" not in str(caught.value)  # noqa: S108 - the file that grep reads is ours to know


async def test_good_expressions_pass() -> None:
    await check_patterns([])
    await check_patterns(["", "x; touch /p", r"\(a\)*", "\udcff", "^é"] * 100)


async def test_an_expression_that_takes_too_long_is_an_invalid_spec() -> None:
    with pytest.raises(AgentError, match="takes longer than 0 s"):
        await exclude(RELEASE, ["a"], patience_s=0.0)


async def test_too_many_expressions_are_an_invalid_spec() -> None:
    with pytest.raises(AgentError, match="501 exclude patterns"):
        await check_patterns(["a"] * 501)


async def test_expressions_mean_the_same_whatever_the_locale_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In others, `[a-z]` may have capitals in it and a byte that is no text may match nothing."""
    monkeypatch.setenv("LC_ALL", "en_US.UTF-8")
    monkeypatch.setenv("GREP_OPTIONS", "-v")
    assert (await exclude(RELEASE, ["^[A-Z]"])).dropped == (("^[A-Z]", 0),)
    assert (await exclude(RELEASE, ["^[a-z]"])).kept == ()
