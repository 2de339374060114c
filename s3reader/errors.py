"""What can go wrong with S3, as exceptions that say what to do about it.

Three tables hold everything: one from the server's error code, one from its HTTP status (for
answers without a body, such as those to HEAD), one from what happened to the connection. Each row
gives the exception class and the advice that ends its message. Whoever gave up a request (the
client, after `retry.RetryPolicy` said so) calls `error_from_response` or `error_from_transport`;
nobody else writes such a message. Subclasses double as the built-in that fits, so that
`except FileNotFoundError` works.

A server's own words are quoted, but never in full and never with what could be a secret: they
pass through `error_body.clean_text` first.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from . import codes
from .error_body import ErrorBody as ErrorBody
from .error_body import clean_text, printable
from .error_body import parse_error_body as parse_error_body

Range = tuple[int, int]


class S3Exception(OSError):
    """A request to S3 that failed for good.

    Args:
        message: what was tried, what came back, how often, and what to do; becomes ``str(self)``.
        bucket, key: the object; ``key`` is None for a bucket's operation.
        operation: "GetObject", "HeadObject" or "ListObjectsV2".
        status, code: HTTP status and S3's error code of the last answer, None if there was none.
        request_id, host_id: S3's names for that answer, for AWS support.
        range: ``(start, end)`` in bytes, half-open, or None.
        attempts: how many times the request was sent.
    """

    _errno: ClassVar[int | None] = None

    def __init__(
        self,
        message: str,
        *,
        bucket: str | None = None,
        key: str | None = None,
        operation: str | None = None,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        host_id: str | None = None,
        range: Range | None = None,
        attempts: int | None = None,
    ) -> None:
        super().__init__(message)
        self.bucket = bucket
        self.key = key
        self.operation = operation
        self.status = status
        self.code = code
        self.request_id = request_id
        self.host_id = host_id
        self.range = range
        self.attempts = attempts
        if self._errno is not None:
            self.errno = self._errno

    def __reduce__(self) -> tuple[Any, ...]:
        # OSError's own way would call the class with positional errno and strerror.
        return _rebuild, (type(self), self.args, self.errno), self.__dict__.copy()


def _rebuild(cls: type[S3Exception], args: tuple[Any, ...], number: int | None) -> S3Exception:
    exception = cls.__new__(cls)
    exception.args = args
    if number is not None:
        exception.errno = number
    return exception


class ObjectNotFoundError(S3Exception, FileNotFoundError):
    """There is no such object (or version of it)."""

    _errno = errno.ENOENT


class BucketNotFoundError(ObjectNotFoundError):
    """There is no such bucket."""


class AccessDeniedError(S3Exception, PermissionError):
    """S3 knows the request and refuses it, or does not accept its credentials."""

    _errno = errno.EACCES


class S3TimeoutError(S3Exception, TimeoutError):
    """Nothing came for longer than a timeout of the configuration, on every attempt."""

    _errno = errno.ETIMEDOUT


class S3ConnectionError(S3Exception, ConnectionError):
    """There was no connection, or it broke."""


class CertificateError(S3ConnectionError):
    """The server's TLS certificate is not one to trust."""


class ObjectChangedError(S3Exception):
    """The object was overwritten while it was being read."""


class IncompleteDataError(S3Exception):
    """A body (or a chunk source) was shorter, longer or other than the range asked for."""


class ThrottledError(S3Exception):
    """S3 asked for fewer requests, on every attempt."""


class NoCredentialsError(S3Exception):
    """No credentials were found, or their source failed."""


class InvalidRangeError(S3Exception):
    """The range begins at or past the object's end."""


class WrongRegionError(S3Exception):
    """The bucket is in another region than the one asked."""


class _Row(NamedTuple):
    kind: type[S3Exception]
    advice: str


_CREDENTIALS = "Check which credentials are in use and that they are valid for this endpoint."
_RENEW = "Renew the credentials, or give a callable as `credentials` that returns fresh ones."
_THROTTLED = "Lower the request rate: fewer workers, larger parts, lower throughput_target_gbps."
_REGION = "Pass S3Client the bucket's own region (or set AWS_REGION), and no other one's endpoint."
_LATER = "The service failed on its side: try again later, or raise max_attempts."
_CHANGED = "Read it again from the start, or name a version that does not change."
_PERMISSION = "Check s3:GetObject and s3:ListBucket in the policies of user, bucket and KMS key."
_RANGE = "Ask for a range inside the object."
_KEY = "Check the key; keys are case-sensitive."

_BY_CODE: Mapping[str | None, _Row] = {
    "NoSuchKey": _Row(ObjectNotFoundError, _KEY),
    "NoSuchVersion": _Row(ObjectNotFoundError, "Check the version id."),
    "NoSuchBucket": _Row(BucketNotFoundError, "Check the bucket's name and the endpoint."),
    "NoSuchAccessPoint": _Row(BucketNotFoundError, "Check the access point's name and region."),
    "AccessDenied": _Row(AccessDeniedError, _PERMISSION),
    "InvalidAccessKeyId": _Row(AccessDeniedError, _CREDENTIALS),
    "SignatureDoesNotMatch": _Row(AccessDeniedError, "Check the secret key (and any proxy)."),
    "RequestTimeTooSkewed": _Row(AccessDeniedError, "Set this machine's clock."),
    "InvalidObjectState": _Row(S3Exception, "The object is archived: restore it before reading."),
    "PreconditionFailed": _Row(ObjectChangedError, _CHANGED),
    "InvalidRange": _Row(InvalidRangeError, _RANGE),
    "RequestTimeout": _Row(S3TimeoutError, _LATER),
    **dict.fromkeys(codes.STALE_CREDENTIALS, _Row(AccessDeniedError, _RENEW)),
    **dict.fromkeys(codes.THROTTLE, _Row(ThrottledError, _THROTTLED)),
    **dict.fromkeys(codes.OTHER_REGION, _Row(WrongRegionError, _REGION)),
}

_BY_STATUS: Mapping[int, _Row] = {
    **dict.fromkeys((301, 302, 307, 308), _Row(WrongRegionError, _REGION)),
    400: _Row(
        S3Exception,
        "Without a code this is mostly another region, an expired token or an SSE-C object.",
    ),
    401: _Row(AccessDeniedError, _CREDENTIALS),
    403: _Row(
        AccessDeniedError,
        "Check key and permissions: without s3:ListBucket a missing object looks like this.",
    ),
    404: _Row(ObjectNotFoundError, _KEY),
    405: _Row(S3Exception, "The version may be a delete marker, which has no data."),
    407: _Row(S3ConnectionError, "Give the proxy's user and password in `proxy`."),
    408: _Row(S3TimeoutError, _LATER),
    412: _Row(ObjectChangedError, _CHANGED),
    416: _Row(InvalidRangeError, _RANGE),
    429: _Row(ThrottledError, _THROTTLED),
    501: _Row(S3Exception, "The endpoint does not offer this operation: check that it is S3."),
    503: _Row(ThrottledError, _THROTTLED),
    504: _Row(S3TimeoutError, _LATER),
}

_OTHER_5XX = _Row(S3Exception, _LATER)
_OTHER_STATUS = _Row(S3Exception, "Check the request and that the endpoint is S3.")


class _Break(NamedTuple):
    kind: type[S3Exception]
    happened: str
    advice: str


_NETWORK = "Check the network between here and the endpoint, or raise max_attempts."

_BY_CAUSE: Mapping[str, _Break] = {
    "resolve": _Break(
        S3ConnectionError,
        "the host name could not be resolved",
        "Check the endpoint, the region, the bucket's name and DNS.",
    ),
    "connect": _Break(
        S3ConnectionError,
        "the connection was refused or impossible",
        "Check the endpoint's host and port, and firewalls.",
    ),
    "connect_timeout": _Break(
        S3TimeoutError,
        "no connection within connect_timeout",
        "Check the endpoint, firewalls and VPC routes, or raise connect_timeout.",
    ),
    "first_byte_timeout": _Break(
        S3TimeoutError,
        "no answer within first_byte_timeout",
        "Check the endpoint's load, or raise the timeout.",
    ),
    "stall_timeout": _Break(
        S3TimeoutError, "no byte came for stall_timeout", f"{_NETWORK[:-1]} or stall_timeout."
    ),
    "reset": _Break(S3ConnectionError, "the connection broke", _NETWORK),
    "tls": _Break(
        S3ConnectionError,
        "the TLS handshake failed",
        "Check that the endpoint speaks https on this port and that no middlebox intercepts it.",
    ),
    "certificate": _Break(
        CertificateError,
        "the server's certificate is not trusted",
        "Give the issuer's file as `ca_bundle` or AWS_CA_BUNDLE, and check the host name.",
    ),
    "proxy": _Break(
        S3ConnectionError,
        "the proxy failed",
        "Check `proxy`, HTTPS_PROXY and NO_PROXY, and the proxy's user and password.",
    ),
    "short_body": _Break(IncompleteDataError, "the body ended early", _NETWORK),
    "long_body": _Break(
        IncompleteDataError,
        "the body is longer than promised",
        "Check proxies and the endpoint: these are not the object's bytes.",
    ),
    "bad_range": _Break(
        IncompleteDataError,
        "the answer is for another range than asked",
        "Check proxies and that the endpoint supports ranges.",
    ),
    "changed": _Break(ObjectChangedError, "the object changed while being read", _CHANGED),
    "bad_response": _Break(
        S3ConnectionError,
        "the answer is not proper HTTP",
        "Check that the endpoint is S3, and http or https as its port wants.",
    ),
    "too_large": _Break(
        IncompleteDataError, "the answer is too large", "Check that the endpoint is S3."
    ),
    "interrupted": _Break(S3Exception, "the request was cancelled", "Try again."),
}

CAUSES = frozenset(_BY_CAUSE)
"""The closed list of transport causes."""


def error_from_response(
    *,
    status: int,
    code: str | None = None,
    detail: str | None = None,
    bucket: str | None = None,
    key: str | None = None,
    operation: str | None = None,
    range: Range | None = None,
    request_id: str | None = None,
    host_id: str | None = None,
    attempts: int | None = None,
    elapsed: float | None = None,
    region: str | None = None,
) -> S3Exception:
    """The exception for an answer that is an error.

    Args:
        status, code, detail: HTTP status, and code and message of the error body if there was one.
        attempts, elapsed: how often it was tried, and for how many seconds in all.
        region: where the bucket is, if the answer said so.
        bucket, key, operation, range, request_id, host_id: as in `S3Exception`.
    """
    kind, advice = _row_for(status, code, key)
    if region and issubclass(kind, WrongRegionError):
        advice = f"The bucket is in {clean_text(region)}. {advice}"
    return _build(
        kind,
        " ".join(["HTTP", str(status), *([clean_text(code)] if code else [])]),
        detail,
        advice,
        elapsed,
        operation=operation,
        bucket=bucket,
        key=key,
        range=range,
        status=status,
        code=code,
        request_id=request_id,
        host_id=host_id,
        attempts=attempts,
    )


def error_from_transport(
    cause: str,
    detail: str | None = None,
    *,
    status: int | None = None,
    code: str | None = None,
    bucket: str | None = None,
    key: str | None = None,
    operation: str | None = None,
    range: Range | None = None,
    request_id: str | None = None,
    host_id: str | None = None,
    attempts: int | None = None,
    elapsed: float | None = None,
) -> S3Exception:
    """The exception for a request without a usable answer.

    Args:
        cause: one of `CAUSES`.
        detail: libcurl's words, or expected and received values.
        status, code, bucket, key, operation, range, request_id, host_id, attempts, elapsed: as in
            `error_from_response`.
    """
    kind, happened, advice = _BY_CAUSE[cause]
    return _build(
        kind,
        happened,
        detail,
        advice,
        elapsed,
        operation=operation,
        bucket=bucket,
        key=key,
        range=range,
        status=status,
        code=code,
        request_id=request_id,
        host_id=host_id,
        attempts=attempts,
    )


def _row_for(status: int, code: str | None, key: str | None) -> _Row:
    if code in _BY_CODE:
        return _BY_CODE[code]
    if status == 404 and not key:
        return _BY_CODE["NoSuchBucket"]
    if status == 400 and code is not None:
        return _OTHER_STATUS
    return _BY_STATUS.get(status, _OTHER_5XX if 500 <= status <= 599 else _OTHER_STATUS)


def _build(
    kind: type[S3Exception],
    happened: str,
    detail: str | None,
    advice: str,
    elapsed: float | None,
    **context: Any,
) -> S3Exception:
    for name in ("code", "request_id", "host_id"):
        context[name] = context[name] and clean_text(context[name])
    words = clean_text(detail).rstrip(". ") if detail else ""
    failure = f"{_target(**context)} failed: {happened}{': ' if words else ''}{words}"
    if context["request_id"]:
        failure += f" (request id {context['request_id']})"
    sentences = [f"{failure}.", _tried(context["attempts"], elapsed), advice]
    return kind(" ".join(sentence for sentence in sentences if sentence), **context)


def _target(
    operation: str | None, bucket: str | None, key: str | None, range: Range | None, **_: object
) -> str:
    words = [operation or "Request", *([printable(f"s3://{bucket}/{key or ''}")] if bucket else [])]
    if range is not None:
        words.append(f"bytes [{range[0]}, {range[1]})")
    return " ".join(words)


def _tried(attempts: int | None, elapsed: float | None) -> str:
    if attempts is None:
        return ""
    times = "once" if attempts == 1 else f"{attempts} times"
    return f"Tried {times}." if elapsed is None else f"Tried {times} in {elapsed:.1f} s."
