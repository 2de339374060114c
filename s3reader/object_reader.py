"""What the three readers share: one object seen through two callables.

An `ObjectReader` knows ``get_object_info`` and ``get_stream`` and nothing of a client. With the
client's own `ObjectSource` as ``get_stream`` the first response tells the size, so a seek past a
still unknown end is let stand and put right then; with a caller's plain callable the size comes
from ``get_object_info``, asked once. The hot path, and the ``io`` behaviour, is the compiled
`CursorReader` underneath.
"""

from __future__ import annotations

import copyreg
import operator
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from io import SEEK_CUR, SEEK_END, SEEK_SET
from typing import TYPE_CHECKING, Any, SupportsIndex

from ._ext.cursor import CursorReader
from ._ext.memory import Memory
from ._ext.vector import Vector
from .checksums import ChecksumError
from .feed import Feed, wrong_length
from .integrity import FOREIGN, Integrity
from .s3reader import S3Reader
from .shortage import no_memory
from .source import ObjectSource
from .stream import GetObjectStream
from .vectored import USUAL_GAP, check_end, checked_gap, fetch_ranges

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Buffer

# The suffix-range GET that answers SEEK_END: holds the central directory of most ZIP files and
# the footer of most Parquet files, and costs no more time than an empty answer.
FOOTER_SIZE = 64 * 1024


# Bytes of many ranges that are put into their places at once, where they come in other memory.
PUT_SIZE = 1024 * 1024


class ObjectReader(CursorReader, S3Reader):
    """Base of the library's readers; see `S3Reader` for what they promise."""

    _bucket = ""
    _key = ""

    def __init__(
        self,
        bucket: str,
        key: str,
        get_object_info: Callable[[], Any],
        get_stream: Callable[..., Iterable[Any]],
    ) -> None:
        if not bucket:
            raise ValueError("Bucket should be specified")
        super().__init__()
        self._bucket = bucket
        self._key = key
        self._get_object_info = get_object_info
        self._get_stream = get_stream
        self._source = get_stream if isinstance(get_stream, ObjectSource) else None
        self._size: int | None = None

    @property
    def bucket(self) -> str:
        return self._bucket

    @property
    def key(self) -> str:
        return self._key

    def stats(self) -> dict[str, Any]:
        """Requests, retries and bytes of this reader; empty with a caller's own ``get_stream``."""
        return self._source.stats() if self._source is not None else {}

    @property
    def integrity(self) -> Integrity:
        if self._source is None:
            return Integrity(reason=FOREIGN)
        return self._source.verifier.integrity

    def __repr__(self) -> str:
        return f"<{type(self).__name__} s3://{self._bucket}/{self._key}>"

    def __getstate__(self) -> dict[str, Any]:
        position = self.tell()
        return {
            "arguments": self._arguments(),
            "position": position,
            "size": self._known_size(),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state["arguments"])  # type: ignore[misc]
        self._cursor.position = state["position"]
        self._size = state["size"]

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        # io objects refuse protocols 0 and 1 by themselves; this one has nothing they cannot do.
        return copyreg.__newobj__, (type(self),), self.__getstate__()  # type: ignore[attr-defined]

    def _arguments(self) -> dict[str, Any]:
        """The constructor's arguments, as far as they make an equal reader."""
        return {
            "bucket": self._bucket,
            "key": self._key,
            "get_object_info": self._get_object_info,
            "get_stream": self._get_stream,
        }

    def readinto_ranges(
        self, ranges: Iterable[tuple[int, Buffer]], *, max_gap: int | None = None
    ) -> int:
        max_gap = checked_gap(max_gap)
        self.tell()
        vector = Vector(ranges)
        try:
            self._admit(vector)
            if self._source is not None and not self._keeps(vector):
                fetch_ranges(self._source, vector, max_gap)
            elif len(vector):
                self._put_ranges(vector, max_gap)
            vector.finish()
            return vector.nbytes
        finally:
            vector.release()
            self._settle()

    def _admit(self, vector: Vector) -> None:
        """Raise for ranges that this reader does not give."""

    def _keeps(self, vector: Vector) -> bool:
        """Whether all that is wanted was received before and is kept here."""
        return False

    def _put_ranges(self, vector: Vector, max_gap: int | None) -> None:
        """Put the bytes of ranges into their places from chunks that this reader gets by itself."""
        check_end(self._bucket, self._key, vector, self._known_size())
        for start, stop in vector.parts(USUAL_GAP if max_gap is None else max_gap, PUT_SIZE):
            for position, chunk in self._chunks_of(start, stop):
                vector.scatter.put(position, chunk)
                start = position + len(chunk)
            if start < stop:
                check_end(self._bucket, self._key, vector, self._get_size())
                raise wrong_length(self._bucket, self._key, start, stop, 0)

    def _chunks_of(self, start: int, stop: int) -> Iterator[tuple[int, memoryview | bytes]]:
        """Bytes ``[start, stop)`` in chunks, in order, with their offsets; fewer at the end."""
        raise NotImplementedError

    def _feed(self, stream: Iterable[Any], start: int, end: int | None) -> Feed:
        return Feed(self._bucket, self._key, stream, start, end)

    @contextmanager
    def _own_stream(self, start: int, end: int | None) -> Iterator[GetObjectStream]:
        """A stream of the library's own, closed at the end however it comes."""
        assert self._source is not None
        stream = self._source(start, end)
        try:
            yield stream
        except ChecksumError:
            self._distrust()
            raise
        finally:
            stream.close()

    def _distrust(self) -> None:
        """Let go of bytes kept here: some of the object's are wrong, nobody knows which."""

    def _known_size(self) -> int | None:
        """The object's size, if anything has told it yet."""
        if self._size is None and self._source is not None:
            self._size = self._source.size
        return self._size

    def _get_size(self) -> int:
        size = self._known_size()
        if size is None:
            size = self._size = operator.index(self._get_object_info().size)
        return size

    def _settle(self) -> None:
        """Put a position past an end that a response has just told back to it."""
        size = self._known_size()
        if size is not None and self._cursor.position > size:
            self._cursor.position = size

    def _check_complete(self, start: int, received: int, expected: int) -> None:
        """Own streams stop short only at the object's end: hold them to it."""
        size = self._known_size()
        if received < expected and size is not None and start + received < size:
            end = min(start + expected, size)
            raise wrong_length(self._bucket, self._key, start, end, received)

    def _bytes(self, count: int) -> Memory:
        """Memory for ``count`` bytes that a read will return.

        Raises:
            ObjectTooLargeError: there is not so much.
        """
        try:
            return Memory.for_bytes(count)
        except MemoryError:
            raise no_memory(self._bucket, self._key, self._cursor.position, count) from None

    def _read_tail(self, length: int) -> bytes:
        """The object's last ``length`` bytes by a suffix-range GET, which tells the size."""
        assert self._source is not None
        stream = self._source.tail(length)
        memory = Memory.block(length)
        try:
            received = stream.readinto(memory.view(0, length))
        finally:
            stream.close()
        size = self._get_size()
        self._check_complete(max(size - length, 0), received, min(length, size))
        return bytes(memory.view(0, received))

    def _seek(self, offset: int, whence: object) -> int:
        try:
            origin = operator.index(whence)  # type: ignore[arg-type]
        except TypeError:
            raise TypeError(f"integer argument expected, got {type(whence)!r}") from None
        if origin == SEEK_SET:
            target = offset
        elif origin == SEEK_CUR:
            target = self._cursor.position + offset
        elif origin == SEEK_END:
            target = self._size_seen_from_end(offset) + min(offset, 0)
            self._settle()
        else:
            raise ValueError("Seek must be passed SEEK_CUR, SEEK_SET, or SEEK_END")
        if target < 0:
            raise ValueError(f"negative seek value {target}")
        target = self._cursor.position = self._reachable(target)
        return target

    def _size_seen_from_end(self, offset: int) -> int:
        """The object's size, for a seek to ``offset`` from its end."""
        return self._get_size()

    def _reachable(self, target: int) -> int:
        """``target``, or the object's end if that comes before it and is known or asked for."""
        raise NotImplementedError
