"""The reader for checkpoints: known items, read forward, each once.

A load plan tells which byte ranges of a ``.distcp`` file will be read. Ranges near each other form
a group and share one stream; the item being read is held as references to the chunks it came in,
and let go when the next one starts. With the library's own streams the groups after the current
one are fetched ahead, so that a gap between groups costs no wait for the network.
"""

from __future__ import annotations

import io
import operator
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from io import SEEK_CUR, SEEK_SET
from operator import itemgetter
from typing import Any, SupportsIndex

from ._ext.chunklist import ChunkList
from ._ext.memory import Memory
from ._ext.ranges import merge
from ._ext.vector import Vector
from .feed import Feed
from .object_reader import ObjectReader
from .stream import GetObjectStream

DEFAULT_MAX_GAP_SIZE = 32 * 1024 * 1024
"""Bytes: fetching a gap this long costs about what another request's first byte costs."""

FIND_ITEM_ERROR_PREFIX = (
    "DCPOptimizedS3Reader only supports sequentially accessing provided ranges: "
)
FALLBACK_GUIDANCE = (
    "This reader serves the byte ranges of a load plan in order, each item once. For any other "
    "access use the sequential reader: S3StorageReader(region, path, "
    "reader_constructor=S3ReaderConstructor.sequential())."
)

# Bytes fetched ahead of the current item across group borders: enough parts in flight to fill a
# fast connection while small groups pass.
_AHEAD_SIZE = 64 * 1024 * 1024
# Streams opened ahead at most, whatever their size.
_AHEAD_STREAMS = 16


@dataclass
class ItemRange:
    """The bytes ``[start, end)`` of one item of a plan: a tensor or a pickled object."""

    start: int
    end: int


@dataclass
class RangeGroup:
    """Items near enough to each other to share one stream of ``[start, end)``."""

    start: int
    end: int
    item_ranges: list[ItemRange]


class DCPOptimizedS3Reader(ObjectReader):
    """Reads the items of a checkpoint file in order, seeking freely inside the current one.

    Args:
        bucket, key: the object.
        item_ranges: what will be read: sorted, disjoint ranges in bytes; empty ones are ignored.
        get_object_info: never called; here because every reader takes it.
        get_stream: called with ``(start, end)`` of each group.
        max_gap_size: bytes; ranges whose gap is at most this share a stream. ``float("inf")``
            puts all in one, 0 only those that touch.

    Raises:
        ValueError: an empty bucket or key, no ranges, unsorted or overlapping ones, a negative gap.
        TypeError: a ``max_gap_size`` that is no number.
    """

    def __init__(
        self,
        bucket: str,
        key: str,
        item_ranges: Sequence[ItemRange],
        get_object_info: Callable[[], Any],
        get_stream: Callable[..., Iterable[Any]],
        max_gap_size: int | float = DEFAULT_MAX_GAP_SIZE,
    ) -> None:
        super().__init__(bucket, key, get_object_info, get_stream)
        if not key:
            raise ValueError("Key should be specified")
        if not item_ranges:
            raise ValueError("item_ranges must be a non-empty List[ItemRange] object")
        self._max_gap_size = checked_gap_size(max_gap_size)
        self._item_ranges = [item for item in item_ranges if item.start != item.end]
        if not self._item_ranges:
            raise ValueError("No non-empty ranges to read (all ranges were length 0)")
        self._range_groups = _group(self._item_ranges, self._max_gap_size)
        self._group_of_item = [
            number for number, group in enumerate(self._range_groups) for _ in group.item_ranges
        ]
        self._index = 0  # the current item
        self._entered = False  # whether it was read from: only then may the next one be
        self._held = False  # whether all its bytes are in _chunks
        self._chunks = ChunkList()
        self._stream: Feed | None = None  # the current group's
        self._ahead: dict[int, GetObjectStream] = {}  # streams started early, by group number

    def _arguments(self) -> dict[str, Any]:
        return super()._arguments() | {
            "item_ranges": self._item_ranges,
            "max_gap_size": self._max_gap_size,
        }

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"index": self._index, "entered": self._entered}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._index = state["index"]
        self._entered = state["entered"]

    def _release(self) -> None:
        self._chunks.clear()
        self._held = False
        self._drop_stream()
        while self._ahead:
            self._ahead.popitem()[1].close()

    def _seek(self, offset: int, whence: object) -> int:
        try:
            origin = operator.index(whence)  # type: ignore[arg-type]
        except TypeError:
            origin = -1
        if origin == SEEK_SET:
            target = offset
        elif origin == SEEK_CUR:
            target = self._cursor.position + offset
        else:
            raise ValueError("whence must be SEEK_CUR or SEEK_SET integers")
        if target < 0:
            raise ValueError(f"negative seek value {target}")
        self._cursor.position = target
        return target

    # Items

    def _item_holding(self, start: int, stop: int) -> int:
        """Number of the item that may be read next and holds ``[start, stop)``."""
        current = self._item_ranges[self._index]
        if current.start <= start and stop <= current.end:
            return self._index
        following = None
        if self._entered and self._index + 1 < len(self._item_ranges):
            following = self._item_ranges[self._index + 1]
            if following.start <= start and stop <= following.end:
                return self._index + 1
        place = f"current item {current.start}-{current.end}"
        if following is not None:
            place += f" nor the next item {following.start}-{following.end}"
        elif self._index + 1 == len(self._item_ranges):
            place += ", which is the last item"
        raise ValueError(
            f"{FIND_ITEM_ERROR_PREFIX}Range {start}-{stop} not contained in {place}.\n"
            f"{FALLBACK_GUIDANCE}"
        )

    def _enter(self, start: int, stop: int) -> ItemRange:
        """Hold the item of ``[start, stop)``, which becomes the current one."""
        index = self._item_holding(start, stop)
        item = self._item_ranges[index]
        if index != self._index or not self._held:
            self._cursor.hide()
            previous, self._index = self._index, index
            self._held = False
            self._chunks.discard_before(item.start)
            try:
                self._receive(item)
            except BaseException:
                # Not read from, so not entered: the item before may be read again, too.
                self._index = previous
                self._chunks.clear()
                self._drop_stream()
                raise
            self._held = self._entered = True
        return item

    def _receive(self, item: ItemRange) -> None:
        group = self._range_groups[self._group_of_item[self._index]]
        at = item.start
        while (at := self._chunks.run_end(at, item.end)) < item.end:
            if self._stream is None:
                self._open(at)
            stream = self._stream
            assert stream is not None
            start = stream.position
            chunk = stream.pull()
            if chunk is None:
                raise ValueError(
                    f"S3 stream exhausted at position {start} while reading item "
                    f"{item.start}-{item.end} of s3://{self._bucket}/{self._key}"
                )
            if stream.position > item.start:
                self._chunks.add(start, chunk)
            if stream.position >= group.end:
                self._end_group(stream, group)
        self._fetch_ahead()

    def _end_group(self, stream: Feed, group: RangeGroup) -> None:
        """The stream has given the whole group: make sure that this is all it gives."""
        stream.end = group.end
        if stream.position > group.end:
            raise stream.wrong_length()
        stream.finish()
        self._stream = None

    def _settle(self) -> None:
        """A position past the end stays there: it is the read that fails."""

    def _admit(self, vector: Vector) -> None:
        """Ranges lie inside the items, in any order: they do not go through the current one."""
        if self._source is None:
            raise io.UnsupportedOperation(
                "readinto_ranges would leave the order of the load plan, to which streams that "
                f"are not the client's own are held.\n{FALLBACK_GUIDANCE}"
            )
        items = merge([(item.start, item.end) for item in self._item_ranges], 0)
        for start, stop in vector.parts(0, sys.maxsize):
            index = bisect_right(items, start, key=itemgetter(0)) - 1
            if index < 0 or stop > items[index].end:
                raise ValueError(
                    f"{FIND_ITEM_ERROR_PREFIX}Range {start}-{stop} not contained in any item.\n"
                    f"{FALLBACK_GUIDANCE}"
                )

    # Streams

    def _open(self, start: int) -> None:
        """Have the current group's stream from ``start`` on, and the next groups' after it."""
        number = self._group_of_item[self._index]
        group = self._range_groups[number]
        if self._source is None:
            self._stream = self._feed(self._get_stream(start, group.end), start, None)
            return
        # One started early begins where its group does, as the group's first item does.
        stream = self._ahead.pop(number, None) or self._source(start, group.end)
        self._stream = self._feed(stream, start, None)
        stream.prefetch()
        self._fetch_ahead()

    def _fetch_ahead(self) -> None:
        """Start the streams of the next groups, as far as the bytes on their way allow."""
        if self._source is None:
            return
        number = self._group_of_item[self._index]
        coming = 0
        if self._stream is not None:
            coming = self._range_groups[number].end - self._stream.position
        for following in range(number + 1, len(self._range_groups)):
            if coming >= _AHEAD_SIZE or len(self._ahead) >= _AHEAD_STREAMS:
                break
            group = self._range_groups[following]
            if following not in self._ahead:
                stream = self._source(group.start, group.end)
                self._ahead[following] = stream
                stream.prefetch()
            coming += group.end - group.start

    def _drop_stream(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    # Reading

    def readline(self, size: int | None = -1, /) -> bytes:
        """As every reader's, but a line also ends where its item does."""
        limit = -1 if size is None else operator.index(size)
        position = self.tell()
        if limit == 0:
            return b""
        rest = self._enter(position, position + 1).end - position
        return super().readline(rest if limit < 0 else min(limit, rest))

    def _load(self, position: int) -> bool:
        self._show(self._enter(position, position + 1), position)
        return True

    def _show(self, item: ItemRange, position: int) -> None:
        span = self._chunks.at(position)
        if span is not None and position < item.end:
            self._cursor.show(span, item.start, item.end)

    def _read(self, size: int) -> bytes:
        if size < 0:
            raise ValueError(
                "size must be given and not be negative: full read not supported.\n"
                f"{FALLBACK_GUIDANCE}"
            )
        if size == 0:
            return b""
        position = self._cursor.position
        item = self._enter(position, position + size)
        data = self._chunks.read(position, size)
        self._cursor.position = position + size
        self._show(item, position + size)
        return data

    def _fill(self, memory: Memory) -> int:
        position = self._cursor.position
        item = self._enter(position, position + memory.nbytes)
        filled = self._chunks.copy(position, memory, 0, memory.nbytes)
        self._cursor.position = position + filled
        self._show(item, position + filled)
        return filled


def checked_gap_size(size: int | float) -> int | float:
    """``size`` if it is a number of bytes, possibly infinite; an error otherwise."""
    if not isinstance(size, int | float | SupportsIndex):
        raise TypeError(f"max_gap_size must be int or float, got {type(size).__name__}")
    if not size >= 0:
        raise ValueError("max_gap_size must be non-negative")
    return size


def _group(items: list[ItemRange], max_gap_size: int | float) -> list[RangeGroup]:
    """Groups of neighbours; ``ValueError`` unless the ranges are sorted and disjoint."""
    groups: list[RangeGroup] = []
    previous = ItemRange(0, 0)
    for item in items:
        if item.end <= item.start or item.start < 0:
            raise ValueError(f"Invalid range: {item.start}-{item.end}")
        if groups and item.start < previous.end:
            fault = "Unsorted" if item.start < previous.start else "Overlapping"
            raise ValueError(
                f"{fault} ranges: {previous.start}-{previous.end} and {item.start}-{item.end}"
            )
        if groups and item.start - previous.end <= max_gap_size:
            groups[-1].item_ranges.append(item)
            groups[-1].end = item.end
        else:
            groups.append(RangeGroup(item.start, item.end, [item]))
        previous = item
    return groups
