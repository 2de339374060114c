"""The works of growth and of signing: ours alone, at one point of a scale."""

from __future__ import annotations

import ctypes
import mmap
import os
import time
from typing import Any

import numpy
from case import Case
from contenders import Contender, Place
from contenders.own import Own, read_many
from objects import MIB, SPARSE, TINY, TINY_SIZE, Sizes, sparse_count
from works import Work, touched

RING = 64 * MIB
"""Bytes of memory behind a destination of any size."""
_SIGNATURES = 2000


class GrowSize(Work):
    """Zeros into memory that was there before: 8 GiB of destination without 8 GiB of memory."""

    def ready(self, destination: Any) -> None:
        size = self.point
        self._destination = folded_memory(size)
        self.kept = len(self._destination)
        # Objects and places in turn: no size is to find its bytes in a nearer cache than another.
        places = max(1, RING // size)
        self._turns = [
            (f"{SPARSE}{size}-{turn}", self._place(turn % places))
            for turn in range(sparse_count(size))
        ]
        self.contender.readinto(*self._turns[0])

    def _place(self, number: int) -> memoryview:
        return self._destination[number * self.point : (number + 1) * self.point]

    point = 0

    def run(self) -> None:
        for key, place in self._turns:
            self.contender.readinto(key, place)

    def check(self) -> None:
        if numpy.frombuffer(self._destination[:RING], dtype=numpy.uint8).any():
            raise AssertionError("not all bytes are zero")


def folded_memory(size: int) -> memoryview:
    """A destination of at least ``size`` bytes that shares `RING` bytes of memory, all mapped."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    length = max(1, -(-size // RING)) * RING
    file = os.memfd_create("ring")
    os.ftruncate(file, RING)
    reserved = libc.mmap(None, length, mmap.PROT_READ, mmap.MAP_PRIVATE | mmap.MAP_ANON, -1, 0)
    fixed, populate = 0x10, 0x8000  # Linux's MAP_FIXED and MAP_POPULATE
    for start in range(0, length, RING):
        place = libc.mmap(
            reserved + start,
            RING,
            mmap.PROT_READ | mmap.PROT_WRITE,
            mmap.MAP_SHARED | fixed | populate,
            file,
            0,
        )
        if place != reserved + start:
            raise OSError(ctypes.get_errno(), "mmap")
    os.close(file)
    ctypes.memset(reserved, 0xA5, RING)
    return memoryview((ctypes.c_char * length).from_address(reserved)).cast("B")


class GrowRequests(Work):
    """So many objects in one call, and calls until there are enough requests to time."""

    point = 0
    _connections: int | None = None

    def ready(self, destination: Any) -> None:
        self._count = self.at_once()
        self._keys = [TINY] * self._count
        self._memory = touched(TINY_SIZE * self._count)
        self._rows = self._memory.reshape(self._count, TINY_SIZE)
        self._read()

    def at_once(self) -> int:
        """Objects of one call."""
        return self.point

    def _read(self) -> None:
        own = self.contender
        assert isinstance(own, Own)
        read_many(own.client, own.place.bucket, self._keys, self._rows)

    def run(self) -> None:
        for _ in range(repetitions_of_requests(self._count, self.sizes)):
            self._read()

    def check(self) -> None:
        expected = numpy.tile(self.expected[:TINY_SIZE], self._count)
        self._compare(self._memory, expected)


def repetitions_of_requests(count: int, sizes: Sizes) -> int:
    """How often a call for so many objects is made in one run."""
    return max(1, min(10_000, sizes.most_requests) // count)


def requests_of_connections(sizes: Sizes) -> int:
    """Objects of one call in the case of growing connections."""
    return min(10_000, sizes.most_requests)


class GrowConnections(GrowRequests):
    """The same number of objects over so many connections."""

    def at_once(self) -> int:
        return requests_of_connections(self.sizes)


class Signing(Work):
    """What signing takes, apart from everything else."""

    def run(self) -> None:
        from s3reader.request import Request

        own = self.contender
        assert isinstance(own, Own)
        signer = own.client._session.signer
        requests = [Request("GetObject", "bucket", f"key-{i}") for i in range(_SIGNATURES)]
        signer.sign(Request("GetObject", "bucket", "first"))
        begun = time.thread_time()
        for request in requests:
            signer.sign(request)
        self.parts["alone"] = (time.thread_time() - begun) / _SIGNATURES
        begun = time.thread_time()
        for _ in range(_SIGNATURES):
            signer.sign(requests[0])
        self.parts["shared"] = (time.thread_time() - begun) / _SIGNATURES
        self._made = {request.signed.url for request in requests if request.signed}

    def check(self) -> None:
        if len(self._made) != _SIGNATURES:
            raise AssertionError("not every request was signed")


GROWTH: dict[str, type[Work]] = {
    "grow_size": GrowSize,
    "grow_requests": GrowRequests,
    "grow_connections": GrowConnections,
    "signing": Signing,
}


def grown_contender(case: Case, place: Place, point: int) -> Contender:
    """Ours, set up for a point."""
    from contenders.own import Client, Sequential

    if case.work == "grow_connections":
        return Client(place, max_connections=point)
    if case.work == "grow_size":
        return Sequential(place)
    return Client(place)


def work_at(case: Case, sizes: Sizes, point: int) -> int:
    """What one run does, in the case's unit."""
    if case.work == "grow_size":
        return point * sparse_count(point)
    if case.work == "grow_requests":
        return point * repetitions_of_requests(point, sizes)
    if case.work == "grow_connections":
        return requests_of_connections(sizes)
    return 2 * _SIGNATURES
