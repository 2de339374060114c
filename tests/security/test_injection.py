"""Nothing that a caller or a server names can add a line to a request or reach another path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from asking import DATA
from clients import KEYS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servers.scripted import Reply, Request, ScriptedServer, object_script

from s3reader import (
    HeadObjectResult,
    IncompleteDataError,
    ObjectInfo,
    S3Client,
    S3ClientConfig,
    S3Exception,
)
from s3reader._ext.chunks import ChunkPool
from s3reader._ext.counters import Counters
from s3reader._ext.transfer import HeaderLines, Lane, SignedRequest, Transfer
from s3reader.names import quote_key

Scripted = Callable[..., ScriptedServer]
ClientFor = Callable[..., S3Client]

LINE = "\r\nX-Injected: yes"
# As texts that a URL, a header and a log each could misread.
POISONS = [
    LINE,
    "\nX-Injected: yes",
    "\rX-Injected: yes",
    "\0X-Injected: yes",
    " HTTP/1.1\r\nX-Injected: yes\r\n\r\nGET /other HTTP/1.1",
    "%0d%0aX-Injected:%20yes",
    "\u2028X-Injected: yes",
    "\u560d\u560aX-Injected: yes",  # its low bytes are CR and LF
    "\x85X-Injected: yes",
    "?X-Injected=yes&",
    "#X-Injected",
    "/../../other/X-Injected",
]


def head_of(request: Request) -> tuple[str, list[str]]:
    """The request line, and the names of the headers as a strict reader sees them."""
    line, *fields = request.raw.decode("latin-1").split("\r\n")
    assert line.count(" ") == 2
    assert line.endswith(" HTTP/1.1")
    assert line.isascii()
    for field in fields:
        assert field.isprintable(), field
    return line.split(" ")[1], [field.partition(":")[0].lower() for field in fields]


@pytest.fixture(scope="module")
def echo() -> Any:
    """An S3 that has every object, and a client of it, for many requests."""
    with ScriptedServer(object_script(DATA)) as server:
        config = S3ClientConfig(credentials=KEYS, max_attempts=1)
        with S3Client("us-east-1", endpoint=server.endpoint, s3client_config=config) as client:
            yield server, client


def asked_one(server: ScriptedServer, ask: Callable[[], Any]) -> Request | None:
    """The one request that a call made; None where it was refused before."""
    before = len(server.requests)
    try:
        ask()
    except ValueError:
        assert len(server.requests) == before
        return None
    assert len(server.requests) == before + 1
    return server.requests[-1]


EXPECTED_NAMES = {
    "host",
    "user-agent",
    "accept",
    "range",
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-checksum-mode",
    "authorization",
}


@pytest.mark.parametrize("poison", POISONS)
def test_key_adds_no_header_and_stays_in_its_bucket(echo: Any, poison: str) -> None:
    server, client = echo
    for key in (poison, f"a{poison}", f"a{poison}b"):
        request = asked_one(server, lambda key=key: client.get_object("bucket", key).read())
        assert request is not None
        target, names = head_of(request)
        assert target == f"/bucket/{quote_key(key)}"
        assert set(names) == EXPECTED_NAMES


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(min_size=1, max_size=60), st.text(min_size=1, max_size=60))
def test_any_key_and_version_make_one_request_with_the_usual_headers(
    echo: Any, key: str, version: str
) -> None:
    server, client = echo
    request = asked_one(
        server, lambda: client.head_object("bucket", key, version_id=version) and None
    )
    if request is not None:
        target, names = head_of(request)
        path, _, query = target.partition("?")
        assert path == f"/bucket/{quote_key(key)}"
        assert query.startswith("versionId=")
        assert not set(query) & set("&#? ")
        assert set(names) == EXPECTED_NAMES - {"range"}


@pytest.mark.parametrize("poison", POISONS)
def test_prefix_and_delimiter_stay_one_parameter_each(
    scripted: Scripted, client_for: ClientFor, poison: str
) -> None:
    server = scripted([Reply(body=b"<ListBucketResult/>")])
    next(client_for(server.endpoint).list_objects("bucket", poison, poison))
    target, names = head_of(server.requests[0])
    assert [part.partition("=")[0] for part in target.partition("?")[2].split("&")] == [
        "delimiter",
        "encoding-type",
        "list-type",
        "max-keys",
        "prefix",
    ]
    assert "x-injected" not in names


@pytest.mark.parametrize("poison", POISONS)
def test_continuation_token_stays_one_parameter(
    scripted: Scripted, client_for: ClientFor, poison: str
) -> None:
    """It comes from the server and goes back to it."""
    named = poison.replace("\0", "").replace("&", "&amp;").replace("\r", "&#13;")
    named = named.replace("\n", "&#10;")
    page = (
        "<ListBucketResult><IsTruncated>true</IsTruncated>"
        f"<NextContinuationToken>t{named}</NextContinuationToken></ListBucketResult>"
    )
    server = scripted([Reply(body=page.encode()), Reply(body=b"<ListBucketResult/>")])
    assert len(list(client_for(server.endpoint).list_objects("bucket"))) == 2
    target, names = head_of(server.requests[1])
    assert target.count("&") == 4
    assert "continuation-token=t" in target
    assert "x-injected" not in names


@pytest.mark.parametrize("poison", [text for text in POISONS if not text.isprintable()])
@pytest.mark.parametrize("place", ["bucket", "region", "user_agent", "endpoint", "credentials"])
def test_line_break_in_a_setting_is_refused_before_any_request(
    scripted: Scripted, client_for: ClientFor, place: str, poison: str
) -> None:
    server = scripted(object_script(DATA))
    asks: dict[str, Callable[[], Any]] = {
        "bucket": lambda: client_for(server.endpoint).get_object(f"b{poison}", "key"),
        "region": lambda: client_for(server.endpoint, f"us{poison}"),
        "user_agent": lambda: client_for(server.endpoint, user_agent=f"agent{poison}"),
        "endpoint": lambda: client_for(f"{server.endpoint}{poison}"),
        "credentials": lambda: client_for(
            server.endpoint, credentials={**KEYS, "session_token": f"token{poison}"}
        ).head_object("bucket", "key"),
    }
    with pytest.raises(ValueError, match=place):
        asks[place]()
    assert server.requests == []


def test_customer_key_of_any_bytes_makes_one_line(
    scripted: Scripted, certificates: Any, client_for: ClientFor
) -> None:
    server = scripted(object_script(DATA), (certificates.chain, certificates.key))
    client = client_for(server.endpoint, ca_bundle=certificates.authority)
    for key in (b"\r\n" * 16, b"\0" * 32, b"\xff" * 32, b"\r\nX-Injected: yes\r\n".ljust(32)):
        client.get_object("bucket", "key", sse_customer_key=key).read()
    for request in server.requests:
        assert "x-injected" not in head_of(request)[1]


def test_signed_lines_refuse_what_would_break_them() -> None:
    for value in ("a\rb", "a\nb", "a\0b"):
        with pytest.raises(ValueError, match="line break or a NUL"):
            SignedRequest(b"http://127.0.0.1/", HeaderLines([("x-amz-a", value)]), 0.0)
        with pytest.raises(ValueError, match="line break or a NUL"):
            SignedRequest(b"http://127.0.0.1/", HeaderLines([(f"x-amz-{value}", "a")]), 0.0)


# ETags come from a server and go back to one in If-Match.


@pytest.mark.parametrize("character", ["\r", "\n", "\0", "\x1b", "\x7f", "\t"])
def test_version_with_a_control_character_is_never_sent(
    scripted: Scripted, client_for: ClientFor, character: str
) -> None:
    server = scripted(object_script(DATA))
    etag = f'"a{character}X-Injected: yes"'
    for told in (ObjectInfo("key", etag, len(DATA), 0), HeadObjectResult(etag, len(DATA), 0)):
        with pytest.raises(ValueError, match="ETag"):
            client_for(server.endpoint).get_object("bucket", "key", object_info=told)
    lane = Lane(Counters(), Counters())
    with pytest.raises(ValueError, match="control characters"):
        Transfer(lane, None, ChunkPool(), 0, 10, etag=etag)
    assert server.requests == []


@pytest.mark.parametrize("reference", ["&#10;", "&#13;&#10;", "&#x85;", "&#9;", "é", "€"])
def test_listing_cannot_plant_a_header_in_an_etag(
    scripted: Scripted, client_for: ClientFor, reference: str
) -> None:
    page = (
        "<ListBucketResult><Contents><Key>key</Key><Size>5</Size>"
        f"<ETag>&quot;a{reference}X-Injected: yes&quot;</ETag></Contents></ListBucketResult>"
    )
    client = client_for(scripted([Reply(body=page.encode())]).endpoint)
    with pytest.raises(IncompleteDataError, match="an ETag cannot be one"):
        next(client.list_objects("bucket"))


@pytest.mark.parametrize("break_", ["\r", "\0", "\x01", "\x0b", "\x7f"])
def test_answer_cannot_plant_a_header_in_an_etag(
    scripted: Scripted, client_for: ClientFor, break_: str
) -> None:
    good = object_script(DATA, etag=f'"a{break_}X-Injected: yes"')
    server = scripted(good)
    for ask in (
        lambda client: client.get_object("bucket", "key").read(),
        lambda client: client.head_object("bucket", "key"),
    ):
        with pytest.raises(S3Exception):
            ask(client_for(server.endpoint, part_size=4096))
    assert all("if-match" not in request.headers for request in server.requests)
