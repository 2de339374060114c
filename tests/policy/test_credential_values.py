"""Credentials as values: every spelling is read, and no secret is shown."""

from __future__ import annotations

import copy
import pickle
import traceback
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from botocore.credentials import EnvProvider
from hypothesis import given
from hypothesis import strategies as st

from s3reader.credential_values import Credentials, parse_expiry

SECRET = "wJalrXUtnFEMI0K7MDENG0bPxRfiCYEXAMPLEKEY"
TOKEN = "FwoGZXIvYXdzEXAMPLETOKEN"
EPOCH = 1795334400.0


@pytest.mark.parametrize(
    "mapping",
    [
        {"access_key_id": "AKID", "secret_access_key": SECRET, "session_token": TOKEN}
        | {"expiry_time": "2026-11-22T08:00:00Z"},
        {"aws_access_key_id": "AKID", "aws_secret_access_key": SECRET, "aws_session_token": TOKEN}
        | {"expiry_time": datetime(2026, 11, 22, 8, tzinfo=timezone.utc)},
        {"access_key": "AKID", "secret_key": SECRET, "token": TOKEN, "account_id": None}
        | {"expiry_time": "2026-11-22T09:00:00+01:00"},
        {"AccessKeyId": "AKID", "SecretAccessKey": SECRET, "SessionToken": TOKEN}
        | {"Expiration": datetime(2026, 11, 22, 8)},
        {"AccessKeyId": "AKID", "SecretAccessKey": SECRET, "Token": TOKEN, "Code": "Success"}
        | {"Type": "AWS-HMAC", "LastUpdated": "x", "Expiration": EPOCH},
    ],
)
def test_every_spelling_is_read(mapping: dict[str, Any]) -> None:
    assert Credentials.from_mapping(mapping) == Credentials("AKID", SECRET, TOKEN, EPOCH)


def test_token_and_expiry_may_be_absent_or_none() -> None:
    plain = Credentials("AKID", SECRET)
    mapping = {"access_key_id": "AKID", "secret_access_key": SECRET}
    assert Credentials.from_mapping(mapping) == plain
    assert Credentials.from_mapping({**mapping, "token": None, "expiry_time": None}) == plain
    assert Credentials.from_mapping(plain) is plain


@pytest.mark.parametrize("value", ["", "tomorrow", float("nan"), float("inf"), None])
def test_expiry_that_is_none_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="here takes an expiry time"):
        parse_expiry(value, "here")


@pytest.mark.parametrize("value", ["", "a b", "a\n", "a\r\nx: y", "ä", "\0", b"a", 1])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_value_that_no_header_can_hold_is_refused(place: int, value: Any) -> None:
    values = ["AKID", SECRET, TOKEN]
    values[place] = value
    with pytest.raises((ValueError, TypeError), match=r"access key|token"):
        Credentials(*values)


ENVIRONMENTS = st.fixed_dictionaries(
    {"AWS_ACCESS_KEY_ID": st.just("AKID"), "AWS_SECRET_ACCESS_KEY": st.just(SECRET)},
    optional={
        "AWS_SESSION_TOKEN": st.sampled_from(["", TOKEN]),
        "AWS_SECURITY_TOKEN": st.just(TOKEN),
    },
)


@given(ENVIRONMENTS)
def test_environment_is_read_as_botocore_reads_it(environ: dict[str, str]) -> None:
    ours = Credentials.from_environment(environ)
    theirs = EnvProvider(environ).load().get_frozen_credentials()
    assert ours is not None
    assert (ours.access_key, ours.secret_key, ours.token) == (
        theirs.access_key,
        theirs.secret_key,
        theirs.token,
    )


def test_environment_without_access_key_has_none() -> None:
    assert Credentials.from_environment({"AWS_SECRET_ACCESS_KEY": SECRET}) is None
    assert Credentials.from_environment({"AWS_ACCESS_KEY_ID": ""}) is None


def test_environment_with_half_a_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="AWS_SECRET_ACCESS_KEY is not"):
        Credentials.from_environment({"AWS_ACCESS_KEY_ID": "AKID"})


def test_environment_tells_its_expiry() -> None:
    later = datetime.now(timezone.utc) + timedelta(hours=1)
    found = Credentials.from_environment(
        {
            "AWS_ACCESS_KEY_ID": "AKID",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_CREDENTIAL_EXPIRATION": later.isoformat(),
        }
    )
    assert found is not None
    assert found.expires_at == pytest.approx(later.timestamp())


def test_shows_only_the_end_of_the_access_key() -> None:
    credentials = Credentials("AKIAIOSFODNN7EXAMPLE", SECRET, TOKEN, 1.0)
    assert repr(credentials) == str(credentials) == "Credentials(access_key='…MPLE')"
    assert f"{[credentials]}" == "[Credentials(access_key='…MPLE')]"


@pytest.mark.parametrize("use", [pickle.dumps, copy.copy, copy.deepcopy])
def test_does_not_leave_the_process(use: Any) -> None:
    with pytest.raises(TypeError, match="do not pickle") as refusal:
        use(Credentials("AKID", SECRET))
    assert SECRET not in "".join(traceback.format_exception(refusal.value))
