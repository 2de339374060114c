"""Where a stored item lands: its tensor's own memory when that will do, else memory beside it.

A tensor's archive is a few hundred bytes, the tensor's bytes, and about a thousand more. The
length of the bytes is known from the metadata; where exactly they begin is known only once the
archive is there, but it is nearly always the same place. So the archive is split as if they began
there: the middle goes into the target, the rest beside it. Was the place another one, the bytes
are moved by the difference; nothing is asked twice.
"""

from __future__ import annotations

import bisect
import ctypes
import zlib
from typing import NamedTuple

import torch

from s3reader._ext.scatter import Extent
from s3reader.checksums import crc_function

USUAL_DATA_START = 704
"""Where torch 2.7 and newer put a tensor's bytes in its archive, for most shapes."""

crc32 = crc_function("crc32") or zlib.crc32

SMALL_RECORD = 1024
"""Bytes that are cheaper to copy than to look at where they are."""

LARGEST_MARGIN = 16 * 1024
"""Bytes of an archive beside the tensor's, at most; torch's have 1 to 2 KiB."""


class Piece(NamedTuple):
    """Bytes ``[start, stop)`` of the item are at ``address``."""

    start: int
    stop: int
    address: int


class Landing:
    """Memory for one item's bytes.

    Args:
        length: of the item, in bytes.
        target: the tensor that takes ``[start, start + its bytes)``; None to keep all beside.
        start: where the tensor's bytes are expected to begin.
    """

    def __init__(self, length: int, target: torch.Tensor | None, start: int) -> None:
        self.length = length
        self.target = target
        self.start = start
        self.stop = start + (target.nbytes if target is not None else 0)
        self.beside = torch.empty(length - (self.stop - start), dtype=torch.uint8)
        beside = self.beside.data_ptr()
        pieces = [Piece(0, length, beside)]
        if target is not None:
            pieces = [
                Piece(0, start, beside),
                Piece(start, self.stop, target.data_ptr()),
                Piece(self.stop, length, beside + start),
            ]
        self.pieces = [piece for piece in pieces if piece.start < piece.stop]
        self._summed = start  # up to where the checksum of the bytes from `start` on is known
        self._sum = 0
        self._margins: bytes | None = None  # a copy of what is beside, once all of it is there

    @property
    def held(self) -> int:
        """Bytes of memory that are not the target's."""
        return self.beside.nbytes

    def read(self, start: int, stop: int) -> bytes:
        """The item's bytes ``[start, stop)``, wherever they are."""
        # Nearly all that is read lies in the margins, a few bytes at a time.
        if self._margins is not None:
            if stop <= self.start:
                return self._margins[start:stop]
            if start >= self.stop:
                return self._margins[start - self.stop + self.start : stop - self.stop + self.start]
        elif self.beside.nbytes <= LARGEST_MARGIN:
            self._margins = ctypes.string_at(self.beside.data_ptr(), self.beside.nbytes)
            return self.read(start, stop)
        found = [
            ctypes.string_at(
                piece.address + max(start, piece.start) - piece.start,
                min(stop, piece.stop) - max(start, piece.start),
            )
            for piece in self.pieces
            if piece.start < stop and start < piece.stop
        ]
        return found[0] if len(found) == 1 else b"".join(found)

    def sum_up_to(self, stop: int) -> None:
        """Take the target's bytes before ``stop``, which have all arrived, into the checksum."""
        stop = min(stop, self.stop)
        if stop > self._summed:
            self._sum = self._sum_of(self._summed, stop, self._sum)
            self._summed = stop

    def checksum(self, start: int, stop: int, value: int = 0) -> int:
        """CRC-32 of the item's bytes ``[start, stop)``, when all of the item is there."""
        if stop - start <= SMALL_RECORD:
            return crc32(self.read(start, stop), value)
        if start == self.start and self._summed > start and not value:
            if self._summed == stop:
                return self._sum
            if self._summed < stop:
                start, value = self._summed, self._sum
        return self._sum_of(start, stop, value)

    def _sum_of(self, start: int, stop: int, value: int) -> int:
        for piece in self.pieces:
            first, last = max(start, piece.start), min(stop, piece.stop)
            if first < last:
                address = piece.address + first - piece.start
                value = crc32(Extent(address, last - first, self), value)
        return value

    def move_to(self, start: int) -> None:
        """Put the target right: its bytes turned out to begin at ``start``."""
        target = self.target
        if target is None or start == self.start:
            return
        address, count, shift = target.data_ptr(), target.nbytes, start - self.start
        if abs(shift) >= count:
            data = self.read(start, start + count)
            ctypes.memmove(address, data, count)
        elif shift > 0:
            edge = self.read(self.stop, self.stop + shift)
            ctypes.memmove(address, address + shift, count - shift)
            ctypes.memmove(address + count - shift, edge, shift)
        else:
            edge = self.read(start, self.start)
            ctypes.memmove(address - shift, address, count + shift)
            ctypes.memmove(address, edge, -shift)


class Claims:
    """Memory that bytes are arriving in: two targets may be the same, and only one can have it."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []

    def add(self, address: int, count: int) -> bool:
        """Claim ``count`` bytes; False where some of them are claimed already."""
        at = bisect.bisect_right(self._starts, address)
        if at and self._stops[at - 1] > address:
            return False
        if at < len(self._starts) and self._starts[at] < address + count:
            return False
        self._starts.insert(at, address)
        self._stops.insert(at, address + count)
        return True

    def remove(self, address: int) -> None:
        """Give up what was claimed at ``address``."""
        at = bisect.bisect_left(self._starts, address)
        del self._starts[at], self._stops[at]
