"""What a contender is: one way of reading with one library, as that library recommends it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

AT_ONCE = 16
"""Requests that a contender without a number of its own has under way."""
PART = 8 * 1024 * 1024
"""Bytes of a part, where a contender has to choose: what S3's guidelines and most libraries do."""


class SmallReader(Protocol):
    """Anything that gives ``size`` bytes at a time."""

    def read(self, size: int, /) -> bytes: ...


ReadAt = Callable[[int, memoryview], Any]
"""Reads from an offset as many bytes as the view has: into it, or gives them back."""


@dataclass(frozen=True)
class Place:
    """Where the objects are.

    Attributes:
        endpoint: of the server.
        bucket: its only one.
        root: the folder that it serves.
        authority: a file with the certificate to trust, if the server speaks TLS.
    """

    endpoint: str
    bucket: str
    root: str
    authority: str | None = None

    def url(self, key: str) -> str:
        """Of an object."""
        return f"{self.endpoint}/{self.bucket}/{key}"

    def path(self, key: str) -> str:
        """Of the file that is served as an object."""
        return f"{self.root}/{self.bucket}/{key}"


class Contender(ABC):
    """Reads objects of one bucket. What a library cannot do is left as it is here: `can` tells, and
    it is never called.

    The constructor imports the library and makes its client, so that neither is timed.
    """

    name: ClassVar[str]
    peer: ClassVar[str]
    """The library; "s3reader" for our own, "floor" for what has none."""
    module: ClassVar[str] = ""
    """What a script imports; for the case of a cold start."""
    environment: ClassVar[str] = ""
    """Name of an interpreter of its own, see `environments`; "" for this one."""
    quick: ClassVar[bool] = True
    """Whether it takes part with ``--quick``: the fastest of a library do."""
    cannot: ClassVar[dict[str, str]] = {}
    """Why a case is not for this contender, by the method it would need, or the kind of server."""

    def __init__(self, place: Place) -> None:
        self.place = place

    @abstractmethod
    def version(self) -> str:
        """The library's version."""

    def readinto(self, key: str, view: memoryview) -> None:
        """Fill ``view``, which is as large as the object."""
        raise NotImplementedError

    def read(self, key: str) -> Any:
        """The whole object as one bytes-like object."""
        raise NotImplementedError

    def chunks(self, key: str) -> Iterator[Any]:
        """The object piece by piece, none of which is kept."""
        raise NotImplementedError

    def file(self, key: str) -> AbstractContextManager[Any]:
        """A seekable binary file, as `torch.load` and `numpy.load` take it."""
        raise NotImplementedError

    def pread(self, key: str) -> ReadAt:
        """A function that reads a piece at an offset."""
        raise NotImplementedError

    def ranges(self, key: str, starts: Sequence[int], views: Sequence[memoryview]) -> Any:
        """Fill every view from its start, or give back all pieces in order."""
        raise NotImplementedError

    def many(self, keys: Sequence[str], rows: Any) -> Any:
        """Fill every row, an array of bytes, with its object, or give back all objects in order."""
        raise NotImplementedError

    def small(self, key: str, view: memoryview) -> None:
        """Fill ``view`` with a small object."""
        raise NotImplementedError

    def buffered(self, key: str, size: int) -> SmallReader:
        """A reader at position 0 with the object's ``size`` bytes in its buffer."""
        raise NotImplementedError

    def dataset(self, keys: Sequence[str], size: int) -> tuple[Any, Any]:
        """A map-style dataset of tensors of ``size`` bytes, and the DataLoader's collate_fn."""
        raise NotImplementedError

    def cold(self, key: str) -> None:
        """Receive the first byte of an object."""
        raise NotImplementedError

    def warm(self, key: str, view: memoryview) -> None:
        """Have a connection, and whatever a library sets up with its first request."""
        self.small(key, view)

    def close(self) -> None:  # noqa: B027 - most have nothing to close
        """Give back what the client holds."""


def can(contender: type[Contender], method: str) -> bool:
    """Whether a contender takes part in the cases that need ``method``."""
    return getattr(contender, method, None) is not getattr(Contender, method, None)


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


def parts_of(view: memoryview, part: int = PART) -> Iterator[tuple[int, memoryview]]:
    """Offsets and pieces of a destination."""
    for start in range(0, len(view), part):
        yield start, view[start : start + part]


def views_of(rows: Any) -> list[memoryview]:
    """A view of each row of an array."""
    return [memoryview(row) for row in rows]


class Threads:
    """A pool of threads, for libraries whose calls wait and release the GIL."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(AT_ONCE)

    def map(self, function: Callable[..., Any], *arguments: Iterable[Any]) -> list[Any]:
        """Results in order."""
        return list(self._pool.map(function, *arguments))

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()


def pem(path: str) -> str:
    """A certificate's text."""
    return Path(path).read_text()
