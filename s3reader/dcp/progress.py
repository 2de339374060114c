"""A bar on the terminal: bytes, rate, time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

Report = Callable[[int, int], object]
"""Called with the bytes that are there and the bytes that will be."""

INTERVAL = 0.2
"""Seconds between two updates: often enough to look alive, seldom enough for a log."""


class Bar:
    """Writes one line again and again, and ends it when all bytes are there."""

    def __init__(self, title: str, stream: TextIO | None = None) -> None:
        self._title = title
        self._stream = stream or sys.stderr
        self._begun = time.monotonic()
        self._shown = 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if done < total and now - self._shown < INTERVAL:
            return
        self._shown = now
        self._stream.write(f"\r{self._line(done, total, now - self._begun)}")
        if done >= total:
            self._stream.write("\n")
        self._stream.flush()

    def _line(self, done: int, total: int, seconds: float) -> str:
        share = done / total if total else 1.0
        filled = int(24 * share)
        rate = done / seconds if seconds > 0 else 0.0
        left = (
            f"{(total - done) / rate:.0f} s left" if rate and done < total else f"{seconds:.1f} s"
        )
        return (
            f"{self._title} [{'#' * filled}{'.' * (24 - filled)}] {share:4.0%} "
            f"{done / 1e9:.2f}/{total / 1e9:.2f} GB {rate / 1e9:.2f} GB/s {left}    "
        )
