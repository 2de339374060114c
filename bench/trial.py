"""One run of one contender in a process of its own: `python trial.py '{"case": ...}'`.

Imports, the client and the destination are made before the clocks start, and a small object is
read to warm the connection. The baseline of memory is taken before the client exists, so that what
the client holds counts. Afterwards every byte is compared with the source. Prints one JSON object.
"""

from __future__ import annotations

import json
import resource
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy
from cases import BY_NAME as CASES
from contenders import BY_NAME as CONTENDERS
from contenders import Contender
from servers import LARGE, MARK, MEDIUM, MEDIUM_SIZE, SMALL, SMALL_SIZE, WARM

READ_SIZE = 100
"""Bytes that the case of small reads asks for at once."""
_COMPARED = 16 * 1024 * 1024  # bytes compared at once


@dataclass(frozen=True)
class Setting:
    """What a run is told."""

    case: str
    contender: str
    endpoint: str
    bucket: str
    source: str
    size: int
    small_count: int


class Work:
    """What is timed: `run`, and what must have come of it: `check`."""

    kept = 0
    """Bytes of what `run` made and hands to the user; they are not extra memory."""

    def __init__(self, contender: Contender, setting: Setting, expected: Any) -> None:
        self.contender = contender
        self.setting = setting
        self.expected = expected

    @classmethod
    def prepare(cls, setting: Setting) -> Any:
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


class ReadInto(Work):
    @classmethod
    def prepare(cls, setting: Setting) -> Any:
        return numpy.full(setting.size, 0xA5, dtype=numpy.uint8)

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
        if total != self.setting.size:
            raise AssertionError(f"{total} bytes instead of {self.setting.size}")

    def check(self) -> None:
        # Nothing was kept to compare, so the bytes are read again.
        position = 0
        for chunk in self.contender.chunks(LARGE):
            self._compare(chunk, self.expected[position : position + len(chunk)])
            position += len(chunk)
        if position != self.setting.size:
            raise AssertionError(f"{position} bytes instead of {self.setting.size}")


class SmallObjects(Work):
    @classmethod
    def prepare(cls, setting: Setting) -> Any:
        return numpy.full(setting.small_count * SMALL_SIZE, 0xA5, dtype=numpy.uint8)

    def ready(self, destination: Any) -> None:
        self._destination = destination

    def run(self) -> None:
        view = memoryview(self._destination)
        for index in range(self.setting.small_count):
            start = index * SMALL_SIZE
            self.contender.small(f"{SMALL}{index}", view[start : start + SMALL_SIZE])

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


class Memory:
    """Memory of this process beyond what it had when the object was made."""

    _STATUS: ClassVar[Path] = Path("/proc/self/status")

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far; see proc(5)
        self._resident = self._value("VmRSS")

    def peak(self) -> int:
        """The most it has been, in bytes."""
        return self._value("VmHWM") - self._resident

    def _value(self, name: str) -> int:
        for line in self._STATUS.read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
        raise LookupError(name)


WORKS: dict[str, type[Work]] = {
    "readinto": ReadInto,
    "read": Read,
    "chunks": Chunks,
    "small": SmallObjects,
    "buffered": SmallReads,
}


def differences(before: Any, after: Any) -> Iterator[tuple[str, float]]:
    """What two `getrusage` of all threads together differ in."""
    yield "user", after.ru_utime - before.ru_utime
    yield "system", after.ru_stime - before.ru_stime
    yield "minor_faults", after.ru_minflt - before.ru_minflt
    yield (
        "context_switches",
        after.ru_nvcsw + after.ru_nivcsw - before.ru_nvcsw - before.ru_nivcsw,
    )


def measure(setting: Setting) -> dict[str, Any]:
    """Run and check one contender."""
    kind = WORKS[CASES[setting.case].method]
    make = CONTENDERS[setting.contender]
    # Imports the library, so that code does not count as memory.
    make(setting.endpoint, setting.bucket).close()
    destination = kind.prepare(setting)
    memory = Memory()
    contender = make(setting.endpoint, setting.bucket)
    work = kind(contender, setting, numpy.memmap(setting.source, dtype=numpy.uint8, mode="r"))
    warm_up(contender)
    work.ready(destination)
    before = resource.getrusage(resource.RUSAGE_SELF)
    begun = time.perf_counter()
    work.run()
    wall = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_SELF)
    peak = memory.peak()
    urllib.request.urlopen(f"{setting.endpoint}/{setting.bucket}/{MARK}").close()
    work.check()
    contender.close()
    return {
        "wall": wall,
        **dict(differences(before, after)),
        "extra_memory": max(0, peak - work.kept),
        "version": contender.version(),
    }


def warm_up(contender: Contender) -> None:
    """Have a connection and whatever a library sets up with its first request."""
    try:
        contender.small(WARM, memoryview(bytearray(SMALL_SIZE)))
    except NotImplementedError:
        return


if __name__ == "__main__":
    print(json.dumps(measure(Setting(**json.loads(sys.argv[1])))))
