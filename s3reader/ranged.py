"""The reader for sparse access: each read fetches its own range, small ones through a buffer.

A read smaller than the buffer loads the buffer from its position on, in the hope of a next read
nearby; a larger one goes straight to the caller's memory, in parallel parts with the library's
own streams, and leaves the buffer as it is.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ._ext.chunklist import Span
from ._ext.memory import Memory
from .checksums import ChecksumError
from .object_reader import FOOTER_SIZE, ObjectReader

DEFAULT_BUFFER_SIZE = 8 * 1024 * 1024
"""Bytes: one part, the size S3 recommends for ranges fetched in parallel (8 to 16 MB)."""

# What `readline` and `peek` look ahead when there is no buffer: without it each byte of a line
# would be a request.
_LOOKAHEAD_SIZE = 64 * 1024


class RangedS3Reader(ObjectReader):
    """Reads ranges of an object, through a buffer when they are small.

    Args:
        bucket, key: the object.
        get_object_info: called once at most for the size, before the first read; never with the
            client's own streams, whose first response tells it.
        get_stream: called with ``(start, end)`` in bytes, half-open, for each range.
        buffer_size: bytes; None for 8 MiB, 0 or less for no buffer.

    Raises:
        ValueError: an empty bucket.
        TypeError: a ``buffer_size`` that is no integer.
    """

    def __init__(
        self,
        bucket: str,
        key: str,
        get_object_info: Callable[[], Any],
        get_stream: Callable[..., Iterable[Any]],
        buffer_size: int | None = None,
    ) -> None:
        super().__init__(bucket, key, get_object_info, get_stream)
        if buffer_size is None:
            self._buffer_size = DEFAULT_BUFFER_SIZE
        else:
            try:
                self._buffer_size = max(operator.index(buffer_size), 0)
            except TypeError:
                raise TypeError(
                    f"buffer_size must be an int (bytes) or None, got {type(buffer_size).__name__}"
                ) from None
        self._memory: Memory | None = None
        self._buffer: Span | None = None

    def _arguments(self) -> dict[str, Any]:
        return super()._arguments() | {"buffer_size": self._buffer_size}

    def _failed(self) -> None:
        if self._source is not None:
            self._settle()

    def _release(self) -> None:
        self._memory = self._buffer = None

    def _distrust(self) -> None:
        self._cursor.hide()
        self._buffer = None

    def _reachable(self, target: int) -> int:
        if self._source is None:
            return target if target <= self._cursor.position else min(target, self._get_size())
        size = self._known_size()
        return min(target, sys.maxsize if size is None else size)

    def _size_seen_from_end(self, offset: int) -> int:
        if self._source is not None and self._known_size() is None:
            length = min(max(FOOTER_SIZE, -offset), self._buffer_size or FOOTER_SIZE)
            tail = self._read_tail(length)
            self._hold(Span(self._get_size() - len(tail), tail))
        return self._get_size()

    def _hold(self, buffer: Span) -> None:
        self._buffer = buffer
        if buffer.end > buffer.start:
            self._cursor.show(buffer)

    def _load(self, position: int) -> bool:
        if self._source is None:
            self._get_size()
        if not self._past_end(position):
            buffer = self._buffer
            if buffer is not None and buffer.start <= position < buffer.end:
                self._cursor.show(buffer)
                return True
            buffer = self._load_buffer(position)
            if buffer.end > buffer.start:
                return True
        self._settle()
        return False

    def _past_end(self, position: int) -> bool:
        size = self._known_size()
        return size is not None and position >= size

    def _load_buffer(self, position: int) -> Span:
        """Fill the buffer from ``position`` on; what it held is gone even if that fails."""
        capacity = self._buffer_size or _LOOKAHEAD_SIZE
        self._cursor.hide()
        self._buffer = None
        if self._memory is None:
            self._memory = Memory.block(capacity)
        size = self._known_size()
        stop = position + capacity if size is None else min(position + capacity, size)
        received = self._receive(position, stop, self._memory, 0)
        buffer = Span(position, self._memory, 0, received)
        self._hold(buffer)
        return buffer

    def _chunks_of(self, start: int, stop: int) -> Iterator[tuple[int, memoryview]]:
        stop = min(stop, self._get_size())
        if start >= stop:
            return
        feed = self._feed(self._get_stream(start, stop), start, stop)
        try:
            while (chunk := feed.pull()) is not None:
                view = memoryview(chunk).cast("B")
                yield start, view
                start += len(view)
        finally:
            feed.close()

    def _receive(self, start: int, stop: int, memory: Memory, offset: int) -> int:
        """Fetch ``[start, stop)`` into ``memory`` at ``offset``; short only at the object's end."""
        if self._source is not None:
            try:
                with memory.view(offset, offset + stop - start) as view:
                    received = self._source.fill(start, view)
            except ChecksumError:
                self._distrust()
                raise
            if received != stop - start:
                self._check_complete(start, received, stop - start)
            return received
        feed = self._feed(self._get_stream(start, stop), start, stop)
        try:
            while (chunk := feed.pull()) is not None:
                offset += memory.put(offset, chunk)
        finally:
            feed.close()
        return stop - start

    def _read(self, size: int) -> bytes:
        position = self._cursor.position
        if size == 0:
            return b""
        if self._source is None:
            self._get_size()
        if self._known_size() is None:
            if size < 0 or size >= self._buffer_size:
                return self._read_to_unknown_end(position, size)
            self._load_buffer(position)
        stop = self._get_size() if size < 0 else min(position + size, self._get_size())
        if stop <= position:
            self._settle()
            return b""
        memory = self._bytes(stop - position)
        self._fetch(position, stop, memory)
        self._cursor.position = stop
        return memory.take()

    def _fill(self, memory: Memory) -> int:
        position = self._cursor.position
        if self._source is None:
            self._get_size()
        size = self._known_size()
        stop = position + memory.nbytes
        if size is not None and stop > size:
            stop = size
        if stop <= position:
            self._settle()
            return 0
        if self._buffer is None and stop - position >= self._buffer_size:
            filled = self._receive(position, stop, memory, 0)
        else:
            filled = self._fetch(position, stop, memory)
        self._cursor.position = position + filled
        if position + filled != stop:
            self._settle()
        return filled

    def _fetch(self, start: int, stop: int, memory: Memory) -> int:
        """Put ``[start, stop)`` into ``memory`` from the buffer and from requests as they fit."""
        filled = self._copy_buffered(start, stop, memory, 0)
        start += filled
        if start == stop:
            return filled
        if stop - start >= self._buffer_size:
            return filled + self._receive(start, stop, memory, filled)
        self._load_buffer(start)
        return filled + self._copy_buffered(start, stop, memory, filled)

    def _copy_buffered(self, start: int, stop: int, memory: Memory, offset: int) -> int:
        buffer = self._buffer
        if buffer is None or not self._buffer_size or not buffer.start <= start < buffer.end:
            return 0
        return buffer.copy(start, memory, offset, min(stop, buffer.end) - start)

    def _read_to_unknown_end(self, position: int, size: int) -> bytes:
        """A large read of an own stream before any response: the first chunk tells the size."""
        stop = None if size < 0 or size > sys.maxsize - position else position + size
        with self._own_stream(position, stop) as stream:
            first = next(stream, b"")
            total = self._get_size()
            stop = total if stop is None else min(stop, total)
            if stop <= position:
                self._settle()
                return b""
            memory = self._bytes(stop - position)
            received = memory.put(0, first)
            if received < memory.nbytes:
                with memory.view(received, memory.nbytes) as rest:
                    received += stream.readinto(rest)
        self._check_complete(position, received, stop - position)
        data = memory.take()
        if len(data) < self._buffer_size:
            self._hold(Span(position, data))
        self._cursor.position = stop
        return data
