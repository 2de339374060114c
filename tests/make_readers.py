"""The three readers over a source of `sources`, in one word each."""

from __future__ import annotations

from typing import Any

from sources import Source

from s3reader.dcp_optimized import DCPOptimizedS3Reader, ItemRange
from s3reader.ranged import RangedS3Reader
from s3reader.sequential import SequentialS3Reader


def sequential(source: Source, window: int | None = None) -> SequentialS3Reader:
    return SequentialS3Reader("bucket", "key", source.info, source, window=window)


def ranged(source: Source, buffer_size: Any = None) -> RangedS3Reader:
    return RangedS3Reader("bucket", "key", source.info, source, buffer_size=buffer_size)


def checkpoint(
    source: Source, *bounds: tuple[int, int], gap: float = 32 << 20
) -> DCPOptimizedS3Reader:
    """Over the items ``bounds``; over the whole object as one item if there are none."""
    items = [ItemRange(*pair) for pair in bounds or [(0, len(source.data))]]
    return DCPOptimizedS3Reader("bucket", "key", items, source.info, source, max_gap_size=gap)
