"""The table of settings: what makes sense, and what is said when something does not."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

import pytest

from talm.core.model import Vocabulary
from talm.errors import SetupError
from talm.hub.settings import POSITIVE, Settings, check, flag, to_markdown
from talm.spokes.patience import DEFAULT, Patience


def settings(**more: Any) -> Settings:
    return Settings(**{"workload_image": "workload:1"} | more)


def test_the_defaults_need_a_workload_image_and_nothing_else() -> None:
    assert check(settings()) == settings()
    with pytest.raises(SetupError, match="workload-image is not set: there is no default image"):
        check(Settings())


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (
            {"transport": "pigeon"},
            "transport is 'pigeon': it must be one of auto, view-action, manifest-work",
        ),
        (
            {"image_store": "docker"},
            "image-store is 'docker': it must be one of auto, oci-layout, ",
        ),
        (
            {"transport": "manifest-work", "profile": "existing"},
            "transport manifest-work carries profile talm alone, not existing",
        ),
        ({"conditions": "none"}, "conditions is 'none': it must be one of all, manual, current"),
        ({"log_level": "loud"}, "log-level is 'loud': it must be one of debug, info"),
        ({"lease_duration": 10.0}, "retry-period < renew-deadline < lease-duration must hold"),
        ({"retry_period": 10.0}, "retry-period < renew-deadline < lease-duration must hold"),
        ({"bind_address": "8080"}, "bind-address is '8080': it must be HOST:PORT"),
        ({"bind_address": "localhost:"}, "bind-address is 'localhost:': it must be HOST:PORT"),
        ({"bind_address": "localhost:http"}, "it must be HOST:PORT"),
        ({"bind_address": "localhost:65536"}, "it must be HOST:PORT"),
        ({"spoke_namespace": "kube-system"}, "spoke-namespace: the spoke namespace is 'kube-sy"),
        ({"shutdown_grace": float("inf")}, "shutdown-grace is inf: it must be positive"),
        ({"verify_after": -1.0}, "verify-after is -1.0: it must be between 0 and 8760"),
        ({"verify_after": float("nan")}, "verify-after is nan: it must be between"),
        ({"graph_timeout": float("nan")}, "graph-timeout is nan: it must be positive"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_with_a_sentence(wrong: dict[str, Any], text: str) -> None:
    with pytest.raises(SetupError) as refused:
        check(settings(**wrong))
    assert text in str(refused.value)


@pytest.mark.parametrize("name", POSITIVE)
def test_what_must_be_positive_is_not_zero(name: str) -> None:
    with pytest.raises(SetupError, match=f"{flag(name)} is 0: it must be positive"):
        check(settings(**{name: 0}))


def test_caches_are_verified_after_a_day_but_not_where_that_is_off_or_nobody_could_answer() -> None:
    assert settings().rules.verify_after == dt.timedelta(hours=24)
    assert check(settings(verify_after=0.5)).rules.verify_after == dt.timedelta(minutes=30)
    assert check(settings(verify_after=0)).rules.verify_after is None
    assert settings(profile="existing").rules.verify_after is None


@pytest.mark.parametrize(
    ("address", "bound"),
    [
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("[::]:8080", ("::", 8080)),
        ("[::1]:8080", ("::1", 8080)),
        ("localhost:65535", ("localhost", 65535)),
        (":8080", ("0.0.0.0", 8080)),  # noqa: S104
    ],
)
def test_addresses_are_read_as_in_gos_flags(address: str, bound: tuple[str, int]) -> None:
    assert check(settings(bind_address=address)).bind == bound


def test_pull_secrets_are_names_with_commas_between_them() -> None:
    assert settings().secrets == ()
    assert settings(pull_secrets="mirror, registry-login ,").secrets == ("mirror", "registry-login")


def test_how_long_a_cluster_may_say_nothing_is_set_in_seconds() -> None:
    told = settings(workload_silence=30, agent_silence=40, agent_poll=3600)
    assert told.patience == Patience(*(dt.timedelta(seconds=s) for s in (30, 40, 3600)))
    assert settings().patience == DEFAULT


def test_the_rules_are_what_decides() -> None:
    rules = settings(
        conditions="manual",
        setup_deadline=7,
        unavailable_grace=3,
        allowed_workload_images=" a:1, mirror/* ,",
    ).rules
    assert rules.vocabulary is Vocabulary.MANUAL
    assert rules.setup_deadline == dt.timedelta(minutes=7)
    assert rules.unavailable_grace == dt.timedelta(minutes=3)
    assert rules.allowed_workload_images == ("a:1", "mirror/*")


@pytest.mark.parametrize(
    ("profile", "store", "unpins"),
    [
        ("talm", "containerd", True),
        ("talm", "auto", True),
        ("talm", "oci-layout", False),
        ("existing", "auto", False),
    ],
)
def test_pins_are_taken_back_where_our_workload_may_make_them(
    profile: str, store: str, unpins: bool
) -> None:
    settings = Settings(workload_image="image", profile=profile, image_store=store)
    assert settings.rules.unpins is unpins


def test_every_setting_has_a_reason_and_numbers_have_units() -> None:
    counts = {"workers", "concurrency", "nodes_at_once"}
    for field in dataclasses.fields(Settings):
        assert field.metadata["why"].endswith((".", ")"))
        if type(field.default) in (int, float) and field.name not in counts:
            assert field.metadata["unit"] in ("seconds", "minutes", "hours")


def test_the_page_has_a_row_for_each() -> None:
    page = to_markdown()
    assert "| `setup-deadline` | minutes | `30` | A cluster whose Job" in page
    assert "| `workload-image` |  |  | Image of" in page
    assert "One of `json`, `console`." in page
    assert page.count("\n| `") == len(dataclasses.fields(Settings))
