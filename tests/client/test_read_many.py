"""Many objects read together: what is handed out, and where bytes go."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy
import pytest
import torch
from many_objects import contents, many, objects
from servers.embedded_s3 import S3

from s3reader import ObjectChangedError, ObjectNotFoundError, S3Client

__all__ = ["many", "objects"]


@pytest.mark.parametrize("ordered", [True, False])
def test_every_object_comes_whole(
    many: S3Client, bucket: str, objects: dict[str, bytes], ordered: bool
) -> None:
    fetched = list(many.read_many(bucket, objects, ordered=ordered))
    assert contents(iter(fetched)) == objects
    assert sorted(one.index for one in fetched) == list(range(len(objects)))
    if ordered:
        assert [one.key for one in fetched] == list(objects)


def test_result_tells_version_size_and_metadata(
    many: S3Client, s3: S3, bucket: str, objects: dict[str, bytes]
) -> None:
    for one in many.read_many(bucket, objects):
        if not objects[one.key]:
            continue  # an empty object's answer is an error, which describes no object
        told = many.head_object(bucket, one.key)
        assert (one.bucket, one.size, one.etag) == (bucket, told.size, told.etag)
        assert one.info.size == told.size
        assert one.info.last_modified == told.last_modified
        assert one.metadata == {"number": str(one.index)}
        assert one.offset is None
        assert one.data.readonly
        assert len(one) == one.size


def test_one_request_for_each_small_object(
    s3: S3, bucket: str, objects: dict[str, bytes], client: S3Client
) -> None:
    list(client.read_many(bucket, objects))
    assert sorted(request.key for request in s3.requests()) == sorted(objects)
    assert {request.operation for request in s3.requests()} == {"GetObject"}


def test_names_without_a_bucket(many: S3Client, bucket: str, objects: dict[str, bytes]) -> None:
    names = [
        f"s3://{bucket}/{key}" if number % 2 else (bucket, key)
        for number, key in enumerate(objects)
    ]
    assert contents(many.read_many(names)) == objects


def test_keys_from_a_listing_pin_the_version(
    many: S3Client, s3: S3, bucket: str, objects: dict[str, bytes]
) -> None:
    listed = [
        info for page in many.list_objects(bucket, prefix="many/") for info in page.object_info
    ]
    assert contents(many.read_many(bucket, listed)) == objects
    s3.put(bucket, "many-changes", b"before")
    (before,) = next(many.list_objects(bucket, prefix="many-changes")).object_info
    s3.put(bucket, "many-changes", b"behind")
    (changed,) = many.read_many(bucket, [before], errors="return")
    assert isinstance(changed.error, ObjectChangedError)


@pytest.mark.parametrize("ordered", [True, False])
def test_rows_of_an_array(
    many: S3Client, bucket: str, objects: dict[str, bytes], ordered: bool
) -> None:
    array = numpy.full((len(objects), 25_000), 0xEEEEEEEE, dtype="<u4")
    for one in many.read_many(bucket, objects, into=array, ordered=ordered):
        assert one.data.tobytes() == objects[one.key]
        assert one.offset == one.index * 100_000
    for row, data in zip(array, objects.values(), strict=True):
        assert row.tobytes() == data + b"\xee" * (100_000 - len(data))


def test_a_tensor_of_rows(many: S3Client, bucket: str, objects: dict[str, bytes]) -> None:
    tensor = torch.zeros(len(objects), 100_000, dtype=torch.uint8)
    for one in many.read_many(bucket, objects, into=tensor):
        assert bytes(tensor[one.index, : one.size].numpy()) == objects[one.key]


def test_a_buffer_for_each(many: S3Client, bucket: str, objects: dict[str, bytes]) -> None:
    buffers = [bytearray(len(data)) for data in objects.values()]
    assert contents(many.read_many(bucket, objects, into=iter(buffers))) == objects
    assert buffers == list(objects.values())
    for buffer in buffers:
        buffer.clear()  # which nobody holds any more


@pytest.mark.parametrize("ordered", [True, False])
def test_packed_into_a_flat_buffer(
    many: S3Client, bucket: str, objects: dict[str, bytes], ordered: bool
) -> None:
    flat = numpy.zeros(sum(map(len, objects.values())), dtype=numpy.uint8)
    fetched = list(many.read_many(bucket, objects, into=flat, ordered=ordered))
    assert flat.tobytes() == b"".join(objects[one.key] for one in fetched)
    for one in fetched:
        assert one.offset is not None
        assert flat[one.offset : one.offset + one.size].tobytes() == objects[one.key]


@pytest.mark.parametrize("ordered", [True, False])
def test_object_that_does_not_fit_is_its_own_error(
    many: S3Client, bucket: str, objects: dict[str, bytes], ordered: bool
) -> None:
    array = numpy.zeros((len(objects), 4096), dtype=numpy.uint8)
    fetched = list(many.read_many(bucket, objects, into=array, ordered=ordered, errors="return"))
    for one in fetched:
        if len(objects[one.key]) <= 4096:
            assert bytes(one.data) == objects[one.key]
        else:
            assert isinstance(one.error, ValueError)
            assert f"{len(objects[one.key])} bytes" in str(one.error)
            with pytest.raises(ValueError, match="does not fit"):
                _ = one.data


def test_no_room_for_anything(many: S3Client, bucket: str, objects: dict[str, bytes]) -> None:
    buffers = [bytearray() for _ in objects]
    fetched = list(many.read_many(bucket, objects, into=buffers, errors="return"))
    assert [one.error is None for one in fetched] == [not data for data in objects.values()]


def test_ranges(many: S3Client, bucket: str, objects: dict[str, bytes]) -> None:
    ranges = [(2, 5000), None, (3, None), (4095, 4097), (0, 1), (17, 9000), (1, 2), (50, 10**9)]
    fetched = list(many.read_many(bucket, objects, ranges=ranges))
    for one, bounds in zip(fetched, ranges, strict=True):
        start, stop = bounds or (0, None)
        assert bytes(one.data) == objects[one.key][start:stop]
        assert one.size == len(objects[one.key])


@pytest.mark.parametrize("ordered", [True, False])
def test_missing_object_is_raised_and_ends(
    many: S3Client, bucket: str, objects: dict[str, bytes], ordered: bool
) -> None:
    keys = [*objects, "many-missing"]
    batch = many.read_many(bucket, keys, ordered=ordered)
    with pytest.raises(ObjectNotFoundError, match="many-missing"):
        for _ in batch:
            pass
    assert list(batch) == []


@pytest.mark.parametrize("ordered", [True, False])
def test_missing_object_is_returned_and_others_go_on(
    many: S3Client, bucket: str, objects: dict[str, bytes], ordered: bool
) -> None:
    keys = ["many-missing 0", *objects, "many-missing 1"]
    fetched = {
        one.key: one for one in many.read_many(bucket, keys, ordered=ordered, errors="return")
    }
    for key in keys:
        if key in objects:
            assert fetched[key].error is None
            assert bytes(fetched[key]) == objects[key]
        else:
            assert isinstance(fetched[key].error, ObjectNotFoundError)
            with pytest.raises(ObjectNotFoundError):
                _ = fetched[key].data
            with pytest.raises(ObjectNotFoundError):
                _ = fetched[key].metadata


def test_endless_keys(many: S3Client, bucket: str, objects: dict[str, bytes]) -> None:
    taken = []

    def keys() -> Iterator[str]:
        for key in itertools.cycle(objects):
            taken.append(key)
            yield key

    with many.read_many(bucket, keys()) as batch:
        for one in itertools.islice(batch, 100):
            assert bytes(one.data) == objects[one.key]
            assert len(taken) <= one.index + 1 + 32
    assert list(batch) == []


def test_no_keys(many: S3Client, bucket: str) -> None:
    assert list(many.read_many(bucket, [])) == []


def test_the_same_key_again_and_again(
    many: S3Client, bucket: str, objects: dict[str, bytes]
) -> None:
    key = max(objects, key=lambda name: len(objects[name]))
    for one in many.read_many(bucket, [key] * 50, ordered=False):
        assert bytes(one.data) == objects[key]


def test_data_outlives_the_batch(many: S3Client, bucket: str, objects: dict[str, bytes]) -> None:
    kept = [(one.key, one.data) for one in many.read_many(bucket, objects)]
    list(many.read_many(bucket, objects))
    many.close()
    assert {key: bytes(data) for key, data in kept} == objects


def test_memory_goes_back(
    new_client: Callable[..., Any], bucket: str, objects: dict[str, bytes]
) -> None:
    client = new_client(part_size=4096)
    for errors in ("raise", "return"):
        for _ in range(3):
            list(client.read_many(bucket, objects, errors=errors))
            next(client.read_many(bucket, objects))
            batch = client.read_many(bucket, [*objects, "many-missing", *objects])
            with pytest.raises(ObjectNotFoundError):
                list(batch)
    assert client._session.budget.used == 0
    assert client._session.pool.in_use == 0


@pytest.mark.parametrize("limit", [64 * 1024, 200_000, 2_000_000])
def test_little_memory(
    new_client: Callable[..., Any], bucket: str, objects: dict[str, bytes], limit: int
) -> None:
    client = new_client(part_size=4096, memory_limit=limit)
    budget = client._session.budget
    for ordered in (True, False):
        for one in client.read_many(
            bucket, itertools.islice(itertools.cycle(objects), 60), ordered=ordered
        ):
            assert bytes(one.data) == objects[one.key]
            # One object may exceed the budget, so that there is always one that goes on.
            assert budget.used <= limit + 100_000
    assert budget.used == 0


def test_counts(new_client: Callable[..., Any], bucket: str, objects: dict[str, bytes]) -> None:
    client = new_client()
    list(client.read_many(bucket, objects))
    stats = client.stats()
    assert stats["requests"] == {"GetObject": len(objects)}
    assert stats["bytes_requested"] == stats["bytes_received"] == sum(map(len, objects.values()))


def test_a_batch_does_not_pickle(many: S3Client, bucket: str, objects: dict[str, bytes]) -> None:
    with (
        many.read_many(bucket, objects) as batch,
        pytest.raises(TypeError, match="pickle the client"),
    ):
        pickle.dumps(batch)


def test_batch_that_is_dropped_cancels(
    many: S3Client, bucket: str, objects: dict[str, bytes]
) -> None:
    batch = many.read_many(bucket, itertools.cycle(objects))
    next(batch)
    lane = batch._lane
    del batch
    assert lane.outstanding == 0
    assert many._session.budget.used == 0
