"""What the servers serve. One generated object is the source of all bytes.

Smaller objects are pieces of it, the array's and the checkpoint's data too, so that whatever was
read is compared with one file. Only what the chosen cases read is made.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

BUCKET = "bench"
LARGE = "whole"
"""The whole source."""
MEDIUM = "medium"
"""Its first `MEDIUM_SIZE` bytes."""
SMALL = "small-"
"""Followed by a number: pieces of `SMALL_SIZE` bytes, adjoining."""
TINY = "tiny"
"""The source's first `TINY_SIZE` bytes: as good as no bytes at all, so that requests show."""
CHECKPOINT = "checkpoint.pt"
"""`torch.save` of a dictionary of float tensors."""
ARRAY = "array.npy"
"""`numpy.save` of one array."""
SPARSE = "sparse-"
"""Followed by a size in bytes and a number: a file of zeros, which take no room on the disk."""
WARM = "warm"
"""As large as a small one; read before the clocks start and never counted."""
MARK = "mark"
"""Empty; asked for when the clocks have stopped: what comes after it is not counted either."""

MEDIUM_SIZE = 8 * MIB
SMALL_SIZE = 100 * KIB
TINY_SIZE = 1 * KIB
TENSOR_SIZE = 8 * MIB
_BLOCK = 32 * MIB  # bytes generated at once
_CACHED = 2 * GIB  # bytes of the largest file that is kept in the kernel's cache


@dataclass(frozen=True)
class Sizes:
    """How much the cases read.

    Attributes:
        large: bytes of the whole object.
        saved: bytes of the checkpoint and of the array.
        small_count: small objects.
        read_count: reads at random offsets, one at a time.
        range_count: ranges at once.
        largest: bytes of the largest object of the growth.
        most_requests: of the growth.
        checkpoint_scale: share of the sizes that `checkpoints` has.
    """

    large: int = 1 * GIB
    saved: int = 512 * MIB
    small_count: int = 2000
    read_count: int = 2000
    range_count: int = 10_000
    largest: int = 8 * GIB
    most_requests: int = 100_000
    checkpoint_scale: float = 1.0


FULL = Sizes()
QUICK = Sizes(
    large=128 * MIB,
    saved=64 * MIB,
    small_count=300,
    read_count=300,
    range_count=1000,
    largest=512 * MIB,
    most_requests=3000,
    checkpoint_scale=0.05,
)
DISK = {FULL: 16 * GIB, QUICK: 2 * GIB}
"""Bytes of disk that all cases take: objects, checkpoints and the servers' logs."""


class DiskTooSmall(RuntimeError):
    """There is no room for the files that are read."""


def check_room(folder: Path, sizes: Sizes) -> None:
    """Say before anything is measured that it would end with a full disk.

    Raises:
        DiskTooSmall: ``folder`` cannot take the files of all cases.
    """
    free = shutil.disk_usage(folder).free
    if free < DISK[sizes]:
        raise DiskTooSmall(
            f"all cases take {DISK[sizes] / 1e9:.0f} GB of disk, {folder.parent} has "
            f"{free / 1e9:.1f}: set TMPDIR to a folder with more, or choose some with --case"
        )


def generate(root: Path, sizes: Sizes, wanted: Collection[str]) -> Path:
    """Write the objects under ``root``; returns the source's path.

    Args:
        wanted: of `CHECKPOINT`, `ARRAY` and `SPARSE`, those that are read.
    """
    bucket = root / BUCKET
    bucket.mkdir(parents=True)
    source = bucket / LARGE
    generator = numpy.random.default_rng(20)
    with source.open("wb") as file:
        for start in range(0, sizes.large, _BLOCK):
            file.write(generator.bytes(min(_BLOCK, sizes.large - start)))
    with source.open("rb") as file:
        (bucket / MEDIUM).write_bytes(file.read(MEDIUM_SIZE))
        file.seek(0)
        for index in range(sizes.small_count):
            (bucket / f"{SMALL}{index}").write_bytes(file.read(SMALL_SIZE))
        file.seek(0)
        (bucket / TINY).write_bytes(file.read(TINY_SIZE))
    (bucket / WARM).write_bytes(bytes(SMALL_SIZE))
    (bucket / MARK).write_bytes(b"")
    if ARRAY in wanted:
        numpy.save(bucket / ARRAY, saved_part(source, sizes.saved))
    if CHECKPOINT in wanted:
        _save_checkpoint(bucket / CHECKPOINT, saved_part(source, sizes.saved))
    if SPARSE in wanted:
        for size in growth_sizes(sizes):
            for number in range(sparse_count(size)):
                with (bucket / f"{SPARSE}{size}-{number}").open("wb") as file:
                    file.truncate(size)
    return source


def saved_part(source: Path, size: int) -> Any:
    """What the array and the checkpoint hold: the source's first bytes, as 32-bit integers."""
    return numpy.memmap(source, dtype=numpy.int32, mode="r", shape=(size // 4,))


def _save_checkpoint(path: Path, data: Any) -> None:
    import torch

    pieces = numpy.array_split(data, max(1, data.nbytes // TENSOR_SIZE))
    # Copied one by one when they are saved would be better, but torch.save wants all at once.
    state = {f"layer{number}": torch.from_numpy(numpy.array(p)) for number, p in enumerate(pieces)}
    torch.save(state, path)


def growth_sizes(sizes: Sizes) -> list[int]:
    """From 1 MiB in steps of 8 up to the largest."""
    grown = [MIB, 8 * MIB, 64 * MIB, 512 * MIB, sizes.largest]
    return sorted({size for size in grown if size <= sizes.largest})


def sparse_count(size: int) -> int:
    """How many objects of a size there are: half a gigabyte of them, or one."""
    return max(1, 512 * MIB // size)


def growth_requests(sizes: Sizes) -> list[int]:
    """From 10 in steps of 10 up to the most."""
    grown = [10, 100, 1000, 10_000, sizes.most_requests]
    return sorted({count for count in grown if count <= sizes.most_requests})


GROWTH_CONNECTIONS = (1, 4, 16, 64, 256)


def random_offsets(length: int, size: int, count: int) -> list[int]:
    """Where reads of ``length`` bytes begin in an object of ``size``; the same in each process."""
    generator = random.Random(f"{length} {count}")
    return [generator.randrange(size - length) for _ in range(count)]


@dataclass(frozen=True)
class PlannedGet:
    """A GET of a floor: ``start`` is -1 for a whole object; ``at`` is its place in the source."""

    key: str
    start: int
    length: int
    at: int


def small_gets(sizes: Sizes) -> Iterator[PlannedGet]:
    """Each small object once."""
    for index in range(sizes.small_count):
        yield PlannedGet(f"{SMALL}{index}", -1, SMALL_SIZE, index * SMALL_SIZE)


def random_gets(sizes: Sizes, length: int, count: int) -> Iterator[PlannedGet]:
    """The same random reads as the contenders'."""
    for start in random_offsets(length, sizes.large, count):
        yield PlannedGet(LARGE, start, length, start)


def split_gets(sizes: Sizes, count: int) -> Iterator[PlannedGet]:
    """The large object in ``count`` parts."""
    share = -(-sizes.large // count)
    for start in range(0, sizes.large, share):
        yield PlannedGet(LARGE, start, min(share, sizes.large - start), start)


def keep_cached(root: Path) -> None:
    """Read the files below a folder, which puts them into the kernel's cache.

    It lets go of what nobody has read for some minutes. A server that waits for a disk tells
    nothing about its client.
    """
    buffer = bytearray(_BLOCK)
    for path in root.rglob("*"):
        if path.is_file() and path.stat().st_blocks * 512 <= _CACHED:
            with path.open("rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass
