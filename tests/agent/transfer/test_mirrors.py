"""The node's files about registries: what is asked for an image, in which order."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from talm.agent.content.references import parse
from talm.agent.transfer.endpoints import Endpoint, Tls
from talm.agent.transfer.mirrors import Mirrors, endpoints, read_mirrors
from talm.errors import AgentError

DIGEST = f"sha256:{'0' * 64}"
CONF = "etc/containers/registries.conf"
HOSTS = "etc/containerd/certs.d/quay.io/hosts.toml"
YAML = "etc/rancher/k3s/registries.yaml"


def node(root: Path, files: dict[str, str]) -> Mirrors:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return read_mirrors(root)


def asked(mirrors: Mirrors, reference: str) -> list[str]:
    return [str(endpoint) for endpoint in endpoints(mirrors, parse(reference))]


def only(mirrors: Mirrors, reference: str) -> Endpoint:
    (endpoint,) = endpoints(mirrors, parse(reference))
    return endpoint


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("quay.io/a/b", "https://quay.io/v2/a/b"),
        ("127.0.0.1:5000/a", "http://127.0.0.1:5000/v2/a"),
        ("docker.io/nginx", "https://registry-1.docker.io/v2/library/nginx"),
        ("docker.io/some/nginx", "https://registry-1.docker.io/v2/some/nginx"),
    ],
)
def test_without_files_the_registry_itself_is_asked(reference: str, expected: str) -> None:
    endpoint = only(Mirrors(), reference)
    assert str(endpoint) == expected
    assert endpoint.registry == parse(reference).registry


MIRRORED = """
unqualified-search-registries = ["quay.io"]
[[registry]]
prefix = "quay.io/openshift"
location = "quay.io/openshift"
{more}
[[registry.mirror]]
location = "mirror.lan:5000/ocp"
{mirror}
"""


@pytest.mark.parametrize(
    ("more", "mirror", "by_digest", "by_tag"),
    [
        ("", "", True, True),
        ("mirror-by-digest-only = true", "", True, False),
        ("", 'pull-from-mirror = "digest-only"', True, False),
        ("", 'pull-from-mirror = "tag-only"', False, True),
        ("", 'pull-from-mirror = "all"', True, True),
    ],
)
def test_a_mirror_comes_before_the_source_for_the_references_that_it_serves(
    tmp_path: Path, more: str, mirror: str, by_digest: bool, by_tag: bool
) -> None:
    mirrors = node(tmp_path, {CONF: MIRRORED.format(more=more, mirror=mirror)})
    first, source = "https://mirror.lan:5000/v2/ocp/release", "https://quay.io/v2/openshift/release"
    expected = [first, source] if by_digest else [source]
    assert asked(mirrors, f"quay.io/openshift/release@{DIGEST}") == expected
    expected = [first, source] if by_tag else [source]
    assert asked(mirrors, "quay.io/openshift/release:4.10") == expected
    assert asked(mirrors, "quay.io/openshifts/release:4.10") == [
        "https://quay.io/v2/openshifts/release"
    ]


def test_the_longest_prefix_decides(tmp_path: Path) -> None:
    entries = [("quay.io", "a.lan"), ("quay.io/x", "b.lan/y"), ("*.example.com", "c.lan/z")]
    text = "".join(f'[[registry]]\nprefix = "{p}"\nlocation = "{n}"\n' for p, n in entries)
    mirrors = node(tmp_path, {CONF: text})
    assert asked(mirrors, "quay.io/x/y") == ["https://b.lan/v2/y/y"]
    assert asked(mirrors, "quay.io/xx/y") == ["https://a.lan/v2/xx/y"]
    assert asked(mirrors, "a.b.example.com/x") == ["https://c.lan/v2/z/x"]
    assert asked(mirrors, "example.com/x") == ["https://example.com/v2/x"]
    assert asked(mirrors, "evil.com/a.example.com/x") == ["https://evil.com/v2/a.example.com/x"]


def test_a_wildcard_without_location_keeps_the_name(tmp_path: Path) -> None:
    mirrors = node(tmp_path, {CONF: '[[registry]]\nprefix="*.lan"\ninsecure=true'})
    assert asked(mirrors, "a.lan/x") == ["https://a.lan/v2/x", "http://a.lan/v2/x"]


def test_insecure_means_tls_with_anybody_and_then_none(tmp_path: Path) -> None:
    text = '[[registry]]\nlocation="a.lan"\n[[registry.mirror]]\nlocation="b.lan"\ninsecure=true'
    first, second, third = endpoints(node(tmp_path, {CONF: text}), parse("a.lan/x"))
    assert (first.base, first.tls) == ("https://b.lan/v2", Tls(verify=False))
    assert (second.base, third.base) == ("http://b.lan/v2", "https://a.lan/v2")
    assert third.tls == Tls()


def test_a_blocked_source_with_mirrors_is_read_from_the_mirrors_alone(tmp_path: Path) -> None:
    mirrors = node(tmp_path, {CONF: MIRRORED.format(more="blocked = true", mirror="")})
    assert asked(mirrors, "quay.io/openshift/a") == ["https://mirror.lan:5000/v2/ocp/a"]


def test_a_registry_that_is_blocked_altogether_is_refused_for_good(tmp_path: Path) -> None:
    mirrors = node(tmp_path, {CONF: '[[registry]]\nlocation = "quay.io"\nblocked = true'})
    with pytest.raises(AgentError, match=r"quay\.io/a/b.* blocks") as caught:
        endpoints(mirrors, parse("quay.io/a/b:1"))
    assert caught.value.kind == "Unauthorized"


def test_a_later_file_replaces_the_entry_of_a_prefix_whole(tmp_path: Path) -> None:
    entry = '[[registry]]\nlocation = "quay.io"\n'
    mirrors = node(
        tmp_path,
        {
            CONF: f"{entry}blocked = true",
            f"{CONF}.d/20.conf": f'{entry}[[registry.mirror]]\nlocation = "b.lan"',
            f"{CONF}.d/10.conf": f'{entry}[[registry.mirror]]\nlocation = "a.lan"',
            f"{CONF}.d/30.txt": "not read",
        },
    )
    assert asked(mirrors, "quay.io/x") == ["https://b.lan/v2/x", "https://quay.io/v2/x"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("registry = 3", "$.registry"),
        ('[[registry]]\nlocation = "a.lan"\nblocked = "yes"', "$.registry[0].blocked"),
        ('[[registry]]\nprefix = "a.lan"', "registry[0]: location"),
        ('[[registry]]\nlocation = "https://a.lan"', "registry[0]: location"),
        ('[[registry]]\nlocation = "a.lan/x y"', "registry[0]: location"),
        ('[[registry]]\nlocation="a.lan"\n[[registry.mirror]]', "mirror[0].location"),
        (MIRRORED.format(more="", mirror='pull-from-mirror = "x"'), "mirror[0].pull-from-mirror"),
        (
            MIRRORED.format(more="mirror-by-digest-only=true", mirror='pull-from-mirror="all"'),
            "mirror[0].pull-from-mirror",
        ),
        ('[registries.search]\nregistries = ["a"]', "version 1"),
        ("\n[[registry\nx = 1", "line 2"),
    ],
)
def test_a_wrong_registries_conf_is_refused_with_file_and_key(
    tmp_path: Path, text: str, named: str
) -> None:
    with pytest.raises(AgentError) as caught:
        node(tmp_path, {CONF: text})
    assert caught.value.kind == "InvalidSpec"
    assert str(tmp_path / CONF) in str(caught.value)
    assert named in str(caught.value)


def test_a_name_that_is_rewritten_into_none_is_refused(tmp_path: Path) -> None:
    mirrors = node(tmp_path, {CONF: '[[registry]]\nprefix="a.lan"\nlocation="b.lan:5000"'})
    assert asked(mirrors, "a.lan/x") == ["https://b.lan:5000/v2/x"]
    with pytest.raises(AgentError, match=r"b\.lan:5000:80/x"):
        endpoints(mirrors, parse("a.lan:80/x"))


HOSTS_TOML = """
server = "https://quay.io"
[host."https://cache.lan"]
  capabilities = ["pull"]
  ca = "/etc/cache/ca.pem"
  client = [["client.pem", "client.key"]]
  [host."https://cache.lan".header]
    x-site = "7"
[host."http://127.0.0.1:30020"]
  capabilities = ["pull", "resolve"]
  skip_verify = true
[host."https://proxy.lan/quay/api"]
  override_path = true
"""


def test_containerd_hosts_are_asked_in_their_order_by_their_capabilities(tmp_path: Path) -> None:
    mirrors = node(tmp_path, {HOSTS: HOSTS_TOML})
    cache, local, proxy, server = endpoints(mirrors, parse(f"quay.io/a/b@{DIGEST}"))
    assert cache.url("blobs/x") == "https://cache.lan/v2/a/b/blobs/x?ns=quay.io"
    assert cache.headers == (("x-site", "7"),)
    here = tmp_path / "etc/containerd/certs.d/quay.io"
    assert cache.tls == Tls(
        True, (tmp_path / "etc/cache/ca.pem",), ((here / "client.pem", here / "client.key"),)
    )
    assert (local.base, local.tls.verify) == ("http://127.0.0.1:30020/v2", False)
    assert proxy.url("blobs/x") == "https://proxy.lan/quay/api/a/b/blobs/x?ns=quay.io"
    assert server.url("blobs/x") == "https://quay.io/v2/a/b/blobs/x"
    assert asked(mirrors, "quay.io/a/b:1") == [str(local), str(proxy), str(server)]


@pytest.mark.parametrize(
    ("directory", "reference"),
    [
        ("a.lan_5000_", "a.lan:5000/x"),
        ("a.lan:5000", "a.lan:5000/x"),
        ("_default", "a.lan:5000/x"),
    ],
)
def test_a_hosts_file_belongs_to_the_registry_of_its_directory(
    tmp_path: Path, directory: str, reference: str
) -> None:
    file = f"etc/containerd/certs.d/{directory}/hosts.toml"
    mirrors = node(tmp_path, {file: '[host."mirror.lan"]'})
    assert asked(mirrors, reference) == ["https://mirror.lan/v2/x", "https://a.lan:5000/v2/x"]


def test_a_hosts_file_may_forbid_the_registry_itself(tmp_path: Path) -> None:
    mirrors = node(tmp_path, {HOSTS: "capabilities = []"})
    with pytest.raises(AgentError, match="blocks"):
        endpoints(mirrors, parse("quay.io/a:1"))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('server = "ftp://a.lan"', "server: "),
        ('[host."https://a.lan?x"]', 'host."https://a.lan?'),
        ('[host.""]', 'host.""'),
        ('server = "https://u:p@a.lan"', "HOST[:PORT]"),
        ('[host."a.lan"]\nskip_verify = 1', "skip_verify"),
        ('server = "https://a.lan:70000"', "HOST[:PORT]"),
        ('[host."a.lan".header]\nx = "a\\nb: c"', "header 'x'"),
        ('[host."a.lan".header]\n"x y" = "a"', "header 'x y'"),
        ('[host."a.lan"]\nclient = [["a", "b", "c"]]', "client"),
        ('[host."a.lan"]\nx = \n', "line 2"),
    ],
)
def test_a_wrong_hosts_file_is_refused_with_file_and_key(
    tmp_path: Path, text: str, named: str
) -> None:
    with pytest.raises(AgentError) as caught:
        node(tmp_path, {HOSTS: text})
    assert str(tmp_path / HOSTS) in str(caught.value)
    assert named in str(caught.value)


REGISTRIES_YAML = """
mirrors:
  quay.io:
    endpoint: ["https://mirror.lan:5000", "http://b.lan/v2"]
    rewrite:
      "^openshift/(.*)": "copy/${1}-x"
  "*":
    endpoint: ["https://any.lan"]
  docker.io:
configs:
  mirror.lan:5000:
    auth: {username: u, password: p}
    tls: {ca_file: /etc/ca.pem, cert_file: c.pem, key_file: c.key}
  quay.io:
    tls: {insecure_skip_verify: true}
"""


def test_registries_yaml_names_mirrors_rewrites_and_tls(tmp_path: Path) -> None:
    mirrors = node(tmp_path, {YAML: REGISTRIES_YAML})
    first, second, source = endpoints(mirrors, parse("quay.io/openshift/a:1"))
    assert first.url("x") == "https://mirror.lan:5000/v2/copy/a-x/x?ns=quay.io"
    here = tmp_path / "etc/rancher/k3s"
    assert first.tls.ca_files == (tmp_path / "etc/ca.pem",)
    assert first.tls.clients == ((here / "c.pem", here / "c.key"),)
    assert second.base == "http://b.lan/v2"
    assert (source.path, source.tls.verify) == ("openshift/a", False)
    assert asked(mirrors, "a.lan/b") == ["https://any.lan/v2/b", "https://a.lan/v2/b"]
    assert asked(mirrors, "docker.io/b") == ["https://registry-1.docker.io/v2/library/b"]
    assert mirrors.yaml.auths == {"mirror.lan:5000": "dTpw"}
    assert "dTpw" not in repr(mirrors)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("mirrors: {quay.io: {endpoint: ['ftp://x']}}", "mirrors.quay.io.endpoint[0]"),
        ("mirrors: {quay.io: {rewrite: {'(': x}}}", "mirrors.quay.io.rewrite"),
        ("mirrors: {quay.io: {rewrite: {'a': '$1'}}}", "mirrors.quay.io.rewrite"),
        ("configs: {quay.io: {auth: {password: 7secret, username: 5}}}", "auth.username"),
        ("configs: {quay.io: {auth: {auth: '§secret'}}}", "configs.quay.io.auth"),
        ("a: b\nconfigs: {quay.io: {auth: {password: secret, }}", "line 2"),
        ("- a", "`object`"),
        ("x: \0", "YAML"),
    ],
)
def test_a_wrong_registries_yaml_is_refused_by_its_place_and_without_secrets(
    tmp_path: Path, text: str, named: str
) -> None:
    with pytest.raises(AgentError) as caught:
        node(tmp_path, {YAML: text})
    assert str(tmp_path / YAML) in str(caught.value)
    assert named in str(caught.value)
    assert "secret" not in str(caught.value)


def test_certificates_by_registry_are_used_for_its_endpoints(tmp_path: Path) -> None:
    quay, other = "etc/containers/certs.d/quay.io", "etc/containerd/certs.d/a.lan"
    files = {f"{quay}/{name}": "" for name in ("ca.crt", "me.cert", "me.key")}
    mirrors = node(tmp_path, files | {f"{other}/ca.crt": ""})
    tls = only(mirrors, "quay.io/a:1").tls
    assert tls.ca_files == (tmp_path / quay / "ca.crt",)
    assert tls.clients == ((tmp_path / quay / "me.cert", tmp_path / quay / "me.key"),)
    assert only(mirrors, "a.lan/x:1").tls.ca_files == (tmp_path / other / "ca.crt",)
    with pytest.raises(AgentError, match=r"b\.key is missing"):
        node(tmp_path, {f"{quay}/b.cert": ""})


def test_the_files_of_another_user_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(*_: object, **__: object) -> str:
        raise PermissionError

    (tmp_path / "etc/containers").mkdir(parents=True)
    monkeypatch.setattr(Path, "read_text", closed)
    assert read_mirrors(tmp_path) == Mirrors()


TEXTS = st.one_of(
    st.text(max_size=200),
    st.lists(
        st.sampled_from(
            [
                "[[registry]]", "[[registry.mirror]]", 'location = "a.lan/x"', "blocked = true",
                'prefix = "*.lan"', 'location = ""', "insecure = 3", '[host."a.lan"]', "mirrors:",
                "  quay.io:", "    endpoint: [a.lan]", "    rewrite: {'(a': b}", "- x: 2001-99-99",
                'server = "x y"', 'capabilities = ["pull"]', "configs: {a: {auth: {auth: x}}}",
            ]
        ),
        max_size=8,
    ).map("\n".join),
)  # fmt: skip


@given(text=TEXTS, name=st.sampled_from([CONF, HOSTS, YAML, f"{CONF}.d/1.conf"]))
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_text_is_either_read_or_refused_with_its_file(
    tmp_path: Path, text: str, name: str
) -> None:
    for other in (CONF, HOSTS, YAML, f"{CONF}.d/1.conf"):
        (tmp_path / other).unlink(missing_ok=True)
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(text.encode(errors="surrogatepass"))
    try:
        mirrors = read_mirrors(tmp_path)
    except AgentError as exc:
        assert exc.kind == "InvalidSpec"
        assert str(tmp_path / name) in str(exc)
        return
    for reference in ("quay.io/a:1", f"b.lan/x@{DIGEST}"):
        try:
            assert endpoints(mirrors, parse(reference))
        except AgentError as exc:
            assert exc.kind in ("Unauthorized", "InvalidSpec")
