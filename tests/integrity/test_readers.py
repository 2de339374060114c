"""Whole objects, read by every reader: verified where S3 tells how, an error if a byte is wrong."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest
from checksum_twins import ALGORITHMS, ChecksummedObject, checksum
from servers.faults import PART, cut, part
from servers.scripted import ScriptedServer
from whole_reads import (
    AT_ONCE,
    EVERY_WAY,
    LARGE,
    READERS,
    SMALL,
    WITH_THE_DATA,
    by_read,
    constructor,
    in_one_piece,
    in_pieces,
    open_large,
)

from s3reader import ChecksumError, Integrity, S3Client

Serve = Callable[..., tuple[S3Client, ScriptedServer]]

Ways = list[tuple[str, Callable[[Any, int], bytes]]]


def ways(names_and_ways: Ways) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("name", "way"), names_and_ways, ids=lambda value: getattr(value, "__name__", value)
    )


every_way = ways(EVERY_WAY)


@every_way
def test_large_object_is_held_to_the_checksum_of_a_head(
    serve: Serve, name: str, way: Callable[[Any, int], bytes]
) -> None:
    client, _ = serve(ChecksummedObject(LARGE, "crc64nvme"))
    reader = open_large(client, name)
    assert reader.integrity.verified == "none"
    assert way(reader, len(LARGE)) == LARGE
    assert reader.integrity == Integrity("whole", "crc64nvme", "FULL_OBJECT")


@ways(WITH_THE_DATA)
def test_small_object_is_held_to_the_checksum_that_comes_with_it(
    serve: Serve, name: str, way: Callable[[Any, int], bytes]
) -> None:
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


def test_every_read_is_verified_however_its_parts_arrive(
    serve: Serve, switch_threads_often: None
) -> None:
    """A part that settles between two looks at it is not passed over."""
    client, _ = serve(ChecksummedObject(LARGE, "crc32"))
    info = client.head_object("bucket", "key")
    for _ in range(1500):
        reader = client.get_object(
            "bucket", "key", object_info=info, reader_constructor=READERS["unbuffered"]
        )
        assert in_one_piece(reader, len(LARGE)) == LARGE
        assert reader.integrity.verified == "whole"


@ways(AT_ONCE)
def test_wrong_byte_of_a_small_object_is_an_error(
    serve: Serve, name: str, way: Callable[[Any, int], bytes]
) -> None:
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


def test_info_that_was_asked_for_anyway_tells_the_checksum(serve: Serve) -> None:
    client, server = serve(ChecksummedObject(LARGE))
    reader = client.get_object("bucket", "key")
    reader._get_object_info()  # type: ignore[attr-defined]
    assert reader.read() == LARGE
    assert reader.integrity.verified == "whole"
    assert [request.method for request in server.requests].count("HEAD") == 1


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


def test_mode_is_asked_for_and_signed(serve: Serve) -> None:
    client, server = serve(ChecksummedObject(SMALL))
    client.head_object("bucket", "key")
    client.get_object("bucket", "key").read()
    for request in server.requests:
        assert request.headers["x-amz-checksum-mode"] == "ENABLED"
        assert "x-amz-checksum-mode" in request.headers["authorization"]


def test_pickled_reader_verifies_anew(serve: Serve) -> None:
    client, _ = serve(ChecksummedObject(LARGE))
    reader = open_large(client)
    reader.read()
    copy = pickle.loads(pickle.dumps(reader))
    assert copy.integrity.verified == "none"
    copy.seek(0)
    assert copy.read() == LARGE
    assert copy.integrity.verified == "whole"
