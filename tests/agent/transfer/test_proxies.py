from __future__ import annotations

from pathlib import Path

import pytest

from talm.agent.transfer.proxies import Proxies, proxies_of, read_proxies
from talm.errors import AgentError

BOTH = {"HTTP_PROXY": "http://one.lan:3128", "https_proxy": "two.lan:3128"}


def test_the_scheme_decides_which_proxy() -> None:
    proxies = proxies_of(BOTH, "here")
    assert proxies.of("http://quay.io/v2/") == "http://one.lan:3128"
    assert proxies.of("https://quay.io/v2/") == "http://two.lan:3128"
    assert Proxies().of("https://quay.io/v2/") is None


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:5000", "[::1]:80", "localhost:5000"])
def test_this_machine_is_never_asked_through_a_proxy(host: str) -> None:
    assert proxies_of(BOTH, "here").of(f"http://{host}/v2/") is None


@pytest.mark.parametrize(
    ("entry", "host", "without"),
    [
        ("*", "quay.io", True),
        ("quay.io", "quay.io", True),
        ("quay.io", "cdn.quay.io", True),
        ("quay.io", "notquay.io", False),
        (".quay.io", "quay.io", False),
        (".quay.io", "cdn.quay.io", True),
        ("*.quay.io", "cdn.quay.io", True),
        ("quay.io:443", "quay.io", True),
        ("quay.io:8443", "quay.io", False),
        ("quay.io:8443", "quay.io:8443", True),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("fd00::/8", "[fd00::1]:5000", True),
        (" a , QUAY.io ", "quay.io", True),
        ("", "quay.io", False),
    ],
)
def test_no_proxy_is_read_as_the_runtimes_read_it(entry: str, host: str, without: bool) -> None:
    proxies = proxies_of(BOTH | {"no_proxy": entry}, "here")
    assert (proxies.of(f"https://{host}/v2/") is None) == without


def test_the_environment_comes_before_the_files_of_the_node(tmp_path: Path) -> None:
    file = tmp_path / "etc/mco/proxy.env"
    file.parent.mkdir(parents=True)
    file.write_text("# by the node's operator\nHTTPS_PROXY='http://node.lan:80'\nNO_PROXY=.lan\n")
    assert read_proxies(tmp_path, BOTH).http == "http://one.lan:3128"
    proxies = read_proxies(tmp_path, {"NO_PROXY": "quay.io"})
    assert proxies == Proxies("", "http://node.lan:80", (".lan",))


def test_a_proxy_for_the_runtime_alone_comes_first(tmp_path: Path) -> None:
    file = tmp_path / "etc/default/k3s"
    file.parent.mkdir(parents=True)
    file.write_text("HTTPS_PROXY=http://a.lan\nexport CONTAINERD_HTTPS_PROXY=http://b.lan\n")
    assert read_proxies(tmp_path, {}).https == "http://b.lan"


@pytest.mark.parametrize("proxy", ["socks5://a.lan", "http://", "http://[", "http://a:b@c:d"])
def test_a_proxy_that_is_none_is_refused_without_its_password(proxy: str) -> None:
    with pytest.raises(AgentError, match="the environment: HTTP_PROXY") as caught:
        proxies_of({"HTTP_PROXY": proxy}, "the environment")
    assert "b@" not in str(caught.value)
    assert "secret" not in repr(proxies_of({"HTTP_PROXY": "http://u:secret@a.lan"}, "here"))
