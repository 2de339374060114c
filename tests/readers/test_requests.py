"""What each reader asks of its two callables, and when; nothing more than its contract says."""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sources import ForeignSource, Interrupted, MemorySource, Source

from s3reader.dcp_optimized import DCPOptimizedS3Reader, ItemRange
from s3reader.errors import IncompleteDataError
from s3reader.object_reader import FOOTER_SIZE
from s3reader.ranged import DEFAULT_BUFFER_SIZE, RangedS3Reader
from s3reader.s3reader import S3Reader
from s3reader.sequential import SequentialS3Reader

MIB = 1024 * 1024
DATA = np.random.default_rng(3).bytes(3 * MIB)


def sequential(source: Source, **settings: Any) -> SequentialS3Reader:
    return SequentialS3Reader("bucket", "key", source.info, source, **settings)


def ranged(source: Source, **settings: Any) -> RangedS3Reader:
    return RangedS3Reader("bucket", "key", source.info, source, **settings)


def checkpoint(source: Source) -> DCPOptimizedS3Reader:
    items = [ItemRange(0, len(source.data))]
    return DCPOptimizedS3Reader("bucket", "key", items, source.info, source)


READERS = [sequential, ranged, checkpoint]
CLAMPING = [sequential, ranged]
every_reader = pytest.mark.parametrize("make", READERS)
clamping_reader = pytest.mark.parametrize("make", CLAMPING)
every_source = pytest.mark.parametrize("kind", [ForeignSource, MemorySource])


@every_reader
@every_source
def test_construction_asks_nothing(make: Callable[..., S3Reader], kind: type[Any]) -> None:
    source = kind(DATA)
    reader = make(source)
    assert isinstance(reader, S3Reader)
    assert (reader.bucket, reader.key) == ("bucket", "key")
    assert (reader.seekable(), reader.readable(), reader.writable()) == (True, True, False)
    assert reader.tell() == 0
    reader.close()
    assert source.requests == []
    assert source.infos == 0
    for name in ("bucket", "key"):
        with pytest.raises(AttributeError):
            setattr(reader, name, "other")


@pytest.mark.parametrize("cls", [SequentialS3Reader, RangedS3Reader])
def test_bucket_is_asked_for(cls: type[Any]) -> None:
    with pytest.raises(ValueError, match=r"^Bucket should be specified$"):
        cls("", "key", None, None)


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
    for make in CLAMPING:
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


# Sources that do not keep to what was asked.


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


# Closing, pickling, and everything else that files do.


@every_reader
@every_source
def test_closing_cancels_and_refuses(make: Callable[..., Any], kind: type[Any]) -> None:
    source = kind(DATA, 100)
    reader = make(source)
    reader.read(10)
    reader.close()
    reader.close()
    assert reader.closed
    assert source.closed == 1
    for use in (
        lambda: reader.read(1),
        lambda: reader.read(0),
        lambda: reader.read1(1),
        lambda: reader.readinto(bytearray(1)),
        lambda: reader.readinto(bytearray(0)),
        lambda: reader.readinto1(bytearray(1)),
        reader.peek,
        reader.readline,
        reader.readlines,
        lambda: next(reader),
        lambda: iter(reader),
        lambda: reader.seek(0),
        lambda: reader.seek(0, 1),
        reader.tell,
        reader.seekable,
        reader.readable,
        reader.writable,
        reader.flush,
        reader.isatty,
        reader.__enter__,
        lambda: pickle.dumps(reader),
    ):
        with pytest.raises(ValueError, match="I/O operation on closed file"):
            use()
    if make is sequential:
        with pytest.raises(ValueError, match="I/O operation on closed file"):
            reader.prefetch()


@every_reader
def test_with_closes(make: Callable[..., Any]) -> None:
    with make(ForeignSource(DATA)) as reader:
        assert reader.read(3) == DATA[:3]
    assert reader.closed


@every_reader
def test_what_a_read_only_file_does_not_do(make: Callable[..., Any]) -> None:
    reader = make(ForeignSource(DATA))
    for use in (
        reader.detach,
        reader.fileno,
        reader.truncate,
        lambda: reader.write(b"x"),
        lambda: reader.writelines([b"x"]),
    ):
        with pytest.raises(io.UnsupportedOperation):
            use()
    assert not reader.isatty()


@every_reader
@pytest.mark.parametrize("size", [1.0, "1", b"1", [], np.float32(2)])
def test_size_is_an_integer(make: Callable[..., Any], size: Any) -> None:
    reader = make(ForeignSource(DATA))
    reader.read(2)
    with pytest.raises(TypeError, match="argument should be integer or None, not <class"):
        reader.read(size)
    assert reader.tell() == 2


@clamping_reader
@every_source
def test_seek_arguments_are_checked(make: Callable[..., Any], kind: type[Any]) -> None:
    source = kind(DATA)
    reader = make(source)
    reader.read(2)
    asked = len(source.requests), source.infos
    for offset, whence in ((1.0, 0), ("1", 0), (None, 0), (1, "0"), (1, 0.0), (1, None)):
        with pytest.raises(TypeError, match="integer argument expected, got <class"):
            reader.seek(offset, whence)
    for whence in (3, -1, 10**30):
        with pytest.raises(ValueError, match="Seek must be passed SEEK_CUR, SEEK_SET, or SEEK_END"):
            reader.seek(0, whence)
    for offset, whence in ((-1, 0), (-3, 1), (-(10**30), 1)):
        with pytest.raises(ValueError, match="negative seek value -"):
            reader.seek(offset, whence)
    assert reader.tell() == 2
    assert (len(source.requests), source.infos) == asked


@clamping_reader
@every_source
def test_integers_of_any_kind_and_size(make: Callable[..., Any], kind: type[Any]) -> None:
    reader = make(kind(DATA))
    assert reader.read(np.int8(3)) == DATA[:3]
    assert reader.read(True) == DATA[3:4]
    assert reader.seek(np.uint64(7), np.int32(0)) == 7
    assert reader.read(10**30) == DATA[7:]
    assert reader.seek(10**30) == len(DATA)
    assert reader.read(-(10**30)) == b""
    assert reader.seek(True) == 1


@every_reader
@every_source
def test_refused_buffer_asks_nothing(make: Callable[..., Any], kind: type[Any]) -> None:
    source = kind(DATA)
    reader = make(source)
    for wrong in (b"x", "x", 5, None, memoryview(b"xx"), np.zeros(9)[::2], np.zeros((2, 3)).T):
        for use in (reader.readinto, reader.readinto1):
            with pytest.raises(TypeError, match=f"not (non-contiguous )?{type(wrong).__name__}"):
                use(wrong)
    assert source.requests == []
    assert source.infos == 0
    assert reader.tell() == 0


@every_reader
@every_source
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickling_keeps_place_and_drops_buffers(
    make: Callable[..., Any], kind: type[Any], protocol: int
) -> None:
    reader = make(kind(DATA, 5000))
    untouched = pickle.dumps(reader, protocol)
    reader.read(1000)
    pickled = pickle.dumps(reader, protocol)
    assert len(pickled) < len(untouched) + 1000
    again = pickle.loads(pickled)
    assert type(again) is type(reader)
    assert (again.bucket, again.key, again.tell()) == ("bucket", "key", 1000)
    assert again.read(500) == DATA[1000:1500]
    assert reader.read(500) == DATA[1000:1500]


@clamping_reader
@every_source
def test_empty_object(make: Callable[..., Any], kind: type[Any]) -> None:
    for use in (
        lambda reader: reader.read() == b"",
        lambda reader: reader.read(5) == b"",
        lambda reader: reader.readinto(bytearray(5)) == 0,
        lambda reader: reader.readline() == b"",
        lambda reader: reader.readlines() == [],
        lambda reader: reader.peek() == b"",
        lambda reader: reader.seek(0, 2) == 0,
        lambda reader: reader.seek(5) in (0, 5) and reader.read(1) == b"" and reader.tell() == 0,
    ):
        reader = make(kind(b""))
        assert use(reader)
        assert reader.read() == b""
        assert reader.tell() == 0
        with pytest.raises(ValueError, match="negative seek value -1"):
            reader.seek(-1, io.SEEK_END)


def test_failed_generator_is_not_taken_for_an_end() -> None:
    source = ForeignSource(DATA, 1000)
    source.fail_at = 50_000
    reader = sequential(source)
    with pytest.raises(Interrupted):
        reader.read()
    assert reader.read() == DATA


def test_reader_that_was_not_initialised_says_so() -> None:
    class Careless(SequentialS3Reader):
        def __init__(self) -> None:
            pass

    reader = Careless()
    assert reader.closed
    with pytest.raises(ValueError, match="Careless was not initialised"):
        reader.read()
