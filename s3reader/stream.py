"""Streams over an object: from requests to bytes in order, or straight into a buffer.

A :class:`GetObjectStream` is over one range. It has fetched nothing until it is asked, and has two
ways out: iteration yields read-only chunks, fetched ahead in parallel parts within a window;
``readinto`` fills a buffer in parallel parts with no chunk in between.

The size of an object is learned from the first response, not by a request of its own: one part is
asked for, and when its head is there the others follow, clamped to the object.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from s3reader._ext.destination import Destination
from s3reader._ext.fetcher import Fetcher
from s3reader._ext.transfer import Transfer

from .fill import Filling
from .readahead import ReadAhead

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from .source import ObjectSource

SMALLEST_CHUNK = 1024 * 1024
"""Least number of bytes that iteration, or a copy into a buffer, waits for, if the part has them.

Large enough that a chunk's bookkeeping is small beside it, small enough that the first one comes
soon.
"""


class GetObjectStream:
    """Bytes of one range of an object, in order.

    Made by `ObjectSource`; belongs to one thread at a time. After an error the position is
    where it was, and the next call asks anew.

    Args:
        source: the object.
        start: first byte; None for the last ``end`` bytes.
        end: one past the last byte; None for the object's end.
    """

    def __init__(self, source: ObjectSource, start: int | None, end: int | None) -> None:
        self._source = source
        self._position = start
        self._end = end if start is not None else None
        self._suffix = end if start is None else None
        self._ahead = ReadAhead(source)  # its first part holds the position
        self._consumed = 0  # bytes of the first part that were handed out
        self._fills = 0  # buffers that were filled
        self._rest: Filling | None = None  # begun and not finished
        self._closed = False

    @property
    def bucket(self) -> str:
        """The object's bucket."""
        return self._source.bucket

    @property
    def key(self) -> str:
        """The object's key."""
        return self._source.key

    @property
    def object_size(self) -> int | None:
        """The object's size in bytes; None before the first response."""
        return self._source.size

    @property
    def etag(self) -> str | None:
        """The version that is read; None before the first response."""
        return self._source.etag

    def tell(self) -> int:
        """Offset in the object of the next byte. For a tail, waits for the first response.

        Raises:
            S3Exception: the request for a tail failed.
        """
        if self._position is None:
            self._check_open()
            try:
                self._locate()
            except BaseException:
                self._give_up(None)
                raise
        assert self._position is not None
        return self._position

    def prefetch(self) -> None:
        """Start the transfer. Idempotent."""
        self._check_open()
        try:
            self._top_up(attended=False)
        except BaseException:
            self._give_up(self._position)
            raise

    def __iter__(self) -> Iterator[memoryview]:
        return self

    def __next__(self) -> memoryview:
        """The next bytes, read-only, as many as came by now.

        Raises:
            S3Exception: they could not be had.
        """
        return self._next(SMALLEST_CHUNK, sys.maxsize)

    def piece(self, most: int) -> bytes:
        """A copy of the next bytes, ``most`` or what a part has left; none at the end.

        For who keeps them: a view of a part, however short, keeps all of the part's memory.

        Raises:
            S3Exception: they could not be had.
        """
        try:
            return bytes(self._next(most, most))
        except StopIteration:
            return b""

    def readinto(self, buffer: Buffer, /) -> int:
        """Fill a buffer with the next bytes.

        Args:
            buffer: writable, C-contiguous, of any item type and shape.

        Returns:
            How many bytes were written; less than the buffer takes only at the range's or the
            object's end.

        Raises:
            TypeError: not such a buffer; nothing was asked or moved.
            S3Exception: the bytes could not be had; the buffer's contents are undefined.
        """
        self._check_open()
        destination = Destination(buffer)
        position = self._position
        verifier = self._source.verifier
        mark = verifier.mark()
        try:
            count = self._fill(destination)
        except BaseException:
            verifier.restore(mark)
            self._give_up(position)
            raise
        finally:
            destination.release()
        self._count(count)
        return count

    def close(self) -> None:
        """Cancel what is on its way and give the memory back. Idempotent."""
        self._closed = True
        self._give_up(self._position)

    def __del__(self) -> None:
        ahead = getattr(self, "_ahead", None)
        if ahead is not None and ahead.parts:
            ahead.drop()

    def _give_up(self, position: int | None) -> None:
        """After an error: nothing is on its way, and the position is where it was."""
        rest, self._rest = self._rest, None
        if rest is not None:
            rest.cancel()
        self._ahead.drop()
        self._consumed = 0
        self._position = position

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("I/O operation on closed file")

    def _count(self, count: int) -> None:
        self._source.counters.count_requested(count)
        self._source.session.counters.count_requested(count)

    # What there is to read.

    def _limit(self) -> int | None:
        """Where the stream ends; None while that depends on the object's unknown size."""
        size = self._source.size
        if size is None:
            return None
        return size if self._end is None else min(self._end, size)

    def _locate(self) -> None:
        """Wait for the response that tells size and, for a tail, where it begins."""
        self._top_up(attended=True)
        if self._ahead.parts:
            self._wait_head(self._ahead.parts[0])

    def _ready(self) -> Fetcher:
        """This process's fetcher; parts of another's, from before a fork, are forgotten."""
        if self._ahead.renew():
            self._consumed = 0
        return self._source.session.fetcher

    def _top_up(self, *, attended: bool) -> None:
        """Have parts on their way, as far as the window, the budget and the range go.

        Args:
            attended: this thread waits next, for one of them or another.
        """
        self._ready()
        if self._position is None:
            assert self._suffix is not None
            self._ahead.locate(self._suffix, attended)
        else:
            self._ahead.top_up(self._position, self._end, attended)

    def _wait_head(self, part: Transfer) -> None:
        self._ahead.wait_head()
        if part.failed and not part.head_known:
            raise part.error
        self._source.learn(part.total, part.etag)
        if self._position is None:
            self._position = part.start

    def _next(self, least: int, most: int) -> memoryview:
        """The next bytes; after an error nothing has moved."""
        self._check_open()
        position = self._position
        try:
            return self._next_view(least, most)
        except StopIteration:
            raise
        except BaseException:
            self._give_up(position)
            raise

    def _next_view(self, least: int, most: int) -> memoryview:
        """What came of the next part, once that is at least ``least`` bytes or all of it."""
        while True:
            self._ready()
            if not self._ahead.parts:
                limit = self._limit()
                if self._position is not None and limit is not None and self._position >= limit:
                    raise StopIteration
                if self._position is not None and self._position == self._end:
                    raise StopIteration
            self._top_up(attended=True)
            part = self._ahead.parts[0]
            self._wait_head(part)
            self._top_up(attended=True)
            assert part.start is not None
            assert part.stop is not None
            length = part.stop - part.start
            if self._consumed < length:
                break
            self._finish(part)  # an empty object, or a range past its end
        assert self._position is not None
        self._ahead.wait(min(length, self._consumed + least))
        received = min(part.received, self._consumed + most)
        if part.failed and received <= self._consumed:
            raise part.error
        view = part.view(self._consumed, received)
        place = self._position
        self._position += received - self._consumed
        self._consumed = received
        self._count(len(view))
        if received == length:
            self._finish(part)
        self._verify(part, place, view)
        return view

    def _verify(self, part: Transfer, start: int, view: memoryview) -> None:
        """Hold what is being handed out of a part to the object's checksum."""
        verifier = self._source.verifier
        if start + len(view) == part.stop and verifier.told_by(part):
            # All of the object came with its checksum: what of it was handed out before counts too.
            start, view = 0, part.view(0, part.received)
        verifier.take(start, view)

    def _finish(self, part: Transfer) -> None:
        """Let go of the first part, every byte of which was handed out."""
        self._source.session.fetcher.wait_done(part)
        if part.failed:  # the body went on after its promised end: not this object's bytes
            raise part.error
        self._ahead.retire()
        self._consumed = 0

    # Straight into a buffer.

    def _fill(self, destination: Destination) -> int:
        count = len(destination)
        self._ready()
        rest = self._begin_rest(destination, 0)
        filled = self._copy_views(destination, count, rest is None)
        if rest is None and filled < count:
            rest = self._begin_rest(destination, filled)
        if rest is not None:
            assert self._position is not None
            reached = rest.finish()
            self._rest = None
            filled += reached - self._position
            self._position = reached
        self._fills += 1
        if self._fills > 1:
            # Read piece by piece: have the next pieces on their way. Ends with the range.
            self._top_up(attended=False)
        return filled

    def _begin_rest(self, destination: Destination, offset: int) -> Filling | None:
        """Ask for what is not on its way of what belongs at ``offset`` and behind it.

        Where parts are on their way already, only if that is more than another one.
        """
        parts = self._ahead.parts
        count = len(destination) - offset
        least = self._source.session.config.part_size if parts else 0
        if self._position is None or count <= least:
            return None
        if parts:
            self._wait_head(parts[0])
        begin = parts[-1].stop if parts else self._position
        assert begin is not None
        stop = self._position + count
        stop = stop if self._end is None else min(stop, self._end)
        if self._source.size is not None:
            stop = min(stop, self._source.size)
        if stop - begin <= least:
            return None
        # Known before it begins: Ctrl-C may come as soon as it has.
        self._rest = Filling(self._source, destination, offset - self._position)
        self._rest.begin(begin, stop)
        return self._rest

    def _copy_views(self, destination: Destination, count: int, top_up: bool) -> int:
        """Copy what is fetched ahead; with ``top_up`` more of it, as far as the window goes."""
        filled = 0
        while filled < count and (self._ahead.parts or self._position is None):
            if top_up or self._position is None:
                self._top_up(attended=True)
            try:
                filled += self._copy_view(destination, filled, count - filled)
            except StopIteration:
                break
        return filled

    def _copy_view(self, destination: Destination, offset: int, room: int) -> int:
        """Copy what was fetched ahead, but no more than ``room`` bytes."""
        part = self._ahead.parts[0]
        self._wait_head(part)
        assert part.start is not None
        assert part.stop is not None
        assert self._position is not None
        length = part.stop - part.start
        upto = min(length, self._consumed + room)
        self._ahead.wait(min(upto, self._consumed + SMALLEST_CHUNK))
        upto = min(upto, part.received)
        if part.failed and upto <= self._consumed < length:
            raise part.error
        count = upto - self._consumed
        view = part.view(self._consumed, upto)
        destination.write(view, offset)
        place = self._position
        self._position += count
        self._consumed = upto
        if upto == length:
            self._finish(part)
            if length == 0:
                raise StopIteration
        self._verify(part, place, view)
        return count
