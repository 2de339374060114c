"""Which reader a client is to make: `S3ReaderConstructor` and the one that knows a load plan."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from .dcp_optimized import (
    DEFAULT_MAX_GAP_SIZE,
    FALLBACK_GUIDANCE,
    DCPOptimizedS3Reader,
    ItemRange,
    checked_gap_size,
)
from .protocol import DCPS3ReaderConstructorProtocol, S3ReaderConstructorProtocol
from .ranged import RangedS3Reader
from .s3reader import S3Reader
from .sequential import SequentialS3Reader


class DCPOptimizedConstructor:
    """Makes `DCPOptimizedS3Reader` objects for the files of a distributed checkpoint.

    The storage reader calls `set_item_ranges_by_file` when it has a load plan; opening a file
    of the plan then gives a reader that knows what will be read of it.

    Args:
        max_gap_size: see `DCPOptimizedS3Reader`.

    Raises:
        TypeError: a ``max_gap_size`` that is no number.
        ValueError: a negative one.
    """

    def __init__(self, max_gap_size: int | float = DEFAULT_MAX_GAP_SIZE) -> None:
        self._max_gap_size = checked_gap_size(max_gap_size)
        # The very object, so that somebody's own 32 MiB is a choice.
        self._gap_is_chosen = max_gap_size is not DEFAULT_MAX_GAP_SIZE
        self._item_ranges_by_file: dict[str, list[ItemRange]] = {}

    def set_item_ranges_by_file(
        self,
        plan_items: Sequence[Any],
        storage_data: Mapping[Any, Any],
        base_path: str | os.PathLike[str],
    ) -> None:
        """Replace what is known by the ranges of a load plan.

        Args:
            plan_items: torch's ``ReadItem`` objects.
            storage_data: torch's ``_StorageInfo`` (file, offset, length) by ``storage_index``.
            base_path: ``s3://bucket/prefix`` that the files' names are relative to.

        Raises:
            ValueError: there are items, but ``storage_data`` is empty.
        """
        if plan_items and not storage_data:
            raise ValueError(
                "storage_data must not be empty: it tells where the items of the plan lie"
            )
        ranges: dict[str, list[ItemRange]] = {}
        for plan_item in plan_items:
            stored = storage_data[plan_item.storage_index]
            uri = os.path.join(base_path, stored.relative_path)
            ranges.setdefault(uri, []).append(
                ItemRange(stored.offset, stored.offset + stored.length)
            )
        self._item_ranges_by_file = {uri: _disjoint(items) for uri, items in ranges.items()}

    def __call__(
        self,
        bucket: str,
        key: str,
        get_object_info: Callable[[], Any],
        get_stream: Callable[..., Iterable[Any]],
    ) -> S3Reader:
        """A reader for ``s3://bucket/key``: sequential for ``*.metadata``, which no plan covers.

        Raises:
            ValueError: a file that the plan does not mention.
        """
        if key.endswith(".metadata"):
            return SequentialS3Reader(bucket, key, get_object_info, get_stream)
        uri = f"s3://{bucket}/{key}"
        if uri not in self._item_ranges_by_file:
            raise ValueError(
                f"No ranges found for {uri}. Its load plan must be given to "
                "set_item_ranges_by_file first, as S3StorageReader.prepare_local_plan does.\n"
                f"{FALLBACK_GUIDANCE}"
            )
        return DCPOptimizedS3Reader(
            bucket,
            key,
            item_ranges=self._item_ranges_by_file[uri],
            get_object_info=get_object_info,
            get_stream=get_stream,
            max_gap_size=self._max_gap_size,
        )


class S3ReaderConstructor:
    """Makers of reader constructors, to be completed by ``S3Client.get_object``.

    Example::

        client.get_object(bucket, key, reader_constructor=S3ReaderConstructor.range_based())
    """

    @staticmethod
    def sequential(window: int | None = None) -> S3ReaderConstructorProtocol:
        """For reading whole objects, or parts again and again.

        Args:
            window: bytes to keep of what was read, the newest; None for all of it.
        """
        if window is None:
            return partial(SequentialS3Reader)
        return partial(SequentialS3Reader, window=window)

    @staticmethod
    def range_based(buffer_size: int | None = None) -> S3ReaderConstructorProtocol:
        """For reading parts of large objects.

        Args:
            buffer_size: bytes; smaller reads load that much at once. None for 8 MiB, 0 for
                one exact request a read.
        """
        return partial(RangedS3Reader, buffer_size=buffer_size)

    @staticmethod
    def dcp_optimized(
        max_gap_size: int | float = DEFAULT_MAX_GAP_SIZE,
    ) -> DCPS3ReaderConstructorProtocol:
        """For loading a distributed checkpoint with ``S3StorageReader``.

        Args:
            max_gap_size: bytes; items no further apart share a request. ``float("inf")`` for
                one request a file, 0 for one for each run of items that touch.
        """
        return DCPOptimizedConstructor(max_gap_size=max_gap_size)

    @staticmethod
    def default() -> S3ReaderConstructorProtocol:
        """The sequential reader's constructor."""
        return S3ReaderConstructor.sequential()

    @staticmethod
    def get_reader_type_string(constructor: S3ReaderConstructorProtocol | None) -> str:
        """Which reader it makes: "sequential", "range_based", "dcp_optimized" or "unknown"."""
        if constructor is None:
            constructor = S3ReaderConstructor.default()
        if isinstance(constructor, DCPOptimizedConstructor):
            return "dcp_optimized"
        if isinstance(constructor, partial):
            if constructor.func is SequentialS3Reader:
                return "sequential"
            if constructor.func is RangedS3Reader:
                return "range_based"
        return "unknown"


def _disjoint(items: list[ItemRange]) -> list[ItemRange]:
    """``items`` in order, those that share bytes merged: a tied tensor is planned twice."""
    merged: list[ItemRange] = []
    for item in sorted(items, key=lambda item: (item.start, item.end)):
        if merged and item.start < merged[-1].end:
            merged[-1].end = max(merged[-1].end, item.end)
        else:
            merged.append(item)
    return merged
