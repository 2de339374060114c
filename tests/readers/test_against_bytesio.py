"""Whatever is done with a reader, in whatever order: ``io.BytesIO`` over the same bytes agrees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from make_readers import ranged, sequential
from reading import Reading, scale_down
from sources import ForeignSource, MemorySource, Source

KINDS = (bytes, bytearray, memoryview, "reused", "empty", lambda piece: np.frombuffer(piece, "u1"))


def machine(
    name: str,
    own: bool,
    make: Callable[[Source, int | None], Any],
    setting: int | None,
    scaled: bool = True,
) -> Any:
    class Machine(Reading):
        def open(self, data: bytes, chunk_size: int) -> tuple[Any, Source]:
            if scaled:
                scale_down()
            source: Source
            source = MemorySource(data, chunk_size) if own else Foreign(data, chunk_size)
            return make(source, setting), source

    Machine.__name__ = Machine.__qualname__ = name
    case = Machine.TestCase
    case.settings = settings(
        max_examples=60,
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    return case


class Foreign(ForeignSource):
    """Chunks of every kind in turn; pickles without its chunk types, which may be lambdas."""

    def __init__(self, data: bytes, chunk_size: int) -> None:
        super().__init__(data, chunk_size, KINDS)

    def __reduce__(self) -> Any:
        return Foreign, (self.data, self.chunk_size)


TestForeignSequential = machine("ForeignSequential", False, sequential, None)
TestForeignWindow = machine("ForeignWindow", False, sequential, 300)
TestForeignRanged = machine("ForeignRanged", False, ranged, None)
TestForeignSmallBuffer = machine("ForeignSmallBuffer", False, ranged, 64)
TestForeignUnbuffered = machine("ForeignUnbuffered", False, ranged, 0)
TestOwnSequential = machine("OwnSequential", True, sequential, None)
TestOwnSequentialAsShipped = machine("OwnSequentialAsShipped", True, sequential, None, False)
TestOwnWindow = machine("OwnWindow", True, sequential, 300)
TestOwnRanged = machine("OwnRanged", True, ranged, None)
TestOwnSmallBuffer = machine("OwnSmallBuffer", True, ranged, 64)
TestOwnUnbuffered = machine("OwnUnbuffered", True, ranged, 0)
