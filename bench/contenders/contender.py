"""What a contender is: one way of reading with one library, as that library recommends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Protocol


class SmallReader(Protocol):
    """Anything that gives ``size`` bytes at a time."""

    def read(self, size: int, /) -> bytes: ...


class Contender:
    """Reads objects of one bucket. What a library cannot do is left as it is here.

    The constructor imports the library and makes its client, so that neither is timed.
    """

    name: ClassVar[str]
    peer: ClassVar[str]
    """The library; "s3reader" for our own, "floor" for what has none."""
    cannot: ClassVar[dict[str, str]] = {}
    """Why a case is not for this contender, by the name of the method it would need."""

    def __init__(self, endpoint: str, bucket: str) -> None:
        raise NotImplementedError

    def version(self) -> str:
        """The library's version."""
        raise NotImplementedError

    def readinto(self, key: str, view: memoryview) -> None:
        """Fill ``view``, which is as large as the object."""
        raise NotImplementedError

    def read(self, key: str) -> Any:
        """The whole object as one bytes-like object."""
        raise NotImplementedError

    def chunks(self, key: str) -> Iterator[Any]:
        """The object piece by piece, none of which is kept."""
        raise NotImplementedError

    def small(self, key: str, view: memoryview) -> None:
        """Fill ``view`` with a small object."""
        raise NotImplementedError

    def buffered(self, key: str, size: int) -> SmallReader:
        """A reader at position 0 with the object's ``size`` bytes in its buffer."""
        raise NotImplementedError

    def close(self) -> None:
        """Give back what the client holds."""


def can(contender: type[Contender], method: str) -> bool:
    """Whether a contender takes part in the cases that need ``method``."""
    return getattr(contender, method) is not getattr(Contender, method)


def fill(readinto: Callable[[memoryview], int | None], view: memoryview) -> None:
    """Call ``readinto`` until ``view`` is full.

    Raises:
        EOFError: the object ended first.
    """
    filled = 0
    while filled < len(view):
        count = readinto(view[filled:])
        if not count:
            raise EOFError(f"{filled} of {len(view)} bytes")
        filled += count
