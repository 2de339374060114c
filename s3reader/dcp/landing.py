"""Which memory a stored item lands in: its tensor's own when that will do, else memory beside it.

A tensor's archive is a few hundred bytes, the tensor's bytes, and about a thousand more. The
length of the bytes is known from the metadata; where exactly they begin is known only once the
archive is there, but it is nearly always the same place. So they are received as if they began
there; was it another place, they are moved by the difference and nothing is asked twice.
"""

from __future__ import annotations

import bisect
import zlib

import torch

from s3reader.checksums import crc_function

from ._torch import ReadItem

USUAL_DATA_START = 704
"""Where torch 2.7 and newer put a tensor's bytes in its archive, for most shapes."""

LARGEST_MARGIN = 16 * 1024
"""Bytes of an archive beside the tensor's, at most; torch's have 1 to 2 KiB."""

crc32 = crc_function("crc32") or zlib.crc32


def takes_all(
    target: torch.Tensor, dtype: torch.dtype, sizes: tuple[int, ...], request: ReadItem
) -> bool:
    """Whether the target's memory, byte for byte, is all of a tensor of these sizes."""
    return (
        type(target) is torch.Tensor
        and target.dtype == dtype
        and target.shape == sizes == request.lengths
        and target.is_cpu
        and target.layout is torch.strided
        and target.is_contiguous()
        and not target.is_conj()
        and not target.is_neg()
    )


def span(target: torch.Tensor) -> tuple[int, int]:
    """Addresses of the target's first byte and past its last; (0, 0) where nothing can alias."""
    if type(target) is not torch.Tensor or not target.is_cpu or target.layout is not torch.strided:
        return 0, 0
    start = target.data_ptr()
    if target.is_contiguous():
        return start, start + target.nbytes
    if not target.numel():
        return 0, 0
    steps = zip(target.shape, target.stride(), strict=True)
    last = sum((length - 1) * step for length, step in steps)
    return start, start + (last + 1) * target.itemsize


class Claims:
    """Memory that bytes are on their way to: two targets may be the same, or overlap.

    What arrives in a target directly may come before its turn, so it must have the memory alone.
    """

    def __init__(self) -> None:
        self._starts: list[int] = []  # disjoint, sorted
        self._stops: list[int] = []
        self._overlapping: list[tuple[int, int]] = []  # what overlaps others, seldom anything

    def add(self, start: int, stop: int) -> bool:
        """Claim the bytes ``[start, stop)``; whether nobody else claims any of them."""
        if start >= stop:
            return True
        at = bisect.bisect_right(self._starts, start)
        if (
            (at and self._stops[at - 1] > start)
            or (at < len(self._starts) and self._starts[at] < stop)
            or any(first < stop and start < last for first, last in self._overlapping)
        ):
            self._overlapping.append((start, stop))
            return False
        self._starts.insert(at, start)
        self._stops.insert(at, stop)
        return True

    def remove(self, start: int, stop: int) -> None:
        """Give up what was claimed."""
        if start >= stop:
            return
        if (start, stop) in self._overlapping:
            self._overlapping.remove((start, stop))
            return
        at = bisect.bisect_left(self._starts, start)
        del self._starts[at], self._stops[at]
