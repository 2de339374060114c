"""Large objects whose connections break again and again, at random places."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from servers.fault_proxy import Fault, FaultProxy
from servers.nginx import Nginx

from s3reader import ItemRange, S3Client, S3ReaderConstructor
from s3reader.dcp_optimized import DCPOptimizedS3Reader

MIB = 1024 * 1024
SIZE = 24 * MIB + 12_345
BREAKS = 12  # in one reading
DATA = np.random.default_rng(11).bytes(SIZE)
ITEMS = [ItemRange(start, min(start + 5 * MIB, SIZE)) for start in range(0, SIZE, 5 * MIB)]


def in_one(reader: Any) -> bytes:
    buffer = bytearray(SIZE)
    assert reader.readinto(buffer) == SIZE
    return bytes(buffer)


def in_pieces(reader: Any) -> bytes:
    return b"".join(iter(lambda: reader.read(777_777), b""))


def by_items(reader: Any) -> bytes:
    return b"".join(reader.read(item.end - item.start) for item in ITEMS)


def by_ranges(reader: Any) -> bytes:
    pieces = [(item.start, bytearray(item.end - item.start)) for item in ITEMS]
    assert reader.readinto_ranges(pieces) == SIZE
    return b"".join(buffer for _, buffer in pieces)


def items_of(**arguments: Any) -> DCPOptimizedS3Reader:
    return DCPOptimizedS3Reader(item_ranges=ITEMS, **arguments)


WAYS: dict[str, tuple[Any, Callable[[Any], bytes]]] = {
    "sequential, in one": (S3ReaderConstructor.sequential(), in_one),
    "sequential, in pieces": (S3ReaderConstructor.sequential(window=4 * MIB), in_pieces),
    "ranged, in one": (S3ReaderConstructor.range_based(), in_one),
    "ranged, in pieces": (S3ReaderConstructor.range_based(3 * MIB), in_pieces),
    "items": (items_of, by_items),
    "many ranges": (S3ReaderConstructor.range_based(), by_ranges),
}


@pytest.mark.parametrize("rounds", [1, pytest.param(25, marks=pytest.mark.slow)])
@pytest.mark.parametrize("way", WAYS)
def test_breaks_at_random_offsets_are_made_good(
    nginx: Nginx,
    new_proxy: Callable[[int], FaultProxy],
    new_client: Callable[..., S3Client],
    way: str,
    rounds: int,
) -> None:
    nginx.put("faults", "large", DATA)
    proxy = new_proxy(nginx.port)
    client = new_client(
        proxy.endpoint,
        unsigned=True,
        credentials=None,
        part_size=MIB,
        max_connections=6,
        max_attempts=10,
        first_byte_timeout=10.0,
        stall_timeout=10.0,
        retry_timeout=60.0,
    )
    draw = random.Random(way)
    constructor, read = WAYS[way]
    for _ in range(rounds):
        offsets = draw.sample(range(SIZE), BREAKS)
        proxy.plan(*(Fault(draw.choice(["reset", "close"]), offset) for offset in offsets))
        before = proxy.fired
        with client.get_object("faults", "large", reader_constructor=constructor) as reader:
            assert read(reader) == DATA
        assert proxy.fired > before
