from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talm.agent.failures import failure, printable
from talm.agent.transfer.retry import Passing
from talm.api.progress import FailureClass


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "GET https://user:secret@host.example:8443/v2/: 503",
            "GET https://host.example:8443/v2/: 503",
        ),
        ("http://:secret@proxy", "http://proxy"),
        ("https://s3.example/blob?X-Amz-Sign=secret&a=b: 403", "https://s3.example/blob?… 403"),
        ("'https://s3.example/blob?sig=secret' and more", "'https://s3.example/blob?…' and more"),
        ("https://host/path#secret", "https://host/path?…"),
        ("HTTPS://a:secret@b@host/x", "HTTPS://host/x"),
        ("docker://quay.io/a@sha256:00 is rejected", "docker://quay.io/a@sha256:00 is rejected"),
        ("user@host: what? a://", "user@host: what? a://"),
        ("two\n lines\x1b[31m", "two lines\\x1b[31m"),
    ],
)
def test_of_a_url_neither_password_nor_query_is_shown(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert shown in str(Passing(text))
    assert shown in str(failure(FailureClass.UNAUTHORIZED, text))


@given(st.text(alphabet="a:/@?#. '\u00e9\n", max_size=200))
def test_what_is_shown_once_stays_as_it_is(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert printable(shown) == shown
