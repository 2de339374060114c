"""What a reader constructor looks like to the client and to the DCP storage reader."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from .dcp_optimized import ItemRange
from .s3reader import S3Reader


class GetStreamCallable(Protocol):
    """Opens a stream of ``[start, end)``, in bytes; without arguments, of the whole object."""

    def __call__(self, start: int | None = None, end: int | None = None) -> Iterable[Any]: ...


@runtime_checkable
class S3ReaderConstructorProtocol(Protocol):
    """Completes a reader for one object; ``S3Client.get_object`` calls it."""

    def __call__(
        self,
        bucket: str,
        key: str,
        get_object_info: Callable[[], Any],
        get_stream: GetStreamCallable,
    ) -> S3Reader: ...


@runtime_checkable
class DCPS3ReaderConstructorProtocol(Protocol):
    """A constructor that wants to know a load plan first; the DCP storage reader tells it."""

    _item_ranges_by_file: dict[str, list[ItemRange]]

    def __call__(
        self,
        bucket: str,
        key: str,
        get_object_info: Callable[[], Any],
        get_stream: GetStreamCallable,
    ) -> S3Reader: ...

    def set_item_ranges_by_file(
        self,
        plan_items: Sequence[Any],
        storage_data: Mapping[Any, Any],
        base_path: str | os.PathLike[str],
    ) -> None: ...
