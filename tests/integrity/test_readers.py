"""Whole objects, read by every reader: verified where S3 tells how, an error if a byte is wrong."""

from __future__ import annotations

import base64
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from checksum_twins import ALGORITHMS, ChecksummedObject, checksum
from make_readers import checkpoint, ranged, sequential
from servers.faults import PART, cut, part, pattern
from servers.scripted import ScriptedServer
from sources import ForeignSource

from s3reader import (
    ChecksumError,
    DCPOptimizedS3Reader,
    Integrity,
    ItemRange,
    S3Client,
    S3ReaderConstructor,
)

Serve = Callable[..., tuple[S3Client, ScriptedServer]]

SMALL = pattern(PART - 5)
"""An object that comes with one request, and its checksum with it."""

LARGE = pattern(5 * PART + 77)
"""An object of several parts; only a HEAD tells its checksum."""


def in_one_piece(reader: Any, size: int) -> bytes:
    buffer = bytearray(size)
    assert reader.readinto(buffer) == size
    return bytes(buffer)


def in_pieces(reader: Any, size: int) -> bytes:
    pieces = []
    while sum(map(len, pieces)) < size:
        pieces.append(reader.read(min(1000, size - sum(map(len, pieces)))))
    return b"".join(pieces)


def by_read(reader: Any, size: int) -> bytes:
    return bytes(reader.read())


def by_lines(reader: Any, size: int) -> bytes:
    return b"".join(reader)


READERS = {
    "sequential": S3ReaderConstructor.sequential(),
    "window": S3ReaderConstructor.sequential(window=2000),
    "ranged": S3ReaderConstructor.range_based(),
    "small buffer": S3ReaderConstructor.range_based(buffer_size=900),
    "unbuffered": S3ReaderConstructor.range_based(buffer_size=0),
}
WAYS = [in_one_piece, in_pieces, by_read, by_lines]


def constructor(name: str, size: int) -> Any:
    if name != "checkpoint":
        return READERS[name]

    def make(**arguments: Any) -> DCPOptimizedS3Reader:
        return DCPOptimizedS3Reader(item_ranges=[ItemRange(0, size)], **arguments)

    return make


EVERY_WAY = [(name, way) for name in READERS for way in WAYS]
EVERY_WAY += [("checkpoint", in_one_piece), ("checkpoint", in_pieces)]
every_way = pytest.mark.parametrize(
    ("name", "way"), EVERY_WAY, ids=lambda value: getattr(value, "__name__", value)
)


def open_large(client: S3Client, name: str = "sequential") -> Any:
    return client.get_object(
        "bucket",
        "key",
        object_info=client.head_object("bucket", "key"),
        reader_constructor=constructor(name, len(LARGE)),
    )


@every_way
def test_large_object_is_held_to_the_checksum_of_a_head(
    serve: Serve, name: str, way: Callable[[Any, int], bytes]
) -> None:
    client, _ = serve(ChecksummedObject(LARGE, "crc64nvme"))
    reader = open_large(client, name)
    assert reader.integrity.verified == "none"
    assert way(reader, len(LARGE)) == LARGE
    assert reader.integrity == Integrity("whole", "crc64nvme", "FULL_OBJECT")


@every_way
def test_small_object_is_held_to_the_checksum_that_comes_with_it(
    serve: Serve, name: str, way: Callable[[Any, int], bytes]
) -> None:
    if name in ("small buffer", "unbuffered") and way is not by_read and way is not in_one_piece:
        pytest.skip("reads smaller ranges than the object, which come without its checksum")
    client, server = serve(ChecksummedObject(SMALL, "crc32"))
    reader = client.get_object("bucket", "key", reader_constructor=constructor(name, len(SMALL)))
    assert way(reader, len(SMALL)) == SMALL
    assert reader.integrity == Integrity("whole", "crc32", "FULL_OBJECT")
    assert {request.method for request in server.requests} == {"GET"}


@every_way
@pytest.mark.parametrize("flipped", [0, PART + 3, len(LARGE) - 1])
def test_wrong_byte_is_an_error_before_the_read_is_complete(
    serve: Serve, name: str, way: Callable[[Any, int], bytes], flipped: int
) -> None:
    script = ChecksummedObject(LARGE, "crc32c")
    client, _ = serve(script)
    reader = open_large(client, name)
    script.flipped = flipped
    with pytest.raises(ChecksumError) as caught:
        way(reader, len(LARGE))
    error = caught.value
    position = reader.tell()
    assert position == 0 if way in (in_one_piece, by_read) else position < len(LARGE)
    assert (error.bucket, error.key, error.range) == ("bucket", "key", (0, len(LARGE)))
    assert (error.algorithm, error.expected) == ("crc32c", checksum("crc32c", LARGE))
    wrong = bytearray(LARGE)
    wrong[flipped] ^= 4
    assert error.computed == checksum("crc32c", bytes(wrong))
    assert "expected CRC-32C" in str(error)
    assert "s3://bucket/key" in str(error)
    assert reader.integrity.verified == "none"
    assert "expected" in reader.integrity.reason
    # The rest is not given out after all: what came before it may be what is wrong. Only a reader
    # that begins again at the object's start by itself (sequential: its footer is all of it) may.
    script.flipped = None
    if position:
        try:
            assert reader.read(len(LARGE) - position) == LARGE[position:]
            assert reader.integrity.verified == "whole"
            assert name in ("sequential", "window")
        except ChecksumError:
            assert reader.tell() == position
    reader.seek(0)
    assert in_one_piece(reader, len(LARGE)) == LARGE
    assert reader.integrity.verified == "whole"


@pytest.mark.parametrize("name", [*READERS, "checkpoint"])
@pytest.mark.parametrize("way", [in_one_piece, by_read])
def test_wrong_byte_of_a_small_object_is_an_error(
    serve: Serve, name: str, way: Callable[[Any, int], bytes]
) -> None:
    if name == "checkpoint" and way is by_read:
        pytest.skip("does not read all at once")
    script = ChecksummedObject(SMALL, "sha256")
    client, _ = serve(script)
    reader = client.get_object("bucket", "key", reader_constructor=constructor(name, len(SMALL)))
    script.flipped = 100
    with pytest.raises(ChecksumError, match="SHA-256"):
        way(reader, len(SMALL))
    assert reader.tell() == 0
    script.flipped = None
    assert way(reader, len(SMALL)) == SMALL
    assert reader.integrity.verified == "whole"


def test_nothing_looks_at_the_buffer_after_the_call_though_the_error_lives(serve: Serve) -> None:
    script = ChecksummedObject(LARGE)
    client, _ = serve(script)
    stream = open_large(client)._get_stream()
    script.flipped = 1
    buffer = bytearray(len(LARGE))
    with pytest.raises(ChecksumError) as caught:
        stream.readinto(buffer)
    buffer.clear()  # refused while anything refers to its memory
    place = caught.tb
    while place is not None:
        for name, value in place.tb_frame.f_locals.items():
            if isinstance(value, memoryview):
                with pytest.raises(ValueError, match="released"):
                    value.tobytes()
                assert name in ("view", "received")
        place = place.tb_next


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("way", [in_one_piece, in_pieces])
def test_every_algorithm_is_verified(
    serve: Serve, algorithm: str, way: Callable[[Any, int], bytes]
) -> None:
    script = ChecksummedObject(LARGE, algorithm)
    client, _ = serve(script)
    reader = open_large(client)
    assert way(reader, len(LARGE)) == LARGE
    assert reader.integrity == Integrity("whole", algorithm, "FULL_OBJECT")
    script.flipped = 3 * PART
    with pytest.raises(ChecksumError, match="expected"):
        way(open_large(client), len(LARGE))


def test_no_request_is_made_for_a_checksum(serve: Serve) -> None:
    client, server = serve(ChecksummedObject(LARGE))
    reader = client.get_object("bucket", "key")
    assert reader.read() == LARGE
    assert {request.method for request in server.requests} == {"GET"}
    assert reader.integrity.algorithm is None
    assert "no response told" in reader.integrity.reason


def test_info_that_was_asked_for_anyway_tells_the_checksum(serve: Serve) -> None:
    client, server = serve(ChecksummedObject(LARGE))
    reader = client.get_object("bucket", "key")
    reader._get_object_info()  # type: ignore[attr-defined]
    assert reader.read() == LARGE
    assert reader.integrity.verified == "whole"
    assert [request.method for request in server.requests].count("HEAD") == 1


@pytest.mark.parametrize("kind", ["COMPOSITE", None])
@pytest.mark.parametrize("suffix", ["-6", ""])
def test_composite_checksum_is_recognised_and_left_alone(
    serve: Serve, kind: str | None, suffix: str
) -> None:
    script = ChecksummedObject(LARGE, "crc32", kind)
    script.replace(LARGE, '"0123456789abcdef0123456789abcdef-6"')
    script.told = {"crc32": base64.b64encode(b"of the parts"[:4]).decode() + suffix}
    client, _ = serve(script)
    reader = open_large(client)
    assert reader.read() == LARGE
    assert reader.integrity.verified == "none"
    assert reader.integrity.algorithm == "crc32"
    assert "composite" in reader.integrity.reason


@pytest.mark.parametrize("name", READERS)
def test_checksum_told_with_a_part_of_the_object_is_not_the_parts(serve: Serve, name: str) -> None:
    script = ChecksummedObject(LARGE, "crc32")
    script.on_every_range = True
    client, _ = serve(script)
    reader = client.get_object("bucket", "key", reader_constructor=READERS[name])
    assert in_pieces(reader, len(LARGE)) == LARGE
    assert reader.integrity.verified == "none"


def test_head_of_a_resumed_response_is_not_that_of_the_object(serve: Serve) -> None:
    script = ChecksummedObject(SMALL, "crc32")
    script.on_every_range = True
    script.go_wrong(cut(1000), times=1)
    client, server = serve(script)
    reader = client.get_object("bucket", "key")
    assert reader.read() == SMALL
    assert len(server.requests) == 2
    assert reader.integrity.verified == "none"


@pytest.mark.parametrize("name", [*READERS, "checkpoint"])
@pytest.mark.parametrize("way", [in_one_piece, in_pieces])
def test_parts_that_break_and_come_again_are_verified(
    serve: Serve, name: str, way: Callable[[Any, int], bytes]
) -> None:
    script = ChecksummedObject(LARGE, "crc64nvme")
    client, _ = serve(script)
    reader = open_large(client, name)
    script.go_wrong(cut(300), times=4)
    assert way(reader, len(LARGE)) == LARGE
    assert reader.integrity.verified == "whole"


@pytest.mark.parametrize("name", ["sequential", "ranged", "unbuffered"])
def test_failed_read_does_not_count(serve: Serve, name: str) -> None:
    script = ChecksummedObject(LARGE, "sha1")
    client, _ = serve(script, max_attempts=1)
    reader = open_large(client, name)
    script.flipped = None if name == "sequential" else 10  # it keeps what came before a failure
    script.go_wrong(cut(300), where=part(4))
    with pytest.raises(OSError, match="key"):
        in_one_piece(reader, len(LARGE))
    script.go_wrong(None)
    script.flipped = None
    assert in_one_piece(reader, len(LARGE)) == LARGE
    assert reader.integrity.verified == "whole"


@pytest.mark.parametrize("algorithm", ["crc32c", "sha1"])
def test_read_that_failed_midway_goes_on_verified(serve: Serve, algorithm: str) -> None:
    script = ChecksummedObject(LARGE, algorithm)
    client, _ = serve(script, max_attempts=1)
    reader = open_large(client, "unbuffered")
    assert reader.read(PART) == LARGE[:PART]
    script.flipped = PART + 10
    script.go_wrong(cut(300), where=part(4))
    with pytest.raises(OSError, match="key"):
        reader.readinto(bytearray(len(LARGE) - PART))
    assert reader.tell() == PART
    script.go_wrong(None)
    script.flipped = None
    assert reader.read() == LARGE[PART:]
    assert reader.integrity.verified == "whole"


def test_tail_read_first_is_joined(serve: Serve) -> None:
    client, _ = serve(ChecksummedObject(LARGE, "crc32"))
    reader = open_large(client, "unbuffered")
    reader.seek(-PART, 2)
    assert reader.read() == LARGE[-PART:]
    assert f"{PART} of {len(LARGE)} bytes" in reader.integrity.reason
    reader.seek(0)
    assert reader.read(len(LARGE) - PART) == LARGE[:-PART]
    assert reader.integrity.verified == "whole"


def test_hash_takes_the_bytes_in_order(serve: Serve) -> None:
    client, _ = serve(ChecksummedObject(LARGE, "sha256"))
    reader = open_large(client, "unbuffered")
    reader.seek(PART)
    reader.read()
    reader.seek(0)
    reader.read(PART)
    assert reader.integrity.verified == "none"
    assert "in order" in reader.integrity.reason
    reader.seek(0)
    assert reader.read() == LARGE
    assert reader.integrity.verified == "whole"


def test_bytes_fetched_again_are_not_said_to_be_verified(serve: Serve) -> None:
    client, _ = serve(ChecksummedObject(LARGE, "crc32"))
    reader = open_large(client, "unbuffered")
    assert reader.read() == LARGE
    assert reader.integrity.verified == "whole"
    reader.seek(5)
    reader.read(5)
    assert reader.integrity.verified == "none"


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_nothing_is_asked_or_verified_where_checksums_are_off(serve: Serve, data: bytes) -> None:
    script = ChecksummedObject(data)
    script.flipped = 3
    client, server = serve(script, checksum_mode=False)
    reader = client.get_object("bucket", "key", object_info=client.head_object("bucket", "key"))
    assert len(reader.read()) == len(data)
    assert reader.integrity == Integrity(reason="checksum_mode is off")
    assert not any("x-amz-checksum-mode" in request.headers for request in server.requests)


def test_mode_is_asked_for_and_signed(serve: Serve) -> None:
    client, server = serve(ChecksummedObject(SMALL))
    client.head_object("bucket", "key")
    client.get_object("bucket", "key").read()
    for request in server.requests:
        assert request.headers["x-amz-checksum-mode"] == "ENABLED"
        assert "x-amz-checksum-mode" in request.headers["authorization"]


def test_what_cannot_be_computed_is_read_and_reported(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, _ = serve(ChecksummedObject(SMALL, "crc32c"))
    monkeypatch.setattr("s3reader.checksums.crc_function", lambda name: None)
    reader = client.get_object("bucket", "key")
    assert reader.read() == SMALL
    assert reader.integrity.algorithm == "crc32c"
    assert "pip install s3reader[checksums]" in reader.integrity.reason


def test_object_that_is_replaced_is_not_held_to_the_old_checksum(serve: Serve) -> None:
    script = ChecksummedObject(LARGE)
    client, _ = serve(script)
    info = client.head_object("bucket", "key")
    script.replace(LARGE[::-1], '"another"')
    with pytest.raises(OSError, match="key") as caught:
        client.get_object("bucket", "key", object_info=info).read()
    assert not isinstance(caught.value, ChecksumError)


def test_empty_object_has_nothing_to_verify(serve: Serve) -> None:
    client, _ = serve(ChecksummedObject(b""))
    reader = open_large(client)
    assert reader.read() == b""
    assert reader.integrity == Integrity("none", "crc32", "FULL_OBJECT", "the object is empty")


def test_pickled_reader_verifies_anew(serve: Serve) -> None:
    client, _ = serve(ChecksummedObject(LARGE))
    reader = open_large(client)
    reader.read()
    copy = pickle.loads(pickle.dumps(reader))
    assert copy.integrity.verified == "none"
    copy.seek(0)
    assert copy.read() == LARGE
    assert copy.integrity.verified == "whole"


@pytest.mark.parametrize("make", [sequential, ranged, checkpoint])
def test_callables_of_others_are_read_unverified(make: Callable[..., Any]) -> None:
    reader = make(ForeignSource(LARGE))
    assert in_one_piece(reader, len(LARGE)) == LARGE
    assert reader.integrity.verified == "none"
    assert "not the client's own" in reader.integrity.reason
