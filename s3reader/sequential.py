"""The reader for everything else: one stream forward, and what it has received is kept.

Going back costs nothing because kept chunks stay where they came, as references, in a sparse list
(`ChunkList`). With the library's own streams the reader is also free to jump: it goes on with its
stream when that will arrive soon, and opens another where it is needed otherwise, up to what is
kept beyond. With a caller's own ``get_stream`` it opens one stream, without arguments, and reads
it forward; only a ``window`` that has let go of bytes makes it ask for a range.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ._ext.chunklist import ChunkList
from ._ext.memory import Memory
from ._ext.vector import Vector
from .feed import Feed
from .object_reader import FOOTER_SIZE, ObjectReader
from .stream import GetObjectStream

# Bytes that an own stream is read forward over rather than opening another: one part, which is
# most likely in flight already.
_REACH = 8 * 1024 * 1024
# From this many bytes on, an own stream fills the destination itself: below, a chunk that serves
# the next reads too is worth more than the copy it costs.
_DIRECT_SIZE = 1024 * 1024
# Bytes kept at a time once buffers were filled: what is read between them is a header or two, and
# the whole part that it came with would be kept for it.
_BETWEEN_SIZE = 64 * 1024
# Bytes of a buffer that is filled before anything else of an object which nobody knows: it is taken
# to be made for all of it, as for a sample. One request brings that, and the size.
_SAMPLE_SIZE = 64 * 1024
# A seek that far before an unknown end fetches all it passes over; one further asks for the size.
_LARGEST_TAIL = 1024 * 1024


class SequentialS3Reader(ObjectReader):
    """Reads an object forward and keeps what it has received.

    Args:
        bucket, key: the object.
        get_object_info: called once at most, for a seek from an end that is still unknown.
        get_stream: called once without arguments; with the client's own streams or a ``window``
            also with ``(start, end)``, in bytes, half-open.
        window: how many bytes to keep, the newest, at least one chunk; None for all. Going back
            further fetches again.

    Raises:
        ValueError: an empty bucket, a negative window.
        TypeError: a ``window`` that is no integer.
    """

    def __init__(
        self,
        bucket: str,
        key: str,
        get_object_info: Callable[[], Any],
        get_stream: Callable[..., Iterable[Any]],
        window: int | None = None,
    ) -> None:
        super().__init__(bucket, key, get_object_info, get_stream)
        self._window = None if window is None else _checked_window(window)
        self._chunks = ChunkList()
        self._main: Feed | None = None
        self._gap: Feed | None = None  # a caller's stream for what the window has let go of
        self._reached = 0  # how far the main stream has come
        self._opened = False
        self._direct = False  # own streams have filled buffers

    def _arguments(self) -> dict[str, Any]:
        return super()._arguments() | {"window": self._window}

    def prefetch(self) -> None:
        """Open the stream now; with the client's own streams the transfer starts too.

        Does nothing when something was opened already.
        """
        self.tell()
        if not self._opened:
            stream = self._open_main()
            if isinstance(stream, GetObjectStream):
                stream.prefetch()

    def _open_main(self) -> Iterable[Any]:
        stream = self._get_stream()
        self._opened = True
        self._main = self._feed(stream, 0, None if self._source is not None else self._size)
        return stream

    def _failed(self) -> None:
        if self._source is not None:
            self._settle()

    def _release(self) -> None:
        feeds, self._main, self._gap = (self._main, self._gap), None, None
        self._chunks.clear()
        for feed in feeds:
            if feed is not None:
                feed.close()

    # Seeking

    def _reachable(self, target: int) -> int:
        if self._source is None and self._known_size() is None:
            while target > self._reached and self._size is None:
                self._pull(self._foreign_feed(self._reached))
                self._cursor.hide()
                self._trim()
        size = self._known_size()
        return min(target, sys.maxsize if size is None else size)

    def _size_seen_from_end(self, offset: int) -> int:
        if self._source is not None and self._known_size() is None and -_LARGEST_TAIL <= offset < 0:
            tail = self._read_tail(max(FOOTER_SIZE, -offset))
            self._chunks.add(self._get_size() - len(tail), tail)
        size = self._get_size()
        if self._main is not None and self._source is None:
            self._main.end = size
            if self._main.position > size:
                raise self._main.wrong_length()
        return size

    # Receiving

    def _load(self, position: int) -> bool:
        span = self._chunks.at(position) if self._cover(position) else None
        if span is None:
            self._settle()
            return False
        self._cursor.show(span)
        self._trim()
        return True

    def _cover(self, position: int) -> bool:
        """Receive until the byte at ``position`` is kept; False when the object ends before it."""
        while not self._chunks.has(position):
            size = self._known_size()
            if size is not None and position >= size:
                return False
            if self._source is not None:
                feed = self._own_feed(position)
            else:
                feed = self._foreign_feed(position)
            if self._pull(feed) and feed.position <= position:
                self._trim()
        return True

    def _own_feed(self, position: int) -> Feed:
        """The stream if it will be at ``position`` soon, else another opened there."""
        feed = self._main
        if feed is not None and self._arrives(feed, position):
            return feed
        return self._open_at(position, self._near_end(position))

    def _arrives(self, feed: Feed, position: int) -> bool:
        return (
            feed.position <= position <= feed.position + _REACH
            and (feed.end is None or position < feed.end)
            and not self._chunks.has(feed.position)
        )

    def _near_end(self, position: int) -> int:
        """Where to open for ``position``: earlier, if the object's footer begins there."""
        size = self._known_size()
        if size is None or size - position >= FOOTER_SIZE:
            return position
        return max(size - FOOTER_SIZE, self._chunks.previous_end(position))

    def _open_at(self, position: int, start: int) -> Feed:
        assert self._source is not None
        if self._main is not None:
            self._main.close()
            self._main = None
        self._opened = True
        end = self._chunks.next_start(position)
        stream = self._source() if start == 0 and end is None else self._source(start, end)
        self._main = self._feed(stream, start, end)
        return self._main

    def _foreign_feed(self, position: int) -> Feed:
        """The one stream, or one for a range that the window has let go of."""
        if position >= self._reached:
            if self._main is None:
                self._open_main()
            assert self._main is not None
            return self._main
        gap = self._gap
        if gap is None or not self._arrives(gap, position):
            if gap is not None:
                gap.close()
            following = self._chunks.next_start(position)
            end = self._reached if following is None else min(following, self._reached)
            gap = self._gap = self._feed(self._get_stream(position, end), position, end)
        return gap

    def _pull(self, feed: Feed) -> bool:
        """Keep the next chunk of ``feed``; False when it has ended."""
        start = feed.position
        try:
            chunk = feed.pull(_BETWEEN_SIZE if self._direct else None)
            if chunk is not None:
                self._chunks.add(start, chunk)
                if feed.end is not None and feed.position == feed.end:
                    feed.finish()
                    self._forget(feed)
        except BaseException:
            self._drop(feed)
            raise
        if feed is not self._gap:
            self._reached = max(self._reached, feed.position)
        if chunk is None:
            self._ended(feed)
        return chunk is not None

    def _ended(self, feed: Feed) -> None:
        """A stream with an open end has ended: that is the object's end."""
        size = self._known_size()
        if size is None:
            self._size = feed.position
        elif feed.start <= feed.position < size:
            feed.end = size
            self._drop(feed)
            raise feed.wrong_length()
        self._forget(feed)
        feed.close()

    def _forget(self, feed: Feed) -> None:
        if feed is self._main:
            self._main = None
        else:
            self._gap = None

    def _drop(self, feed: Feed) -> None:
        """After a failure: nothing of this stream goes on, and a caller's is begun anew."""
        source = self._source
        if feed is self._main and (source is None or source.verifier.failed):
            self._cursor.hide()
            self._chunks.clear()
            self._reached = 0
        self._forget(feed)
        feed.close()

    def _trim(self) -> None:
        if self._window is not None:
            self._chunks.trim(self._window)

    def _keeps(self, vector: Vector) -> bool:
        return len(self._chunks) > 0 and all(
            self._chunks.run_end(start, stop) == stop
            for start, stop in vector.parts(0, sys.maxsize)
        )

    def _chunks_of(self, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
        while start < stop and self._cover(start):
            end = self._chunks.run_end(start, stop)
            yield start, self._chunks.read(start, end - start)
            start = end
            self._trim()

    # Reading

    def _read(self, size: int) -> bytes:
        position = self._cursor.position
        if size == 0:
            return b""
        if self._source is not None and (size < 0 or size >= _DIRECT_SIZE):
            return self._read_large(position, size)
        stop = sys.maxsize if size < 0 else min(position + size, sys.maxsize)
        end = position
        while end < stop and self._cover(end):
            end = self._chunks.run_end(end, stop)
        if end == position:
            self._settle()
            return b""
        data = self._chunks.read(position, end - position)
        if size < 0 and self._window is None:
            self._chunks.replace(position, data)
        self._after(end)
        return data

    def _read_large(self, position: int, size: int) -> bytes:
        """With own streams: one new object, filled by the stream itself and kept as it is."""
        if self._known_size() is None and not self._cover(position):
            self._settle()
            return b""
        end = self._get_size() if size < 0 else min(position + size, self._get_size())
        if end <= position:
            self._settle()
            return b""
        memory = self._bytes(end - position)
        self._fill_direct(position, memory)
        data = memory.take()
        if self._window is None:
            self._chunks.replace(position, data)
        self._after(end)
        return data

    def _fill(self, memory: Memory) -> int:
        position = self._cursor.position
        if self._source is not None and memory.nbytes >= _DIRECT_SIZE:
            self._direct = True
            filled = self._fill_direct(position, memory)
        elif memory.nbytes >= _SAMPLE_SIZE and not self._opened and self._is_new():
            filled = self._fill_sample(position, memory)
        else:
            filled = 0
            while filled < memory.nbytes and self._cover(position + filled):
                rest = memory.nbytes - filled
                filled += self._chunks.copy(position + filled, memory, filled, rest)
                self._trim()
        self._after(position + filled)
        return filled

    def _is_new(self) -> bool:
        """Whether nothing is known of the object, which is the client's own."""
        return self._source is not None and self._known_size() is None

    def _fill_sample(self, position: int, memory: Memory) -> int:
        """Fill ``memory`` by one request; what follows, if anything does, is on its way then."""
        assert self._source is not None
        with memory.view(0, memory.nbytes) as view:
            filled = self._source.fill(position, view)
        self._check_complete(position, filled, memory.nbytes)
        following = position + filled
        if filled and following < self._get_size():
            self._open_at(following, following).prefetch()
        return filled

    def _fill_direct(self, position: int, memory: Memory) -> int:
        """Fill ``memory`` from what is kept, and from own streams without keeping it."""
        stop = position + memory.nbytes
        at = position
        while at < stop:
            copied = self._chunks.copy(at, memory, at - position, stop - at)
            at += copied
            size = self._known_size()
            if size is not None and at >= size:
                break
            if copied or at == stop:
                continue
            feed = self._main
            if feed is None or not self._arrives(feed, at):
                feed = self._open_at(at, at)
            if feed.position < at:
                self._cover(at)
                continue
            following = self._chunks.next_start(at)
            end = min(limit for limit in (stop, following, feed.end) if limit is not None)
            at += self._receive(feed, memory, at - position, end - position)
        return at - position

    def _receive(self, feed: Feed, memory: Memory, start: int, end: int) -> int:
        try:
            with memory.view(start, end) as view:
                received = feed.readinto(view)
            self._check_complete(feed.position - received, received, end - start)
        except BaseException:
            self._drop(feed)
            raise
        if received < end - start or feed.position == feed.end:
            self._forget(feed)
            feed.close()
        return received

    def _after(self, position: int) -> None:
        """A read that ended at ``position`` has succeeded."""
        self._cursor.position = position
        span = self._chunks.at(position)
        if span is not None:
            self._cursor.show(span)
        self._settle()
        self._trim()


def _checked_window(window: int) -> int:
    try:
        window = operator.index(window)
    except TypeError:
        raise TypeError(
            f"window must be an int (bytes) or None, got {type(window).__name__}"
        ) from None
    if window < 0:
        raise ValueError(f"window must be a number of bytes, 0 or more, got {window}")
    return window
