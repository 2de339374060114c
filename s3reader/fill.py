"""Filling: one range of an object straight into one destination, in parallel parts.

A part is one request; where one I/O loop is saturated, several share the parts (`crew`). Whoever
fills waits for all of them. Meanwhile, for it would only wait otherwise, it takes the checksum of
what has come already, of all parts in turn. Where the destination is new memory it first has the
system provide the pages, which takes longer than receiving the bytes.

The size of an object that is met for the first time is told by the first answer. A destination of
ordinary size waits for that with the other parts; for a large one they are sent at once, because
hardly anybody provides so much memory for an object that is much smaller: the time to the first
byte then passes once, not twice. A part past the object's end comes to nothing. Spares are offered
with them, so that a connection without a part, or done with it, relieves those that have long to
go.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from s3reader._ext.ranges import split

if TYPE_CHECKING:
    from s3reader._ext.destination import Destination
    from s3reader._ext.fetcher import Fetcher
    from s3reader._ext.transfer import Lane, Transfer

    from .source import ObjectSource

SURE_SIZE = 32 * 1024 * 1024
"""Bytes of a destination from which on the object is taken to be about as long."""

PIECE = 1024 * 1024
"""Bytes whose checksum is taken at once while more are on their way: small enough to be in the
processor's cache still."""

TOGETHER = 32
"""Parts whose checksums are taken in turn; a verifier remembers twice as many runs."""


FRESH_SIZE = 4 * 1024 * 1024
"""Bytes of new memory from which on to give it pages is worth another thread's being woken."""

PAGES = 2 * 1024 * 1024
"""Bytes that are given pages at once: less than a millisecond's work."""


class Filling:
    """One fill, begun and finished apart: whoever has other bytes to see to does that meanwhile.

    Args:
        source: the object; learns its size and version if they were not known.
        destination: takes all of the range.
        shift: from the object's offsets to the destination's, in bytes.
    """

    def __init__(self, source: ObjectSource, destination: Destination, shift: int) -> None:
        self._source = source
        self._session = source.session
        self._fetchers: dict[Lane, Fetcher] = {}  # each with a lane of its own
        self._destination = destination
        self._shift = shift  # from the object's offsets to the destination's
        self._parts: list[Transfer] = []
        self._spares: list[Transfer] = []
        self._fresh = False  # no pages are behind the destination yet

    def begin(self, start: int, stop: int) -> None:
        """Ask for bytes ``[start, stop)``, half-open; ``stop`` may lie past the object's end."""
        if self._source.size is not None:
            stop = min(stop, self._source.size)
        self._start, self._stop = start, max(start, stop)
        if start >= stop:
            return
        # Memory without pages is work for this thread; then the loop is for another.
        self._fresh = stop - start >= FRESH_SIZE and self._destination.is_fresh(
            start + self._shift, stop - start
        )
        crew = self._session.crew
        fetchers = crew.fetchers if stop - start >= SURE_SIZE else [crew.first]
        self._fetchers = {self._session.lane(self._source.counters): each for each in fetchers}
        self._watch = crew.watch(fetchers)
        size = self._session.part_size(stop - start)
        self._ranges = split(start, stop, size)
        try:
            if size > self._session.config.part_size:
                self._offer_spares()
            if self._source.size is not None or stop - start >= SURE_SIZE:
                asked, self._ranges = self._ranges, []
            else:
                asked, self._ranges = self._ranges[:1], self._ranges[1:]
            self._submit(asked)
        except BaseException:
            self.cancel()
            raise

    def finish(self) -> int:
        """Wait until all of it has come.

        Returns:
            One past the last byte that was fetched: ``stop``, or the object's end.

        Raises:
            S3Exception: the bytes could not be had; nothing is on its way any more.
        """
        if not self._fetchers:
            return self._stop
        try:
            if self._source.size is None:
                self._stop = self._meet(self._stop)
                self._submit([(first, min(last, self._stop)) for first, last in self._ranges])
            if self._fresh:
                self._prepare()
            self._verify(self._start, self._stop)
            self._wait()
            for part in (*self._parts, *self._spares):
                if part.failed:
                    raise part.error
                if part.settled:
                    self._source.learn(part.total, part.etag)
            self._count_spares()
        except BaseException:
            self.cancel()
            raise
        for lane, fetcher in self._fetchers.items():
            fetcher.recall(lane)
        self._watch.end()
        return self._stop

    def cancel(self) -> None:
        """Stop it: on return the destination is not written to any more."""
        for lane, fetcher in self._fetchers.items():
            fetcher.cancel(lane)

    def _wait(self) -> None:
        """Wait until all of it has come, or some of it failed."""
        for lane, fetcher in self._fetchers.items():
            fetcher.wait_settled(lane)

    def _prepare(self) -> None:
        """Have pages for what is about to arrive, in the order in which it does."""
        done = 0
        while done < len(self._parts):
            first = self._parts[done]
            length = self._reach(first)
            together = self._fetchers[first.lane].width(length) * len(self._fetchers)
            for at in range(0, length, PAGES):
                for part in self._parts[done : done + together]:
                    if part.failed:
                        return
                    reached: int = part.received
                    if reached and at < reached + PAGES:
                        continue  # the loop is there and makes them itself: two make many twice
                    count = min(PAGES, self._reach(part) - at)
                    if count > 0 and not part.settled:
                        self._destination.prepare((part.start or 0) + at + self._shift, count)
            done += together

    def _reach(self, part: Transfer) -> int:
        """How many bytes a part is to bring."""
        return min(part.stop or 0, self._stop) - (part.start or 0)

    def _offer_spares(self) -> None:
        signed = self._session.signer.sign(self._source.request)
        for lane, fetcher in self._fetchers.items():
            spares = [
                self._source.transfer(lane, 0, 0, destination=self._destination)
                for _ in range(math.ceil(fetcher.max_connections / len(self._fetchers)))
            ]
            for spare in spares:
                spare.sign(signed)
            self._spares += spares
            fetcher.offer(spares)

    def _count_spares(self) -> None:
        for spare in self._spares:
            if spare.settled:
                for counters in (self._source.counters, self._session.counters):
                    counters.count_request("GetObject")

    def _submit(self, ranges: list[tuple[int, int]]) -> None:
        """Ask for ranges; those of no bytes are left out."""
        ranges = [each for each in ranges if each[0] < each[1]]
        shares: list[list[Transfer]] = [[] for _ in self._fetchers]
        lanes = list(self._fetchers)
        for index, (start, stop) in enumerate(ranges):
            share = index % len(lanes)
            part = self._source.transfer(
                lanes[share],
                start,
                stop,
                destination=self._destination,
                offset=start + self._shift,
            )
            shares[share].append(part)
            self._parts.append(part)
        # The first is waited for first, so this thread may run its loop; the others run by
        # themselves meanwhile.
        for index in reversed(range(len(lanes))):
            if shares[index]:
                fetcher = self._fetchers[lanes[index]]
                self._session.submit(
                    fetcher, shares[index], attended=index == 0 and not self._fresh
                )

    def _meet(self, stop: int) -> int:
        """Learn what the object is from its first part; returns where the range ends in it."""
        first = self._parts[0]
        self._fetchers[first.lane].wait_head(first)
        if first.failed:
            raise first.error
        self._source.learn(first.total, first.etag)
        assert first.start is not None
        assert self._source.size is not None
        return min(stop, max(first.start, self._source.size))

    def _verify(self, start: int, stop: int) -> None:
        """Hold the bytes to the object's checksum, those of CRCs while others still come."""
        verifier = self._source.verifier
        first = self._parts[0]
        if verifier.active and not verifier.in_order:
            self._verify_arriving()
            return
        if not verifier.active and first.stop is not None and first.stop < stop:
            return  # an answer to a part of an object does not tell the object's checksum
        self._wait()
        # A part that was relieved is done where the spare began.
        whole = all(part.done for part in self._parts) and not any(
            spare.failed for spare in self._spares
        )
        if whole and (verifier.active or verifier.told_by(first)):
            self._take(start, stop)

    def _verify_arriving(self) -> None:
        """Take the CRC of what has come, a piece of each part in turn."""
        parts = self._parts
        taken = [part.start or 0 for part in parts]
        first = 0
        while first < len(parts):
            moved = False
            for index in range(first, min(first + TOGETHER, len(parts))):
                part = parts[index]
                settled = part.settled  # looked at before how much has come
                begin, end = taken[index], (part.start or 0) + part.received
                if end - begin >= (1 if settled else PIECE):
                    taken[index] = min(end, begin + PIECE)
                    self._take(begin, taken[index])
                    moved = True
            if moved:
                continue
            part = parts[first]
            if part.failed:
                return
            if part.settled:
                # It may have settled since it was looked at: then its last bytes come next.
                first += taken[first] == (part.start or 0) + part.received
            else:
                upto = taken[first] - (part.start or 0) + PIECE
                self._fetchers[part.lane].wait_received(part, upto)
        self._wait()
        for spare in self._spares:
            if spare.done:
                self._take(spare.start or 0, spare.stop or 0)

    def _take(self, start: int, stop: int) -> None:
        # Released at once, exceptions or not: nothing may look at the buffer after the call.
        with (
            memoryview(self._destination) as received,
            received[start + self._shift : stop + self._shift] as view,
        ):
            self._source.verifier.take(start, view)
