"""What each reader asks of its two callables, and when; no more than its contract says."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from make_readers import ranged, sequential
from sources import ForeignSource, MemorySource

from s3reader.object_reader import FOOTER_SIZE
from s3reader.ranged import DEFAULT_BUFFER_SIZE

MIB = 1024 * 1024
DATA = np.random.default_rng(3).bytes(3 * MIB)


every_source = pytest.mark.parametrize("kind", [ForeignSource, MemorySource])


# The sequential reader.


def test_sequential_opens_one_stream_without_arguments() -> None:
    source = ForeignSource(DATA)
    reader = sequential(source)
    reader.read(10)
    reader.seek(MIB)
    reader.read(10)
    reader.seek(5)
    assert reader.read() == DATA[5:]
    reader.seek(0)
    assert reader.read() == DATA
    assert source.requests == [(None, None)]
    assert source.infos == 0


def test_sequential_pulls_no_more_than_needed() -> None:
    source = ForeignSource(DATA, 100)
    sequential(source).read(1000)
    assert 1000 <= source.given < 1100


@every_source
def test_sequential_prefetch_opens_once(kind: type[Any]) -> None:
    source = kind(DATA)
    reader = sequential(source)
    reader.prefetch()
    reader.prefetch()
    assert len(source.requests) == 1
    assert reader.read() == DATA
    reader.prefetch()
    assert len(source.requests) == 1


@every_source
def test_sequential_end_is_the_size_without_a_get(kind: type[Any]) -> None:
    source = kind(DATA)
    reader = sequential(source)
    assert reader.seek(0, io.SEEK_END) == len(DATA)
    assert reader.seek(10, io.SEEK_END) == len(DATA)
    assert reader.read() == b""
    assert (source.infos, source.requests) == (1, [])


def test_sequential_end_of_the_stream_tells_the_size() -> None:
    source = ForeignSource(DATA)
    reader = sequential(source)
    reader.read()
    assert reader.seek(-4, io.SEEK_END) == len(DATA) - 4
    assert source.infos == 0


def test_sequential_footer_costs_one_request() -> None:
    source = MemorySource(DATA)
    reader = sequential(source)
    assert reader.seek(-22, io.SEEK_END) == len(DATA) - 22
    assert reader.read() == DATA[-22:]
    reader.seek(-FOOTER_SIZE, io.SEEK_END)
    assert reader.read(100) == DATA[-FOOTER_SIZE:][:100]
    assert source.requests == [(len(DATA) - FOOTER_SIZE, None)]
    assert source.infos == 0
    reader.seek(0)
    assert reader.read() == DATA
    assert source.requests[1:] == [(0, len(DATA) - FOOTER_SIZE)]


def test_sequential_footer_is_fetched_whole_when_the_size_is_known() -> None:
    source = MemorySource(DATA)
    reader = sequential(source)
    reader.seek(0, io.SEEK_END)
    for before in (22, 100, 5000, FOOTER_SIZE):
        reader.seek(-before, io.SEEK_END)
        assert reader.read(10) == DATA[-before:][:10]
    assert source.requests == [(len(DATA) - FOOTER_SIZE, None)]


def test_own_seek_asks_nothing_and_is_put_back_to_the_end() -> None:
    for make in (sequential, ranged):
        source = MemorySource(DATA)
        reader = make(source)
        assert reader.seek(10**12) == 10**12
        assert reader.seek(10, io.SEEK_CUR) == 10**12 + 10
        assert (source.infos, source.opened) == (0, 0)
        assert reader.read(5) == b""
        assert reader.tell() == len(DATA)
        assert source.infos == 0
        assert len(source.requests) == 1


def test_own_whole_read_allocates_and_keeps_one_object() -> None:
    source = MemorySource(DATA, MIB)
    reader = sequential(source)
    whole = reader.read()
    assert whole == DATA
    assert source.requests == [(0, None)]
    assert reader._chunks.nbytes == len(DATA)
    assert len(reader._chunks) == 1
    references = sys.getrefcount(whole)
    reader.close()
    assert sys.getrefcount(whole) < references


def test_own_large_fill_is_not_kept() -> None:
    source = MemorySource(DATA)
    reader = sequential(source)
    target = bytearray(2 * MIB)
    assert reader.readinto(target) == len(target)
    assert target == DATA[: 2 * MIB]
    assert reader._chunks.nbytes == 0
    assert reader.read() == DATA[2 * MIB :]
    assert source.requests == [(0, None)]


def test_own_jump_opens_another_stream_and_closes_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("s3reader.sequential._REACH", 1000)
    source = MemorySource(DATA, 100)
    reader = sequential(source)
    reader.read(50)
    reader.seek(900)
    reader.read(100)
    assert source.opened == 1
    reader.seek(2 * MIB)
    reader.read(100)
    assert source.requests == [(0, None), (2 * MIB, None)]
    assert source.closed == 1
    reader.seek(2000)
    assert reader.read(2 * MIB) == DATA[2000:][: 2 * MIB]
    assert source.requests[2:] == [(2000, 2 * MIB), (2 * MIB + 100, None)]


@every_source
def test_window_bounds_what_is_kept(kind: type[Any]) -> None:
    source = kind(DATA, 1000)
    reader = sequential(source, window=50_000)
    target = bytearray(700)
    most = 0
    while reader.readinto(target):
        most = max(most, reader._chunks.nbytes)
    assert most <= 64 * 1024 + 50_000  # crumbs are gathered in blocks of 64 KiB
    reader.seek(100)
    assert reader.read(5000) == DATA[100:5100]
    assert len(source.requests) == 2
    assert source.requests[1][0] == 100


@pytest.mark.parametrize(
    ("window", "error"), [(-1, ValueError), (1.5, TypeError), ("1", TypeError)]
)
def test_window_is_a_number_of_bytes(window: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^window must be"):
        sequential(ForeignSource(DATA), window=window)


# The ranged reader.


def test_ranged_reads_through_its_buffer() -> None:
    source = ForeignSource(DATA)
    reader = ranged(source, buffer_size=1000)
    assert reader.read(10) == DATA[:10]
    assert reader.read(980) == DATA[10:990]
    assert source.requests == [(0, 1000)]
    assert reader.read(30) == DATA[990:1020]  # ten from the buffer, then the next
    assert source.requests[1:] == [(1000, 2000)]
    reader.seek(1500)
    assert reader.read(2000) == DATA[1500:3500]  # the rest is large: one exact request
    assert source.requests[2:] == [(2000, 3500)]
    reader.seek(1990)
    assert reader.read(10) == DATA[1990:2000]  # the buffer is as it was
    assert len(source.requests) == 3
    reader.seek(995)
    assert reader.read(10) == DATA[995:1005]  # starts before the buffer
    assert source.requests[3:] == [(995, 1995)]
    reader.seek(-10, io.SEEK_END)
    assert reader.read(500) == DATA[-10:]
    assert source.requests[4:] == [(len(DATA) - 10, len(DATA))]
    assert source.infos == 1


@pytest.mark.parametrize("size", [0, -1])
def test_ranged_without_buffer_requests_exactly(size: int) -> None:
    source = ForeignSource(DATA)
    reader = ranged(source, buffer_size=size)
    reader.read(10)
    reader.readinto(bytearray(20))
    reader.seek(5)
    reader.read(3)
    assert source.requests == [(0, 10), (10, 30), (5, 8)]


def test_ranged_lines_without_buffer_are_not_a_request_a_byte() -> None:
    data = b"line\n" * 1000
    source = ForeignSource(data)
    assert ranged(source, buffer_size=0).readlines() == data.splitlines(keepends=True)
    assert len(source.requests) == 1


def test_ranged_default_buffer() -> None:
    source = ForeignSource(bytes(DEFAULT_BUFFER_SIZE + 5))
    reader = ranged(source)
    reader.read(1)
    assert source.requests == [(0, DEFAULT_BUFFER_SIZE)]
    assert DEFAULT_BUFFER_SIZE == 8 * MIB


@pytest.mark.parametrize("size", [1.0, "1", b"", [1]])
def test_ranged_buffer_size_is_an_integer(size: Any) -> None:
    with pytest.raises(TypeError, match="buffer_size must be an int"):
        ranged(ForeignSource(DATA), buffer_size=size)


def test_ranged_end_of_object_asks_nothing() -> None:
    source = ForeignSource(DATA)
    reader = ranged(source)
    assert reader.seek(0, io.SEEK_END) == len(DATA)
    assert reader.read() == b""
    assert reader.readinto(bytearray(5)) == 0
    assert source.requests == []


@pytest.mark.parametrize("size", [None, 0, 5000])
@pytest.mark.parametrize(
    "use",
    [
        lambda reader: reader.read(),
        lambda reader: reader.read(100),
        lambda reader: reader.read(10**15),
        lambda reader: reader.readinto(bytearray(10_000)),
        lambda reader: reader.readline(),
        lambda reader: reader.seek(0, io.SEEK_END),
        lambda reader: reader.seek(-10, io.SEEK_END),
    ],
)
def test_ranged_own_sends_no_head(size: int | None, use: Callable[[Any], object]) -> None:
    source = MemorySource(DATA[:9000])
    reader = ranged(source, buffer_size=size)
    use(reader)
    assert len(source.requests) == 1
    assert source.infos == 0
    reader.seek(0)
    assert reader.read() == DATA[:9000]
    assert source.infos == 0


def test_ranged_own_footer_costs_one_request() -> None:
    source = MemorySource(DATA)
    reader = ranged(source)
    reader.seek(0, io.SEEK_END)
    reader.seek(-22, io.SEEK_END)
    assert reader.read() == DATA[-22:]
    assert source.requests == [(len(DATA) - FOOTER_SIZE, None)]
