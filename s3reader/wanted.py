"""What a batch wants: one object, and how far it has come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .request import Request

if TYPE_CHECKING:
    from s3reader._ext.memory import Memory
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
