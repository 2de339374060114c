"""readinto_ranges: what ``bytes`` give for the same ranges, from every reader and source."""

from __future__ import annotations

import array
import contextlib
import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from make_readers import checkpoint, ranged, sequential
from servers.faults import PART, FaultyObject, cut, headers, pattern, status
from sources import ForeignSource

from s3reader import (
    IncompleteDataError,
    InvalidRangeError,
    ItemRange,
    ObjectChangedError,
    S3Client,
    S3ClientConfig,
    S3Exception,
    S3Reader,
    S3ReaderConstructor,
)
from s3reader.dcp_optimized import FIND_ITEM_ERROR_PREFIX, DCPOptimizedS3Reader

SIZE = 20 * PART + 77
DATA = pattern(SIZE)
POISON = 0xEE

Ranges = list[tuple[int, int]]


class OwnReader(S3Reader):
    """A user's reader, which implements what is abstract and nothing else."""

    def __init__(self) -> None:
        self._file = io.BytesIO(DATA)

    bucket = "bucket"
    key = "key"

    def read(self, size: int | None = None) -> bytes:
        return self._file.read(-1 if size is None else size)

    def readinto(self, buf: Any) -> int:
        # Fewer than there are, as raw files may.
        with memoryview(buf) as view, view[: max(1, len(view) // 2)] as half:
            return self._file.readinto(half)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


@pytest.fixture(scope="module")
def served() -> FaultyObject:
    return FaultyObject(DATA)


@pytest.fixture(scope="module")
def client(served: FaultyObject) -> Iterator[S3Client]:
    from servers.scripted import ScriptedServer

    config = S3ClientConfig(unsigned=True, part_size=PART, max_connections=3, max_attempts=3)
    with (
        ScriptedServer(served) as server,
        S3Client(endpoint=server.endpoint, s3client_config=config) as made,
    ):
        yield made


@pytest.fixture(autouse=True)
def nothing_goes_wrong_afterwards(served: FaultyObject) -> Iterator[None]:
    yield
    served.go_wrong(None)
    served.replace(DATA, '"0123456789abcdef"')


def over_s3(constructor: Any) -> Callable[[S3Client], Any]:
    return lambda client: client.get_object("bucket", "key", reader_constructor=constructor)


def checkpoint_over_s3(client: S3Client) -> Any:
    def construct(**arguments: Any) -> DCPOptimizedS3Reader:
        return DCPOptimizedS3Reader(item_ranges=[ItemRange(0, SIZE)], **arguments)

    return client.get_object("bucket", "key", reader_constructor=construct)


OWN = {
    "sequential": over_s3(S3ReaderConstructor.sequential()),
    "window": over_s3(S3ReaderConstructor.sequential(window=10_000)),
    "ranged": over_s3(S3ReaderConstructor.range_based()),
    "unbuffered": over_s3(S3ReaderConstructor.range_based(0)),
    "dcp": checkpoint_over_s3,
}
FOREIGN = {
    "foreign sequential": lambda client: sequential(ForeignSource(DATA, 999)),
    "foreign window": lambda client: sequential(ForeignSource(DATA, 999), 5000),
    "foreign ranged": lambda client: ranged(ForeignSource(DATA, 999)),
    "foreign unbuffered": lambda client: ranged(ForeignSource(DATA, 999), 0),
    "user's own": lambda client: OwnReader(),
}
READERS: dict[str, Any] = OWN | FOREIGN


@pytest.fixture(params=READERS)
def reader(request: pytest.FixtureRequest, client: S3Client) -> Iterator[Any]:
    with READERS[request.param](client) as made:
        yield made


@pytest.fixture(params=OWN)
def own_reader(request: pytest.FixtureRequest, client: S3Client) -> Iterator[Any]:
    with OWN[request.param](client) as made:
        yield made


def buffers_for(ranges: Ranges) -> list[tuple[int, bytearray]]:
    return [(start, bytearray([POISON]) * (stop - start)) for start, stop in ranges]


def check(reader: Any, ranges: Ranges, **options: Any) -> None:
    wanted = buffers_for(ranges)
    assert reader.readinto_ranges(wanted, **options) == sum(stop - start for start, stop in ranges)
    for (start, stop), (_, buffer) in zip(ranges, wanted, strict=True):
        assert buffer == DATA[start:stop], (start, stop)


ANY_RANGE = st.tuples(st.integers(0, SIZE), st.integers(0, 3 * PART)).map(
    lambda pair: (pair[0], min(SIZE, pair[0] + pair[1]))
)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    ranges=st.lists(ANY_RANGE, max_size=40),
    position=st.integers(0, SIZE),
    max_gap=st.one_of(st.none(), st.integers(0, 3 * PART)),
    before=st.integers(0, 2 * PART),
)
def test_any_ranges_at_any_position(
    reader: Any, ranges: Ranges, position: int, max_gap: int | None, before: int
) -> None:
    if not isinstance(reader, DCPOptimizedS3Reader):
        reader.seek(0)
        assert reader.read(before) == DATA[:before]
        reader.seek(position)
    place = reader.tell()
    check(reader, ranges, max_gap=max_gap)
    assert reader.tell() == place
    if not isinstance(reader, DCPOptimizedS3Reader):
        assert reader.read(10) == DATA[place : place + 10]


def test_no_ranges_and_empty_ones(reader: Any) -> None:
    assert reader.readinto_ranges([]) == 0
    assert reader.readinto_ranges(iter([])) == 0
    assert reader.readinto_ranges([(5, bytearray()), (0, bytearray())]) == 0


def test_no_request_for_nothing(client: S3Client) -> None:
    reader = OWN["ranged"](client)
    assert reader.readinto_ranges([(5, bytearray())]) == 0
    assert reader.stats()["requests"] == {}


def test_buffers_of_every_kind(reader: Any) -> None:
    grid = numpy.zeros((3, 5), dtype=">f8")
    items = array.array("i", bytes(80))
    raw = bytearray(100)
    flat = numpy.zeros(50, dtype=numpy.uint8)
    total = reader.readinto_ranges(
        [(8, grid), (100, items), (4000, memoryview(raw)[10:90]), (numpy.int64(9000), flat[7:9])]
    )
    assert total == 120 + 80 + 80 + 2
    assert grid.tobytes() == DATA[8:128]
    assert items.tobytes() == DATA[100:180]
    assert raw == bytes(10) + DATA[4000:4080] + bytes(10)
    assert flat.tobytes() == bytes(7) + DATA[9000:9002] + bytes(41)


@pytest.mark.parametrize(
    ("ranges", "error", "words"),
    [
        ([(0, bytes(5))], TypeError, r"ranges\[0\] .* not read-only bytes"),
        ([(0, bytearray(5)), (1, "text")], TypeError, r"ranges\[1\] .* not str"),
        ([(0, numpy.zeros((4, 4))[:, 1])], TypeError, r"not non-contiguous ndarray"),
        ([("0", bytearray(5))], TypeError, r"ranges\[0\] takes an int as its offset, not str"),
        ([(0.0, bytearray(5))], TypeError, r"an int as its offset, not float"),
        ([(-1, bytearray(5))], ValueError, r"ranges\[0\] takes an offset from 0"),
        ([(2**63, bytearray(5))], ValueError, r"takes an offset from 0"),
        ([(2**63 - 2, bytearray(5))], ValueError, r"ends past"),
        ([5], TypeError, r"ranges\[0\] takes a pair"),
        ([(1, 2, 3)], TypeError, r"ranges\[0\] takes a pair"),
        (5, TypeError, r"not iterable"),
    ],
)
def test_bad_ranges(reader: Any, ranges: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        reader.readinto_ranges(ranges)


@pytest.mark.parametrize(("gap", "error"), [(-1, ValueError), (1.5, TypeError), ("9", TypeError)])
def test_bad_gap(reader: Any, gap: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="max_gap takes"):
        reader.readinto_ranges([(0, bytearray(5))], max_gap=gap)


def test_buffers_are_let_go_of(reader: Any) -> None:
    buffers = [bytearray(10), bytearray(20)]
    reader.readinto_ranges([(5, buffers[0]), (9, buffers[1])])
    with pytest.raises(TypeError):
        reader.readinto_ranges([(5, buffers[0]), (9, b"")])
    with pytest.raises((S3Exception, ValueError)):
        reader.readinto_ranges([(5, buffers[0]), (SIZE - 3, buffers[1])])
    for buffer in buffers:
        buffer.clear()


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("name", sorted(set(READERS) - {"dcp"}))
def test_range_past_the_end_is_named(client: S3Client, name: str, known: bool) -> None:
    with READERS[name](client) as reader:
        if known:
            reader.seek(0, io.SEEK_END)
        place = reader.tell()
        for start in (SIZE - 5, SIZE, SIZE + 100_000):
            with pytest.raises(InvalidRangeError, match=rf"ranges\[1\], bytes \[{start}, ") as met:
                reader.readinto_ranges(buffers_for([(0, 10), (start, start + 10)]))
            assert met.value.range == (start, start + 10)
            assert f"{SIZE} bytes" in str(met.value)
        assert reader.tell() == place
        check(reader, [(0, 10), (SIZE - 10, SIZE)])


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("name", sorted(set(OWN) - {"dcp"}))
def test_position_past_an_unknown_end_is_put_back(client: S3Client, name: str, fails: bool) -> None:
    with OWN[name](client) as reader:
        reader.seek(SIZE + 1000)
        with pytest.raises(InvalidRangeError) if fails else contextlib.nullcontext():
            reader.readinto_ranges(buffers_for([(SIZE - 10, SIZE + fails)]))
        assert reader.tell() == SIZE


def test_closed_reader(reader: Any) -> None:
    reader.close()
    with pytest.raises(ValueError, match="closed file"):
        reader.readinto_ranges([(0, bytearray(5))])


class TestRequests:
    def test_near_ranges_are_one_request(self, client: S3Client) -> None:
        reader = OWN["ranged"](client)
        check(reader, [(0, 10), (110, 120), (1000, 1010)], max_gap=100)
        assert reader.stats()["requests"] == {"GetObject": 2}
        check(reader, [(0, 10), (110, 120), (1000, 1010)], max_gap=99)
        assert reader.stats()["requests"] == {"GetObject": 5}
        check(reader, [(0, 10), (110, 120), (1000, 1010)], max_gap=880)
        assert reader.stats()["requests"] == {"GetObject": 6}

    def test_repeated_bytes_come_once(self, client: S3Client) -> None:
        reader = OWN["ranged"](client)
        check(reader, [(5, 3000)] * 10 + [(100, 200)] * 10)
        assert reader.stats()["requests"] == {"GetObject": 1}
        assert reader.stats()["bytes_received"] == 2995

    def test_long_range_comes_in_parts(self, client: S3Client) -> None:
        reader = OWN["unbuffered"](client)
        check(reader, [(10, 10 + 5 * PART)])
        assert reader.stats()["requests"] == {"GetObject": 5}

    def test_kept_bytes_are_not_asked_for_again(self, client: S3Client) -> None:
        reader = OWN["sequential"](client)
        assert reader.read() == DATA
        before = reader.stats()["requests"]
        check(reader, [(0, 100), (SIZE - 100, SIZE), (5000, 15000)])
        assert reader.stats()["requests"] == before

    def test_foreign_sequential_has_one_stream(self) -> None:
        source = ForeignSource(DATA, 999)
        reader = sequential(source)
        check(reader, [(5000, 5100), (0, 100), (3000, 3001)])
        check(reader, [(50, 5000)])
        assert source.requests == [(None, None)]

    def test_foreign_ranged_has_one_stream_for_near_ranges(self) -> None:
        source = ForeignSource(DATA, 999)
        reader = ranged(source)
        check(reader, [(5000, 5100), (0, 100), (3000, 3001)], max_gap=2000)
        assert source.requests == [(0, 100), (3000, 5100)]

    def test_ten_thousand_ranges(self, client: S3Client) -> None:
        starts = [number * 7919 % (SIZE - 64) for number in range(10_000)]
        check(OWN["ranged"](client), [(start, start + 64) for start in starts])


class TestFaults:
    def test_broken_connections(self, own_reader: Any, served: FaultyObject) -> None:
        served.go_wrong(cut(300), times=3)
        check(own_reader, [(0, 5000), (9000, 9001), (20_000, 60_000)], max_gap=0)

    def test_throttled(self, own_reader: Any, served: FaultyObject) -> None:
        served.go_wrong(status(503, "SlowDown"), times=2)
        check(own_reader, [(0, 5000), (20_000, 60_000)], max_gap=0)

    def test_failure_is_raised_and_reader_goes_on(
        self, own_reader: Any, served: FaultyObject
    ) -> None:
        ranges = [(0, 10), (30_000, 30_010), (60_000, 60_010)]
        served.go_wrong(
            status(403, "AccessDenied"), where=lambda request: "60000" in request.raw.decode()
        )
        place = own_reader.tell()
        wanted = buffers_for(ranges)
        with pytest.raises(PermissionError):
            own_reader.readinto_ranges(wanted, max_gap=0)
        for _, buffer in wanted:
            buffer.clear()
        assert own_reader.tell() == place
        served.go_wrong(None)
        check(own_reader, ranges, max_gap=0)

    def test_changed_object(self, own_reader: Any, served: FaultyObject) -> None:
        check(own_reader, [(0, 10)])
        served.replace(DATA[::-1], '"another"')
        with pytest.raises(ObjectChangedError):
            own_reader.readinto_ranges(buffers_for([(0, 10), (60_000, 60_010)]), max_gap=0)

    def test_object_that_changes_before_its_version_is_known(
        self, own_reader: Any, served: FaultyObject
    ) -> None:
        served.go_wrong(headers(ETag='"another"'), where=lambda r: "bytes=6" in r.headers["range"])
        ranges = [(start, start + 10) for start in range(0, 70_000, 10_000)]
        with pytest.raises(ObjectChangedError):
            own_reader.readinto_ranges(buffers_for(ranges), max_gap=0)

    def test_foreign_stream_that_ends_early(self) -> None:
        for make in (sequential, ranged):
            source = ForeignSource(DATA, 999, missing=50)
            reader = make(source)
            reader.seek(0)
            with pytest.raises((IncompleteDataError, InvalidRangeError)):
                reader.readinto_ranges(buffers_for([(0, 10), (SIZE - 100, SIZE)]))


class TestCheckpoint:
    def test_ranges_outside_the_items_are_refused(self, client: S3Client) -> None:
        def construct(**arguments: Any) -> DCPOptimizedS3Reader:
            items = [ItemRange(0, 100), ItemRange(100, 200), ItemRange(5000, 6000)]
            return DCPOptimizedS3Reader(item_ranges=items, **arguments)

        reader = client.get_object("bucket", "key", reader_constructor=construct)
        check(reader, [(5990, 6000), (50, 150), (0, 200), (5000, 5001)])
        for wanted in [(199, 201), (300, 301), (4999, 5001), (5999, 6001), (7000, 7001)]:
            with pytest.raises(ValueError, match=FIND_ITEM_ERROR_PREFIX):
                reader.readinto_ranges(buffers_for([(0, 10), wanted]))
        assert reader.read(100) == DATA[:100]

    def test_foreign_streams_are_refused(self) -> None:
        source = ForeignSource(DATA)
        with pytest.raises(io.UnsupportedOperation, match="order of the load plan"):
            checkpoint(source).readinto_ranges([(0, bytearray(5))])
        assert source.requests == []
