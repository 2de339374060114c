"""The works that are timed: `run` between the clocks, `check` after them."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy
from case import Case
from cases import READ_SIZE
from contenders import Contender
from objects import (
    ARRAY,
    CHECKPOINT,
    LARGE,
    MEDIUM,
    MEDIUM_SIZE,
    SMALL,
    SMALL_SIZE,
    Sizes,
    random_offsets,
    saved_part,
)

_COMPARED = 16 * 1024 * 1024  # bytes compared at once
BATCH = 64
"""Objects of a batch of the DataLoader."""
EPOCHS = 5
"""How often the DataLoader gives each object: so often that its workers' start is little of it."""


class Work:
    """What is timed: `run`, and what must have come of it: `check`.

    Args:
        contender: does it.
        case: what.
        sizes: how much.
        expected: the source's bytes.
    """

    kept = 0
    """Bytes of what `run` made and hands to the user; they are not extra memory."""
    parts: dict[str, float]
    """What makes up the time, where that is of interest."""

    def __init__(self, contender: Contender, case: Case, sizes: Sizes, expected: Any) -> None:
        self.contender = contender
        self.case = case
        self.sizes = sizes
        self.expected = expected
        self.parts = {}

    @classmethod
    def prepare(cls, case: Case, sizes: Sizes) -> Any:
        """The destination, before there is a client."""
        return None

    def ready(self, destination: Any) -> None:
        """After the warm-up, before the clocks."""

    def run(self) -> None:
        raise NotImplementedError

    def check(self) -> None:
        raise NotImplementedError

    def _compare(self, data: Any, expected: Any) -> None:
        got = numpy.frombuffer(data, dtype=numpy.uint8)
        if len(got) != len(expected):
            raise AssertionError(f"{len(got)} bytes instead of {len(expected)}")
        for start in range(0, len(got), _COMPARED):
            piece = slice(start, start + _COMPARED)
            if not numpy.array_equal(got[piece], expected[piece]):
                raise AssertionError(f"bytes from {start} on differ from the source")


def touched(size: int) -> Any:
    """Memory whose pages are there."""
    return numpy.full(size, 0xA5, dtype=numpy.uint8)


def pieces(destination: Any, size: int, count: int) -> list[memoryview]:
    """Adjoining views of ``size`` bytes each."""
    whole = memoryview(destination)
    return [whole[at * size : (at + 1) * size] for at in range(count)]


class ReadInto(Work):
    @classmethod
    def prepare(cls, case: Case, sizes: Sizes) -> Any:
        return touched(sizes.large)

    def ready(self, destination: Any) -> None:
        self._destination = destination

    def run(self) -> None:
        self.contender.readinto(LARGE, memoryview(self._destination))

    def check(self) -> None:
        self._compare(self._destination, self.expected)


class Read(Work):
    def run(self) -> None:
        self._data = self.contender.read(LARGE)
        self.kept = memoryview(self._data).nbytes

    def check(self) -> None:
        self._compare(self._data, self.expected)


class Chunks(Work):
    def run(self) -> None:
        total = 0
        for chunk in self.contender.chunks(LARGE):
            total += len(chunk)
        if total != self.sizes.large:
            raise AssertionError(f"{total} bytes instead of {self.sizes.large}")

    def check(self) -> None:
        # Nothing was kept to compare, so the bytes are read again.
        position = 0
        for chunk in self.contender.chunks(LARGE):
            self._compare(chunk, self.expected[position : position + len(chunk)])
            position += len(chunk)
        if position != self.sizes.large:
            raise AssertionError(f"{position} bytes instead of {self.sizes.large}")


class LoadTorch(Work):
    @classmethod
    def prepare(cls, case: Case, sizes: Sizes) -> Any:
        import torch

        return torch

    def ready(self, destination: Any) -> None:
        self._torch = destination

    def run(self) -> None:
        with self.contender.file(CHECKPOINT) as file:
            self._state = self._torch.load(file, weights_only=True)
        self.kept = self.sizes.saved

    def check(self) -> None:
        data = numpy.concatenate([tensor.numpy() for tensor in self._state.values()])
        self._compare(data, self.expected[: self.sizes.saved])


class LoadNumpy(Work):
    def run(self) -> None:
        with self.contender.file(ARRAY) as file:
            self._array = numpy.load(file)
        self.kept = self.sizes.saved

    def check(self) -> None:
        self._compare(self._array, self.expected[: self.sizes.saved])


class RandomReads(Work):
    """One at a time, each done before the next is asked for."""

    @classmethod
    def prepare(cls, case: Case, sizes: Sizes) -> Any:
        return touched(sizes.read_count * case.detail)

    def ready(self, destination: Any) -> None:
        count, length = self.sizes.read_count, self.case.detail
        self._starts = random_offsets(length, self.sizes.large, count)
        self._views = pieces(destination, length, count)
        self._read_at = self.contender.pread(LARGE)

    def run(self) -> None:
        read_at = self._read_at
        pairs = zip(self._starts, self._views, strict=True)
        self._got = [read_at(start, view) for start, view in pairs]

    def check(self) -> None:
        compare_pieces(self, self._got, self._views, self._starts)


class Ranges(Work):
    @classmethod
    def prepare(cls, case: Case, sizes: Sizes) -> Any:
        return touched(sizes.range_count * case.detail)

    def ready(self, destination: Any) -> None:
        count, length = self.sizes.range_count, self.case.detail
        self._starts = random_offsets(length, self.sizes.large, count)
        self._views = pieces(destination, length, count)

    def run(self) -> None:
        self._got = self.contender.ranges(LARGE, self._starts, self._views)

    def check(self) -> None:
        compare_pieces(self, self._got, self._views, self._starts)


class Many(Work):
    @classmethod
    def prepare(cls, case: Case, sizes: Sizes) -> Any:
        return touched(sizes.small_count * SMALL_SIZE)

    def ready(self, destination: Any) -> None:
        count = self.sizes.small_count
        self._keys = [f"{SMALL}{index}" for index in range(count)]
        self._rows = destination.reshape(count, SMALL_SIZE)

    def run(self) -> None:
        self._got = self.contender.many(self._keys, self._rows)

    def check(self) -> None:
        starts = [index * SMALL_SIZE for index in range(self.sizes.small_count)]
        compare_pieces(self, self._got, [memoryview(row) for row in self._rows], starts)


def compare_pieces(work: Work, got: Any, views: list[memoryview], starts: list[int]) -> None:
    """Hold what a contender gave back, or else the views that it filled, to the source."""
    results = views if got is None else list(got)
    if len(results) != len(views):
        raise AssertionError(f"{len(results)} pieces instead of {len(views)}")
    for piece, view, start in zip(results, views, starts, strict=True):
        work._compare(view if piece is None else piece, work.expected[start : start + len(view)])


class SmallObjects(Work):
    @classmethod
    def prepare(cls, case: Case, sizes: Sizes) -> Any:
        return touched(sizes.small_count * SMALL_SIZE)

    def ready(self, destination: Any) -> None:
        self._destination = destination
        self._views = pieces(destination, SMALL_SIZE, self.sizes.small_count)

    def run(self) -> None:
        for index, view in enumerate(self._views):
            self.contender.small(f"{SMALL}{index}", view)

    def check(self) -> None:
        self._compare(self._destination, self.expected[: len(self._destination)])


class SmallReads(Work):
    kept = MEDIUM_SIZE  # the buffer itself

    def ready(self, destination: Any) -> None:
        self._reader: Any = self.contender.buffered(MEDIUM, MEDIUM_SIZE)

    def run(self) -> None:
        read = self._reader.read
        for _ in range(MEDIUM_SIZE // READ_SIZE):
            read(READ_SIZE)

    def check(self) -> None:
        reader = self.contender.buffered(MEDIUM, MEDIUM_SIZE)
        sizes = [min(READ_SIZE, MEDIUM_SIZE - at) for at in range(0, MEDIUM_SIZE, READ_SIZE)]
        pieces = [reader.read(size) for size in sizes]
        self._compare(b"".join(pieces), self.expected[:MEDIUM_SIZE])


class Dataset(Work):
    """Some epochs of a DataLoader, its workers' start and end included."""

    @classmethod
    def prepare(cls, case: Case, sizes: Sizes) -> Any:
        import torch

        return torch

    def ready(self, destination: Any) -> None:
        keys = [f"{SMALL}{index}" for index in range(self.sizes.small_count)] * EPOCHS
        dataset, collate = self.contender.dataset(keys, SMALL_SIZE)
        self._loader = destination.utils.data.DataLoader(
            dataset, batch_size=BATCH, num_workers=self.case.detail, collate_fn=collate
        )

    def run(self) -> None:
        # The last epoch's batches, or one more: to hold all would be another work.
        self._batches = deque(self._loader, maxlen=-(-self.sizes.small_count // BATCH))
        self.kept = sum(batch.nbytes for batch in self._batches)

    def check(self) -> None:
        last = self.sizes.small_count * EPOCHS
        for batch in reversed(self._batches):
            for row, number in zip(batch.numpy()[::-1], range(last - 1, -1, -1), strict=False):
                start = number % self.sizes.small_count * SMALL_SIZE
                self._compare(row, self.expected[start : start + SMALL_SIZE])
            last -= len(batch)


WORKS: dict[str, type[Work]] = {
    "readinto": ReadInto,
    "read": Read,
    "chunks": Chunks,
    "load_torch": LoadTorch,
    "load_numpy": LoadNumpy,
    "pread": RandomReads,
    "ranges": Ranges,
    "many": Many,
    "small": SmallObjects,
    "buffered": SmallReads,
    "dataset": Dataset,
}

__all__ = ["WORKS", "Work", "saved_part", "touched"]
