"""A server, or whoever sits in its place, that answers to do harm."""

from __future__ import annotations

import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asking import DATA
from servers.scripted import Reply, Request, ScriptedServer, object_script

from s3reader import (
    AccessDeniedError,
    IncompleteDataError,
    S3Client,
    S3Exception,
    S3ReaderConstructor,
    S3TimeoutError,
)

MIB = 1024 * 1024

Scripted = Callable[..., ScriptedServer]
ClientFor = Callable[..., S3Client]

good = object_script(DATA)

READERS = {
    "sequential": S3ReaderConstructor.sequential(),
    "ranged": S3ReaderConstructor.range_based(5000),
}


class Drip:
    """Sends a beginning at once and then a byte now and then, for ever."""

    def __init__(self, beginning: bytes, every: float) -> None:
        self._beginning = beginning
        self._every = every
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        self._listener.settimeout(0.1)
        while not self._over.is_set():
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            self._threads.append(threading.Thread(target=self._drip, args=(connection,)))
            self._threads[-1].start()

    def _drip(self, connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(65536)
                connection.sendall(self._beginning)
                while not self._over.wait(self._every):
                    connection.sendall(b"a")
            except OSError:
                pass  # the client has had enough, which is what the test is about

    def close(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(5)
        self._listener.close()


@pytest.fixture
def dripping() -> Iterator[Callable[..., Drip]]:
    started: list[Drip] = []

    def start(beginning: bytes, every: float = 0.05) -> Drip:
        started.append(Drip(beginning, every))
        return started[-1]

    yield start
    for each in started:
        each.close()


IMPATIENT = {"first_byte_timeout": 0.5, "stall_timeout": 0.4, "max_attempts": 1}


@pytest.mark.parametrize(
    "beginning",
    [b"", b"HTTP/1.1 ", b"HTTP/1.1 200 OK\r\nX-A: ", b"HTTP/1.1 100 Continue\r\n\r\n"],
    ids=["nothing", "status line", "header", "interim"],
)
def test_head_that_drips_is_a_timeout(
    dripping: Callable[..., Drip], client_for: ClientFor, beginning: bytes
) -> None:
    client = client_for(dripping(beginning).endpoint, **IMPATIENT)
    began = time.monotonic()
    with pytest.raises(S3Exception):
        client.get_object("bucket", "key").read()
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.get_object("bucket", "key").read(),
        lambda client: next(client.list_objects("bucket")),
    ],
    ids=["get", "list"],
)
def test_error_that_drips_is_told_by_what_came(
    dripping: Callable[..., Drip], client_for: ClientFor, ask: Callable[[S3Client], Any]
) -> None:
    body = b"<Error><Code>AccessDenied</Code><Message>no</Message>"
    head = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 60000\r\n\r\n"
    client = client_for(dripping(head + body).endpoint, **IMPATIENT)
    began = time.monotonic()
    with pytest.raises(AccessDeniedError) as caught:
        ask(client)
    assert time.monotonic() - began < 3
    assert caught.value.code == "AccessDenied"


def test_page_that_drips_is_a_timeout(dripping: Callable[..., Drip], client_for: ClientFor) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 16000000\r\n\r\n<ListBucketResult>"
    settings = {**IMPATIENT, "stall_timeout": 0.2}
    client = client_for(dripping(head).endpoint, **settings)
    began = time.monotonic()
    with pytest.raises(S3TimeoutError):
        next(client.list_objects("bucket"))
    assert 1.9 < time.monotonic() - began < 5


def test_data_that_drips_can_be_given_up_at_any_time(
    dripping: Callable[..., Drip], client_for: ClientFor
) -> None:
    """Slow is not wrong: each byte of an object restarts the timeout of stalls."""
    head = b'HTTP/1.1 206 P\r\nETag: "v"\r\nContent-Range: bytes 0-99999/100000\r\n'
    drip = dripping(head + b"Content-Length: 100000\r\n\r\n")
    client = client_for(drip.endpoint, **IMPATIENT)
    reader = client.get_object("bucket", "key")
    closer = threading.Timer(1.0, client.close)
    closer.start()
    with pytest.raises(ValueError, match="closed"):
        reader.read()
    closer.join()


# Sizes and places.

RANGES = [
    "",
    "bytes",
    "bytes 0-9",
    "bytes 0-9/*",
    "bytes */10240",
    "bytes 0-9/9223372036854775807",
    "bytes 0-9/92233720368547758070",
    "bytes 0-4095/-1",
    "bytes -1-4095/10240",
    "bytes 4095-0/10240",
    "bytes 1-4096/10240",
    "bytes 0-4096/10240",
    "bytes 0-4094/10240",
    "bytes 0-4095/4095",
    "bytes 0-18446744073709551615/18446744073709551616",
    "bytes 0-4095/1_0240",
    "bytes 0-4095/0x2800",
    "bytes 0-4095/10240, bytes 4096-8191/10240",
    "bytes 0- 4095/10240",
    "items 0-4095/10240",
    "bytes \u0660-4095/10240",
]


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS.keys())
@pytest.mark.parametrize("told", RANGES)
def test_range_that_is_not_the_one_asked_for_gives_no_byte(
    scripted: Scripted, client_for: ClientFor, told: str, reader: Any
) -> None:
    def answer(request: Request) -> Reply:
        reply = good(request)
        return Reply(
            206, {**reply.headers, "Content-Range": told.encode().decode("latin-1")}, b"!" * 4096
        )

    client = client_for(scripted(answer).endpoint, part_size=4096, max_attempts=1)
    buffer = bytearray(b"\xee" * 5000)
    opened = client.get_object("bucket", "key", reader_constructor=reader)
    with pytest.raises(S3Exception):
        opened.readinto(buffer)
    assert buffer.count(0xEE) == len(buffer)
    assert opened.tell() == 0


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS.keys())
@pytest.mark.parametrize("total", [2**40, 2**50, 999_999_999_999_999_999])
def test_size_that_nobody_has_takes_no_memory_before_the_bytes_come(
    scripted: Scripted, client_for: ClientFor, reader: Any, total: int
) -> None:
    def answer(request: Request) -> Reply:
        assert request.range is not None
        start, end = request.range
        end = min(start + 4096, end or total)
        told = {"ETag": '"v"', "Content-Range": f"bytes {start}-{end - 1}/{total}"}
        return Reply(206, told, bytes(end - start))

    client = client_for(scripted(answer).endpoint, part_size=4096, max_attempts=1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with client.get_object("bucket", "key", reader_constructor=reader) as opened:
        assert opened.read(10) == bytes(10)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB


@pytest.mark.parametrize(
    "length", ["-1", "1e3", "99999999999999999999", "0x10", "10240, 4096", "", "\u0661"]
)
def test_length_that_is_none_is_an_error(
    scripted: Scripted, client_for: ClientFor, length: str
) -> None:
    told = length.encode().decode("latin-1")
    server = scripted([Reply(200, {"ETag": '"v"', "Content-Length": told}, DATA, close=True)])
    for ask in (
        lambda client: client.get_object("bucket", "key").read(),
        lambda client: client.head_object("bucket", "key"),
    ):
        with pytest.raises(S3Exception):
            ask(client_for(server.endpoint, max_attempts=1))


# Words.

UNREADABLE = {
    "bomb": b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "aaaaaaaaaa">'
    + b"".join(f'<!ENTITY a{n} "{f"&a{n - 1 if n else str()};" * 10}">'.encode() for n in range(12))
    + b"]><{0}>&a11;</{0}>",
    "quadratic": b'<!DOCTYPE l [<!ENTITY a "' + b"a" * 50_000 + b'">]><{0}>' + b"&a;" * 3000,
    "file": b'<!DOCTYPE l [<!ENTITY a SYSTEM "file:///etc/passwd">]><{0}>&a;</{0}>',
    "network": b'<!DOCTYPE l SYSTEM "http://127.0.0.1:1/x.dtd"><{0}/>',
    "parameter": b'<!DOCTYPE l [<!ENTITY % p SYSTEM "http://127.0.0.1:1/x">%p;]><{0}/>',
    "unknown encoding": b'<?xml version="1.0" encoding="no-such"?><{0}/>',
    "encoding that is no text": b'<?xml version="1.0" encoding="zlib"?><{0}/>',
    "two bytes a character": b'<?xml version="1.0" encoding="utf-7"?><{0}/>',
    "deep": b"<a>" * 20_000,
    "attributes": b"<{0} " + b" ".join(b'a%d="x"' % n for n in range(8000)),
    "binary": bytes(range(256)) * 100,
    "undefined entity": b"<{0}>&nbsp;</{0}>",
}


@pytest.mark.parametrize("document", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_document_made_to_harm_its_parser_is_an_error_soon(
    scripted: Scripted, client_for: ClientFor, document: bytes
) -> None:
    began = time.monotonic()
    page = scripted([Reply(200, {}, document.replace(b"{0}", b"ListBucketResult"))])
    with pytest.raises(IncompleteDataError, match="not a listing"):
        next(client_for(page.endpoint).list_objects("bucket"))
    refusal = scripted([Reply(403, {}, document.replace(b"{0}", b"Error"))])
    for ask in (
        lambda client: client.get_object("bucket", "key").read(),
        lambda client: next(client.list_objects("bucket")),
    ):
        with pytest.raises(AccessDeniedError) as caught:
            ask(client_for(refusal.endpoint))
        assert len(str(caught.value)) < 1000
        assert "root:" not in str(caught.value)
    assert time.monotonic() - began < 5


def test_deep_page_of_the_largest_size_does_not_exhaust_the_stack(
    scripted: Scripted, client_for: ClientFor
) -> None:
    depth = 1_000_000
    page = b"<ListBucketResult>" + b"<a>" * depth + b"</a>" * depth + b"</ListBucketResult>"
    client = client_for(scripted([Reply(200, {}, page)]).endpoint)
    assert next(client.list_objects("bucket")).object_info == []


@pytest.mark.parametrize("size", ["-1", "1e3", "9" * 30, "0x10", "", " ", "\u0661"])
def test_size_in_a_listing_that_is_none_is_an_error(
    scripted: Scripted, client_for: ClientFor, size: str
) -> None:
    page = f"<ListBucketResult><Contents><Key>k</Key><Size>{size}</Size></Contents>"
    server = scripted([Reply(200, {}, f"{page}</ListBucketResult>".encode())])
    with pytest.raises(IncompleteDataError, match="a Size is none"):
        next(client_for(server.endpoint).list_objects("bucket"))


ESCAPES = "\x1b[2J\x1b]0;title\x07\x9b31m\x08\x08\u202e\u2066"


def test_servers_words_do_nothing_to_a_terminal(scripted: Scripted, client_for: ClientFor) -> None:
    raw = ESCAPES.encode().decode("latin-1")
    body = f"<Error><Code>Odd</Code><Message>{ESCAPES[-2:]}\x9b31m</Message></Error>".encode()
    headers = {"x-amz-request-id": raw, "x-amz-id-2": raw, "Server": raw}
    for reply in (Reply(403, headers, body), Reply(403, headers, ESCAPES.encode())):
        with pytest.raises(AccessDeniedError) as caught:
            client_for(scripted([reply]).endpoint).get_object("bucket", "key").read()
        assert str(caught.value).isprintable()
        assert repr(caught.value).isprintable()


# Time.


@pytest.mark.parametrize(
    "moment",
    [
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00Z",
        "1970-01-01T00:00:00Z",
        "2005-12-31T23:59:59Z",
        "2100-01-02T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "not a time",
        "",
    ],
)
def test_servers_clock_is_believed_within_reason(
    scripted: Scripted, client_for: ClientFor, moment: str
) -> None:
    told = f"<ServerTime>{moment}</ServerTime>"
    body = f"<Error><Code>RequestTimeTooSkewed</Code>{told}</Error>".encode()
    server = scripted(lambda request: Reply(403, {}, body) if request.index == 0 else good(request))
    client = client_for(server.endpoint)
    with pytest.raises(AccessDeniedError):
        client.get_object("bucket", "key").read()
    assert client.get_object("bucket", "key").read() == DATA
    year = time.gmtime().tm_year
    assert server.requests[-1].headers["x-amz-date"].startswith(str(year))


@pytest.mark.parametrize("year", ["0000", "0001", "1970", "2105", "9999"])
def test_date_of_a_refused_head_is_believed_within_reason(
    scripted: Scripted, client_for: ClientFor, year: str
) -> None:
    date = f"Fri, 99 Dec {year} 99:99:99 GMT"
    server = scripted([Reply(403, {"Date": date, "Last-Modified": date})])
    with pytest.raises(AccessDeniedError):
        client_for(server.endpoint).head_object("bucket", "key")
    assert len(server.requests) == 1


@pytest.mark.parametrize("wait", ["9" * 400, "-1", "nan", "inf", "1e9", "\u0663\u0660", "99999"])
def test_wait_that_a_server_asks_for_is_bounded(
    scripted: Scripted, client_for: ClientFor, wait: str
) -> None:
    told = wait.encode().decode("latin-1")
    client = client_for(scripted([Reply(503, {"Retry-After": told})]).endpoint, retry_timeout=1.0)
    began = time.monotonic()
    with pytest.raises(S3Exception):
        client.head_object("bucket", "key")
    assert time.monotonic() - began < 3
