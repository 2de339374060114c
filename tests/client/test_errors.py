"""Each failure: the right class and built-in, the right words, no secret in any of them."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any

import processes
import pytest
from asking import check
from servers.scripted import Reply, ScriptedServer, object_script

import s3reader
from s3reader import (
    AccessDeniedError,
    BucketNotFoundError,
    InvalidRangeError,
    NoCredentialsError,
    ObjectChangedError,
    ObjectInfo,
    ObjectNotFoundError,
    S3Client,
    S3Exception,
    S3ReaderConstructor,
    S3TimeoutError,
    ThrottledError,
    WrongRegionError,
)

IDS = {"x-amz-request-id": "REQ123", "x-amz-id-2": "HOST456"}

Scripted = Callable[..., ScriptedServer]
ClientFor = Callable[..., S3Client]


def refusal(status: int, code: str, message: str = "As scripted.", **headers: str) -> Reply:
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
    return Reply(status, {**IDS, **headers}, body)


ANSWERS = [
    (403, "AccessDenied", AccessDeniedError, PermissionError, 1, "s3:GetObject"),
    (403, "InvalidAccessKeyId", AccessDeniedError, PermissionError, 1, "credentials"),
    (403, "SignatureDoesNotMatch", AccessDeniedError, PermissionError, 1, "secret key"),
    (404, "NoSuchKey", ObjectNotFoundError, FileNotFoundError, 1, "Check the key"),
    (404, "NoSuchBucket", BucketNotFoundError, FileNotFoundError, 1, "bucket's name"),
    (404, "NoSuchVersion", ObjectNotFoundError, FileNotFoundError, 1, "version"),
    (301, "PermanentRedirect", WrongRegionError, OSError, 1, "region"),
    (307, "TemporaryRedirect", WrongRegionError, OSError, 1, "region"),
    (400, "AuthorizationHeaderMalformed", WrongRegionError, OSError, 1, "region"),
    (400, "InvalidArgument", S3Exception, OSError, 1, "Check the request"),
    (400, "ExpiredToken", AccessDeniedError, PermissionError, 2, "Renew"),
    (403, "InvalidObjectState", S3Exception, OSError, 1, "restore"),
    (412, "PreconditionFailed", ObjectChangedError, OSError, 1, "Read it again"),
    (500, "InternalError", S3Exception, OSError, 2, "try again later"),
    (502, "BadGateway", S3Exception, OSError, 2, "try again later"),
    (503, "SlowDown", ThrottledError, OSError, 2, "Lower the request rate"),
    (429, "TooManyRequests", ThrottledError, OSError, 2, "Lower the request rate"),
    (400, "RequestTimeout", S3TimeoutError, TimeoutError, 2, "try again"),
    (501, "NotImplemented", S3Exception, OSError, 1, "check that it is S3"),
]


@pytest.mark.parametrize(("status", "code", "kind", "builtin", "attempts", "advice"), ANSWERS)
def test_refusal_gives_its_error(
    scripted: Scripted,
    client_for: ClientFor,
    hides_secrets: Callable[..., None],
    status: int,
    code: str,
    kind: type[S3Exception],
    builtin: type[OSError],
    attempts: int,
    advice: str,
) -> None:
    server = scripted([refusal(status, code)])
    reader = client_for(server.endpoint).get_object("bucket", "a key")
    with pytest.raises(builtin) as caught:
        reader.read()
    error = caught.value
    assert type(error) is kind
    times = "once" if attempts == 1 else f"{attempts} times"
    check(
        error,
        hides_secrets,
        f"GetObject s3://bucket/a key bytes [0, 8388608) failed: HTTP {status} {code}",
        "As scripted",
        "request id REQ123",
        f"Tried {times} in",
        advice,
    )
    assert (error.bucket, error.key, error.operation) == ("bucket", "a key", "GetObject")
    assert (error.status, error.code) == (status, code)
    assert (error.request_id, error.host_id) == ("REQ123", "HOST456")
    assert (error.range, error.attempts) == ((0, 8388608), attempts)
    assert len(server.requests) == attempts


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, WrongRegionError),
        (400, S3Exception),
        (403, AccessDeniedError),
        (404, ObjectNotFoundError),
        (405, S3Exception),
        (412, ObjectChangedError),
        (500, S3Exception),
        (503, ThrottledError),
    ],
)
def test_head_is_refused_by_status_alone(
    scripted: Scripted,
    client_for: ClientFor,
    hides_secrets: Callable[..., None],
    status: int,
    kind: type[S3Exception],
) -> None:
    server = scripted([Reply(status, IDS)])
    with pytest.raises(S3Exception) as caught:
        client_for(server.endpoint).head_object("bucket", "key")
    error = caught.value
    assert type(error) is kind
    assert (error.operation, error.status, error.range) == ("HeadObject", status, None)
    assert error.request_id == "REQ123"
    check(error, hides_secrets, "HeadObject s3://bucket/key failed:", str(status))


@pytest.mark.parametrize(
    ("code", "kind"),
    [("NoSuchBucket", BucketNotFoundError), ("AccessDenied", AccessDeniedError)],
)
def test_refused_listing_names_the_bucket(
    scripted: Scripted,
    client_for: ClientFor,
    hides_secrets: Callable[..., None],
    code: str,
    kind: type[S3Exception],
) -> None:
    server = scripted([refusal(404 if "No" in code else 403, code)])
    with pytest.raises(kind) as caught:
        next(client_for(server.endpoint).list_objects("bucket"))
    error = caught.value
    assert (error.bucket, error.key, error.operation) == ("bucket", None, "ListObjectsV2")
    check(error, hides_secrets, "ListObjectsV2 s3://bucket/ failed", code)


def test_range_outside_the_object_is_refused(
    scripted: Scripted, client_for: ClientFor, hides_secrets: Callable[..., None]
) -> None:
    body = b"<Error><Code>InvalidRange</Code><Message>not satisfiable</Message></Error>"
    server = scripted(lambda request: Reply(416, {}, body))
    constructor = S3ReaderConstructor.range_based(0)
    reader = client_for(server.endpoint).get_object("bucket", "key", reader_constructor=constructor)
    reader.seek(500)
    with pytest.raises(InvalidRangeError) as caught:
        reader.read(100)
    assert caught.value.range == (500, 600)
    assert caught.value.status == 416
    check(caught.value, hides_secrets, "416", "[500, 600)", "inside the object")
    assert reader.tell() == 500


def test_object_shorter_than_it_was_listed_is_told_as_changed(
    scripted: Scripted, client_for: ClientFor, hides_secrets: Callable[..., None]
) -> None:
    server = scripted(object_script(b"x" * 10, '"v"'))
    info = ObjectInfo("key", '"v"', 1000, 0)
    constructor = S3ReaderConstructor.range_based(0)
    reader = client_for(server.endpoint).get_object(
        "bucket", "key", object_info=info, reader_constructor=constructor
    )
    reader.seek(500)
    with pytest.raises(ObjectChangedError) as caught:
        reader.read(100)
    check(caught.value, hides_secrets, "[500, 600)", "1000 bytes", "an object of 10")
    assert reader.tell() == 500


def test_object_replaced_between_two_reads_is_an_error_with_both_versions(
    scripted: Scripted, client_for: ClientFor, hides_secrets: Callable[..., None]
) -> None:
    old, new = object_script(b"a" * 100, '"old"'), object_script(b"b" * 100, '"new"')

    def careless(request: Any) -> Reply:
        """A server that does not know If-Match."""
        if request.index == 0:
            return old(request)
        request.headers.pop("if-match", None)
        return new(request)

    server = scripted(careless)
    constructor = S3ReaderConstructor.range_based(0)
    reader = client_for(server.endpoint).get_object("bucket", "key", reader_constructor=constructor)
    assert reader.read(10) == b"a" * 10
    buffer = bytearray(10)
    with pytest.raises(ObjectChangedError) as caught:
        reader.readinto(buffer)
    check(caught.value, hides_secrets, '"old"', '"new"', "s3://bucket/key", "[10, 20)")
    assert reader.tell() == 10
    assert buffer == bytes(10)


def test_object_of_another_size_than_the_listing_told_is_an_error(
    scripted: Scripted, client_for: ClientFor, hides_secrets: Callable[..., None]
) -> None:
    server = scripted(object_script(b"x" * 100, '"v"'))
    for size in (50, 150):
        info = ObjectInfo("key", '"v"', size, 0)
        reader = client_for(server.endpoint).get_object("bucket", "key", object_info=info)
        with pytest.raises(ObjectChangedError) as caught:
            reader.read()
        check(caught.value, hides_secrets, f"expected {size} bytes", "received", "100")


def test_object_replaced_is_refused_by_the_server(
    scripted: Scripted, client_for: ClientFor
) -> None:
    scripts = [object_script(b"a" * 100, '"old"'), object_script(b"b" * 100, '"new"')]
    server = scripted(lambda request: scripts[min(request.index, 1)](request))
    reader = client_for(server.endpoint).get_object(
        "bucket", "key", reader_constructor=S3ReaderConstructor.range_based(0)
    )
    reader.read(10)
    with pytest.raises(ObjectChangedError):
        reader.read(10)
    assert server.requests[1].headers["if-match"] == '"old"'


def test_no_credentials_says_where_it_looked(
    scripted: Scripted, hides_secrets: Callable[..., None]
) -> None:
    server = scripted([Reply()])
    client = S3Client("us-east-1", endpoint=server.endpoint)
    with client:
        for ask in (
            lambda: client.get_object("bucket", "key").read(),
            lambda: client.head_object("bucket", "key"),
        ):
            with pytest.raises(NoCredentialsError) as caught:
                ask()
            check(caught.value, hides_secrets, "credentials")
            assert (caught.value.bucket, caught.value.key) == ("bucket", "key")
    assert server.requests == []


def test_servers_words_are_quoted_without_secrets(
    scripted: Scripted, client_for: ClientFor, hides_secrets: Callable[..., None]
) -> None:
    def echo(request: Any) -> Reply:
        """S3 explains a refused signature with the whole string to sign, and so do others."""
        said = f"you sent {request.headers['authorization']} and {request.headers}"
        return refusal(403, "SignatureDoesNotMatch", said.replace("<", " "))

    server = scripted(echo)
    with pytest.raises(AccessDeniedError) as caught:
        client_for(server.endpoint).get_object("bucket", "key").read()
    check(caught.value, hides_secrets, "SignatureDoesNotMatch")


@pytest.mark.parametrize("region", ["eu/../x", "Evil.example.com", "", "a" * 100, "u s"])
def test_servers_idea_of_a_region_is_not_trusted_blindly(
    scripted: Scripted, client_for: ClientFor, region: str
) -> None:
    replies = [refusal(301, "PermanentRedirect", **{"x-amz-bucket-region": region})]
    server = scripted(replies)
    client = client_for(server.endpoint)
    for _ in range(2):
        with pytest.raises(WrongRegionError):
            client.get_object("bucket", "key").read()


def test_errors_cross_processes(scripted: Scripted) -> None:
    kinds = {code: kind for _, code, kind, *_ in ANSWERS}
    status = {code: number for number, code, *_ in ANSWERS}
    server = scripted(
        lambda request: refusal(
            status[request.target.rpartition("/")[2]], request.target.rpartition("/")[2]
        )
    )
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        for code, kind in kinds.items():
            with pytest.raises(kind) as caught:
                pool.apply(processes.read_once, (server.endpoint, code))
            error = caught.value
            assert type(error) is kind
            assert (error.key, error.code, error.attempts) == (code, code, error.attempts)
            assert error.request_id == "REQ123"
        pool.close()
        pool.join()


def test_exceptions_are_public() -> None:
    for name in dir(s3reader):
        kind = getattr(s3reader, name)
        if isinstance(kind, type) and issubclass(kind, Exception):
            assert issubclass(kind, S3Exception)
            assert name in s3reader.__all__
