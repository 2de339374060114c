"""Objects in memory for readers to read: a caller's plain callables, and the library's own kind.

Both count what they are asked, and can be told to fail: `ForeignSource` is any callable that gives
chunks, of any size and bytes-like type; `MemorySource` looks to a reader like the client's own
`ObjectSource`, without a client or a network.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from s3reader.integrity import Verifier
from s3reader.source import ObjectSource
from s3reader.stream import GetObjectStream

Range = tuple[int | None, int | None]


class Interrupted(Exception):
    """What an armed source raises in the middle of a stream."""


class ForeignSource:
    """``get_stream`` and ``get_object_info`` of a caller's own, over ``data``.

    ``kinds`` are the types its chunks take in turn; ``"reused"`` is a memoryview of one buffer
    that the next chunk overwrites. ``missing`` bytes are left off each stream, ``surplus`` ones
    added to it. ``fail_at`` is the offset in the object where the next stream to get there raises.
    """

    def __init__(
        self,
        data: bytes,
        chunk_size: int = 1 << 16,
        kinds: tuple[object, ...] = (bytes,),
        *,
        missing: int = 0,
        surplus: bytes = b"",
    ) -> None:
        self.data = data
        self.chunk_size = chunk_size
        self.kinds = kinds
        self.missing = missing
        self.surplus = surplus
        self.fail_at: int | None = None
        self.requests: list[Range] = []
        self.infos = 0
        self.closed = 0
        self.given = 0

    def info(self) -> SimpleNamespace:
        self.infos += 1
        return SimpleNamespace(size=len(self.data), etag='"e"')

    def __call__(self, start: int | None = None, end: int | None = None) -> Iterator[object]:
        self.requests.append((start, end))
        return self._chunks(start or 0, len(self.data) if end is None else end)

    def _chunks(self, start: int, end: int) -> Iterator[object]:
        body = self.data[start:end]
        body = body[: len(body) - self.missing] + self.surplus
        reused = bytearray(self.chunk_size)
        sizes = random.Random(start)
        offset = 0
        count = 0
        try:
            while offset < len(body):
                size = sizes.randint(1, self.chunk_size)
                piece = body[offset : offset + size]
                if self.fail_at is not None and start + offset + len(piece) > self.fail_at:
                    self.fail_at = None
                    raise Interrupted
                kind = self.kinds[count % len(self.kinds)]
                self.given += len(piece)
                if kind == "reused":
                    reused[: len(piece)] = piece
                    yield memoryview(reused)[: len(piece)]
                elif kind == "empty":
                    yield b""
                    yield piece
                else:
                    assert callable(kind)
                    yield kind(piece)
                offset += len(piece)
                count += 1
        finally:
            self.closed += 1


class MemoryStream(GetObjectStream):
    """A `GetObjectStream` of ``source`` over ``[start, end)``, which is clipped to the object."""

    def __init__(self, source: MemorySource, start: int, end: int | None) -> None:
        self.source = source
        self.start = self.position = start
        self.end = end
        self.started = False
        self.is_closed = False

    object_size: int | None = None
    etag: str | None = None

    def _respond(self) -> None:
        assert not self.is_closed, "a closed stream is read"
        if not self.started:
            self.started = True
            self.source.requests.append((self.start, self.end))
        size = len(self.source.data)
        self.source.size = self.object_size = size
        self.end = size if self.end is None else min(self.end, size)
        if self.source.stops_at is not None:
            self.end = min(self.end, self.source.stops_at)

    def _take(self, count: int) -> bytes:
        self._respond()
        assert self.end is not None
        stop = max(self.position, min(self.position + count, self.end))
        source = self.source
        if source.fail_at is not None and self.position <= source.fail_at < stop:
            source.fail_at = None
            raise Interrupted
        piece = source.data[self.position : stop]
        self.position = max(self.position, stop)
        source.given += len(piece)
        return piece

    def __iter__(self) -> MemoryStream:
        return self

    def __next__(self) -> memoryview:
        piece = self._take(self.source.chunk_size)
        if not piece:
            raise StopIteration
        return memoryview(piece)

    def piece(self, most: int) -> bytes:
        return self._take(min(most, self.source.chunk_size))

    def readinto(self, buf: memoryview, /) -> int:
        piece = self._take(len(buf))
        buf[: len(piece)] = piece
        return len(piece)

    def prefetch(self) -> None:
        if not self.started:
            self.started = True
            self.source.requests.append((self.start, self.end))

    def tell(self) -> int:
        return self.position

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self.source.closed += 1


class MemorySource(ObjectSource):
    """An `ObjectSource` over ``data``; ``requests`` holds the ranges that were really fetched.

    ``stops_at`` is where its streams wrongly end, whatever size it tells.
    """

    stops_at: int | None = None

    bucket = "bucket"
    key = "key"
    size: int | None = None
    etag: str | None = None

    def __init__(self, data: bytes, chunk_size: int = 1 << 16) -> None:
        self.data = data
        self.chunk_size = chunk_size
        self.verifier = Verifier(self.bucket, self.key)
        self.fail_at: int | None = None
        self.requests: list[Range] = []
        self.infos = 0
        self.opened = 0
        self.closed = 0
        self.given = 0

    def __call__(self, start: int | None = None, end: int | None = None) -> MemoryStream:
        self.opened += 1
        return MemoryStream(self, start or 0, end)

    def fill(self, start: int, view: memoryview) -> int:
        self.opened += 1
        stream = MemoryStream(self, start, start + len(view))
        try:
            return stream.readinto(view)
        finally:
            stream.close()

    def tail(self, length: int) -> MemoryStream:
        self.opened += 1
        return MemoryStream(self, max(len(self.data) - length, 0), None)

    def info(self) -> SimpleNamespace:
        self.infos += 1
        self.size = len(self.data)
        return SimpleNamespace(size=self.size, etag='"e"')

    def stats(self) -> dict[str, int]:
        return {"GetObject": len(self.requests), "HeadObject": self.infos}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__.copy()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.requests = []
        self.opened = self.closed = 0


Source = ForeignSource | MemorySource
