"""Placement: where the bytes of objects that are read together go.

Without a place of the caller's they come in pooled chunks. Into an array of rows, or buffers one
for each object, they go straight from the socket. Packed one after the other into a flat buffer
they are copied once more: where one begins depends on how long those before it turn out to be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from s3reader._ext.destination import Destination
from s3reader._ext.memory import Memory

if TYPE_CHECKING:
    from typing_extensions import Buffer


class Place(NamedTuple):
    """A caller's memory for one object."""

    destination: Destination
    memory: Memory
    offset: int
    """Of the object's first byte, in bytes."""
    room: int
    """Bytes."""

    def view(self, count: int) -> memoryview:
        """The first ``count`` bytes of the place, which may outlive it."""
        return self.memory.view(self.offset, self.offset + count)


class Placement:
    """Chunks: no place of the caller's."""

    placed = False
    """Whether each object has a place before it comes."""

    def place(self, index: int) -> Place | None:
        """Where the object of that number goes; None for a chunk.

        Raises:
            ValueError: there is no place for so many.
        """
        return None

    def release(self, place: Place) -> None:
        """Nothing is written any more to a place that `place` gave."""

    def close(self) -> None:
        """Nothing is written any more to any place."""

    def settle(self, view: memoryview) -> tuple[memoryview, int | None]:
        """Where an object that came in a chunk is to stay: its bytes, and their offset.

        Raises:
            ValueError: there is no room for them.
        """
        return view, None


class Rows(Placement):
    """A row of an array for each object."""

    placed = True

    def __init__(self, array: Buffer, rows: int) -> None:
        self._destination = Destination(array)
        self._memory = Memory.lent(array)
        self._rows = rows
        self._length = len(self._destination) // rows

    def place(self, index: int) -> Place:
        if index >= self._rows:
            raise ValueError(f"into has {self._rows} rows, and there are more objects than that")
        return Place(self._destination, self._memory, index * self._length, self._length)

    def close(self) -> None:
        self._destination.release()
        # Whoever keeps the error of a batch does not keep the caller's buffer with it.
        del self._memory


class Buffers(Placement):
    """A buffer for each object."""

    placed = True

    def __init__(self, buffers: Iterable[object]) -> None:
        self._buffers: Iterator[object] = iter(buffers)

    def place(self, index: int) -> Place:
        try:
            buffer = as_buffer(next(self._buffers))
        except StopIteration:
            raise ValueError(
                f"into has {index} buffers, and there are more objects than that"
            ) from None
        destination = Destination(buffer)
        return Place(destination, Memory.lent(buffer), 0, len(destination))

    def release(self, place: Place) -> None:
        place.destination.release()


class Packed(Placement):
    """One object after the other, in the order they are handed out."""

    def __init__(self, buffer: Buffer) -> None:
        self._memory = Memory.lent(buffer)
        self._filled = 0

    def settle(self, view: memoryview) -> tuple[memoryview, int | None]:
        start = self._filled
        stop = start + len(view)
        if stop > len(self._memory):
            raise ValueError(
                f"it has {len(view)} bytes, and into has {len(self._memory) - start} bytes left"
            )
        self._memory.put(start, view)
        self._filled = stop
        return self._memory.view(start, stop), start

    def close(self) -> None:
        del self._memory


def placement(into: object) -> Placement:
    """What ``into`` of `S3Client.read_many` means.

    Raises:
        TypeError: nothing that objects can be put into.
        ValueError: an array without room.
    """
    if into is None:
        return Placement()
    if isinstance(into, (str, bytes)):
        raise TypeError(f"into takes a writable buffer or an iterable of them, not {into!r:.40}")
    buffer = as_buffer(into)
    try:
        with memoryview(buffer) as view:
            shape, size = view.shape or (), view.nbytes
    except TypeError:
        if not isinstance(into, Iterable):
            raise TypeError(
                "into takes a writable buffer, a tensor, or an iterable of them, not "
                f"{type(into).__name__}"
            ) from None
        return Buffers(into)
    if size == 0:
        raise ValueError(f"into has no room: its shape is {tuple(shape)}")
    return Rows(buffer, shape[0]) if len(shape) > 1 else Packed(buffer)


def as_buffer(given: Any) -> Buffer:
    """A tensor's memory as numpy sees it; anything else as it is."""
    # A torch tensor has no buffer protocol of its own; its array shares the memory.
    if hasattr(given, "__array__") and callable(getattr(given, "numpy", None)):
        return given.numpy()  # type: ignore[no-any-return]
    return given  # type: ignore[no-any-return]
