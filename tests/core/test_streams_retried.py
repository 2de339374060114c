"""What a server refuses: tried again, asked for in another way, or an error at once."""

from __future__ import annotations

import dataclasses
import datetime
import time
from collections.abc import Callable
from typing import Any

import pytest
from servers.faults import PART, FaultyObject, part, pattern, status
from servers.scripted import Reply, Request, ScriptedServer

from s3reader._ext.sigv4 import sign
from s3reader.errors import (
    AccessDeniedError,
    ObjectNotFoundError,
    S3Exception,
    S3TimeoutError,
    ThrottledError,
    WrongRegionError,
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


class Provider:
    """Gives other credentials each time it is asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> dict[str, Any]:
        self.calls += 1
        return {
            "access_key_id": f"AKIDEXAMPLE{self.calls}",
            "secret_access_key": "secret",
            "session_token": f"token{self.calls}",
        }


def with_token(token: str) -> Callable[[Request], bool]:
    return lambda request: request.headers.get("x-amz-security-token") == token


class TestCorrections:
    def test_expired_token_is_renewed_once(
        self, open_source: OpenSource, faulty: FaultyObject, read: Read
    ) -> None:
        provider = Provider()
        source, server = open_source(faulty, credentials=provider)
        faulty.go_wrong(status(400, "ExpiredToken"), where=with_token("token1"))
        assert read(source(), SIZE) == DATA
        assert provider.calls == 2
        assert "AKIDEXAMPLE2/" in server.requests[-1].headers["authorization"]
        assert source.stats()["retries"]["expired_token"] >= 1

    def test_token_that_expires_under_many_parts_is_renewed_once(
        self, open_source: OpenSource, faulty: FaultyObject
    ) -> None:
        provider = Provider()
        source, server = open_source(faulty, credentials=provider, max_connections=8)
        buffer = bytearray(SIZE)
        source(0, 10).readinto(bytearray(10))
        faulty.go_wrong(
            lambda request, reply: dataclasses.replace(
                status(400, "ExpiredToken")(request, reply) or reply, delay=0.05
            ),
            where=with_token("token1"),
        )
        assert source().readinto(buffer) == SIZE
        assert buffer == DATA
        assert provider.calls == 2
        refused = [r for r in server.requests if with_token("token1")(r)]
        assert len(refused) > 2, "several parts were refused at once"

    def test_token_that_stays_expired_is_an_error(
        self, open_source: OpenSource, faulty: FaultyObject, read: Read
    ) -> None:
        provider = Provider()
        source, server = open_source(faulty, credentials=provider)
        faulty.go_wrong(status(400, "ExpiredToken"))
        with pytest.raises(AccessDeniedError, match="ExpiredToken") as caught:
            read(source(0, 50), 50)
        assert len(server.requests) == 2
        assert "token2" not in str(caught.value)
        assert "secret" not in str(caught.value)

    def test_provider_that_fails_while_renewing_reaches_the_reader(
        self, open_source: OpenSource, faulty: FaultyObject, read: Read
    ) -> None:
        first = Provider()

        def provider() -> dict[str, Any]:
            if first.calls:
                raise LookupError("vault is sealed")
            return first()

        source, _ = open_source(faulty, credentials=provider)
        faulty.go_wrong(status(400, "ExpiredToken"))
        stream = source(0, 50)
        with pytest.raises(Exception, match="vault is sealed"):
            read(stream, 50)
        assert stream.tell() == 0

    def test_wrong_clock_is_put_right_once(
        self, open_source: OpenSource, faulty: FaultyObject, read: Read
    ) -> None:
        server_now = datetime.datetime(2031, 5, 6, 7, 8, 9, tzinfo=datetime.timezone.utc)
        source, server = open_source(faulty)
        detail = f"<ServerTime>{server_now:%Y-%m-%dT%H:%M:%SZ}</ServerTime>"
        faulty.go_wrong(
            status(403, "RequestTimeTooSkewed", detail),
            where=lambda request: not request.headers["x-amz-date"].startswith("20310506T07"),
        )
        assert read(source(), SIZE) == DATA
        refused = len(server.requests)
        other = ObjectSource(source.session, "bucket", "key")
        assert read(other(0, 50), 50) == DATA[:50]
        assert len(server.requests) == refused + 1, "the clock was learned for the whole client"

    def test_server_time_may_come_as_a_date_header(
        self, open_source: OpenSource, faulty: FaultyObject, read: Read
    ) -> None:
        source, server = open_source(faulty)
        faulty.go_wrong(
            status(403, "RequestTimeTooSkewed", Date="Tue, 06 May 2031 07:08:09 GMT"), times=1
        )
        assert read(source(0, 50), 50) == DATA[:50]
        assert server.requests[-1].headers["x-amz-date"].startswith("20310506T0708")

    def test_clock_that_stays_wrong_is_an_error(
        self, open_source: OpenSource, faulty: FaultyObject, read: Read
    ) -> None:
        source, server = open_source(faulty)
        detail = "<ServerTime>2031-05-06T07:08:09Z</ServerTime>"
        faulty.go_wrong(status(403, "RequestTimeTooSkewed", detail))
        with pytest.raises(AccessDeniedError, match="RequestTimeTooSkewed"):
            read(source(0, 50), 50)
        assert len(server.requests) == 2

    @pytest.mark.parametrize(
        "answer",
        [
            status(400, "AuthorizationHeaderMalformed", "<Region>eu-west-3</Region>"),
            status(301, "PermanentRedirect", x_amz_bucket_region="eu-west-3"),
            status(307, "TemporaryRedirect", x_amz_bucket_region="eu-west-3"),
            status(400, x_amz_bucket_region="eu-west-3"),
        ],
    )
    def test_bucket_elsewhere_is_found_from_the_answer_once(
        self, open_source: OpenSource, faulty: FaultyObject, read: Read, answer: Any
    ) -> None:
        source, server = open_source(faulty)
        faulty.go_wrong(
            answer,
            where=lambda request: "/eu-west-3/s3/" not in request.headers["authorization"],
        )
        assert read(source(), SIZE) == DATA
        refused = [r for r in server.requests if "/us-east-1/s3/" in r.headers["authorization"]]
        asked = len(server.requests)
        assert len(refused) == 1
        assert read(ObjectSource(source.session, "bucket", "key")(0, 50), 50) == DATA[:50]
        assert len(server.requests) == asked + 1

    def test_region_that_stays_wrong_is_an_error(
        self, open_source: OpenSource, faulty: FaultyObject, read: Read
    ) -> None:
        source, server = open_source(faulty)
        faulty.go_wrong(
            lambda request, reply: status(
                301, "PermanentRedirect", x_amz_bucket_region=f"eu-west-{request.index}"
            )(request, reply)
        )
        with pytest.raises(WrongRegionError):
            read(source(0, 50), 50)
        assert len(server.requests) == 2

    def test_redirect_that_names_no_region_is_an_error_and_not_followed(
        self, open_source: OpenSource, faulty: FaultyObject, read: Read
    ) -> None:
        source, server = open_source(faulty)
        faulty.go_wrong(status(307, "TemporaryRedirect", Location=f"{server.endpoint}/other/key"))
        with pytest.raises(WrongRegionError):
            read(source(0, 50), 50)
        assert len(server.requests) == 1


class TestSignatures:
    def test_stale_signature_is_made_anew(
        self,
        open_source: OpenSource,
        faulty: FaultyObject,
        read: Read,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """A part that waits for a connection until its signature is old is signed again."""
        signed = []

        def counting_sign(*arguments: Any) -> Any:
            signed.append(arguments)
            return sign(*arguments)

        monkeypatch.setattr("s3reader.request.sign", counting_sign)
        monkeypatch.setattr("s3reader.request.SIGNATURE_LIFETIME", 0.2)
        source, server = open_source(faulty, max_connections=1)
        faulty.go_wrong(lambda request, reply: dataclasses.replace(reply, delay=0.15))
        assert read(source(), SIZE) == DATA
        assert len(signed) >= 2
        assert len(server.requests) == 4, "nothing was sent with an old signature"
        assert source.stats()["retries"] == {}

    def test_parts_share_a_signature(
        self, open_source: OpenSource, faulty: FaultyObject, read: Read
    ) -> None:
        source, server = open_source(faulty)
        assert read(source(), SIZE) == DATA
        assert len({request.headers["authorization"] for request in server.requests}) == 1
