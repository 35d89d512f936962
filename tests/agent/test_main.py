"""One run against a registry with faults: exit code, store, bytes moved, last words."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
from pathlib import Path

import pytest

from talm.agent import running
from talm.agent.content.manifests import Image
from talm.agent.failures import failure
from talm.agent.main import plan_only, run_agent
from talm.agent.progress import Progress
from talm.agent.stores.oci_layout import REF_NAME, OciLayout
from talm.agent.transfer.spool import Spool
from talm.api.progress import EXIT_CODES, FailureClass
from talm.sim.images import SyntheticImage, build_image, digest_of

from .conftest import SettingsFor, until
from .faultyregistry import (
    USER,
    Answers,
    Changes,
    Cuts,
    Expires,
    FaultyRegistry,
    IgnoresRange,
    MovesRange,
    Stalls,
)

F = FailureClass


def layout(tmp_path: Path) -> Path:
    return tmp_path / "images"


def stored(tmp_path: Path, digest: str) -> bytes:
    return (layout(tmp_path) / "blobs" / digest.replace(":", "/")).read_bytes()


def last_words(tmp_path: Path) -> str:
    return (tmp_path / "termination-log").read_text()


async def test_an_image_by_digest_ends_in_the_layout_byte_for_byte(
    registry: FaultyRegistry, release: SyntheticImage, settings_for: SettingsFor, tmp_path: Path
) -> None:
    spec = registry.add(release)
    assert await run_agent(settings_for(spec)) == 0
    assert digest_of(stored(tmp_path, release.digest)) == release.digest
    for digest, blob in release.blobs.items():
        assert stored(tmp_path, digest) == blob
    index = json.loads((layout(tmp_path) / "index.json").read_text())
    (entry,) = index["manifests"]
    assert (entry["digest"], entry["annotations"][REF_NAME]) == (release.digest, spec)
    assert json.loads((layout(tmp_path) / "oci-layout").read_text()) == {
        "imageLayoutVersion": "1.0.0"
    }
    assert not (tmp_path / "termination-log").exists()


async def test_a_run_that_succeeds_leaves_no_blob_in_the_spool(
    registry: FaultyRegistry, release: SyntheticImage, settings_for: SettingsFor, tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    (spool / f"sha256-{'0' * 64}.partial").write_bytes(b"of an image that is no longer wanted")
    assert await run_agent(settings_for(registry.add(release), spool=spool)) == 0
    assert {path.name for path in spool.iterdir()} == {".lock", ".last-run"}


async def test_what_a_failed_image_has_brought_stays_and_the_rest_goes(
    registry: FaultyRegistry,
    release: SyntheticImage,
    big: str,
    settings_for: SettingsFor,
    tmp_path: Path,
) -> None:
    spool = tmp_path / "spool"
    other = build_image("other/image", [{"c": b"this one arrives"}, {"d": b"this one too"}])
    settings = settings_for(registry.add(release), registry.add(other), spool=spool)
    del registry.blobs[big]
    assert await run_agent(settings) == EXIT_CODES[F.IMAGE_NOT_FOUND]
    left = {path.name for path in spool.iterdir()} - {".lock", ".last-run"}
    assert left == {name.replace(":", "-") for name in release.blobs if name != big}


async def test_a_second_run_moves_no_blob(
    registry: FaultyRegistry, release: SyntheticImage, settings_for: SettingsFor
) -> None:
    spec = registry.add(release)
    await run_agent(settings_for(spec))
    moved = registry.blob_bytes
    assert moved == sum(len(blob) for blob in release.blobs.values())
    assert await run_agent(settings_for(spec)) == 0
    assert registry.blob_bytes == moved


async def test_a_damaged_blob_of_the_store_is_fetched_again(
    registry: FaultyRegistry,
    release: SyntheticImage,
    big: str,
    settings_for: SettingsFor,
    tmp_path: Path,
) -> None:
    spec = registry.add(release)
    await run_agent(settings_for(spec))
    file = layout(tmp_path) / "blobs" / big.replace(":", "/")
    file.write_bytes(bytes(len(release.blobs[big])))
    assert await run_agent(settings_for(spec)) == 0
    assert stored(tmp_path, big) == release.blobs[big]


async def test_a_blob_that_two_images_share_is_fetched_once(
    registry: FaultyRegistry, release: SyntheticImage, big: str, settings_for: SettingsFor
) -> None:
    other = build_image("other/image", [{"c": b"only this is new"}])
    joint = json.loads(other.manifest)
    joint["layers"].append(json.loads(release.manifest)["layers"][0])
    both = SyntheticImage("other/image", json.dumps(joint).encode(), other.blobs)
    settings = settings_for(registry.add(release), registry.add(both))
    assert await run_agent(settings) == 0
    assert sum(path.endswith(big) for path in registry.asked) == 1


async def test_a_tag_is_stored_under_the_digest_it_meant(
    registry: FaultyRegistry, release: SyntheticImage, settings_for: SettingsFor, tmp_path: Path
) -> None:
    assert await run_agent(settings_for(registry.add(release, tag="4.10.9"))) == 0
    assert digest_of(stored(tmp_path, release.digest)) == release.digest


async def test_a_list_leads_to_this_architecture_and_is_kept_itself(
    registry: FaultyRegistry, release: SyntheticImage, settings_for: SettingsFor, tmp_path: Path
) -> None:
    registry.add(release)
    other = build_image("openshift-release/release", [{"x": b"for another machine"}])
    media_type = "application/vnd.docker.distribution.manifest.list.v2+json"
    entries = [
        {
            "digest": i.digest,
            "size": len(i.manifest),
            "platform": {"architecture": a, "os": "linux"},
        }
        for i, a in ((other, "s390x"), (release, "amd64"))
    ]
    body = json.dumps({"mediaType": media_type, "manifests": entries}).encode()
    registry.manifests[digest_of(body)] = (media_type, body)
    spec = f"{registry.host}/openshift-release/release@{digest_of(body)}"
    assert await run_agent(settings_for(spec, architecture="amd64")) == 0
    assert stored(tmp_path, digest_of(body)) == body
    assert stored(tmp_path, release.digest) == release.manifest
    index = json.loads((layout(tmp_path) / "index.json").read_text())
    assert index["manifests"][0]["mediaType"] == media_type


async def test_an_architecture_that_the_list_lacks_is_named(
    registry: FaultyRegistry, release: SyntheticImage, settings_for: SettingsFor, tmp_path: Path
) -> None:
    platform = {"architecture": "s390x", "os": "linux"}
    entry = {"digest": release.digest, "size": 1, "platform": platform}
    body = json.dumps({"manifests": [entry]}).encode()
    registry.manifests[digest_of(body)] = ("application/vnd.oci.image.index.v1+json", body)
    spec = f"{registry.host}/openshift-release/release@{digest_of(body)}"
    code = await run_agent(settings_for(platform_image=spec, architecture="arm64"))
    assert code == EXIT_CODES[F.RELEASE_UNREADABLE]
    assert "no image for arm64, only for s390x" in last_words(tmp_path)


async def test_an_unknown_manifest_fails_at_once_with_its_name(
    registry: FaultyRegistry, release: SyntheticImage, settings_for: SettingsFor, tmp_path: Path
) -> None:
    spec = f"{registry.host}/openshift-release/release@{release.digest}"
    assert await run_agent(settings_for(spec)) == EXIT_CODES[F.IMAGE_NOT_FOUND]
    assert len(registry.asked) == 1
    assert last_words(tmp_path).startswith(f"ImageNotFound: manifest {release.digest}")


async def test_one_image_that_cannot_be_had_does_not_stop_the_others(
    registry: FaultyRegistry, release: SyntheticImage, settings_for: SettingsFor, tmp_path: Path
) -> None:
    gone = build_image("other/image", [{"c": b"gone"}])
    settings = settings_for(registry.add(gone), registry.add(release))
    for digest in gone.blobs:
        del registry.blobs[digest]
    assert await run_agent(settings) == EXIT_CODES[F.IMAGE_NOT_FOUND]
    index = json.loads((layout(tmp_path) / "index.json").read_text())
    assert [entry["digest"] for entry in index["manifests"]] == [release.digest]


async def test_every_image_that_failed_is_named_with_its_reason(
    registry: FaultyRegistry, release: SyntheticImage, settings_for: SettingsFor, tmp_path: Path
) -> None:
    """One that has no manifest, one that lacks a blob, one that is forbidden, one that is there."""
    absent, lacking, closed = (build_image(f"a/{n}", [{"f": n.encode()}]) for n in "xyz")
    specs = [registry.add(image) for image in (absent, lacking, closed, release)]
    del registry.manifests[absent.digest]
    registry.blobs.pop(json.loads(lacking.manifest)["layers"][0]["digest"])
    registry.fails(closed.digest, Answers(403))
    assert await run_agent(settings_for(*specs)) != 0
    words = last_words(tmp_path)
    assert "3 of 4 images failed" in words
    for image, reason in ((absent, "404"), (lacking, "404"), (closed, "403")):
        assert any(
            f"/{image.repository}" in text and reason in text for text in words.split("; ")
        ), words
    assert release.repository not in words


@pytest.mark.parametrize(
    "fault",
    [
        Answers(500),
        Answers(503, (("Retry-After", "0"),)),
        Answers(429, (("Retry-After", "1"),)),
        Answers(408),
        Cuts(0),
    ],
    ids=str,
)
@pytest.mark.parametrize("place", ["/manifests/", "/blobs/"])
async def test_passing_answers_are_asked_again(
    registry: FaultyRegistry,
    release: SyntheticImage,
    settings_for: SettingsFor,
    place: str,
    fault: Answers | Cuts,
) -> None:
    spec = registry.add(release)
    registry.fails(place, fault, fault)
    assert await run_agent(settings_for(spec)) == 0


async def test_a_blob_that_was_cut_is_continued_from_its_last_byte(
    registry: FaultyRegistry, release: SyntheticImage, big: str, settings_for: SettingsFor
) -> None:
    spec = registry.add(release)
    registry.fails(big, Cuts(100_000), Cuts(100_000))
    assert await run_agent(settings_for(spec)) == 0
    assert registry.blob_bytes == sum(len(blob) for blob in release.blobs.values())
    assert registry.ranges == ["bytes=100000-", "bytes=200000-"]


async def test_a_stalled_transfer_is_cut_and_continued(
    registry: FaultyRegistry, release: SyntheticImage, big: str, settings_for: SettingsFor
) -> None:
    spec = registry.add(release)
    registry.fails(big, Stalls(100_000))
    assert await run_agent(settings_for(spec, stall_s=0.5)) == 0
    assert registry.ranges[0] == "bytes=100000-"


@pytest.mark.parametrize("fault", [IgnoresRange(), MovesRange()], ids=str)
async def test_a_range_that_is_not_heeded_still_gives_the_right_blob(
    registry: FaultyRegistry,
    release: SyntheticImage,
    big: str,
    settings_for: SettingsFor,
    tmp_path: Path,
    fault: IgnoresRange | MovesRange,
) -> None:
    spec = registry.add(release)
    registry.fails(big, Cuts(100_000), fault)
    assert await run_agent(settings_for(spec)) == 0
    assert stored(tmp_path, big) == release.blobs[big]


@pytest.mark.parametrize(
    "change", [Changes(), Changes(b"too short"), Changes(bytes(400_000))], ids=["same", "-", "+"]
)
async def test_a_blob_that_is_not_what_its_digest_says_is_fetched_once_more(
    registry: FaultyRegistry,
    release: SyntheticImage,
    big: str,
    settings_for: SettingsFor,
    tmp_path: Path,
    change: Changes,
) -> None:
    spec = registry.add(release)
    registry.fails(big, change)
    assert await run_agent(settings_for(spec)) == 0
    assert stored(tmp_path, big) == release.blobs[big]


@pytest.mark.parametrize("change", [b"too short", bytes(400_000), None], ids=["-", "+", "same"])
async def test_a_blob_that_stays_wrong_fails_and_leaves_nothing_of_it(
    registry: FaultyRegistry,
    release: SyntheticImage,
    big: str,
    settings_for: SettingsFor,
    tmp_path: Path,
    change: bytes | None,
) -> None:
    spec = registry.add(release)
    registry.blobs[big] = change if change is not None else bytes(len(release.blobs[big]))
    assert await run_agent(settings_for(spec)) == EXIT_CODES[F.IMAGE_NOT_FOUND]
    assert "no intact copy" in last_words(tmp_path)
    assert not list((layout(tmp_path) / ".spool").glob(f"{big.replace(':', '-')}*"))


async def test_a_manifest_that_does_not_hash_to_its_digest_is_not_taken(
    registry: FaultyRegistry, release: SyntheticImage, settings_for: SettingsFor, tmp_path: Path
) -> None:
    spec = registry.add(release)
    registry.fails("/manifests/", Changes(), Changes())
    assert await run_agent(settings_for(spec)) == EXIT_CODES[F.IMAGE_NOT_FOUND]
    registry.fails("/manifests/", Changes())
    assert await run_agent(settings_for(spec)) == 0


async def test_a_registry_that_never_answers_well_is_unreachable(
    registry: FaultyRegistry, release: SyntheticImage, settings_for: SettingsFor, tmp_path: Path
) -> None:
    spec = registry.add(release)
    registry.fails("/manifests/", *[Answers(502)] * 100)
    code = await run_agent(settings_for(spec, retry_for_s=1.0))
    assert code == EXIT_CODES[F.REGISTRY_UNREACHABLE]
    assert "502" in last_words(tmp_path)


async def test_nobody_listening_is_unreachable(settings_for: SettingsFor) -> None:
    spec = f"127.0.0.1:9/a/b@sha256:{'0' * 64}"
    code = await run_agent(settings_for(spec, retry_for_s=0.5))
    assert code == EXIT_CODES[F.REGISTRY_UNREACHABLE]


async def test_an_answer_that_no_retry_changes_is_final(
    registry: FaultyRegistry, release: SyntheticImage, settings_for: SettingsFor
) -> None:
    spec = registry.add(release)
    registry.fails("/manifests/", Answers(400))
    assert await run_agent(settings_for(spec)) == EXIT_CODES[F.REGISTRY_UNREACHABLE]


def auth_file(tmp_path: Path, name: str, user: str = USER) -> Path:
    file = tmp_path / "auth.json"
    auth = base64.b64encode(user.encode()).decode()
    file.write_text(json.dumps({"auths": {name: {"auth": auth}}}))
    return file


async def test_one_token_fetched_with_the_credentials_serves_the_whole_run(
    registry: FaultyRegistry, release: SyntheticImage, settings_for: SettingsFor, tmp_path: Path
) -> None:
    spec = registry.add(release)
    registry.wants_tokens()
    settings = settings_for(
        spec, auth_file=auth_file(tmp_path, f"{registry.host}/openshift-release")
    )
    assert await run_agent(settings) == 0
    assert registry.scopes == ["repository:x:pull"]


async def test_a_token_that_expires_in_mid_run_costs_one_renewal(
    registry: FaultyRegistry, release: SyntheticImage, settings_for: SettingsFor, tmp_path: Path
) -> None:
    spec = registry.add(release)
    registry.wants_tokens()
    settings = settings_for(spec, auth_file=auth_file(tmp_path, registry.host))
    registry.fails("/blobs/", Expires())
    assert await run_agent(settings) == 0
    assert len(registry.scopes) == 2


async def test_basic_credentials_are_sent_when_they_are_asked_for(
    registry: FaultyRegistry, release: SyntheticImage, settings_for: SettingsFor, tmp_path: Path
) -> None:
    spec = registry.add(release)
    registry.wants_passwords()
    settings = settings_for(spec, auth_file=auth_file(tmp_path, registry.host))
    assert await run_agent(settings) == 0


@pytest.mark.parametrize("user", ["", "spoke:wrong"])
@pytest.mark.parametrize("scheme", ["tokens", "passwords"])
async def test_missing_and_wrong_credentials_are_unauthorized_and_not_tried_again(
    registry: FaultyRegistry,
    release: SyntheticImage,
    settings_for: SettingsFor,
    tmp_path: Path,
    scheme: str,
    user: str,
) -> None:
    spec = registry.add(release)
    registry.wants_tokens() if scheme == "tokens" else registry.wants_passwords()
    auth = auth_file(tmp_path, registry.host, user) if user else None
    assert await run_agent(settings_for(spec, auth_file=auth)) == EXIT_CODES[F.UNAUTHORIZED]
    assert len(registry.asked) <= 2
    assert "secret" not in last_words(tmp_path)


async def test_a_redirect_to_another_host_does_not_carry_the_credentials(
    registry: FaultyRegistry,
    release: SyntheticImage,
    big: str,
    settings_for: SettingsFor,
    tmp_path: Path,
) -> None:
    spec = registry.add(release)
    registry.wants_passwords()
    port = registry.host.rpartition(":")[2]
    elsewhere = f"http://localhost:{port}/v2/openshift-release/release/blobs/{big}"
    registry.fails(big, Answers(307, (("Location", elsewhere),)))
    settings = settings_for(spec, auth_file=auth_file(tmp_path, registry.host))
    # The other host refuses us, since nothing was sent to it; the registry itself is asked again.
    assert await run_agent(settings) == 0
    assert (f"localhost:{port}", "") in registry.sent
    assert all(host == registry.host for host, authorization in registry.sent if authorization)


async def test_too_little_space_is_said_before_a_blob_moves(
    registry: FaultyRegistry, release: SyntheticImage, settings_for: SettingsFor, tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.mkdir()
    (config / "spaceRequired").write_text("900000")
    settings = settings_for(registry.add(release), config=config)
    assert await run_agent(settings) == EXIT_CODES[F.INSUFFICIENT_SPACE]
    assert registry.blob_bytes == 0
    assert "900000.00 GiB needed" in last_words(tmp_path)
    (config / "spaceRequired").write_text("")
    assert await run_agent(settings) == 0
    (config / "spaceRequired").write_text("900000")
    assert await run_agent(settings) == 0, "nothing is missing any more"


async def test_the_kubelets_threshold_stops_a_pull_and_only_warns_after_one(
    registry: FaultyRegistry, release: SyntheticImage, settings_for: SettingsFor, tmp_path: Path
) -> None:
    limits = tmp_path / "kubelet.conf"
    limits.write_text("kind: KubeletConfiguration\nimageGCHighThresholdPercent: 0\n")
    settings = settings_for(registry.add(release), kubelet_config=limits)
    assert await run_agent(settings) == EXIT_CODES[F.INSUFFICIENT_SPACE]
    assert registry.blob_bytes == 0
    assert "0.00 GiB free under the kubelet's threshold of 0 %" in last_words(tmp_path)
    planned = await plan_only(settings)
    assert "0.00 GiB free under the kubelet's threshold of 0 %" in planned.warnings[0]
    assert await run_agent(settings_for(registry.add(release))) == 0
    assert await run_agent(settings) == 0, "everything is cached"


class Forgetful(OciLayout):
    """A store that loses a blob of every image but the last one that it was given."""

    async def put(self, image: Image, spool: Spool) -> None:
        for blob in (self.directory / "blobs/sha256").iterdir():
            blob.unlink()
        await super().put(image, spool)


async def test_what_the_store_has_lost_when_it_is_asked_is_named_and_fails_the_run(
    registry: FaultyRegistry,
    settings_for: SettingsFor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("talm.agent.main.open_store", lambda *_: Forgetful(layout(tmp_path)))
    images = [registry.add(build_image(name, [{name: bytes(10)}])) for name in ("a", "b", "c")]
    assert await run_agent(settings_for(*images)) == EXIT_CODES[F.STORE_FAILED]
    lost = [image for image in images if f"has lost {image}" in last_words(tmp_path)]
    assert len(lost) == 2
    assert last_words(tmp_path).startswith("StoreFailed: 2 of 3 images failed: ")


async def test_what_goes_wrong_when_all_is_there_is_only_a_warning(
    registry: FaultyRegistry,
    release: SyntheticImage,
    settings_for: SettingsFor,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuses(*_: object) -> None:
        raise failure(F.STORE_FAILED, "the disk does not answer")

    monkeypatch.setattr("talm.agent.main.leftovers.empty", refuses)
    monkeypatch.setattr("talm.agent.main.Room.warnings", refuses)
    assert await run_agent(settings_for(registry.add(release))) == 0
    assert "StoreFailed: the disk does not answer" in capsys.readouterr().out


async def test_last_words_are_whole_characters_within_the_kubelets_bound(
    settings_for: SettingsFor, tmp_path: Path
) -> None:
    code = await run_agent(settings_for(config=tmp_path / "配置" / ("配" * 80) / ("置" * 80)))
    assert code == EXIT_CODES[F.INVALID_SPEC]
    progress = Progress("run")
    progress.finish(failure(F.STORE_FAILED, "配" * 3000))
    running._leave_message(tmp_path / "termination-log", progress.record)
    words = (tmp_path / "termination-log").read_bytes()
    assert 4090 < len(words) <= 4096
    assert words.decode().startswith("StoreFailed: 配配")


async def test_a_store_that_cannot_be_written_says_so(
    registry: FaultyRegistry, release: SyntheticImage, settings_for: SettingsFor, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    settings = settings_for(registry.add(release), store=f"oci-layout:{tmp_path}/file/images")
    assert await run_agent(settings) == EXIT_CODES[F.STORE_FAILED]


@pytest.mark.parametrize(
    "settings",
    [
        {"platform_image": "ubi9"},
        {"platform_image": ""},
        {"store": "containerd:k8s.io"},
        {"progress_config_map": "no-slash"},
        {"config": Path("/nonexistent")},
        {"auth_file": Path("/nonexistent")},
    ],
    ids=str,
)
async def test_wrong_settings_are_an_invalid_spec(
    settings_for: SettingsFor, tmp_path: Path, settings: dict[str, object]
) -> None:
    known = {"platform_image": f"127.0.0.1:9/a/b@sha256:{'0' * 64}"} | settings
    code = await run_agent(settings_for(**known))
    assert code == EXIT_CODES[F.INVALID_SPEC]
    assert last_words(tmp_path).startswith("InvalidSpec: ")


async def test_a_run_ended_by_sigterm_keeps_what_arrived_for_the_next_one(
    registry: FaultyRegistry,
    release: SyntheticImage,
    big: str,
    settings_for: SettingsFor,
    tmp_path: Path,
) -> None:
    spec = registry.add(release)
    registry.fails(big, Stalls(100_000))
    run = asyncio.create_task(run_agent(settings_for(spec)))
    partial = layout(tmp_path) / ".spool" / f"{big.replace(':', '-')}.partial"
    await until(lambda: partial.exists() and partial.stat().st_size > 0)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await asyncio.wait_for(run, 5) == EXIT_CODES[F.INTERRUPTED]
    assert last_words(tmp_path).startswith("Interrupted: ")
    held = partial.stat().st_size
    assert await run_agent(settings_for(spec)) == 0
    assert registry.ranges == [f"bytes={held}-"]


async def test_a_run_stops_before_the_jobs_deadline_and_waits_to_be_ended(
    registry: FaultyRegistry,
    release: SyntheticImage,
    big: str,
    settings_for: SettingsFor,
    tmp_path: Path,
) -> None:
    spec = registry.add(release)
    registry.fails(big, Stalls(100_000))
    run = asyncio.create_task(run_agent(settings_for(spec, job_deadline_s=4.0)))
    await until((tmp_path / "termination-log").exists)
    told = last_words(tmp_path)
    assert told.startswith("PartlyCached: stopped 1 s before the Job's deadline of 4 s; 0 of 1 ")
    assert told.endswith(f"; missing: {spec}")
    os.kill(os.getpid(), signal.SIGTERM)
    assert await asyncio.wait_for(run, 5) == EXIT_CODES[F.PARTLY_CACHED]
    (partial,) = (layout(tmp_path) / ".spool").glob("*.partial")
    assert partial.stat().st_size > 0
