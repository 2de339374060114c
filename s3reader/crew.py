"""The crew: a client's fetchers in this process, more than one when one I/O loop is saturated.

One fetcher moves several gigabytes a second, about half of that with TLS, and uses one processor
for it. Where a long read keeps it busy nearly all the time, connections cannot come faster; from
then on long reads are shared out to one fetcher more, as long as that keeps them busy, and to at
most half of the processors this process may use: the others are for what the bytes are read for.
The connections are shared out with the reads, so there are not more of them.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from s3reader._ext.fetcher import Fetcher

SATURATED = 0.9
"""Share of the time in which a fetcher that moves bytes is busy, from which on it is the limit."""

SUPERFLUOUS = 0.6
"""The same for what each would have, were there one less, below which there is one too many."""

LONG = 0.1
"""Seconds of a read that its load is told from: shorter ones are mostly waits for first bytes."""


def _most_fetchers() -> int:
    try:
        usable = len(os.sched_getaffinity(0))
    except AttributeError:  # only Linux has it
        usable = os.cpu_count() or 1
    return max(1, usable // 2)


class Crew:
    """The fetchers of one session in one process.

    Args:
        make: makes a fetcher.
        connections: at once, of all fetchers together.
    """

    def __init__(self, make: Callable[[], Fetcher], connections: int) -> None:
        self.first = make()
        """Does everything but long reads by itself."""
        self._make = make
        self._connections = connections
        self._fetchers = [self.first]
        self._active = 1
        self._most = min(_most_fetchers(), connections)
        self._closed = False
        self._lock = threading.Lock()

    @property
    def fetchers(self) -> list[Fetcher]:
        """Those that a long read is shared out to, one at least."""
        return self._fetchers[: self._active]

    def watch(self, fetchers: list[Fetcher]) -> Watch:
        """Watch these fetchers at a long read, which begins: their load says how many the next one
        takes."""
        return Watch(self, fetchers)

    def note(self, loads: list[float]) -> None:
        """Take note of the share of the time in which each fetcher was busy with a long read."""
        with self._lock:
            if self._closed or len(loads) != self._active:
                return  # of another number of them: says nothing about this one
            if self._active < self._most and min(loads) >= SATURATED:
                if len(self._fetchers) == self._active:
                    self._fetchers.append(self._make())
                self._active += 1
            elif self._active > 1 and sum(loads) < SUPERFLUOUS * (self._active - 1):
                self._active -= 1
            else:
                return
            share = math.ceil(self._connections / self._active)
            for fetcher in self._fetchers:
                fetcher.share(share)

    def close(self) -> None:
        """Stop all transfers and the threads."""
        with self._lock:
            self._closed = True
        for fetcher in self._fetchers:
            fetcher.close()


class Watch:
    """Measures how busy fetchers are at one read."""

    def __init__(self, crew: Crew, fetchers: list[Fetcher]) -> None:
        self._crew = crew
        self._fetchers = fetchers
        self._began = time.monotonic()
        self._busy = [fetcher.busy for fetcher in fetchers]

    def end(self) -> None:
        """The read is over, and nothing went wrong."""
        elapsed = time.monotonic() - self._began
        if elapsed >= LONG:
            ends = zip(self._fetchers, self._busy, strict=True)
            self._crew.note([(fetcher.busy - before) / elapsed for fetcher, before in ends])
