"""What a batch wants: one object, and how far it has come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from s3reader._ext.memory import Memory

from .errors import error_from_transport
from .request import Request
from .shortage import no_memory

if TYPE_CHECKING:
    from s3reader._ext.transfer import Transfer

    from .placement import Place
    from .selection import Selected

Pairs = tuple[tuple[str, str], ...]


class Wanted(Request):
    """One object of a batch: what is asked for, and how far it has come.

    Args:
        selected: the object.
        index: its number in the batch.
        headers, query: what each request adds.
        place: the caller's memory for it; None for a chunk.
    """

    __slots__ = ("budgeted", "error", "first", "index", "left", "memory", "place", "selected")

    def __init__(
        self, selected: Selected, index: int, query: Pairs, headers: Pairs, place: Place | None
    ) -> None:
        super().__init__("GetObject", selected.bucket, selected.key, query, headers)
        self.selected = selected
        self.index = index
        self.place = place
        self.first: Transfer | None = None
        self.memory: Memory | None = None  # of an object in parts, without a place
        self.left = 0  # transfers that are not settled
        self.budgeted = 0  # bytes of the byte budget that it holds
        self.error: Exception | None = None

    @property
    def end(self) -> int:
        """One past the last byte that is wanted and there; known with the first answer."""
        assert self.first is not None
        total, stop = self.first.total or 0, self.selected.stop
        return max(self.selected.start, total if stop is None else min(stop, total))

    def misfit(self) -> Exception | None:
        """Why what the first answer tells is not what was wanted; None where it is."""
        assert self.first is not None
        info, total = self.selected.info, self.first.total
        if info is not None and total != info.size:
            return error_from_transport(
                "changed",
                f"expected {info.size} bytes, received an object of {total}",
                bucket=self.bucket,
                key=self.key,
                operation="GetObject",
            )
        count = self.end - self.selected.start
        if self.place is not None and count > self.place.room:
            room = self.place.room
            return self.no_room(f"it has {count} bytes, and its place in into has {room}")
        return None

    def allocate(self) -> Memory:
        """Memory for all that is wanted, with what came first in it.

        Raises:
            ObjectTooLargeError: there is not so much.
        """
        assert self.first is not None
        start, count = self.selected.start, self.end - self.selected.start
        try:
            self.memory = Memory.block(count)
        except MemoryError:
            raise no_memory(self.bucket, self.selected.key, start, count) from None
        self.memory.put(0, self.first.view(0, self.first.received))
        return self.memory

    def no_room(self, why: str) -> ValueError:
        """The error for an object that is larger than its place."""
        return ValueError(f"s3://{self.bucket}/{self.key} does not fit: {why}")
