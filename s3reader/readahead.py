"""Parts of an object fetched ahead of whoever reads it, in order, into pooled chunks.

How far ahead is a window that begins small, because a reader may stop after its first bytes, and
doubles with each part that the reader had to wait for, until there is a part for each connection
that the fetcher uses for long reads. It stays as it is where nothing is gained by more: while the
reader is slower than what comes, and while what comes reaches the client's throughput target. The
fewer chunks there are, the warmer is their memory. The client's byte budget bounds the window too,
but never below the part that is read next.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from s3reader._ext.fetcher import Fetcher
    from s3reader._ext.transfer import Lane, Transfer

    from .source import ObjectSource

FIRST_WINDOW = 2
"""Parts on their way when a stream begins."""


class ReadAhead:
    """The parts of one stream that are on their way or received and not handed out yet.

    Args:
        source: the object.
    """

    def __init__(self, source: ObjectSource) -> None:
        self.parts: deque[Transfer] = deque()
        """In order and adjoining; the first one holds the reader's position."""
        self._source = source
        self._fetcher: Fetcher | None = None
        self._lane: Lane | None = None
        self._budget = source.session.budget
        self._taken: deque[int] = deque()  # bytes of the budget that each part holds
        self._window = FIRST_WINDOW
        self._target = source.session.config.throughput_target_gbps * 1e9 / 8  # bytes a second
        self._waited = False
        self._since = 0.0  # monotonic time the first part was asked for
        self._handed = 0  # bytes of the parts since then that were handed out

    def renew(self) -> bool:
        """Work with this process's fetcher; True if parts of a parent's were lost to a fork."""
        fetcher = self._source.session.fetcher
        if fetcher is self._fetcher:
            return False
        lost = bool(self.parts)
        self.drop()
        self._fetcher = fetcher
        self._budget = self._source.session.budget
        return lost

    def locate(self, suffix: int, attended: bool) -> None:
        """Have the object's last ``suffix`` bytes on their way: the answer tells where they are.

        Args:
            suffix: a number of bytes.
            attended: the calling thread waits next.
        """
        if not self.parts:
            self._budget.take(suffix, True)
            self._start([(None, suffix)], attended)

    def top_up(self, position: int, end: int | None, attended: bool) -> None:
        """Have the parts from ``position`` on on their way, as far as window and budget go.

        Args:
            position: where the first part begins, if there is none yet.
            end: where the stream ends; None for the object's end.
            attended: the calling thread waits next.
        """
        source = self._source
        part_size = source.session.config.part_size
        if source.size is None:
            # One part is sent ahead: its answer tells how long the object is.
            stop = position + part_size if end is None else min(position + part_size, end)
            if not self.parts and stop > position:
                self._budget.take(stop - position, True)
                self._start([(position, stop)], attended)
            return
        limit = source.size if end is None else min(end, source.size)
        begin = self.parts[-1].stop if self.parts else position
        assert begin is not None
        wanted: list[tuple[int | None, int]] = []
        while len(self.parts) + len(wanted) < self._window and begin < limit:
            stop = min(begin + part_size, limit)
            # The part that is read next is needed whatever the budget says.
            if not self._budget.take(stop - begin, not self.parts and not wanted):
                break
            wanted.append((begin, stop))
            begin = stop
        if wanted:
            self._start(wanted, attended)

    def _start(self, ranges: list[tuple[int | None, int]], attended: bool) -> None:
        """Submit parts whose bytes were taken from the budget."""
        session = self._source.session
        if not self._handed and not self.parts:
            self._since = time.monotonic()
        self._taken.extend(stop - (start or 0) for start, stop in ranges)
        if self._lane is None:
            self._lane = session.lane(self._source.counters)
        assert self._fetcher is not None
        parts = [self._source.transfer(self._lane, start, stop) for start, stop in ranges]
        self.parts.extend(parts)
        session.submit(self._fetcher, parts, attended=attended)

    def wait_head(self) -> None:
        """Wait until the first part's answer begins, or it is settled."""
        assert self._fetcher is not None
        part = self.parts[0]
        self._waited |= not part.head_known
        self._fetcher.wait_head(part)

    def wait(self, upto: int) -> None:
        """Wait until ``upto`` bytes of the first part have come, or it is settled."""
        assert self._fetcher is not None
        part = self.parts[0]
        self._waited |= part.received < upto
        self._fetcher.wait_received(part, upto)

    def retire(self) -> None:
        """Let go of the first part, all of which was handed out, and look further ahead."""
        assert self._fetcher is not None
        self.parts.popleft()
        length = self._taken.popleft()
        self._budget.give(length)
        self._handed += length
        most = self._fetcher.width(length) + 1
        if self._waited and self._window < most:
            came = self._handed + sum(part.received for part in self.parts)
            if came < self._target * (time.monotonic() - self._since):
                self._window = min(2 * self._window, most)
        self._waited = False

    def drop(self) -> None:
        """Cancel what is on its way and give the memory back."""
        lane, self._lane = self._lane, None
        if lane is not None and self._fetcher is not None:
            self._fetcher.cancel(lane)
        self.parts.clear()
        self._budget.give(sum(self._taken))
        self._taken.clear()
        self._handed = 0
        self._window = FIRST_WINDOW
