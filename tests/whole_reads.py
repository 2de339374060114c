"""Whole objects, and every way in which every reader reads one."""

from __future__ import annotations

from typing import Any

from servers.faults import PART, pattern

from s3reader import DCPOptimizedS3Reader, ItemRange, S3Client, S3ReaderConstructor

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
AT_ONCE = [(name, way) for name, way in EVERY_WAY if way in (in_one_piece, by_read)]
WITH_THE_DATA = [
    (name, way)
    for name, way in EVERY_WAY
    if name not in ("small buffer", "unbuffered") or (name, way) in AT_ONCE
]
"""Ways that ask for a small object in one request, whose answer brings its checksum along."""


def open_large(client: S3Client, name: str = "sequential") -> Any:
    return client.get_object(
        "bucket",
        "key",
        object_info=client.head_object("bucket", "key"),
        reader_constructor=constructor(name, len(LARGE)),
    )
