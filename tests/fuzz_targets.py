"""What the fuzzer drives: each target takes bytes and raises for what must not be."""

from __future__ import annotations

import contextlib
import re
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from unittest import mock
from urllib.parse import parse_qsl

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from checksum_twins import POLYNOMIALS, crc
from range_twins import plain_merge, plain_split
from servers.faults import PART, pattern
from servers.scripted import Reply, Request, ScriptedServer, object_script

from s3reader import S3Client, S3ClientConfig, S3Exception
from s3reader._ext import ranges, sigv4
from s3reader._ext.chunklist import ChunkList, Span
from s3reader._ext.crc import combine
from s3reader._ext.memory import Memory
from s3reader.constructor import S3ReaderConstructor
from s3reader.error_body import parse_error_body
from s3reader.listing import _parse_page
from s3reader.results import HeadObjectResult, parse_headers, parse_http_date, parse_restore

DATA = pattern(2 * PART + 100)
GUARD = 64  # bytes around a buffer that must stay as they are
SLOWEST = 10.0  # seconds that any input may take
RESERVED = 0xEE
SPAN = 1500  # bytes that a chunk list is about


@dataclass(frozen=True)
class Target:
    name: str
    run: Callable[[bytes], None]


class Draw:
    """Values out of bytes, zero when they have run out."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        self._at += count
        return taken.ljust(count, b"\0")

    def below(self, limit: int) -> int:
        return struct.unpack("<H", self.take(2))[0] % limit

    def offset(self) -> int:
        """Mostly small, at times anywhere in 64 bits."""
        if self.take(1)[0] < 200:
            return self.below(3000)
        number: int = struct.unpack("<q", self.take(8))[0]
        return number

    def text(self) -> str:
        return self.take(self.below(40)).decode("utf-8", "replace")


class Answers:
    """Answers changed at random, to a client that then asks again and is answered well.

    The first byte of an input says how the object is read, the rest is the head of the answer to
    the first request. What is read must be the object or its beginning, or an `S3Exception`.
    """

    def __init__(self, server: ScriptedServer, client: S3Client) -> None:
        self._server = server
        self._client = client
        self._right = object_script(DATA)

    @classmethod
    @contextlib.contextmanager
    def started(cls) -> Iterator[Answers]:
        config = S3ClientConfig(
            part_size=PART, max_attempts=2, retry_timeout=2.0, unsigned=True,
            first_byte_timeout=0.3, stall_timeout=0.3, max_connections=4,
        )  # fmt: skip
        with (
            mock.patch("s3reader.judge.random.random", return_value=0.0),  # retries come at once
            ScriptedServer([]) as server,
            S3Client("us-east-1", endpoint=server.endpoint, s3client_config=config) as client,
        ):
            yield cls(server, client)

    def run(self, data: bytes) -> None:
        way, head = data[:1], data[1:]
        pending = [head]

        def script(request: Request) -> Reply:
            reply = self._right(request)
            if not pending:
                return reply
            return Reply(raw=pending.pop() + reply.body, close=True)

        self._server.answer_by(script)
        began = time.monotonic()
        with contextlib.suppress(S3Exception):
            self._use(way[0] % 6 if way else 0, head)
        assert time.monotonic() - began < SLOWEST

    def _use(self, way: int, head: bytes) -> None:
        if way == 0:
            self._client.head_object("bucket", "key")
            return
        if way == 1:
            next(iter(self._client.list_objects("bucket")), None)
            return
        constructor = (
            S3ReaderConstructor.sequential()
            if way < 4
            else S3ReaderConstructor.range_based(buffer_size=0)
        )
        reader = self._client.get_object("bucket", "key", reader_constructor=constructor)
        with reader:
            if way % 2:
                got = reader.read()
            else:
                buffer = bytearray([RESERVED]) * (len(DATA) + 2 * GUARD)
                count = reader.readinto(memoryview(buffer)[GUARD:-GUARD])
                guards = buffer[:GUARD] + buffer[len(DATA) + GUARD :]
                assert guards.count(RESERVED) == 2 * GUARD
                got = bytes(buffer[GUARD : GUARD + count])
            # A head that ends early makes a body of its own rest, a coding makes another of it.
            end = re.search(rb"\n\r?\n", head)
            honest = end is not None and end.end() == len(head) and b"chunked" not in head.lower()
            assert not honest or DATA.startswith(got), "other bytes than the object's"


def run_head(data: bytes) -> None:
    headers = parse_headers(data)
    with contextlib.suppress(ValueError):
        HeadObjectResult.from_headers(headers)
    for value in headers.values():
        parse_http_date(value)
        parse_restore(value)


def run_error(data: bytes) -> None:
    body = parse_error_body(data)
    for text in (body.code, body.message, body.region, body.request_id, body.host_id):
        assert text is None or len(text) <= 5000


def run_page(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        _parse_page(data)


def run_ranges(data: bytes) -> None:
    draw = Draw(data)
    bounds = []
    while draw and len(bounds) < 30:
        bounds.append((draw.offset(), draw.offset()))
    with contextlib.suppress(ValueError):
        assert ranges.merge(bounds, draw.offset()) is not None
    kept = sorted((min(pair), max(pair)) for pair in bounds if min(pair) >= 0)
    gap = abs(draw.offset())
    assert ranges.merge(kept, gap) == plain_merge(kept, gap)
    for start, end in kept:
        part = max(1, abs(draw.offset()), (end - start) // 50)
        assert ranges.split(start, end, part) == plain_split(start, end, part)


def run_chunks(data: bytes) -> None:
    draw = Draw(data)
    source = pattern(SPAN)
    chunks, kept = ChunkList(), bytearray(SPAN)  # a byte of 1 for each that is kept
    buffer = bytearray([RESERVED]) * 700
    memory = Memory.lent(buffer)
    while draw:
        what, start = draw.below(8), draw.below(SPAN)
        piece = source[start : start + draw.below(400)]
        if what < 3:
            chunks.add(start, piece if what else memoryview(piece))
            kept[start : start + len(piece)] = b"\1" * len(piece)
        elif what == 3:
            chunks.replace(start, piece)
            kept[start : start + len(piece)] = b"\1" * len(piece)
        elif what in (4, 5):
            chunks.discard_before(start) if what == 4 else chunks.trim(start)
            kept = bytearray(chunks.has(place) for place in range(SPAN))
        else:
            place, offset, count = draw.offset(), draw.offset(), draw.offset()
            buffer[:] = bytes([RESERVED]) * 700
            try:
                copied = chunks.copy(place, memory, offset, count)
            except IndexError:
                copied = offset = 0
            assert buffer[offset : offset + copied] == source[max(place, 0) :][:copied]
            assert buffer[:offset].count(RESERVED) == offset
            assert buffer.count(RESERVED, offset + copied) == 700 - offset - copied
            with contextlib.suppress(IndexError):
                Span(place, piece, offset, count)
        assert chunks.nbytes == kept.count(1)
    at = kept.find(1)
    if at >= 0:
        stop = kept.find(0, at)
        stop = SPAN if stop < 0 else stop
        assert chunks.run_end(at, 2 * SPAN) == stop
        assert chunks.read(at, stop - at) == source[at:stop]


def run_crc(data: bytes) -> None:
    draw = Draw(data)
    name = sorted(POLYNOMIALS)[draw.below(3)]
    polynomial, bits = POLYNOMIALS[name]
    with contextlib.suppress(ValueError, OverflowError):
        combine(draw.offset(), draw.offset(), draw.offset(), draw.offset(), draw.below(70))
    cut = draw.below(len(data) + 1)
    first, second = crc(name, data[:cut]), crc(name, data[cut:])
    assert combine(first, second, len(data) - cut, polynomial, bits) == crc(name, data)


def run_signer(data: bytes) -> None:
    draw = Draw(data)
    pairs = [(draw.text() or "a", draw.text()) for _ in range(draw.below(4))]
    query = sigv4.canonical_query(pairs)
    assert sorted(parse_qsl(query, keep_blank_values=True, errors="strict")) == sorted(pairs)
    extra = [(f"x-amz-{number}", draw.text()) for number in range(draw.below(3))]
    token = draw.text() or None
    now = draw.below(60000) * 50000.0
    arguments = ("GET", "host", "/key", query, extra, "AKID", "secret", token, "us-east-1", now)
    broken = any(re.search(r"[\r\n\0]", value) for value in [*dict(extra).values(), token or ""])
    try:
        signed = dict(sigv4.sign(*arguments))
    except ValueError:
        values = [*dict(extra).values(), token or ""]
        plain = all(value.isascii() and value.isprintable() for value in values)
        assert not plain, "refused without a reason"
        return
    assert not broken, "a line break went into a header"
    assert not any(re.search(r"[\r\n\0]", text) for pair in signed.items() for text in pair)
    if all(value == value.strip() and value.isascii() for _, value in extra):
        theirs = _botocore_signature(pairs, extra, token, signed["x-amz-date"])
        assert signed["Authorization"].endswith(theirs)


def _botocore_signature(
    pairs: list[tuple[str, str]], extra: list[tuple[str, str]], token: str | None, date: str
) -> str:
    request = AWSRequest("GET", "https://host/key", headers=dict(extra), params=pairs)
    signer = botocore.auth.S3SigV4Auth(Credentials("AKID", "secret", token), "s3", "us-east-1")
    request.context["timestamp"] = date
    request.context["payload_signing_enabled"] = True
    signer._modify_request_before_signing(request)
    canonical = signer.canonical_request(request)
    signature: str = signer.signature(signer.string_to_sign(request, canonical), request)
    return signature


@contextlib.contextmanager
def all_targets() -> Iterator[list[Target]]:
    """The targets, and the server that one of them needs."""
    with Answers.started() as answers:
        yield [
            Target("answers", answers.run),
            Target("heads", run_head),
            Target("errors", run_error),
            Target("pages", run_page),
            Target("ranges", run_ranges),
            Target("chunks", run_chunks),
            Target("crc", run_crc),
            Target("signer", run_signer),
        ]
