"""Requests that a server wants otherwise: fresh credentials, its clock, the bucket's region."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable
from typing import Any

import pytest
from servers.faults import PART, FaultyObject, pattern, status
from servers.scripted import Request, ScriptedServer

from s3reader._ext.fetcher import FetcherClosed
from s3reader._ext.sigv4 import PathSigner
from s3reader.errors import AccessDeniedError, WrongRegionError
from s3reader.source import ObjectSource
from s3reader.stream import GetObjectStream

DATA = pattern(3 * PART + 100)
SIZE = len(DATA)

Read = Callable[[GetObjectStream, int], bytes]
OpenSource = Callable[..., tuple[ObjectSource, ScriptedServer]]


@pytest.fixture
def faulty() -> FaultyObject:
    return FaultyObject(DATA)


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

    # A provider may read with a client of its own, which somebody closes.
    @pytest.mark.parametrize("kind", [LookupError, FetcherClosed])
    def test_provider_that_fails_while_renewing_reaches_the_reader(
        self, open_source: OpenSource, faulty: FaultyObject, read: Read, kind: type[Exception]
    ) -> None:
        first = Provider()

        def provider() -> dict[str, Any]:
            if first.calls:
                raise kind("vault is sealed")
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

        def counting_signer(*arguments: Any) -> Any:
            signed.append(arguments)
            return PathSigner(*arguments)

        monkeypatch.setattr("s3reader.request.PathSigner", counting_signer)
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
