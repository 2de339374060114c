"""How each reader is put to work: threads that read objects, one after the other, without end.

They read as training scripts do: large pieces into memory that is there already, a stream in
steps of a megabyte, the items of a checkpoint, many small objects. What ends them is the closing
of their client, which cancels what is on its way.
"""

from __future__ import annotations

import itertools
import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from s3reader import DCPOptimizedS3Reader, ItemRange, ObjectInfo, S3Client, S3ReaderConstructor
from s3reader.config import MiB

from .candidates import DEFAULT_CONNECTIONS, DEFAULT_PART, Candidate

STEP = MiB  # bytes of one read() of a stream
ITEM = 8 * MiB  # bytes of an item of a checkpoint
WINDOW = 64 * MiB  # of a stream, that is kept for going back
MOST_READERS = 16  # at the same time
ENOUGH = 2 * DEFAULT_PART * DEFAULT_CONNECTIONS  # bytes that keep the default's connections busy
MOST_MEMORY = 1024 * MiB  # of all destinations together


class Memory:
    """What is read into: allocated and touched once, so that no trial pays for its pages."""

    def __init__(self, largest: int) -> None:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        self._block = bytearray(b"\1") * max(ITEM, min(MOST_MEMORY, free // 4, largest))

    def __len__(self) -> int:
        return len(self._block)

    def pieces(self, count: int) -> list[memoryview]:
        """So many of the same size."""
        size = len(self._block) // count
        return [memoryview(self._block)[at * size : (at + 1) * size] for at in range(count)]


class Load:
    """Objects of a bucket, of one kind, that are read with one candidate or another.

    Args:
        bucket, objects: what is read.
        small: whether they are small.
        memory: where it goes.

    Attributes:
        readers: how many objects are read at a time, by as many threads. More than one where one
            alone is so small that it could not keep the default's connections busy; a training
            script would see to that, too. (Of small ones `read_many` reads many by itself.)
    """

    def __init__(self, bucket: str, objects: list[ObjectInfo], small: bool, memory: Memory) -> None:
        self.bucket = bucket
        self.objects = objects
        self.small = small
        self._memory = memory
        typical = sorted(info.size for info in objects)[len(objects) // 2]
        most = min(MOST_READERS, len(memory) // ITEM)
        self.readers = 1 if small else max(1, min(most, math.ceil(ENOUGH / typical)))

    def start(self, client: S3Client, candidate: Candidate) -> Work:
        """Begin to read."""
        count = self.readers
        read = _READERS[candidate.reader]
        starts = [number * len(self.objects) // count for number in range(count)]
        turns = [itertools.cycle(self.objects[at:] + self.objects[:at]) for at in starts]
        parts = self._memory.pieces(count)
        return Work(
            client,
            [partial(read, client, self.bucket, *pair) for pair in zip(turns, parts, strict=True)],
        )


class Work:
    """Threads at work.

    Attributes:
        done: objects, or pieces of them, that were read.
        failure: what a thread raised before it was told to end.
    """

    def __init__(self, client: S3Client, tasks: list[Callable[[], Iterable[None]]]) -> None:
        self._client = client
        self._ending = False
        self.done = 0
        self.failure: BaseException | None = None
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(task,)) for task in tasks]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Cancel and wait for the threads."""
        self._ending = True
        self._client.close()
        for thread in self._threads:
            thread.join()

    def _run(self, task: Callable[[], Iterable[None]]) -> None:
        try:
            for _ in task():
                with self._lock:
                    self.done += 1
                if self._ending:
                    return
        except BaseException as error:
            if not self._ending:
                self.failure = error


def _ranged(
    client: S3Client, bucket: str, turn: Iterator[ObjectInfo], memory: memoryview
) -> Iterator[None]:
    make = S3ReaderConstructor.range_based(0)
    for info in turn:
        with client.get_object(
            bucket, info.key, object_info=info, reader_constructor=make
        ) as reader:
            left = info.size
            while left:
                left -= reader.readinto(memory[: min(len(memory), left)])
                yield


def _sequential(
    client: S3Client, bucket: str, turn: Iterator[ObjectInfo], _: memoryview
) -> Iterator[None]:
    make = S3ReaderConstructor.sequential(window=WINDOW)
    for info in turn:
        with client.get_object(
            bucket, info.key, object_info=info, reader_constructor=make
        ) as reader:
            while reader.read(STEP):
                yield


def _dcp_optimized(
    client: S3Client, bucket: str, turn: Iterator[ObjectInfo], memory: memoryview
) -> Iterator[None]:
    for info in turn:
        starts = range(0, info.size, ITEM)
        items = [ItemRange(start, min(start + ITEM, info.size)) for start in starts]
        make = partial(DCPOptimizedS3Reader, item_ranges=items)
        with client.get_object(
            bucket, info.key, object_info=info, reader_constructor=make
        ) as reader:
            for item in items:
                reader.seek(item.start)
                reader.readinto(memory[: item.end - item.start])
                yield


def _read_many(
    client: S3Client, bucket: str, turn: Iterator[ObjectInfo], _: memoryview
) -> Iterator[None]:
    for _each in client.read_many(bucket, turn, ordered=False):
        yield


def _get_object(
    client: S3Client, bucket: str, turn: Iterator[ObjectInfo], _: memoryview
) -> Iterator[None]:
    for info in turn:
        with client.get_object(bucket, info.key, object_info=info) as reader:
            reader.read()
        yield


_READERS: dict[str, Callable[..., Iterator[None]]] = {
    "ranged": _ranged,
    "sequential": _sequential,
    "dcp_optimized": _dcp_optimized,
    "read_many": _read_many,
    "get_object": _get_object,
}
