"""What a server refuses: tried again after a while, or an error at once."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from servers.faults import PART, FaultyObject, part, pattern, status
from servers.scripted import Reply, ScriptedServer

from s3reader.errors import (
    ObjectNotFoundError,
    S3Exception,
    S3TimeoutError,
    ThrottledError,
)
from s3reader.source import ObjectSource
from s3reader.stream import GetObjectStream

DATA = pattern(3 * PART + 100)
SIZE = len(DATA)

Read = Callable[[GetObjectStream, int], bytes]
OpenSource = Callable[..., tuple[ObjectSource, ScriptedServer]]


@pytest.fixture
def faulty() -> FaultyObject:
    return FaultyObject(DATA)


PASSING = [
    (500, "InternalError", "server_error", S3Exception),
    (500, "", "server_error", S3Exception),
    (502, "", "server_error", S3Exception),
    (503, "SlowDown", "throttle", ThrottledError),
    (503, "", "throttle", ThrottledError),
    (429, "", "throttle", ThrottledError),
    (408, "", "timeout", S3TimeoutError),
    (400, "RequestTimeout", "timeout", S3TimeoutError),
    (504, "", "timeout", S3TimeoutError),
]


@pytest.mark.parametrize(("number", "code", "reason", "kind"), PASSING)
def test_passing_trouble_is_retried(
    open_source: OpenSource,
    faulty: FaultyObject,
    read: Read,
    number: int,
    code: str,
    reason: str,
    kind: type[S3Exception],
) -> None:
    source, _ = open_source(faulty)
    faulty.go_wrong(status(number, code), times=2, where=part(1))
    assert read(source(), SIZE) == DATA
    assert source.stats()["retries"] == {reason: 2}


@pytest.mark.parametrize(("number", "code", "reason", "kind"), PASSING)
def test_lasting_trouble_is_an_error_after_the_last_attempt(
    open_source: OpenSource,
    faulty: FaultyObject,
    read: Read,
    number: int,
    code: str,
    reason: str,
    kind: type[S3Exception],
) -> None:
    source, server = open_source(faulty)
    faulty.go_wrong(status(number, code, x_amz_request_id="REQ", x_amz_id_2="HOST"))
    stream = source(5)
    with pytest.raises(kind) as caught:
        read(stream, SIZE)
    error = caught.value
    assert (error.status, error.code, error.attempts) == (number, code or None, 3)
    assert (error.request_id, error.host_id) == ("REQ", "HOST")
    assert (error.bucket, error.key, error.operation) == ("bucket", "key", "GetObject")
    assert error.range is not None
    assert error.range[0] == 5
    assert len(server.requests) == 3
    assert stream.tell() == 5
    faulty.go_wrong(None)
    assert read(stream, SIZE) == DATA[5:]


@pytest.mark.parametrize(
    ("number", "code", "kind"),
    [
        (404, "NoSuchKey", FileNotFoundError),
        (403, "AccessDenied", PermissionError),
        (403, "SignatureDoesNotMatch", PermissionError),
        (400, "InvalidArgument", S3Exception),
        (405, "MethodNotAllowed", S3Exception),
        (501, "NotImplemented", S3Exception),
        (204, "", S3Exception),
        (302, "", S3Exception),
    ],
)
def test_lasting_refusals_fail_at_once(
    open_source: OpenSource,
    faulty: FaultyObject,
    read: Read,
    number: int,
    code: str,
    kind: type[Exception],
) -> None:
    source, server = open_source(faulty)
    faulty.go_wrong(status(number, code))
    stream = source()
    with pytest.raises(kind):
        read(stream, SIZE)
    assert len(server.requests) == 1
    faulty.go_wrong(None)
    assert read(stream, SIZE) == DATA


def test_no_byte_of_an_error_body_reaches_the_buffer(
    open_source: OpenSource, faulty: FaultyObject
) -> None:
    source, _ = open_source(faulty)
    faulty.go_wrong(status(404, "NoSuchKey", "x" * 5000))
    buffer = bytearray(b"\xee" * SIZE)
    with pytest.raises(ObjectNotFoundError):
        source().readinto(buffer)
    assert buffer == b"\xee" * SIZE


@pytest.mark.parametrize("size", [100_000, 1_000_000])
def test_endless_error_body_is_cut_off(
    open_source: OpenSource, faulty: FaultyObject, read: Read, size: int
) -> None:
    source, _ = open_source(faulty)
    faulty.go_wrong(lambda request, reply: Reply(404, body=b"<!-- " + b"x" * size))
    with pytest.raises(ObjectNotFoundError):
        read(source(), SIZE)
    faulty.go_wrong(None)
    assert read(source(), SIZE) == DATA


def test_retry_after_is_waited_for(
    open_source: OpenSource, faulty: FaultyObject, read: Read
) -> None:
    source, _ = open_source(faulty)
    faulty.go_wrong(status(503, "SlowDown", Retry_After="1"), times=1)
    began = time.monotonic()
    assert read(source(0, 50), 50) == DATA[:50]
    assert 1.0 <= time.monotonic() - began < 3.0


def test_retry_after_beyond_the_retry_timeout_fails_at_once(
    open_source: OpenSource, faulty: FaultyObject, read: Read
) -> None:
    source, server = open_source(faulty, retry_timeout=5.0)
    faulty.go_wrong(status(503, "SlowDown", Retry_After="30"))
    with pytest.raises(ThrottledError):
        read(source(0, 50), 50)
    assert len(server.requests) == 1


def test_delay_of_the_policy_is_waited_for(
    open_source: OpenSource, faulty: FaultyObject, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("s3reader.judge.random.random", lambda: 0.8)
    source, _ = open_source(faulty)
    faulty.go_wrong(status(503, "SlowDown"), times=1)
    began = time.monotonic()
    assert read(source(0, 50), 50) == DATA[:50]
    assert 0.4 <= time.monotonic() - began < 2.0


def test_throttling_lowers_the_transfers_at_once_and_success_raises_them(
    open_source: OpenSource, faulty: FaultyObject, read: Read
) -> None:
    source, _ = open_source(faulty, max_connections=8)
    faulty.go_wrong(status(503, "SlowDown"), times=1)
    assert read(source(0, 50), 50) == DATA[:50]
    fetcher = source.session.fetcher
    assert fetcher.limit == 4
    for _ in range(40):
        assert read(source(0, 50), 50) == DATA[:50]
    assert fetcher.limit == 8
    assert source.stats()["throttles"] == 1


def test_throttling_of_a_first_request_leaves_no_lasting_pace(
    open_source: OpenSource, faulty: FaultyObject, read: Read
) -> None:
    """How many requests a server bears is not known from one that it refused."""
    source, _ = open_source(faulty, max_connections=8)
    faulty.go_wrong(status(503, "SlowDown"), times=1)
    began = time.monotonic()
    for _ in range(20):
        assert read(source(0, 50), 50) == DATA[:50]
    assert time.monotonic() - began < 3.0


def test_prefetch_is_retried_without_a_waiter(
    open_source: OpenSource, faulty: FaultyObject
) -> None:
    source, server = open_source(faulty)
    faulty.go_wrong(status(500, "InternalError"), times=2)
    stream = source(0, 50)
    stream.prefetch()
    deadline = time.monotonic() + 10
    while len(server.requests) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert bytes(next(stream)) == DATA[:50]
