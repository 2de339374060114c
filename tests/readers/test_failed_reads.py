"""What a read leaves behind that failed: the position, the item, the caller's buffer."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from make_readers import checkpoint, ranged, sequential
from servers.faults import PART, FaultyObject, pattern, status
from servers.scripted import Reply, ScriptedServer
from sources import ForeignSource, Interrupted, MemorySource

from s3reader import (
    AccessDeniedError,
    ObjectTooLargeError,
    S3Client,
    S3ClientConfig,
    S3ReaderConstructor,
)

MIB = 1024 * 1024
DATA = pattern(3 * MIB)
ABSURD = 999_999_999_999_999_999  # bytes: the largest size that a head may tell

Scripted = Callable[..., ScriptedServer]

every_source = pytest.mark.parametrize("kind", [ForeignSource, MemorySource])
small_and_large = pytest.mark.parametrize("size", [500, 2 * MIB])


@pytest.fixture
def reader_of(scripted: Scripted) -> Any:
    """Makes a reader of what a script serves."""
    clients = []

    def make(script: Any, constructor: Any = None) -> Any:
        config = S3ClientConfig(unsigned=True, part_size=PART, max_attempts=1)
        endpoint = scripted(script).endpoint
        clients.append(S3Client("us-east-1", endpoint=endpoint, s3client_config=config))
        return clients[-1].get_object("bucket", "key", reader_constructor=constructor)

    yield make
    for client in clients:
        client.close()


@small_and_large
@every_source
@pytest.mark.parametrize("make", [sequential, ranged, checkpoint])
def test_buffer_is_the_callers_while_the_error_is_kept(
    make: Callable[..., Any], kind: type[Any], size: int
) -> None:
    source = kind(DATA, 1000)
    source.fail_at = 300
    reader = make(source)
    buffer = bytearray(size)
    with pytest.raises(Interrupted) as caught:
        reader.readinto(buffer)
    buffer.extend(b"a buffer that is exported cannot grow")
    assert caught.value.__traceback__ is not None
    assert reader.tell() == 0
    assert reader.readinto(buffer) == len(buffer)
    assert buffer == DATA[: len(buffer)]


@small_and_large
@pytest.mark.parametrize(
    "constructor",
    [
        S3ReaderConstructor.sequential(),
        S3ReaderConstructor.range_based(),
        S3ReaderConstructor.range_based(0),
    ],
)
def test_buffer_is_the_callers_after_an_error_of_s3(
    reader_of: Any, constructor: Any, size: int
) -> None:
    faulty = FaultyObject(DATA)
    reader = reader_of(faulty, constructor)
    faulty.go_wrong(status(403, "AccessDenied"), where=lambda asked: asked.range != (0, PART))
    buffer = bytearray(size + 2 * PART)
    with pytest.raises(AccessDeniedError) as caught:
        reader.readinto(buffer)
    buffer.extend(b"a buffer that is exported cannot grow")
    assert caught.value.__traceback__ is not None
    assert reader.tell() == 0


@every_source
def test_item_whose_first_read_failed_was_not_entered(kind: type[Any]) -> None:
    items = [(0, 1000), (1000, 2000), (5000, 6000), (6000, 7000)]
    source = kind(DATA, 300)
    reader = checkpoint(source, *items, gap=100)
    for number, (start, end) in enumerate(items):
        if number:
            before = items[number - 1]
            reader.seek(start)
            source.fail_at = start + 500
            with pytest.raises(Interrupted):
                reader.read(end - start)
            assert reader.tell() == start
            # As if it had not been tried: the item before is still the current one.
            if number < len(items) - 1:
                reader.seek(items[number + 1][0])
                with pytest.raises(ValueError, match=f"current item {before[0]}-{before[1]}"):
                    reader.read(1)
            reader.seek(before[0] + 5)
            assert reader.read(20) == DATA[before[0] + 5 : before[0] + 25]
            reader.seek(start)
        assert reader.read(end - start) == DATA[start:end]


@pytest.mark.parametrize("make", [sequential, ranged])
def test_position_past_the_end_is_put_back_when_a_failed_call_has_told_it(
    make: Callable[..., Any],
) -> None:
    source = MemorySource(DATA[:5000], 1000)
    reader = make(source)
    reader.seek(8000)
    source.stops_at = 4990
    with pytest.raises(OSError, match="incomplete"):
        reader.seek(-10, io.SEEK_END)
    assert reader.tell() == 5000
    source.stops_at = None
    assert reader.read() == b""
    assert reader.seek(-10, io.SEEK_END) == 4990
    assert reader.read() == DATA[4990:5000]


@pytest.mark.parametrize(
    "constructor",
    [
        S3ReaderConstructor.sequential(),
        S3ReaderConstructor.range_based(),
        S3ReaderConstructor.range_based(0),
    ],
)
def test_size_that_nobody_has_is_an_error_that_says_so(reader_of: Any, constructor: Any) -> None:
    def boast(request: Any) -> Reply:
        start, stop = request.range
        length = min((stop or ABSURD) - start, PART)
        body = DATA[start % len(DATA) :][:length]
        told = {"Content-Range": f"bytes {start}-{start + len(body) - 1}/{ABSURD}", "ETag": '"e"'}
        return Reply(206, told, body)

    reader = reader_of(boast, constructor)
    assert reader.read(100) == DATA[:100]
    with pytest.raises(ObjectTooLargeError, match=f"no memory for {ABSURD - 100} bytes") as caught:
        reader.read()
    assert isinstance(caught.value, MemoryError)
    assert caught.value.range == (100, ABSURD)
    assert reader.tell() == 100
    assert reader.read(100) == DATA[100:200]


def test_size_that_nobody_has_from_a_callable() -> None:
    source = ForeignSource(DATA)
    reader = ranged(source, buffer_size=0)
    reader._size = ABSURD
    with pytest.raises(ObjectTooLargeError):
        reader.read()
    assert reader.tell() == 0
    assert reader.read(100) == DATA[:100]
