"""What every reader is: a read-only, seekable binary file over one S3 object.

The abstract class is what users name in their types and what a reader of one's own derives from.
It fixes no mechanism: the library's readers get theirs from `object_reader.ObjectReader`.
"""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from io import SEEK_END, SEEK_SET
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from ._ext.memory import Memory
from ._ext.vector import Vector
from .feed import wrong_length
from .integrity import FOREIGN, Integrity
from .vectored import check_end, checked_gap

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Buffer


class S3Reader(ABC, io.BufferedIOBase):
    """A file-like view of one object, with the behaviour of a binary ``io`` object."""

    @property
    @abstractmethod
    def bucket(self) -> str:
        """Name of the bucket."""

    @property
    @abstractmethod
    def key(self) -> str:
        """Key of the object."""

    @abstractmethod
    def read(self, size: int | None = None) -> bytes:
        """Read up to ``size`` bytes, or the rest when it is None or negative."""

    @abstractmethod
    def readinto(self, buf: Buffer) -> int:
        """Fill the writable ``buf`` and return the number of bytes put there."""

    def readinto_ranges(
        self, ranges: Iterable[tuple[int, Buffer]], *, max_gap: int | None = None
    ) -> int:
        """Fill many buffers, each from its own place in the object; the position stays.

        The library's readers ask for all of them together, in parallel: with the client's own
        streams straight into the buffers.

        Args:
            ranges: pairs of an offset in the object, in bytes, and a writable C-contiguous buffer
                of any length, in any order. Ranges may touch, overlap and repeat.
            max_gap: bytes between two ranges that are fetched rather than asked around; by default
                as many as come in the time that another request's first byte would take.

        Returns:
            The bytes put into all buffers, which is what they take.

        Raises:
            TypeError, ValueError: an argument is impossible; nothing was asked for.
            S3Exception: not all could be had, or a range ends past the object's end
                (`InvalidRangeError`); what is in the buffers is undefined.
        """
        if self.closed:
            raise ValueError("I/O operation on closed file")
        checked_gap(max_gap)
        wanted = list(ranges)
        vector = Vector(wanted)
        position = self.tell()
        try:
            for start, buffer in sorted(wanted, key=itemgetter(0)):
                self._fill_at(start, Memory.lent(buffer), vector)
        finally:
            vector.release()
            self.seek(position)
        return vector.nbytes

    def _fill_at(self, start: int, memory: Memory, vector: Vector) -> None:
        length = len(memory)
        filled = 0
        self.seek(start)
        while filled < length:
            count = self.readinto(memory.view(filled, length))
            if not count:
                check_end(self.bucket, self.key, vector, self.seek(0, SEEK_END))
                raise wrong_length(self.bucket, self.key, start, start + length, filled)
            filled += count

    @abstractmethod
    def seek(self, offset: int, whence: int = SEEK_SET, /) -> int:
        """Move to ``offset`` bytes relative to ``whence`` and return the new position."""

    @abstractmethod
    def tell(self) -> int:
        """The position: the object offset of the next byte."""

    def stats(self) -> dict[str, Any]:
        """Counts of this reader, with the names of `S3Client.stats`; empty if it keeps none."""
        return {}

    @property
    def integrity(self) -> Integrity:
        """Whether the object's checksum was verified, and if not, why not."""
        return Integrity(reason=FOREIGN)

    def seekable(self) -> bool:
        """True."""
        return True

    def readable(self) -> bool:
        """True."""
        return True

    def writable(self) -> bool:
        """False."""
        return False
