"""Connections that break: wherever they do, a stream goes on at the byte after the last one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from servers.faults import ETAG, PART, FaultyObject, cut, part, pattern
from servers.scripted import Reply, Request, ScriptedServer, object_script

from s3reader.errors import IncompleteDataError, S3ConnectionError, S3TimeoutError
from s3reader.source import ObjectSource
from s3reader.stream import GetObjectStream

DATA = pattern(3 * PART + 100)
FIRST = Request(0, 0, "GET", "/", {"range": f"bytes=0-{PART - 1}"}, b"")
HEAD = len(object_script(DATA, ETAG)(FIRST).head())  # bytes of a reply's head

Read = Callable[[GetObjectStream, int], bytes]
OpenSource = Callable[..., tuple[ObjectSource, ScriptedServer]]


@pytest.fixture
def faulty() -> FaultyObject:
    return FaultyObject(DATA)


@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
def test_cut_at_each_byte_of_the_head_is_retried(
    open_source: OpenSource, faulty: FaultyObject, read: Read, reset: bool
) -> None:
    source, _ = open_source(faulty)
    for after in range(HEAD + 1):
        faulty.go_wrong(cut(after, reset=reset), times=1)
        assert read(source(0, 50), 50) == DATA[:50], f"cut after byte {after} of the head"


@pytest.mark.parametrize("number", [0, 1, 3])
@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
def test_cut_within_a_body_is_retried(
    open_source: OpenSource, faulty: FaultyObject, read: Read, reset: bool, number: int
) -> None:
    session_source, _ = open_source(faulty)
    length = min(PART, len(DATA) - number * PART)
    for after in sorted({0, 1, 2, length - 1, *range(7, length, 509)}):
        fault = cut(HEAD - 2 + after, reset=reset)
        faulty.go_wrong(fault, times=1, where=part(number))
        source = ObjectSource(session_source.session, "bucket", "key")
        assert read(source(), len(DATA)) == DATA, f"part {number} cut after {after} bytes"


@pytest.mark.slow
@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
def test_cut_at_every_byte_is_retried(
    open_source: OpenSource, faulty: FaultyObject, read: Read, reset: bool
) -> None:
    source, _ = open_source(faulty)
    for after in range(HEAD + PART):
        faulty.go_wrong(cut(after, reset=reset), times=1, where=part(1))
        assert read(source(), len(DATA)) == DATA, f"second part cut after {after} bytes"


def test_retry_asks_from_the_byte_after_the_last_one(
    open_source: OpenSource, faulty: FaultyObject, read: Read
) -> None:
    source, server = open_source(faulty)
    faulty.go_wrong(
        lambda request, reply: dataclasses.replace(reply, cut_body_after=1000),
        times=1,
        where=part(1),
    )
    assert read(source(), len(DATA)) == DATA
    resumed = [r for r in server.requests if r.range == (PART + 1000, 2 * PART)]
    assert len(resumed) == 1
    assert resumed[0].headers["if-match"] == ETAG
    assert source.stats()["retries"] == {"incomplete": 1}
    assert source.stats()["bytes_received"] == len(DATA), "no byte was fetched twice"


def test_progress_renews_the_attempts(
    open_source: OpenSource, faulty: FaultyObject, read: Read
) -> None:
    source, server = open_source(faulty, max_attempts=2)
    faulty.go_wrong(lambda request, reply: dataclasses.replace(reply, cut_body_after=100))
    assert read(source(0, 1000), 1000) == DATA[:1000]
    assert len(server.requests) == 10


def test_lasting_break_is_an_error_and_the_next_read_starts_clean(
    open_source: OpenSource, faulty: FaultyObject
) -> None:
    source, _ = open_source(faulty)
    stream = source(10)
    buffer = bytearray(len(DATA))
    faulty.go_wrong(cut(HEAD, reset=True), where=part(2))
    with pytest.raises((S3ConnectionError, IncompleteDataError)) as caught:
        stream.readinto(buffer)
    assert caught.value.attempts == 3
    assert caught.value.range is not None
    assert "s3://bucket/key" in str(caught.value)
    assert stream.tell() == 10
    faulty.go_wrong(None)
    assert stream.readinto(buffer) == len(DATA) - 10
    assert buffer[: len(DATA) - 10] == DATA[10:]


def test_chunks_before_a_lasting_break_are_right_and_reading_goes_on_after_it(
    open_source: OpenSource, faulty: FaultyObject
) -> None:
    source, _ = open_source(faulty)
    stream = source()
    faulty.go_wrong(cut(0), where=part(2))
    received = bytearray()

    def take_all() -> None:
        for view in stream:
            received.extend(view)

    with pytest.raises((S3ConnectionError, IncompleteDataError)):
        take_all()
    assert stream.tell() == len(received)
    faulty.go_wrong(None)
    take_all()
    assert received == DATA


@pytest.mark.parametrize("length", [None, "right"], ids=["no-length", "length"])
def test_body_that_ends_early_is_resumed(
    open_source: OpenSource, read: Read, length: str | None
) -> None:
    """Without Content-Length the end of the connection is the end of the body."""
    right = object_script(DATA, ETAG)

    def answer(request: Request) -> Reply:
        reply = right(request)
        head = reply.head()
        if length is None:
            lines = head.split(b"\r\n")
            head = b"\r\n".join(line for line in lines if not line.startswith(b"Content-Length"))
        return Reply(raw=head + reply.body[:1500], close=True)

    source, server = open_source(answer)
    assert read(source(0, PART), PART) == DATA[:PART]
    assert [r.range for r in server.requests] == [(0, PART), (1500, PART), (3000, PART)]


class TestStalls:
    """Timeouts of a fifth of a second; the loop looks at them ten times a second."""

    SHORT = 0.2

    def test_no_answer(self, open_source: OpenSource, faulty: FaultyObject, read: Read) -> None:
        source, _ = open_source(faulty, first_byte_timeout=self.SHORT)
        faulty.go_wrong(lambda request, reply: Reply(silent=True), times=1, where=part(1))
        assert read(source(), len(DATA)) == DATA
        assert source.stats()["retries"] == {"timeout": 1}

    def test_head_that_stops(self, open_source: OpenSource, read: Read) -> None:
        right = object_script(DATA, ETAG)

        def answer(request: Request) -> Reply:
            reply = right(request)
            if request.index:
                return reply
            # A pause counted from the body's end, which here is the head's first line.
            return dataclasses.replace(reply, delay_at=-HEAD + 20, pause=30.0)

        source, _ = open_source(answer, first_byte_timeout=self.SHORT)
        assert read(source(0, 50), 50) == DATA[:50]
        assert source.stats()["retries"] == {"timeout": 1}

    @pytest.mark.parametrize("at", [0, 1, 1000, PART - 1])
    def test_body_that_stops(
        self, open_source: OpenSource, faulty: FaultyObject, read: Read, at: int
    ) -> None:
        source, server = open_source(faulty, stall_timeout=self.SHORT)
        faulty.go_wrong(
            lambda request, reply: dataclasses.replace(reply, delay_at=at, pause=30.0),
            times=1,
            where=part(1),
        )
        assert read(source(), len(DATA)) == DATA
        assert source.stats()["retries"] == {"timeout": 1}
        assert (PART + at, 2 * PART) in [r.range for r in server.requests[1:]]

    def test_error_body_that_stops(
        self, open_source: OpenSource, faulty: FaultyObject, read: Read
    ) -> None:
        source, _ = open_source(faulty, stall_timeout=self.SHORT)
        faulty.go_wrong(
            lambda request, reply: Reply(500, body=b"<Error>" * 9, delay_at=20, pause=30.0),
            times=1,
        )
        assert read(source(0, 50), 50) == DATA[:50]

    def test_lasting_silence_is_a_timeout_error(
        self, open_source: OpenSource, faulty: FaultyObject, read: Read
    ) -> None:
        source, _ = open_source(faulty, first_byte_timeout=self.SHORT, max_attempts=2)
        faulty.go_wrong(lambda request, reply: Reply(silent=True))
        stream = source(7, 50)
        with pytest.raises(S3TimeoutError, match="first_byte_timeout") as caught:
            read(stream, 50)
        assert isinstance(caught.value, TimeoutError)
        assert caught.value.attempts == 2
        assert stream.tell() == 7
        faulty.go_wrong(None)
        assert read(stream, 50) == DATA[7:50]

    def test_retry_timeout_ends_the_retries(
        self, open_source: OpenSource, faulty: FaultyObject, read: Read
    ) -> None:
        source, server = open_source(
            faulty, first_byte_timeout=self.SHORT, retry_timeout=0.5, max_attempts=1000
        )
        faulty.go_wrong(lambda request, reply: Reply(silent=True))
        with pytest.raises(S3TimeoutError):
            read(source(0, 50), 50)
        assert 2 <= len(server.requests) <= 4

    def test_slow_bytes_are_no_stall(self, open_source: OpenSource, read: Read) -> None:
        """What counts is the time without a byte, not the time of the whole body."""
        right = object_script(DATA[:40], ETAG)

        def answer(request: Request) -> Reply:
            return dataclasses.replace(right(request), delay_at=20, pause=0.15)

        source, server = open_source(answer, stall_timeout=0.6, first_byte_timeout=0.6)
        assert read(source(), 40) == DATA[:40]
        assert len(server.requests) == 1


def test_refused_connection_is_a_connection_error(
    open_source: OpenSource, faulty: FaultyObject, read: Read
) -> None:
    source, server = open_source(faulty)
    server.close()
    stream = source(0, 50)
    with pytest.raises(S3ConnectionError, match="refused") as caught:
        read(stream, 50)
    assert caught.value.attempts == 3
    assert stream.tell() == 0
