"""No answer, half an answer, an answer of something that is not S3: what each is told as."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

import pytest
from asking import check
from servers.scripted import Reply, ScriptedServer, object_script

from s3reader import (
    AccessDeniedError,
    IncompleteDataError,
    S3Client,
    S3ConnectionError,
    S3Exception,
    S3ReaderConstructor,
    S3TimeoutError,
)

Scripted = Callable[..., ScriptedServer]
ClientFor = Callable[..., S3Client]


def test_body_that_always_breaks_is_incomplete(
    scripted: Scripted, client_for: ClientFor, hides_secrets: Callable[..., None]
) -> None:
    head = {"ETag": '"v"', "Content-Range": "bytes 0-99/100", "Content-Length": "100"}
    server = scripted([Reply(206, head, b"", close=True)])
    reader = client_for(server.endpoint).get_object("bucket", "key")
    with pytest.raises(IncompleteDataError) as caught:
        reader.read()
    check(caught.value, hides_secrets, "expected 100 bytes, received 0", "Tried 2 times")
    assert reader.tell() == 0


def test_refused_connection(client_for: ClientFor, hides_secrets: Callable[..., None]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    client = client_for(f"http://127.0.0.1:{port}")
    for ask in (
        lambda: client.get_object("bucket", "key").read(),
        lambda: client.head_object("bucket", "key"),
        lambda: next(client.list_objects("bucket")),
    ):
        with pytest.raises(ConnectionError) as caught:
            ask()
        assert type(caught.value) is S3ConnectionError
        check(caught.value, hides_secrets, "127.0.0.1", str(port), "Check the endpoint", "2 times")
        assert caught.value.status is None
        assert caught.value.bucket == "bucket"
    stats = client.stats()
    assert (stats["connections_opened"], stats["connections_reused"]) == (0, 0)
    assert stats["retries"] == {"connection": 3}


def test_unknown_host(client_for: ClientFor, hides_secrets: Callable[..., None]) -> None:
    client = client_for("http://no-such-host.invalid", force_path_style=True, max_attempts=1)
    with pytest.raises(ConnectionError) as caught:
        client.head_object("bucket", "key")
    check(caught.value, hides_secrets, "no-such-host.invalid", "could not be resolved")


def test_server_that_is_not_s3(scripted: Scripted, client_for: ClientFor) -> None:
    for raw in (b"SSH-2.0-OpenSSH_9.6\r\n", b"\x15\x03\x01\x00\x02\x02\x16", b"HTTP/1.1 200\0\r\n"):
        server = scripted([Reply(raw=raw, close=True)])
        with pytest.raises(S3ConnectionError, match="s3://bucket/key"):
            client_for(server.endpoint).head_object("bucket", "key")


def test_page_that_is_no_s3_error_is_quoted(
    scripted: Scripted, client_for: ClientFor, hides_secrets: Callable[..., None]
) -> None:
    page = (
        b"<html><head><style>p {color: red}</style><title>400 The plain HTTP request was sent to "
        b"HTTPS port</title></head><body onload='x'><p>nginx/1.24</p></body></html>"
    )
    server = scripted([Reply(400, {"Content-Type": "text/html"}, page)])
    with pytest.raises(S3Exception) as caught:
        client_for(server.endpoint).get_object("bucket", "key").read()
    check(caught.value, hides_secrets, "400 The plain HTTP request was sent to HTTPS port nginx")
    assert "<" not in str(caught.value)
    assert "color" not in str(caught.value)


def test_endless_answers_are_bounded(
    scripted: Scripted, client_for: ClientFor, hides_secrets: Callable[..., None]
) -> None:
    long_head = scripted([Reply(200, {"ETag": '"v"', "x-amz-meta-a": "y" * 90_000}, b"hello")])
    with pytest.raises(IncompleteDataError) as caught:
        client_for(long_head.endpoint).get_object("bucket", "key").read()
    check(caught.value, hides_secrets, "the answer is too large. Tried once")
    long_error = scripted([Reply(403, {}, b"x" * 10_000_000)])
    with pytest.raises(AccessDeniedError) as denied:
        client_for(long_error.endpoint).get_object("bucket", "key").read()
    assert len(str(denied.value)) < 1000
    long_page = scripted([Reply(200, {}, b"<" + b"x" * 20_000_000)])
    with pytest.raises(IncompleteDataError, match="too large"):
        next(client_for(long_page.endpoint).list_objects("bucket"))


def test_full_server_is_a_timeout_of_connecting(
    client_for: ClientFor, hides_secrets: Callable[..., None]
) -> None:
    with contextlib.ExitStack() as opened:
        listener = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):  # more than the system keeps for a listener that takes none
            waiting = opened.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        client = client_for(
            f"http://127.0.0.1:{listener.getsockname()[1]}", connect_timeout=0.3, max_attempts=1
        )
        with pytest.raises(S3TimeoutError) as caught:
            client.head_object("bucket", "key")
        check(caught.value, hides_secrets, "connect_timeout", "timed out", "firewalls")


def test_interim_answers_are_passed_over(scripted: Scripted, client_for: ClientFor) -> None:
    early = b'HTTP/1.1 103 Early Hints\r\nETag: "other"\r\nContent-Length: 99\r\n\r\n'
    reply = Reply(200, {"ETag": '"v"'}, b"hello", interim=b"HTTP/1.1 100 Continue\r\n\r\n" + early)
    client = client_for(scripted([reply]).endpoint)
    assert client.get_object("bucket", "key").read() == b"hello"
    info = client.head_object("bucket", "key")
    assert (info.size, info.etag) == (5, '"v"')


def test_reader_recovers_when_the_cause_is_gone(scripted: Scripted, client_for: ClientFor) -> None:
    refusing = [True]
    good = object_script(b"x" * 100_000)
    server = scripted(lambda request: Reply(403) if refusing[0] else good(request))
    client = client_for(server.endpoint)
    for constructor in (S3ReaderConstructor.sequential(), S3ReaderConstructor.range_based()):
        refusing[0] = True
        reader = client.get_object("bucket", "key", reader_constructor=constructor)
        for ask, arguments in (
            (reader.read, ()),
            (reader.readinto, (bytearray(10),)),
            (reader.seek, (0, 2)),
        ):
            with pytest.raises(AccessDeniedError):
                ask(*arguments)
            assert reader.tell() == 0
        refusing[0] = False
        assert reader.read() == b"x" * 100_000


def test_throttled_reads_come_through(scripted: Scripted, client_for: ClientFor) -> None:
    data = bytes(range(256)) * 4000
    good = object_script(data)
    server = scripted(
        lambda request: (
            Reply(503, {"Retry-After": "0"}) if request.index in (0, 2, 4) else good(request)
        )
    )
    client = client_for(server.endpoint, max_attempts=10, part_size=128 * 1024)
    assert client.get_object("bucket", "key").read() == data
    stats = client.stats()
    assert stats["throttles"] == stats["retries"]["throttle"] >= 3
    assert stats["requests"]["GetObject"] == len(server.requests)


def test_silent_server_is_a_timeout(
    scripted: Scripted, client_for: ClientFor, hides_secrets: Callable[..., None]
) -> None:
    server = scripted([Reply(silent=True)])
    client = client_for(server.endpoint, first_byte_timeout=0.2)
    with pytest.raises(TimeoutError) as caught:
        client.get_object("bucket", "key").read()
    assert type(caught.value) is S3TimeoutError
    check(caught.value, hides_secrets, "first_byte_timeout", "2 times")


def test_stalling_server_is_a_timeout(scripted: Scripted, client_for: ClientFor) -> None:
    head = {"ETag": '"v"', "Content-Range": "bytes 0-99/100"}
    server = scripted([Reply(206, head, b"x" * 100, delay_at=0, pause=30)])
    client = client_for(server.endpoint, stall_timeout=0.3)
    with pytest.raises(S3TimeoutError, match="stall_timeout"):
        client.get_object("bucket", "key").read()


def test_head_without_a_length_is_an_error_with_its_object(
    scripted: Scripted, client_for: ClientFor
) -> None:
    for length in (b"", b"Content-Length: 5\r\nContent-Length: 5\r\n"):
        server = scripted([Reply(raw=b"HTTP/1.1 200 OK\r\n" + length + b"\r\n", close=True)])
        with pytest.raises(S3Exception, match="Content-Length") as caught:
            client_for(server.endpoint).head_object("bucket", "key")
        assert caught.value.key == "key"


def test_date_of_no_calendar_is_as_good_as_none(scripted: Scripted, client_for: ClientFor) -> None:
    date = dict.fromkeys(("Date", "Last-Modified"), "Sat, 01 Jan 0000 00:00:00 GMT")
    refused = Reply(403, date)
    server = scripted([refused, Reply(200, {"ETag": '"v"', "Content-Length": "5", **date})])
    client = client_for(server.endpoint)
    with pytest.raises(AccessDeniedError):
        client.head_object("bucket", "key")
    assert client.head_object("bucket", "key").size == 5
