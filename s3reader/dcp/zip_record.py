"""Records of a ZIP archive as torch writes one for each tensor, found without unpacking it.

An archive lies anywhere: in one piece of memory, or with its largest record already in a tensor.
So all that is asked of it is to read a few bytes at an offset. Layout by the ZIP application note
(APPNOTE.TXT 4.3): at the end the directory, which has each record's size, CRC-32 and place.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

ReadBytes = Callable[[int, int], bytes]
"""Gives the archive's bytes ``[start, stop)``."""

_LOCAL = struct.Struct("<4s22xHH")
_ENTRY = struct.Struct("<4s4xHH4xLLLHHHHH4xL")
_END = struct.Struct("<4sHHHHLLH")
_END64 = struct.Struct("<4sQHHLLQQQQ")
_LOCATOR = struct.Struct("<4sLQL")
_LARGE = 0xFFFFFFFF
_LARGE_FIELD = 1  # header id of the extra field with 64-bit numbers
_MOST_RECORDS = 64  # torch writes seven for a tensor
_ENCRYPTED = 1  # a flag bit


class Unusual(Exception):
    """Not as torch writes it: to be read by torch itself, which knows more."""


class Record(NamedTuple):
    """A stored record: its bytes are ``[start, stop)`` of the archive."""

    name: str
    crc: int
    start: int
    stop: int


def read_directory(read: ReadBytes, size: int) -> list[Record]:
    """The archive's records, in the directory's order.

    Args:
        read: gives its bytes.
        size: of the archive, in bytes.

    Raises:
        Unusual: there is no such directory, or a record is compressed or encrypted.
    """
    begin, end, count = _find_directory(read, size)
    if not 0 <= begin <= end <= size or count > _MOST_RECORDS or end - begin > 64 * 1024:
        raise Unusual("a directory of an unusual size")
    directory = read(begin, end)
    records = []
    at = 0
    for _ in range(count):
        if len(directory) - at < _ENTRY.size:
            raise Unusual("a directory cut short")
        (signature, flags, method, crc, packed, length, names, extras, comments, _, _, header) = (
            _ENTRY.unpack_from(directory, at)
        )
        if signature != b"PK\x01\x02" or method != 0 or flags & _ENCRYPTED:
            raise Unusual("a record that is not simply stored")
        at += _ENTRY.size
        name = directory[at : at + names].decode("utf-8", "replace")
        extra = directory[at + names : at + names + extras]
        length, packed, header = _with_large(extra, [length, packed, header])
        if length != packed:
            raise Unusual("a record of two sizes")
        at += names + extras + comments
        start = _data_start(read, header, begin)
        if start + length > begin:
            raise Unusual("a record outside the archive")
        records.append(Record(name, crc, start, start + length))
    return records


def _find_directory(read: ReadBytes, size: int) -> tuple[int, int, int]:
    """Begin and end of the directory, and its number of entries."""
    if size < _END.size:
        raise Unusual("too short for an archive")
    at = size - _END.size
    signature, _, _, _, count, length, begin, comment = _END.unpack(read(at, size))
    if signature != b"PK\x05\x06" or comment:
        raise Unusual("no directory at the end")
    if at >= _LOCATOR.size + _END64.size:
        locator, _, place, _ = _LOCATOR.unpack(read(at - _LOCATOR.size, at))
        if locator == b"PK\x06\x07":
            if not 0 <= place <= at - _LOCATOR.size - _END64.size:
                raise Unusual("a directory outside the archive")
            fields = _END64.unpack(read(place, place + _END64.size))
            if fields[0] != b"PK\x06\x06":
                raise Unusual("no directory where it should be")
            count, length, begin = fields[-3:]
    return begin, begin + length, count


def _with_large(extra: bytes, numbers: list[int]) -> list[int]:
    """Numbers of an entry, those that do not fit in 32 bits taken from its extra field."""
    if _LARGE not in numbers:
        return numbers
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == _LARGE_FIELD:
            large = extra[at + 4 : at + 4 + length]
            if len(large) < 8 * numbers.count(_LARGE):
                break
            values = iter(struct.unpack_from(f"<{len(large) // 8}Q", large))
            return [next(values) if number == _LARGE else number for number in numbers]
        at += 4 + length
    raise Unusual("a large record without its size")


def _data_start(read: ReadBytes, header: int, limit: int) -> int:
    if not 0 <= header <= limit - _LOCAL.size:
        raise Unusual("a record outside the archive")
    signature, names, extras = _LOCAL.unpack(read(header, header + _LOCAL.size))
    if signature != b"PK\x03\x04":
        raise Unusual("no record where it should be")
    return int(header + _LOCAL.size + names + extras)
