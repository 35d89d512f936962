from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from talm.agent.transfer.authfiles import KUBELET, Keyring, read_auth_file, read_keyring
from talm.agent.transfer.node import read_node
from talm.errors import AgentError


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (("quay.io", "quay.io/openshift"), "quay.io/openshift"),
        (("quay.io", "quay.io/openshift/release"), "quay.io/openshift/release"),
        (("quay.io", "quay.io/open"), "quay.io"),
        (("quay.io:443", "example.com"), ""),
        (("*.io", "quay.io"), "quay.io"),
        (("*.io/openshift", "*.com"), "*.io/openshift"),
        (("*", "*.*.io"), ""),
    ],
)
def test_the_longest_entry_that_matches_is_used(names: tuple[str, ...], chosen: str) -> None:
    keyring = Keyring({name: name for name in names})
    assert keyring.find("quay.io", "openshift/release") == chosen


@pytest.mark.parametrize(
    "text", ["{", '{"auths": 3}', '{"auths": {"a": {"auth": "§secret"}}}', "[" * 100_000]
)
def test_an_unreadable_auth_file_is_refused_without_its_content(tmp_path: Path, text: str) -> None:
    file = tmp_path / "auth.json"
    file.write_text(text)
    with pytest.raises(AgentError, match=r"auth\.json") as caught:
        read_auth_file(file)
    assert "secret" not in str(caught.value)


def test_an_auth_file_that_the_user_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="not there"):
        read_keyring(tmp_path, tmp_path / "auth.json", {})
    assert read_keyring(tmp_path, None, {}) == Keyring()


def test_names_are_read_as_docker_and_the_kubelet_write_them(tmp_path: Path) -> None:
    file = tmp_path / "auth.json"
    written = ["https://index.docker.io/v1/", "https://quay.io", "a.lan:5000/x/", "b.lan/v2/"]
    file.write_text(json.dumps({"auths": {name: {"auth": "dTpw"} for name in written}}))
    assert set(read_auth_file(file).auths) == {"docker.io", "quay.io", "a.lan:5000/x", "b.lan"}


def test_a_user_and_password_in_the_clear_are_an_entry_too(tmp_path: Path) -> None:
    file = tmp_path / "auth.json"
    file.write_text(json.dumps({"auths": {"a.lan": {"username": "u", "password": "p"}}}))
    assert base64.b64decode(read_auth_file(file).find("a.lan", "x")) == b"u:p"


def test_the_named_file_comes_before_the_kubelets_and_that_before_others(tmp_path: Path) -> None:
    def write(file: Path, *names: str) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        auth = base64.b64encode(file.name.encode()).decode()
        file.write_text(json.dumps({"auths": {name: {"auth": auth} for name in names}}))

    write(tmp_path / "auth.json", "a.lan")
    write(tmp_path / KUBELET, "a.lan", "b.lan")
    others = dict.fromkeys(("a.lan", "b.lan", "c.lan"), "b3RoZXI=")
    keyring = read_keyring(tmp_path, tmp_path / "auth.json", others)
    found = [base64.b64decode(keyring.find(f"{name}.lan", "x")) for name in "abc"]
    assert found == [b"auth.json", b"config.json", b"other"]
    assert "b3RoZXI" not in repr(keyring)


def test_what_cannot_be_asked_for_credentials_is_named(tmp_path: Path) -> None:
    providers = tmp_path / "etc/eks/image-credential-provider/config.json"
    providers.parent.mkdir(parents=True)
    providers.write_text("{}")
    file = tmp_path / "auth.json"
    file.write_text(json.dumps({"credHelpers": {"gcr.io": "gcloud"}, "credsStore": "pass"}))
    hint = read_keyring(tmp_path, file, {}).hint
    for name in (f"credHelpers of {file}", f"credsStore of {file}", str(providers)):
        assert name in hint
    assert Keyring().hint == ""


def test_logins_by_token_and_helpers_of_registries_conf_are_named_and_no_secret(
    tmp_path: Path,
) -> None:
    auth = base64.b64encode(b"00000000-0000-0000-0000-000000000000:").decode()
    entry = {"auth": auth, "identitytoken": "s3cret"}
    (tmp_path / "auth.json").write_text(json.dumps({"auths": {"a.azurecr.io": entry}}))
    conf = tmp_path / "etc/containers/registries.conf"
    conf.parent.mkdir(parents=True)
    conf.write_text('credential-helpers = ["containers-auth.json", "osxkeychain"]\n')
    hint = read_node(tmp_path, tmp_path / "auth.json", {}).keyring.hint
    assert f"identity and registry tokens of {tmp_path}/auth.json (a.azurecr.io)" in hint
    assert f"credential-helpers of {conf} (osxkeychain)" in hint
    assert "s3cret" not in hint
