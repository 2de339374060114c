"""The factory: which reader comes out, and what a load plan turns into."""

from __future__ import annotations

import pickle
from functools import partial
from pathlib import PurePosixPath
from types import SimpleNamespace
from typing import Any

import pytest
from sources import ForeignSource

from s3reader.constructor import DCPOptimizedConstructor, S3ReaderConstructor
from s3reader.dcp_optimized import (
    DEFAULT_MAX_GAP_SIZE,
    FALLBACK_GUIDANCE,
    DCPOptimizedS3Reader,
    ItemRange,
)
from s3reader.protocol import DCPS3ReaderConstructorProtocol, S3ReaderConstructorProtocol
from s3reader.ranged import RangedS3Reader
from s3reader.sequential import SequentialS3Reader

DATA = bytes(range(200))


def plan(*items: tuple[str, int, int]) -> tuple[list[Any], dict[int, Any]]:
    """Torch's ReadItem and _StorageInfo objects for (file, offset, length)."""
    return (
        [SimpleNamespace(storage_index=number) for number in range(len(items))],
        {
            number: SimpleNamespace(relative_path=path, offset=offset, length=length)
            for number, (path, offset, length) in enumerate(items)
        },
    )


def complete(constructor: Any, key: str = "key") -> Any:
    source = ForeignSource(DATA)
    return constructor(bucket="bucket", key=key, get_object_info=source.info, get_stream=source)


@pytest.mark.parametrize(
    ("constructor", "cls", "name"),
    [
        (S3ReaderConstructor.sequential(), SequentialS3Reader, "sequential"),
        (S3ReaderConstructor.sequential(window=1000), SequentialS3Reader, "sequential"),
        (S3ReaderConstructor.default(), SequentialS3Reader, "sequential"),
        (S3ReaderConstructor.range_based(), RangedS3Reader, "range_based"),
        (S3ReaderConstructor.range_based(buffer_size=0), RangedS3Reader, "range_based"),
        (S3ReaderConstructor.range_based(99), RangedS3Reader, "range_based"),
    ],
)
def test_partials_make_their_readers(constructor: Any, cls: type[Any], name: str) -> None:
    assert isinstance(constructor, partial)
    assert isinstance(constructor, S3ReaderConstructorProtocol)
    assert not isinstance(constructor, DCPS3ReaderConstructorProtocol)
    assert S3ReaderConstructor.get_reader_type_string(constructor) == name
    for one in (constructor, pickle.loads(pickle.dumps(constructor))):
        reader = complete(one)
        assert type(reader) is cls
        assert reader.read() == DATA


def test_reader_type_of_others() -> None:
    name = S3ReaderConstructor.get_reader_type_string
    assert name(None) == "sequential"
    assert name(S3ReaderConstructor.dcp_optimized()) == "dcp_optimized"
    assert name(partial(int)) == "unknown"  # type: ignore[arg-type]
    assert name(SequentialS3Reader) == "unknown"


@pytest.mark.parametrize("size", ["1", None, [], 1j])
def test_gap_size_is_a_number(size: Any) -> None:
    with pytest.raises(TypeError, match=r"^max_gap_size must be int or float, got"):
        S3ReaderConstructor.dcp_optimized(size)


def test_gap_size_is_not_negative() -> None:
    with pytest.raises(ValueError, match=r"^max_gap_size must be non-negative$"):
        S3ReaderConstructor.dcp_optimized(-1)


def test_plan_becomes_ranges_by_file() -> None:
    constructor = DCPOptimizedConstructor()
    constructor.set_item_ranges_by_file(
        *plan(("a.distcp", 0, 10), ("b.distcp", 5, 5), ("a.distcp", 10, 20)), "s3://bucket/check"
    )
    assert constructor._item_ranges_by_file == {
        "s3://bucket/check/a.distcp": [ItemRange(0, 10), ItemRange(10, 30)],
        "s3://bucket/check/b.distcp": [ItemRange(5, 10)],
    }
    reader = complete(constructor, "check/a.distcp")
    assert type(reader) is DCPOptimizedS3Reader
    assert reader.read(10) == DATA[:10]
    again = pickle.loads(pickle.dumps(constructor))
    assert again._item_ranges_by_file == constructor._item_ranges_by_file
    assert isinstance(constructor, DCPS3ReaderConstructorProtocol)


def test_duplicate_and_overlapping_items_are_merged() -> None:
    constructor = DCPOptimizedConstructor(max_gap_size=0)
    constructor.set_item_ranges_by_file(
        *plan(("f", 50, 10), ("f", 0, 20), ("f", 0, 20), ("f", 15, 15), ("f", 30, 5), ("f", 2, 3)),
        PurePosixPath("/base"),
    )
    assert constructor._item_ranges_by_file == {
        "/base/f": [ItemRange(0, 30), ItemRange(30, 35), ItemRange(50, 60)]
    }


def test_new_plan_replaces_the_old_one() -> None:
    constructor = DCPOptimizedConstructor()
    constructor.set_item_ranges_by_file(*plan(("a", 0, 10)), "s3://bucket")
    constructor.set_item_ranges_by_file(*plan(("b", 0, 10)), "s3://bucket")
    assert list(constructor._item_ranges_by_file) == ["s3://bucket/b"]
    constructor.set_item_ranges_by_file([], {}, "s3://bucket")
    assert constructor._item_ranges_by_file == {}


def test_plan_without_storage_data_is_refused() -> None:
    constructor = DCPOptimizedConstructor()
    constructor.set_item_ranges_by_file(*plan(("a", 0, 10)), "s3://bucket")
    with pytest.raises(ValueError, match=r"^storage_data must not be empty"):
        constructor.set_item_ranges_by_file([SimpleNamespace(storage_index=0)], {}, "s3://bucket")
    assert constructor._item_ranges_by_file


def test_metadata_is_read_sequentially() -> None:
    reader = complete(DCPOptimizedConstructor(), "check/.metadata")
    assert type(reader) is SequentialS3Reader
    assert reader.read() == DATA


def test_file_outside_the_plan_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^No ranges found for s3://bucket/other") as caught:
        complete(DCPOptimizedConstructor(), "other")
    assert str(caught.value).endswith(FALLBACK_GUIDANCE)


def test_gap_size_reaches_the_reader() -> None:
    constructor = S3ReaderConstructor.dcp_optimized(7)
    constructor.set_item_ranges_by_file(*plan(("a", 0, 10), ("a", 17, 3)), "s3://bucket")
    assert len(complete(constructor, "a")._range_groups) == 1
    assert DCPOptimizedConstructor()._max_gap_size == DEFAULT_MAX_GAP_SIZE == 32 * 1024 * 1024
