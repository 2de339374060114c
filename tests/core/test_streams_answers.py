"""Answers that are not what was asked for: never data, always the exception that says so."""

from __future__ import annotations

import dataclasses
import gzip
from collections.abc import Callable

import pytest
from servers.faults import ETAG, PART, Fault, FaultyObject, headers, part, pattern, status
from servers.scripted import Reply, Request, ScriptedServer, object_script

from s3reader.errors import IncompleteDataError, InvalidRangeError, ObjectChangedError
from s3reader.source import ObjectSource
from s3reader.stream import GetObjectStream

DATA = pattern(3 * PART + 100)
SIZE = len(DATA)

Read = Callable[[GetObjectStream, int], bytes]
OpenSource = Callable[..., tuple[ObjectSource, ScriptedServer]]


@pytest.fixture
def faulty() -> FaultyObject:
    return FaultyObject(DATA)


def whole(request: Request, reply: Reply) -> Reply:
    """200 with all of the object, as from something that knows no ranges."""
    return Reply(200, {"ETag": ETAG}, DATA)


def replaced(**changed: object) -> Fault:
    return lambda request, reply: dataclasses.replace(reply, **changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "fault",
    [
        headers(Content_Range=None),
        headers(Content_Range=""),
        headers(Content_Range=f"bytes {PART + 1}-{2 * PART}/{SIZE}"),
        headers(Content_Range=f"bytes {PART}-{2 * PART}/{SIZE}"),
        headers(Content_Range=f"bytes {PART}-{2 * PART - 2}/{SIZE}"),
        headers(Content_Range=f"bytes 0-{PART - 1}/{SIZE}"),
        headers(Content_Range=f"bytes {PART}-{2 * PART - 1}/*"),
        headers(Content_Range=f"bytes {PART}-{2 * PART - 1}"),
        headers(Content_Range=f"bytes {2 * PART - 1}-{PART}/{SIZE}"),
        headers(Content_Range=f"bytes {PART}-{2 * PART - 1}/{PART}"),
        headers(Content_Range=f"items {PART}-{2 * PART - 1}/{SIZE}"),
        headers(Content_Range=f"bytes -{PART}-{2 * PART - 1}/{SIZE}"),
        headers(Content_Range="bytes 9223372036854775808-9223372036854779999/9999999999999999999"),
        headers(Content_Length=str(PART - 1)),
        headers(Content_Length=str(PART + 1)),
        whole,
        replaced(body=DATA[PART : 2 * PART] + b"x"),
        replaced(body=DATA[PART : 2 * PART] + bytes(PART), chunked=True),
    ],
    ids=lambda fault: None,
)
def test_another_range_than_asked_is_an_error_not_data(
    open_source: OpenSource, faulty: FaultyObject, fault: Fault
) -> None:
    source, _ = open_source(faulty)
    faulty.go_wrong(fault, where=part(1))
    stream = source(3)
    buffer = bytearray(SIZE)
    with pytest.raises(IncompleteDataError, match="expected") as caught:
        stream.readinto(buffer)
    assert caught.value.range == (PART + 3, 2 * PART + 3)
    assert stream.tell() == 3
    faulty.go_wrong(None)
    assert stream.readinto(buffer) == SIZE - 3
    assert buffer[:-3] == DATA[3:]


@pytest.mark.parametrize(
    "fault",
    [
        headers(Content_Range=f"bytes {PART + 1}-{2 * PART}/{SIZE}"),
        whole,
        replaced(body=DATA[PART : 2 * PART] + b"x", chunked=True),
    ],
)
def test_chunks_of_another_range_are_never_handed_out(
    open_source: OpenSource, faulty: FaultyObject, fault: Fault
) -> None:
    source, _ = open_source(faulty)
    faulty.go_wrong(fault, where=part(1))
    stream = source()
    received = bytearray()

    def take_all() -> None:
        for view in stream:
            received.extend(view)

    with pytest.raises(IncompleteDataError):
        take_all()
    assert received == DATA[: len(received)]
    assert stream.tell() == len(received)
    faulty.go_wrong(None)
    take_all()
    assert received == DATA


def test_small_object_of_a_server_without_ranges_is_read(
    open_source: OpenSource, read: Read
) -> None:
    data = DATA[:1000]
    source, server = open_source([Reply(200, {"ETag": ETAG}, data)])
    assert read(source(), 1000) == data
    assert read(source(0, 1000), 1000) == data
    assert read(source.tail(1000), 1000) == data
    assert source.size == 1000
    assert len(server.requests) == 3


@pytest.mark.parametrize("fault", [replaced(chunked=True), headers(Content_Length=None)])
def test_chunked_body_is_read(
    open_source: OpenSource, faulty: FaultyObject, read: Read, fault: Fault
) -> None:
    source, _ = open_source(faulty)
    faulty.go_wrong(fault)
    assert read(source(), SIZE) == DATA
    assert source.stats()["retries"] == {}


def test_short_chunked_body_is_resumed(
    open_source: OpenSource, faulty: FaultyObject, read: Read
) -> None:
    source, server = open_source(faulty)
    faulty.go_wrong(replaced(body=DATA[PART : PART + 77], chunked=True), times=1, where=part(1))
    assert read(source(), SIZE) == DATA
    assert (PART + 77, 2 * PART) in [request.range for request in server.requests]


def test_body_shorter_than_its_length_is_resumed(
    open_source: OpenSource, faulty: FaultyObject, read: Read
) -> None:
    source, server = open_source(faulty)
    faulty.go_wrong(replaced(cut_body_after=5), times=2, where=part(2))
    assert read(source(), SIZE) == DATA
    assert (2 * PART + 10, 3 * PART) in [request.range for request in server.requests]


def test_content_encoding_is_left_as_stored(open_source: OpenSource, read: Read) -> None:
    stored = gzip.compress(DATA)
    script = object_script(stored, headers={"Content-Encoding": "gzip"})
    source, server = open_source(script)
    assert read(source(), len(stored)) == stored
    assert "accept-encoding" not in server.requests[0].headers


class TestVersions:
    OTHER = '"fedcba9876543210"'

    def test_first_answer_fixes_the_version(
        self, open_source: OpenSource, faulty: FaultyObject, read: Read
    ) -> None:
        source, server = open_source(faulty)
        assert read(source(), SIZE) == DATA
        first, *later = server.requests
        assert "if-match" not in first.headers
        assert {request.headers["if-match"] for request in later} == {ETAG}
        assert source.etag == ETAG

    def test_overwritten_object_is_an_error(
        self, open_source: OpenSource, faulty: FaultyObject, read: Read
    ) -> None:
        """S3 answers 412 to the If-Match of the version that is no more."""
        source, server = open_source(faulty)
        stream = source(0, PART)
        assert read(stream, PART) == DATA[:PART]
        faulty.replace(bytes(SIZE), self.OTHER)
        rest = source(PART)
        asked = len(server.requests)
        with pytest.raises(ObjectChangedError, match="412"):
            read(rest, SIZE)
        assert rest.tell() == PART
        assert all(request.range[0] >= PART for request in server.requests[asked:] if request.range)

    def test_other_version_in_spite_of_if_match_is_an_error(
        self, open_source: OpenSource, faulty: FaultyObject
    ) -> None:
        source, _ = open_source(faulty)
        faulty.go_wrong(headers(ETag=self.OTHER), where=part(1))
        buffer = bytearray(b"\xee" * SIZE)
        with pytest.raises(ObjectChangedError) as caught:
            source().readinto(buffer)
        assert ETAG in str(caught.value)
        assert self.OTHER in str(caught.value)
        assert buffer[PART : 2 * PART] == b"\xee" * PART, "no byte of the other version came"

    def test_other_version_on_a_retry_is_an_error(
        self, open_source: OpenSource, faulty: FaultyObject, read: Read
    ) -> None:
        source, _ = open_source(faulty)

        def cut_then_overwrite(request: Request, reply: Reply) -> Reply:
            faulty.replace(bytes(SIZE), self.OTHER)
            return dataclasses.replace(reply, cut_body_after=10)

        faulty.go_wrong(cut_then_overwrite, times=1)
        with pytest.raises(ObjectChangedError):
            read(source(), SIZE)

    def test_other_size_is_an_error(
        self, open_source: OpenSource, faulty: FaultyObject, read: Read
    ) -> None:
        source, _ = open_source(faulty)
        faulty.go_wrong(
            headers(Content_Range=f"bytes {PART}-{2 * PART - 1}/{SIZE + 1}"), where=part(1)
        )
        with pytest.raises(ObjectChangedError, match=f"{SIZE} bytes.* {SIZE + 1}"):
            read(source(), SIZE)

    def test_server_without_etags_is_read(
        self, open_source: OpenSource, faulty: FaultyObject, read: Read
    ) -> None:
        source, server = open_source(faulty)
        faulty.go_wrong(headers(ETag=None))
        assert read(source(), SIZE) == DATA
        assert source.etag is None
        assert not any("if-match" in request.headers for request in server.requests)

    def test_etag_longer_than_any_is_refused(
        self, open_source: OpenSource, faulty: FaultyObject, read: Read
    ) -> None:
        source, _ = open_source(faulty)
        faulty.go_wrong(headers(ETag='"' + "e" * 300 + '"'))
        with pytest.raises(IncompleteDataError, match="too large"):
            read(source(), SIZE)


class TestEnds:
    @pytest.mark.parametrize("start", [0, 1, 5000])
    def test_empty_object_has_no_bytes(
        self, open_source: OpenSource, read: Read, start: int
    ) -> None:
        source, server = open_source(FaultyObject(b""))
        stream = source(start)
        assert read(stream, 10) == b""
        assert stream.object_size == 0
        assert read(source(), 10) == b""
        assert len(server.requests) == 1, "an object known to be empty is not asked for again"

    @pytest.mark.parametrize("fault", [None, status(416), Reply(200, {"ETag": ETAG})])
    def test_tail_of_an_empty_object_is_empty(
        self, open_source: OpenSource, read: Read, fault: Fault | Reply | None
    ) -> None:
        empty = FaultyObject(b"")
        empty.go_wrong((lambda request, reply: fault) if isinstance(fault, Reply) else fault)
        source, _ = open_source(empty)
        stream = source.tail(100)
        assert stream.tell() == 0
        assert read(stream, 10) == b""
        assert source.size == 0

    @pytest.mark.parametrize("start", [SIZE, SIZE + 1, SIZE + 10 * PART])
    def test_start_past_the_end_gives_nothing_and_tells_the_size(
        self, open_source: OpenSource, faulty: FaultyObject, read: Read, start: int
    ) -> None:
        source, _ = open_source(faulty)
        stream = source(start, start + 5)
        assert read(stream, 10) == b""
        assert stream.object_size == SIZE
        assert stream.tell() == start

    def test_size_of_a_416_may_come_in_its_content_range(
        self, open_source: OpenSource, faulty: FaultyObject, read: Read
    ) -> None:
        source, _ = open_source(faulty)
        faulty.go_wrong(status(416, "InvalidRange", Content_Range=f"bytes */{SIZE}"))
        assert read(source(SIZE), 10) == b""
        assert source.size == SIZE

    def test_416_that_tells_no_size_is_an_error(
        self, open_source: OpenSource, faulty: FaultyObject, read: Read
    ) -> None:
        source, _ = open_source(faulty)
        faulty.go_wrong(status(416, "InvalidRange"))
        with pytest.raises(InvalidRangeError):
            read(source(SIZE), 10)

    def test_416_within_the_object_is_an_error(
        self, open_source: OpenSource, faulty: FaultyObject, read: Read
    ) -> None:
        source, _ = open_source(faulty)
        faulty.go_wrong(status(416, "InvalidRange", f"<ActualObjectSize>{SIZE}</ActualObjectSize>"))
        with pytest.raises(InvalidRangeError):
            read(source(10), SIZE)

    @pytest.mark.parametrize("length", [1, 100, PART + 1, SIZE, SIZE + 1, 10 * SIZE])
    def test_tail_gives_the_last_bytes(
        self, open_source: OpenSource, faulty: FaultyObject, read: Read, length: int
    ) -> None:
        source, server = open_source(faulty)
        stream = source.tail(length)
        start = max(0, SIZE - length)
        assert read(stream, SIZE) == DATA[start:]
        assert stream.tell() == SIZE
        assert server.requests[0].headers["range"] == f"bytes=-{length}"
        assert len(server.requests) == 1

    def test_tail_of_another_place_is_an_error(
        self, open_source: OpenSource, faulty: FaultyObject, read: Read
    ) -> None:
        source, _ = open_source(faulty)
        faulty.go_wrong(headers(Content_Range=f"bytes {SIZE - 101}-{SIZE - 2}/{SIZE}"))
        stream = source.tail(100)
        with pytest.raises(IncompleteDataError, match="the last"):
            read(stream, SIZE)
        faulty.go_wrong(None)
        assert read(stream, SIZE) == DATA[-100:]

    def test_end_past_the_objects_end_is_cut(
        self, open_source: OpenSource, faulty: FaultyObject, read: Read
    ) -> None:
        source, server = open_source(faulty)
        assert read(source(SIZE - 10, SIZE + 10 * PART), SIZE) == DATA[-10:]
        assert len(server.requests) == 1


class TestHeads:
    @pytest.mark.parametrize("size", [70_000, 400_000])
    def test_oversize_head_is_refused(
        self, open_source: OpenSource, faulty: FaultyObject, read: Read, size: int
    ) -> None:
        source, _ = open_source(faulty)
        lines = {f"x-amz-meta-{number}": "v" * 1000 for number in range(size // 1000)}
        faulty.go_wrong(lambda request, reply: Reply(206, {**reply.headers, **lines}, reply.body))
        stream = source(0, 50)
        with pytest.raises(IncompleteDataError, match="too large"):
            read(stream, 50)
        faulty.go_wrong(None)
        assert read(stream, 50) == DATA[:50]

    @pytest.mark.parametrize(
        "interim",
        [
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b'HTTP/1.1 103 Early Hints\r\nETag: "no"\r\nContent-Range: bytes 9-9/10\r\n\r\n' * 3,
        ],
    )
    def test_interim_answers_are_passed_over(
        self, open_source: OpenSource, faulty: FaultyObject, read: Read, interim: bytes
    ) -> None:
        source, _ = open_source(faulty)
        faulty.go_wrong(replaced(interim=interim))
        assert read(source(), SIZE) == DATA
        assert source.etag == ETAG

    @pytest.mark.parametrize(
        "line", ["etag:{}", "ETAG: \t {} \t", "Etag:    {}", "eTaG:{}\r\nX-Empty:"]
    )
    def test_header_lines_are_taken_as_http_allows_them(
        self, open_source: OpenSource, read: Read, line: str
    ) -> None:
        text = (
            "HTTP/1.1 206 \r\n" + line.format(ETAG) + "\r\n"
            "content-range:bytes 0-49/50\r\nCONTENT-LENGTH:50\r\n\r\n"
        )
        source, _ = open_source([Reply(raw=text.encode() + DATA[:50])])
        assert read(source(), 50) == DATA[:50]
        assert source.etag == ETAG

    def test_trailers_of_a_chunked_body_change_nothing(
        self, open_source: OpenSource, read: Read
    ) -> None:
        text = (
            f"HTTP/1.1 206 Partial Content\r\nETag: {ETAG}\r\nTrailer: ETag\r\n"
            "Content-Range: bytes 0-49/50\r\nTransfer-Encoding: chunked\r\n\r\n32\r\n"
        )
        trailer = b'\r\n0\r\nETag: "other"\r\nContent-Range: bytes 1-2/3\r\n\r\n'
        source, _ = open_source([Reply(raw=text.encode() + DATA[:50] + trailer)])
        assert read(source(), 50) == DATA[:50]
        assert source.etag == ETAG

    @pytest.mark.parametrize(
        "raw",
        [
            b"HTTP/0.9 nonsense\r\n\r\n",
            b"220 smtp.example ready\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"SSH-2.0-OpenSSH_9.6\r\n",
            b"\r\n\r\n",
        ],
    )
    def test_what_is_not_http_is_an_error(
        self, open_source: OpenSource, read: Read, raw: bytes
    ) -> None:
        source, _ = open_source([Reply(raw=raw, close=True)])
        with pytest.raises(ConnectionError):
            read(source(0, 50), 50)
