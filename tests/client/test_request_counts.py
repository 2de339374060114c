"""How many requests reading takes, and which, as the server saw them.

The contract says when a reader may ask; these tests count on the other side of the wire.
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from servers.embedded_s3 import S3
from servers.record import RecordedRequest

from s3reader import DCPOptimizedS3Reader, ItemRange, ObjectInfo, S3Client, S3ReaderConstructor

KiB = 1024
SMALL = random.Random(1).randbytes(10_000)
PART = 64 * KiB
LARGE = random.Random(2).randbytes(10 * PART + 1)


@pytest.fixture(scope="module")
def keys(s3_server: S3, bucket: str) -> dict[str, str]:
    """Keys of objects that no test changes."""
    for key, data in (("counts/small", SMALL), ("counts/large", LARGE), ("counts/empty", b"")):
        s3_server.put(bucket, key, data)
    return {"small": "counts/small", "large": "counts/large", "empty": "counts/empty"}


@pytest.fixture
def open_reader(
    s3: S3, bucket: str, keys: dict[str, str], client: S3Client
) -> Iterator[Callable[..., Any]]:
    """Opens a reader on the object "small", "large" or "empty"; closed with the test."""
    readers = []

    def open_it(name: str, constructor: Any = None, using: S3Client = client, **kw: Any) -> Any:
        reader = using.get_object(bucket, keys[name], reader_constructor=constructor, **kw)
        readers.append(reader)
        return reader

    yield open_it
    for reader in readers:
        reader.close()


def kinds(s3: S3) -> list[str]:
    return [request.operation for request in s3.requests()]


def asked(s3: S3) -> list[str | None]:
    """The Range headers of the GETs, in order."""
    return [request.range for request in s3.requests("GetObject")]


def span(request: RecordedRequest, size: int) -> tuple[int, int]:
    """The bytes a GET asked for, half-open and within the object."""
    if request.range is None:
        return 0, size
    first, _, last = request.range.removeprefix("bytes=").partition("-")
    if not first:
        return max(size - int(last), 0), size
    return int(first), min(int(last) + 1, size) if last else size


def assert_tiled(s3: S3, start: int, end: int, size: int) -> None:
    """The GETs ask for every byte of ``[start, end)`` once, and for nothing else."""
    position = start
    for first, last in sorted(span(request, size) for request in s3.requests("GetObject")):
        assert first == position
        position = last
    assert position == end


CONSTRUCTORS = {
    "sequential": S3ReaderConstructor.sequential(),
    "ranged": S3ReaderConstructor.range_based(),
    "unbuffered": S3ReaderConstructor.range_based(buffer_size=0),
    "dcp_optimized": partial(DCPOptimizedS3Reader, item_ranges=[ItemRange(0, len(SMALL))]),
}
every_reader = pytest.mark.parametrize("constructor", CONSTRUCTORS.values(), ids=CONSTRUCTORS)


@every_reader
def test_opening_seeking_and_closing_ask_nothing(
    s3: S3, open_reader: Callable[..., Any], constructor: Any
) -> None:
    with open_reader("small", constructor) as reader:
        reader.seek(100)
        reader.seek(10, io.SEEK_CUR)
        reader.tell()
    assert kinds(s3) == []


@every_reader
def test_small_object_takes_one_get_and_no_head(
    s3: S3, open_reader: Callable[..., Any], constructor: Any
) -> None:
    into = bytearray(len(SMALL))
    assert open_reader("small", constructor).readinto(into) == len(SMALL)
    assert into == SMALL
    assert kinds(s3) == ["GetObject"]


@pytest.mark.parametrize("name", ["sequential", "ranged", "unbuffered"])
def test_empty_object_takes_one_get_and_no_head(
    s3: S3, open_reader: Callable[..., Any], name: str
) -> None:
    reader = open_reader("empty", CONSTRUCTORS[name])
    assert reader.read(10) == b""
    assert reader.readinto(bytearray(10)) == 0
    assert reader.read() == b""
    assert kinds(s3) == ["GetObject"]


@every_reader
def test_requests_after_the_first_insist_on_the_same_object(
    s3: S3, open_reader: Callable[..., Any], new_client: Callable[..., S3Client], constructor: Any
) -> None:
    if isinstance(constructor, partial) and constructor.func is DCPOptimizedS3Reader:
        constructor = partial(DCPOptimizedS3Reader, item_ranges=[ItemRange(0, len(LARGE))])
    reader = open_reader("large", constructor, using=new_client(part_size=PART))
    for _ in range(4):
        assert reader.readinto(bytearray(2 * PART)) == 2 * PART
    first, *others = s3.requests("GetObject")
    assert first.if_match is None
    etag = s3.boto.head_object(Bucket=reader.bucket, Key=reader.key)["ETag"]
    assert {request.if_match for request in others} == {etag}


class TestSequential:
    def test_every_byte_is_asked_for_once(
        self, s3: S3, open_reader: Callable[..., Any], new_client: Callable[..., S3Client]
    ) -> None:
        reader = open_reader("large", using=new_client(part_size=PART))
        assert b"".join(iter(lambda: reader.read(1000), b"")) == LARGE
        assert set(kinds(s3)) == {"GetObject"}
        assert_tiled(s3, 0, len(LARGE), len(LARGE))

    def test_reading_the_rest_asks_for_every_byte_once(
        self, s3: S3, open_reader: Callable[..., Any], new_client: Callable[..., S3Client]
    ) -> None:
        assert open_reader("large", using=new_client(part_size=PART)).read() == LARGE
        assert set(kinds(s3)) == {"GetObject"}
        assert_tiled(s3, 0, len(LARGE), len(LARGE))

    def test_going_back_asks_nothing(self, s3: S3, open_reader: Callable[..., Any]) -> None:
        reader = open_reader("small")
        reader.read()
        for position in (5000, 0, 9999):
            reader.seek(position)
            assert reader.read(100) == SMALL[position : position + 100]
        assert kinds(s3) == ["GetObject"]

    def test_end_of_the_stream_tells_the_size(
        self, s3: S3, open_reader: Callable[..., Any]
    ) -> None:
        reader = open_reader("small")
        reader.read()
        assert reader.seek(0, io.SEEK_END) == len(SMALL)
        assert kinds(s3) == ["GetObject"]

    def test_size_alone_takes_one_head(self, s3: S3, open_reader: Callable[..., Any]) -> None:
        reader = open_reader("small")
        for _ in range(2):
            assert reader.seek(0, io.SEEK_END) == len(SMALL)
        assert reader.read() == b""
        assert kinds(s3) == ["HeadObject"]

    def test_footer_takes_one_get_and_no_head(
        self, s3: S3, open_reader: Callable[..., Any]
    ) -> None:
        reader = open_reader("large")
        assert reader.seek(-100, io.SEEK_END) == len(LARGE) - 100
        assert reader.read(100) == LARGE[-100:]
        assert kinds(s3) == ["GetObject"]

    def test_prefetching_again_and_reading_take_one_get(
        self, s3: S3, open_reader: Callable[..., Any]
    ) -> None:
        reader = open_reader("small")
        reader.prefetch()
        reader.prefetch()
        assert reader.read() == SMALL
        assert kinds(s3) == ["GetObject"]

    def test_known_size_takes_no_head(
        self, s3: S3, bucket: str, client: S3Client, open_reader: Callable[..., Any]
    ) -> None:
        (page,) = client.list_objects(bucket, "counts/small")
        (info,) = page.object_info
        assert isinstance(info, ObjectInfo)
        s3.reset()
        assert open_reader("small", object_info=info).seek(0, io.SEEK_END) == len(SMALL)
        assert kinds(s3) == []


class TestRanged:
    def test_reads_within_the_buffer_ask_nothing(
        self, s3: S3, open_reader: Callable[..., Any]
    ) -> None:
        reader = open_reader("small", S3ReaderConstructor.range_based(buffer_size=1000))
        for position in (2000, 2500, 2000, 2990):
            reader.seek(position)
            assert reader.read(10) == SMALL[position : position + 10]
        assert asked(s3) == ["bytes=2000-2999"]
        assert kinds(s3) == ["GetObject"]

    def test_read_before_the_buffer_loads_afresh(
        self, s3: S3, open_reader: Callable[..., Any]
    ) -> None:
        reader = open_reader("small", S3ReaderConstructor.range_based(buffer_size=1000))
        for position in (2000, 1999):
            reader.seek(position)
            assert reader.read(10) == SMALL[position : position + 10]
        assert asked(s3) == ["bytes=2000-2999", "bytes=1999-2998"]

    def test_large_read_is_exact_and_leaves_the_buffer(
        self, s3: S3, open_reader: Callable[..., Any]
    ) -> None:
        reader = open_reader("small", S3ReaderConstructor.range_based(buffer_size=1000))
        assert reader.read(10) == SMALL[:10]
        reader.seek(5000)
        assert reader.read(1500) == SMALL[5000:6500]
        reader.seek(10)
        assert reader.read(10) == SMALL[10:20]
        assert asked(s3) == ["bytes=0-999", "bytes=5000-6499"]

    def test_read_across_the_buffer_asks_for_what_it_lacks(
        self, s3: S3, open_reader: Callable[..., Any]
    ) -> None:
        reader = open_reader("small", S3ReaderConstructor.range_based(buffer_size=1000))
        assert reader.read(900) == SMALL[:900]
        assert reader.read(200) == SMALL[900:1100]
        reader.seek(0)
        assert asked(s3) == ["bytes=0-999", "bytes=1000-1999"]

    def test_without_a_buffer_each_read_is_one_exact_request(
        self, s3: S3, open_reader: Callable[..., Any]
    ) -> None:
        reader = open_reader("small", S3ReaderConstructor.range_based(buffer_size=0))
        for position in (100, 100, 50):
            reader.seek(position)
            assert reader.read(10) == SMALL[position : position + 10]
        assert asked(s3) == ["bytes=100-109", "bytes=100-109", "bytes=50-59"]

    def test_reads_one_after_another_share_a_connection(
        self, s3: S3, open_reader: Callable[..., Any]
    ) -> None:
        reader = open_reader("small", S3ReaderConstructor.range_based(buffer_size=0))
        for _ in range(10):
            reader.read(10)
        assert len({request.connection for request in s3.requests()}) == 1

    def test_past_the_end_asks_nothing_once_the_size_is_known(
        self, s3: S3, open_reader: Callable[..., Any]
    ) -> None:
        reader = open_reader("small", S3ReaderConstructor.range_based(buffer_size=0))
        reader.read(10)
        assert reader.seek(len(SMALL) + 5) == len(SMALL)
        assert reader.read(10) == b""
        assert reader.seek(-10, io.SEEK_END) == len(SMALL) - 10
        assert kinds(s3) == ["GetObject"]

    def test_large_read_is_split_into_parts(
        self, s3: S3, open_reader: Callable[..., Any], new_client: Callable[..., S3Client]
    ) -> None:
        reader = open_reader(
            "large",
            S3ReaderConstructor.range_based(buffer_size=0),
            using=new_client(part_size=PART),
        )
        reader.seek(1000)
        into = bytearray(4 * PART)
        assert reader.readinto(into) == len(into)
        assert into == LARGE[1000 : 1000 + len(into)]
        assert_tiled(s3, 1000, 1000 + len(into), len(LARGE))
        assert len(s3.requests("GetObject")) >= 4
        assert kinds(s3).count("HeadObject") == 0


class TestDCPOptimized:
    ITEMS = (ItemRange(0, 10), ItemRange(20, 30), ItemRange(1000, 1010), ItemRange(1010, 1020))

    @pytest.mark.parametrize(
        ("gap", "groups"),
        [
            (0, ["bytes=0-9", "bytes=20-29", "bytes=1000-1019"]),
            (9, ["bytes=0-9", "bytes=20-29", "bytes=1000-1019"]),
            (10, ["bytes=0-29", "bytes=1000-1019"]),
            (float("inf"), ["bytes=0-1019"]),
        ],
    )
    def test_group_is_one_get(
        self, s3: S3, open_reader: Callable[..., Any], gap: float, groups: list[str]
    ) -> None:
        constructor = partial(DCPOptimizedS3Reader, item_ranges=list(self.ITEMS), max_gap_size=gap)
        reader = open_reader("small", constructor)
        for item in self.ITEMS:
            for _ in range(2):  # within an item, going back is free
                reader.seek(item.start)
                assert reader.read(item.end - item.start) == SMALL[item.start : item.end]
        assert sorted(asked(s3), key=str) == sorted(groups)
        assert set(kinds(s3)) == {"GetObject"}

    def test_refused_read_asks_nothing(self, s3: S3, open_reader: Callable[..., Any]) -> None:
        constructor = partial(DCPOptimizedS3Reader, item_ranges=list(self.ITEMS))
        reader = open_reader("small", constructor)
        reader.seek(500)
        with pytest.raises(ValueError, match="500"):
            reader.read(10)
        assert kinds(s3) == []


class TestClient:
    def test_head_object_is_one_head(
        self, s3: S3, bucket: str, keys: dict[str, str], client: S3Client
    ) -> None:
        assert client.head_object(bucket, keys["small"]).size == len(SMALL)
        assert kinds(s3) == ["HeadObject"]

    def test_page_is_one_request(self, s3: S3, client: S3Client) -> None:
        bucket = s3.create_bucket()
        for number in range(5):
            s3.put(bucket, f"k{number}", b"")
        pages = client.list_objects(bucket, max_keys=2)
        assert kinds(s3) == []
        assert [len(page.object_info) for page in pages] == [2, 2, 1]
        assert kinds(s3) == ["ListObjectsV2"] * 3

    def test_stats_are_what_the_server_saw(
        self,
        s3: S3,
        bucket: str,
        keys: dict[str, str],
        open_reader: Callable[..., Any],
        new_client: Callable[..., S3Client],
    ) -> None:
        client = new_client(part_size=PART)
        client.head_object(bucket, keys["small"])
        reader = open_reader("large", using=client)
        assert reader.read() == LARGE
        stats, gets = client.stats(), s3.requests("GetObject")
        assert stats["requests"]["HeadObject"] == 1
        assert stats["requests"]["GetObject"] == len(gets)
        assert stats["bytes_received"] == sum(get.length for get in gets) == len(LARGE)
        assert stats["connections_opened"] == len({entry.connection for entry in s3.requests()})
        assert sum(stats["retries"].values()) == stats["throttles"] == 0
        assert reader.stats()["requests"]["GetObject"] == len(gets)
        assert reader.stats()["bytes_received"] == len(LARGE)

    def test_requests_are_signed_and_say_who_asks(
        self, s3: S3, bucket: str, keys: dict[str, str], client: S3Client
    ) -> None:
        client.head_object(bucket, keys["small"])
        (request,) = s3.requests()
        assert request.signed
        assert "s3reader/" in request.user_agent
