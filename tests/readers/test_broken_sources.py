"""Sources that fail, or do not keep to what was asked: an error each time, never wrong bytes."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from make_readers import checkpoint, ranged, sequential
from sources import ForeignSource, Interrupted, MemorySource

from s3reader.errors import IncompleteDataError

MIB = 1024 * 1024
DATA = np.random.default_rng(3).bytes(3 * MIB)


READERS = [sequential, ranged, checkpoint]
CLAMPING = [sequential, ranged]
every_reader = pytest.mark.parametrize("make", READERS)
clamping_reader = pytest.mark.parametrize("make", CLAMPING)
every_source = pytest.mark.parametrize("kind", [ForeignSource, MemorySource])


@pytest.mark.parametrize("buffer_size", [0, 1000, None])
def test_ranged_short_source_is_an_error(buffer_size: int | None) -> None:
    source = ForeignSource(DATA[:5000], missing=3)
    reader = ranged(source, buffer_size=buffer_size)
    reader.seek(100)
    target = bytearray(b"\xff" * 900)
    for read in (lambda: reader.read(900), lambda: reader.readinto(target), reader.read):
        with pytest.raises(IncompleteDataError, match=r"expected .* bytes, received"):
            read()
        assert reader.tell() == 100
    source.missing = 0
    assert reader.read() == DATA[100:5000]


@pytest.mark.parametrize("buffer_size", [0, 1000, None])
def test_ranged_long_source_is_an_error(buffer_size: int | None) -> None:
    source = ForeignSource(DATA[:5000], surplus=b"more")
    reader = ranged(source, buffer_size=buffer_size)
    with pytest.raises(IncompleteDataError, match="gave more than was asked for"):
        reader.read(900)
    assert reader.tell() == 0
    source.surplus = b""
    assert reader.read() == DATA[:5000]


def test_error_names_range_and_lengths() -> None:
    reader = ranged(ForeignSource(DATA[:5000], missing=3), buffer_size=0)
    reader.seek(1000)
    with pytest.raises(IncompleteDataError) as caught:
        reader.read(500)
    assert caught.value.range == (1000, 1500)
    assert (caught.value.bucket, caught.value.key) == ("bucket", "key")
    for words in ("s3://bucket/key", "[1000, 1500)", "expected 500 bytes", "received 497"):
        assert words in str(caught.value)


@pytest.mark.parametrize("changed", [{"missing": 3}, {"surplus": b"more"}])
def test_sequential_source_of_another_length_is_an_error(changed: dict[str, Any]) -> None:
    source = ForeignSource(DATA[:5000], 100, **changed)
    reader = sequential(source)
    reader.seek(-10, io.SEEK_END)
    with pytest.raises(IncompleteDataError, match="expected 5000 bytes, received"):
        reader.read()
    assert reader.tell() == 4990
    source.missing, source.surplus = 0, b""
    assert reader.read() == DATA[4990:5000]
    assert source.requests == [(None, None), (None, None)]


def test_sequential_size_smaller_than_what_came_is_an_error() -> None:
    source = ForeignSource(DATA[:5000], 100)
    reader = sequential(source)
    reader.read(4000)
    source.data = DATA[:3000]
    with pytest.raises(IncompleteDataError, match="expected 3000 bytes"):
        reader.seek(0, io.SEEK_END)
    assert reader.tell() == 4000


class Boom(Exception):
    pass


@clamping_reader
def test_what_a_callable_raises_reaches_the_caller(make: Callable[..., Any]) -> None:
    failure = Boom("mine")

    def broken(*_: object) -> Any:
        raise failure

    reader = make(ForeignSource(DATA))
    for attribute in ("_get_stream", "_get_object_info"):
        setattr(reader, attribute, broken)
    for use in (
        lambda: reader.read(1),
        lambda: reader.readinto(bytearray(1)),
        lambda: reader.seek(-1, io.SEEK_END),
        lambda: reader.seek(5),
    ):
        with pytest.raises(Boom) as caught:
            use()
        assert caught.value is failure
        assert reader.tell() == 0


@every_reader
def test_chunk_that_is_not_bytes_is_refused(make: Callable[..., Any]) -> None:
    source = ForeignSource(DATA, 100, (lambda piece: "text",))
    reader = make(source)
    with pytest.raises(TypeError, match="get_stream must give bytes-like chunks, not str"):
        reader.read(10)
    assert reader.tell() == 0


@every_reader
def test_any_iterable_is_a_stream(make: Callable[..., Any]) -> None:
    source = ForeignSource(DATA)
    reader = make(source)
    reader._get_stream = lambda *bounds: list(source(*bounds))
    assert reader.read(len(DATA)) == DATA


def test_failed_generator_is_not_taken_for_an_end() -> None:
    source = ForeignSource(DATA, 1000)
    source.fail_at = 50_000
    reader = sequential(source)
    with pytest.raises(Interrupted):
        reader.read()
    assert reader.read() == DATA


@pytest.mark.parametrize("size", [None, 500, 2 * MIB])
@clamping_reader
def test_own_stream_that_ends_early_is_an_error(make: Callable[..., Any], size: int | None) -> None:
    source = MemorySource(DATA, 1000)
    source.stops_at = 300
    reader = make(source)
    target = bytearray(2 * MIB if size is None else size)
    for read in (lambda: reader.read(size), lambda: reader.readinto(target)):
        with pytest.raises(IncompleteDataError, match="gave an incomplete body"):
            read()
        assert reader.tell() == 0
    source.stops_at = None
    assert reader.read() == DATA


@clamping_reader
def test_own_tail_that_ends_early_is_an_error(make: Callable[..., Any]) -> None:
    source = MemorySource(DATA)
    source.stops_at = len(DATA) - 3
    reader = make(source)
    with pytest.raises(IncompleteDataError, match="expected 65536 bytes, received 65533"):
        reader.seek(-10, io.SEEK_END)
    assert reader.tell() == 0
