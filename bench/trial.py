"""One run of one contender in a process of its own: `python trial.py '{"case": ...}'`.

Imports, the client and the destination are made before the clocks start, and a small object is
read to warm the connection. The baseline of memory is taken before the client exists, so that what
the client holds counts. Afterwards every byte is compared with the source. Prints one JSON object.
"""

from __future__ import annotations

import json
import resource
import ssl
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy
from backing import back_free_memory
from cases import BY_NAME as CASES
from contenders import BY_NAME as CONTENDERS
from contenders import Contender, Place
from contenders.contender import can
from growth import GROWTH, grown_contender
from objects import MARK, SMALL_SIZE, WARM, Sizes
from works import WORKS


@dataclass(frozen=True)
class Setting:
    """What a run is told.

    Attributes:
        case, contender: their names.
        place: where the objects are.
        sizes: how much is read.
        source: path of the file with all bytes.
        point: where on the scale, in a case about growth.
    """

    case: str
    contender: str
    place: Place
    sizes: Sizes
    source: str
    point: int = 0

    def as_json(self) -> str:
        """For the command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Setting:
        """The same again."""
        fields = json.loads(text)
        place, sizes = Place(**fields.pop("place")), Sizes(**fields.pop("sizes"))
        return cls(place=place, sizes=sizes, **fields)


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


class Usage:
    """CPU of this process and of the children that it has waited for."""

    def __init__(self) -> None:
        self._own = resource.getrusage(resource.RUSAGE_SELF)
        self._children = resource.getrusage(resource.RUSAGE_CHILDREN)

    def since(self, before: Usage) -> Iterator[tuple[str, float]]:
        """What was used between an earlier usage and this one."""
        for name, fields in {
            "user": ["ru_utime"],
            "system": ["ru_stime"],
            "minor_faults": ["ru_minflt"],
            "context_switches": ["ru_nvcsw", "ru_nivcsw"],
        }.items():
            pairs = [(self._own, before._own), (self._children, before._children)]
            yield (
                name,
                sum(
                    getattr(after, field) - getattr(earlier, field)
                    for after, earlier in pairs
                    for field in fields
                ),
            )


def make(setting: Setting) -> Contender:
    """The contender with its client."""
    case = CASES[setting.case]
    if case.alone:
        return grown_contender(case, setting.place, setting.point)
    return CONTENDERS[setting.contender](setting.place)


def measure(setting: Setting) -> dict[str, Any]:
    """Run and check one contender."""
    case = CASES[setting.case]
    kind = (WORKS | GROWTH)[case.work]
    # Imports the library, so that code does not count as memory.
    make(setting).close()
    destination = kind.prepare(case, setting.sizes)
    back_free_memory(case, setting.sizes)
    memory = Memory()
    contender = make(setting)
    expected = numpy.memmap(setting.source, dtype=numpy.uint8, mode="r")
    work = kind(contender, case, setting.sizes, expected)
    if case.points:
        work.point = setting.point  # type: ignore[attr-defined]
    warm_up(contender)
    work.ready(destination)
    before = Usage()
    begun = time.perf_counter()
    work.run()
    wall = time.perf_counter() - begun
    after = Usage()
    peak = memory.peak()
    mark(setting.place)
    work.check()
    contender.close()
    return {
        "wall": wall,
        **dict(after.since(before)),
        "extra_memory": max(0, peak - work.kept),
        "parts": work.parts,
        "version": contender.version(),
    }


def warm_up(contender: Contender) -> None:
    """Read an object that is not counted, if the contender reads objects at all."""
    if can(type(contender), "small"):
        contender.warm(WARM, memoryview(bytearray(SMALL_SIZE)))


def mark(place: Place) -> None:
    """Tell the server's log that the clocks have stopped."""
    context = ssl.create_default_context(cafile=place.authority) if place.authority else None
    urllib.request.urlopen(place.url(MARK), context=context).close()


if __name__ == "__main__":
    print(json.dumps(measure(Setting.from_json(sys.argv[1]))))
