"""What every reader is: a read-only, seekable binary file over one S3 object.

The abstract class is what users name in their types and what a reader of one's own derives from.
It fixes no mechanism: the library's readers get theirs from `object_reader.ObjectReader`.
"""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from io import SEEK_SET
from typing import TYPE_CHECKING, Any

from .integrity import FOREIGN, Integrity

if TYPE_CHECKING:
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
