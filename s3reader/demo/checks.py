"""What was read, compared with its source, and what reading it took."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Stage:
    """One row of the table: `what` was read with which `reader`; bytes, requests and retries as
    the readers counted them; `seconds` it took, everything else the stage does included."""

    what: str
    reader: str
    bytes: int = 0
    requests: int = 0
    retries: int = 0
    seconds: float = 0.0

    def count(self, stats: Mapping[str, Any]) -> None:
        """Add what a reader's ``stats()`` say."""
        self.bytes += stats["bytes_received"]
        self.requests += sum(stats["requests"].values())
        self.retries += sum(stats["retries"].values())


@dataclass
class Checks:
    """Stages so far, bytes compared so far, and every difference found, in words."""

    stages: list[Stage] = field(default_factory=list)
    compared: int = 0
    differences: list[str] = field(default_factory=list)

    @contextmanager
    def stage(self, what: str, reader: str) -> Iterator[Stage]:
        """A row of the table, timed from here to the end of the ``with``."""
        stage = Stage(what, reader)
        self.stages.append(stage)
        began = time.perf_counter()
        yield stage
        stage.seconds = time.perf_counter() - began

    def compare(self, name: str, start: int, read: Any, source: bytes) -> None:
        """Compare `read`, the bytes of object `name` from offset `start` on, with `source`, the
        whole object."""
        found = memoryview(read).cast("B")
        expected = memoryview(source)[start : start + len(found)]
        self.compared += len(found)
        if found == expected:
            return
        if len(found) != len(expected):
            self.differences.append(
                f"{name}: {len(found)} bytes read at offset {start}, where the source has "
                f"{len(expected)}"
            )
            return
        at = next(i for i, (a, b) in enumerate(zip(found, expected, strict=True)) if a != b)
        self.differences.append(
            f"{name}: byte {start + at} is {found[at]:#04x}, in the source {expected[at]:#04x}"
        )

    def expect(self, condition: bool, otherwise: str) -> None:
        """Note `otherwise` as a difference unless `condition` holds."""
        if not condition:
            self.differences.append(otherwise)
