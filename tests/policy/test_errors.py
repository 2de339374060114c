"""Exceptions: the right class, words that help, nothing secret, and a whole trip through pickle."""

from __future__ import annotations

import copy
import errno
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3reader import errors
from s3reader.errors import (
    AccessDeniedError,
    BucketNotFoundError,
    CertificateError,
    IncompleteDataError,
    InvalidRangeError,
    ObjectChangedError,
    ObjectNotFoundError,
    S3ConnectionError,
    S3Exception,
    S3TimeoutError,
    ThrottledError,
    WrongRegionError,
    error_from_response,
    error_from_transport,
)

CONTEXT: dict[str, Any] = {
    "bucket": "bucket",
    "key": "some/key",
    "operation": "GetObject",
    "range": (0, 100),
    "request_id": "REQUEST",
    "host_id": "HOST",
    "attempts": 3,
}

ALL_CLASSES = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, S3Exception)
]


class WithOwnSignature(S3Exception):
    """What a user may derive."""

    def __init__(self, number: int) -> None:
        super().__init__(f"number {number}", bucket="own")


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "NoSuchKey", ObjectNotFoundError),
        (404, None, ObjectNotFoundError),
        (404, "NoSuchBucket", BucketNotFoundError),
        (403, "AccessDenied", AccessDeniedError),
        (403, None, AccessDeniedError),
        (403, "SignatureDoesNotMatch", AccessDeniedError),
        (400, "ExpiredToken", AccessDeniedError),
        (401, None, AccessDeniedError),
        (301, None, WrongRegionError),
        (400, "AuthorizationHeaderMalformed", WrongRegionError),
        (412, "PreconditionFailed", ObjectChangedError),
        (412, None, ObjectChangedError),
        (416, "InvalidRange", InvalidRangeError),
        (503, "SlowDown", ThrottledError),
        (503, None, ThrottledError),
        (429, None, ThrottledError),
        (400, "RequestTimeout", S3TimeoutError),
        (504, None, S3TimeoutError),
        (500, "InternalError", S3Exception),
        (400, "InvalidRequest", S3Exception),
        (418, None, S3Exception),
    ],
)
def test_answer_gives_its_class(status: int, code: str | None, kind: type) -> None:
    exception = error_from_response(status=status, code=code, detail="Words.", **CONTEXT)
    assert type(exception) is kind
    assert (exception.status, exception.code) == (status, code)


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        ("resolve", S3ConnectionError),
        ("connect", S3ConnectionError),
        ("connect_timeout", S3TimeoutError),
        ("first_byte_timeout", S3TimeoutError),
        ("stall_timeout", S3TimeoutError),
        ("reset", S3ConnectionError),
        ("tls", S3ConnectionError),
        ("certificate", CertificateError),
        ("proxy", S3ConnectionError),
        ("short_body", IncompleteDataError),
        ("long_body", IncompleteDataError),
        ("bad_range", IncompleteDataError),
        ("changed", ObjectChangedError),
        ("bad_response", S3ConnectionError),
        ("too_large", IncompleteDataError),
        ("interrupted", S3Exception),
    ],
)
def test_transport_cause_gives_its_class(cause: str, kind: type) -> None:
    exception = error_from_transport(cause, "libcurl's words", elapsed=2.5, **CONTEXT)
    assert type(exception) is kind
    assert "libcurl's words" in str(exception)
    assert {name: getattr(exception, name) for name in CONTEXT} == CONTEXT


def test_every_cause_is_tabled() -> None:
    marker = next(m for m in test_transport_cause_gives_its_class.pytestmark if m.args)
    assert {cause for cause, _ in marker.args[1]} == errors.CAUSES


@pytest.mark.parametrize(
    ("kind", "builtin", "number"),
    [
        (ObjectNotFoundError, FileNotFoundError, errno.ENOENT),
        (BucketNotFoundError, FileNotFoundError, errno.ENOENT),
        (AccessDeniedError, PermissionError, errno.EACCES),
        (S3TimeoutError, TimeoutError, errno.ETIMEDOUT),
        (S3ConnectionError, ConnectionError, None),
        (CertificateError, ConnectionError, None),
    ],
)
def test_subclass_is_the_builtin_that_fits(
    kind: type[S3Exception], builtin: type, number: int | None
) -> None:
    exception = kind("words")
    assert isinstance(exception, builtin)
    assert isinstance(exception, OSError)
    assert exception.errno == number
    assert str(exception) == "words"


def test_message_tells_what_where_how_often_and_what_to_do() -> None:
    exception = error_from_response(
        status=404,
        code="NoSuchKey",
        detail="The specified key does not exist.",
        elapsed=1.25,
        **CONTEXT,
    )
    assert str(exception) == (
        "GetObject s3://bucket/some/key bytes [0, 100) failed: HTTP 404 NoSuchKey: The specified "
        "key does not exist (request id REQUEST). Tried 3 times in 1.2 s. Check the key; keys are "
        "case-sensitive."
    )


def test_wrong_region_names_the_right_one() -> None:
    exception = error_from_response(
        status=301, code="PermanentRedirect", region="eu-west-1", bucket="b", operation="GetObject"
    )
    assert "The bucket is in eu-west-1." in str(exception)


def test_missing_answer_without_key_is_a_missing_bucket() -> None:
    exception = error_from_response(status=404, bucket="b", operation="ListObjectsV2")
    assert type(exception) is BucketNotFoundError


def test_odd_keys_stay_on_one_line() -> None:
    message = str(error_from_response(status=404, bucket="b", key="a\nb\x1b[31m\ud800"))
    assert message.isprintable()
    assert "a\\nb\\x1b[31m\\ud800" in message


@pytest.mark.parametrize("kind", ALL_CLASSES)
def test_survives_pickle_and_copy(kind: type[S3Exception]) -> None:
    exception = kind("words", status=400, code="Code", **CONTEXT)
    for twin in (
        *(pickle.loads(pickle.dumps(exception, protocol)) for protocol in range(6)),
        copy.copy(exception),
        copy.deepcopy(exception),
    ):
        assert type(twin) is kind
        assert vars(twin) == vars(exception)
        assert (str(twin), twin.args, twin.errno) == ("words", ("words",), exception.errno)


def test_derived_class_with_its_own_signature_pickles() -> None:
    twin = pickle.loads(pickle.dumps(WithOwnSignature(3)))
    assert type(twin) is WithOwnSignature
    assert (str(twin), twin.bucket) == ("number 3", "own")


SECRET = "wJalrXUtnFEMI0K7MDENG0bPxRfiCYEXAMPLEKEY"


@pytest.mark.parametrize(
    "text",
    [
        f"GET https://b.s3.amazonaws.com/k?X-Amz-Signature={SECRET}&X-Amz-Expires=3",
        f"could not reach http://user:{SECRET}@proxy:3128/",
        f"could not reach http://{SECRET}@proxy",
        f"Authorization: AWS4-HMAC-SHA256 Credential=A/B, Signature={SECRET}",
        f"x-amz-security-token: {SECRET}",
        f"X-Amz-Security-Token={SECRET}",
        f'{{"SecretAccessKey": "{SECRET}", "SessionToken": "{SECRET}"}}',
        f"aws_secret_access_key = {SECRET}",
        f"secret key: {SECRET}",
        f"Proxy-Authorization: Basic {SECRET}",
        f"token={SECRET}",
    ],
)
def test_quoted_words_hide_secrets(text: str) -> None:
    exception = error_from_transport("proxy", text, code=None, **CONTEXT)
    answer = error_from_response(status=400, code="Odd", detail=text, **CONTEXT)
    assert SECRET not in f"{exception!r} {exception} {answer!r} {answer}"


def test_ordinary_words_are_quoted_whole() -> None:
    words = "The provided token has expired, the signature we calculated does not match"
    assert words in str(error_from_response(status=400, detail=words))


@given(st.text(max_size=3000), st.sampled_from(sorted(errors.CAUSES)))
def test_any_words_make_one_bounded_line(words: str, cause: str) -> None:
    message = str(error_from_transport(cause, words, bucket="b", key="k"))
    assert message.isprintable()
    assert len(message) < 800
