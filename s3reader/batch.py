"""A batch: many objects on their way together, handed out in order or as they come.

Actors: whoever iterates takes objects out and with that lets others follow, as many ahead as keep
the connections busy and the byte budget allows; the I/O thread carries out (see
``s3reader._ext.fetcher``); the session's supervising thread decides about what went wrong, as for
every other transfer.

An object is asked for with one request, of its first bytes up to a limit that is a part's size
unless many parts would exceed the memory: the answer tells its size, and of those that are larger
the rest is fetched in parallel parts. Small objects, which are what batches are for, have come
whole by then.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING

from s3reader._ext.counters import Counters
from s3reader._ext.destination import Destination
from s3reader._ext.ranges import split
from s3reader._ext.transfer import Transfer

from .fetched import FetchedObject
from .integrity import Verifier
from .shortage import ObjectTooLargeError
from .wanted import Pairs, Wanted

if TYPE_CHECKING:
    from .placement import Placement
    from .selection import Selected
    from .session import Session

AHEAD_PER_CONNECTION = 4
"""Objects on their way or waiting to be handed out, for each connection: one running, and enough
besides that the others go on while a slow one holds up the order."""

LEAST_AHEAD = 32
"""Objects ahead where there are few connections."""

TOGETHER = 1e-3
"""Seconds: objects that come within so long are waited for together."""

SMALLEST_FIRST = 64 * 1024
"""Bytes of an object that are asked for first, at least, however little memory there is."""


class Batch(Iterator[FetchedObject]):
    """Objects read together; made by `S3Client.read_many`. Belongs to one thread at a time.

    Args:
        session: carries out the requests.
        selection: the objects.
        placement: where their bytes go.
        ordered: hand them out in the order of the selection, not as they come.
        raising: raise an object's error when it is its turn, rather than hand it out.
        query, headers: what each request adds.
        asks: whether checksums are to be verified.
    """

    def __init__(
        self,
        session: Session,
        selection: Iterable[Selected],
        placement: Placement,
        *,
        ordered: bool,
        raising: bool,
        query: Pairs,
        headers: Pairs,
        asks: bool,
    ) -> None:
        self._session = session
        self._selection = iter(selection)
        self._placement = placement
        self._ordered = ordered
        self._raising = raising
        self._query = query
        self._headers = headers
        self._asks = asks
        self._counters = Counters()
        self._exhausted = False
        self._selection_error: Exception | None = None
        self._count = 0  # objects that were asked for
        self._waited = 0.0  # monotonic time of the latest wait's end
        self._enough = 1  # transfers to wait for
        self._turn = 0  # the object to be handed out next, in order
        self._held: dict[int, Wanted] = {}  # asked for and not handed out
        self._complete: dict[int, Wanted] = {}  # of those, the ones that can be
        self._large: deque[Wanted] = deque()  # of those, the ones that wait for memory
        self._connect()
        self._closed = False

    def _connect(self) -> None:
        """Work with this process's fetcher."""
        session = self._session
        self._fetcher = session.fetcher
        self._lane = session.lane(self._counters, collects=True)
        self._budget = session.budget
        self._ahead = max(LEAST_AHEAD, AHEAD_PER_CONNECTION * self._fetcher.max_connections)
        # Half of the memory, so that there is some for the rest of larger objects.
        share = session.config.memory_limit // (2 * self._ahead)
        self._first_size = min(session.config.part_size, max(SMALLEST_FIRST, share))

    def __iter__(self) -> Batch:
        return self

    def __next__(self) -> FetchedObject:
        """The next object.

        Raises:
            S3Exception: it could not be had, and errors are raised; the batch is closed.
        """
        if self._closed:
            raise StopIteration
        try:
            wanted = self._next_complete()
            if wanted is not None:
                return self._hand_out(wanted)
            if self._selection_error is not None:
                raise self._selection_error
        except BaseException:
            self.close()
            raise
        self.close()
        raise StopIteration

    def close(self) -> None:
        """Cancel what is on its way and let go of all memory. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._fetcher.cancel(self._lane)
        for wanted in self._held.values():
            self._release(wanted)
        self._placement.close()
        self._held.clear()
        self._complete.clear()
        self._large.clear()

    def __enter__(self) -> Batch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            self.close()

    def __reduce__(self) -> str:
        raise TypeError("objects on their way cannot be pickled: pickle the client and the keys")

    # What is on its way.

    def _next_complete(self) -> Wanted | None:
        """The object whose turn it is, complete; None when all were handed out."""
        if self._session.fetcher is not self._fetcher:
            self._start_again()
        while True:
            if self._ordered:
                wanted = self._complete.pop(self._turn, None)
            else:
                wanted = self._complete.pop(next(iter(self._complete), -1), None)
            # Several at once: each submission wakes the I/O thread.
            if len(self._held) <= 3 * self._ahead // 4 or wanted is None:
                self._top_up(attended=wanted is None)
            if wanted is not None:
                self._turn += 1
                return wanted
            if not self._held:
                return None
            self._wait()

    def _wait(self) -> None:
        """Wait for objects; for several at once where they come fast, since each wait costs."""
        settled = self._fetcher.wait_some(self._lane, self._enough)
        for transfer in settled:
            self._settled(transfer)
        now = time.monotonic()
        come = len(settled) * TOGETHER / max(now - self._waited, 1e-6)
        self._enough = max(1, min(self._ahead // 4, int(come)))
        self._waited = now

    def _top_up(self, attended: bool) -> None:
        """Have as much on its way as there may be; ``attended`` if this thread waits next."""
        self._fetch_large(attended)
        started = []
        while not self._exhausted and len(self._held) < self._ahead:
            budgeted = 0 if self._placement.placed else self._first_size
            # One object is fetched whatever the budget says.
            if budgeted and not self._budget.take(budgeted, not self._held):
                break
            try:
                selected = next(self._selection)
                place = self._placement.place(self._count)
            except Exception as error:
                self._budget.give(budgeted)
                self._exhausted = True
                # Its turn comes after the objects that were named before.
                self._selection_error = None if isinstance(error, StopIteration) else error
                break
            except BaseException:
                self._budget.give(budgeted)
                raise
            wanted = Wanted(selected, self._count, self._query, self._headers, place)
            wanted.budgeted = budgeted
            self._held[self._count] = wanted
            self._count += 1
            started.append(self._first_transfer(wanted))
        if started:
            self._session.submit(self._fetcher, started, attended=attended)

    def _first_transfer(self, wanted: Wanted) -> Transfer:
        selected, place, info = wanted.selected, wanted.place, wanted.selected.info
        start = selected.start
        stop = start + self._first_size
        if selected.stop is not None and selected.stop < stop:
            stop = selected.stop
        destination, offset = None, 0
        if place is not None:
            # Where there is no room, a byte tells that the object is not empty.
            stop = min(stop, start + max(1, place.room))
            if place.room:
                destination, offset = place.destination, place.offset
        wanted.left = 1
        wanted.first = Transfer(
            self._lane,
            wanted,
            self._session.pool,
            start,
            stop,
            destination=destination,
            offset=offset,
            etag=info.etag if info is not None and info.etag.startswith('"') else "",
            # Of a range past the end the answer tells a size, but not of what object.
            total=info.size if info is not None and info.size > start else None,
        )
        return wanted.first

    def _settled(self, transfer: Transfer) -> None:
        """Take note of a transfer that is done or failed."""
        wanted: Wanted = transfer.request
        wanted.left -= 1
        if transfer.failed:
            wanted.error = wanted.error or transfer.error
        elif transfer is wanted.first:
            wanted.error = wanted.misfit()
            if wanted.error is None and transfer.stop != wanted.end:
                wanted.left += 1  # for the rest, until it is on its way
                self._large.append(wanted)
        if not wanted.left:
            self._complete[wanted.index] = wanted

    def _fetch_large(self, attended: bool) -> None:
        """Ask for the rest of the objects that are larger than what was asked for first."""
        for wanted in list(self._large):
            if self._fetch_rest(wanted, attended):
                self._large.remove(wanted)

    def _fetch_rest(self, wanted: Wanted, attended: bool) -> bool:
        """Ask for the rest of an object; False where there is no memory for it."""
        first, place = wanted.first, wanted.place
        assert first is not None
        assert first.start is not None
        assert first.stop is not None
        if place is not None:
            destination, shift = place.destination, place.offset - first.start
        else:
            rest = wanted.end - first.stop
            # Whoever waits for this very object, or for nothing else, must go on.
            needed = self._ordered and wanted.index == self._turn
            needed = needed or len(self._large) == len(self._held)
            if not self._budget.take(rest, needed):
                return False
            wanted.budgeted += rest
            try:
                memory = wanted.allocate()
            except ObjectTooLargeError as error:
                wanted.error = error
                wanted.left = 0
                self._complete[wanted.index] = wanted
                return True
            destination, shift = Destination(memory), -first.start
        parts = [
            Transfer(
                self._lane,
                wanted,
                self._session.pool,
                start,
                stop,
                destination=destination,
                offset=start + shift,
                etag=first.etag,
                total=first.total,
            )
            for start, stop in split(first.stop, wanted.end, self._session.config.part_size)
        ]
        wanted.left += len(parts) - 1
        self._session.submit(self._fetcher, parts, attended=attended)
        return True

    def _start_again(self) -> None:
        """After a fork: what was on its way is the parent's, and is asked for again here."""
        self._fetcher.cancel(self._lane)
        self._connect()
        self._large.clear()
        again = []
        for wanted in self._held.values():
            wanted.signed = None
            if wanted.index not in self._complete:
                wanted.error = wanted.memory = None
                wanted.budgeted = min(wanted.budgeted, self._first_size)
                again.append(self._first_transfer(wanted))
            self._budget.take(wanted.budgeted, True)
        self._session.submit(self._fetcher, again)

    # Handing out.

    def _hand_out(self, wanted: Wanted) -> FetchedObject:
        del self._held[wanted.index]
        first = wanted.first
        assert first is not None
        try:
            if wanted.error is None:
                return self._fetched(wanted, first)
        except Exception as error:
            wanted.error = error
        finally:
            self._release(wanted)
        if self._raising:
            raise wanted.error
        bucket, key = wanted.selected[:2]
        return FetchedObject(bucket, key, wanted.index, error=wanted.error)

    def _fetched(self, wanted: Wanted, first: Transfer) -> FetchedObject:
        count = wanted.end - wanted.selected.start
        place = wanted.place
        offset: int | None = None
        if place is not None:
            view, offset = place.view(count), place.offset
        elif wanted.memory is not None:
            view = memoryview(wanted.memory).toreadonly()
        else:
            view = first.view(0, count)
        verified = self._asks and first.tells_checksum and _verify(wanted, first, view)
        if place is None:
            try:
                view, offset = self._placement.settle(view)
            except ValueError as error:
                raise wanted.no_room(str(error)) from None
        self._counters.count_requested(count)
        self._session.counters.count_requested(count)
        return FetchedObject(
            wanted.bucket,
            wanted.selected.key,
            wanted.index,
            view,
            first.total,
            first.etag or None,
            offset,
            verified,
            first.head,
        )

    def _release(self, wanted: Wanted) -> None:
        """Nothing is written for this object any more: give back what it holds."""
        self._budget.give(wanted.budgeted)
        wanted.budgeted = 0
        if wanted.place is not None:
            self._placement.release(wanted.place)
        # The transfer refers to what it is part of: end the cycle, so that the memory goes back.
        wanted.first = wanted.place = wanted.memory = None


def _verify(wanted: Wanted, first: Transfer, view: memoryview) -> bool:
    verifier = Verifier(wanted.bucket, wanted.selected.key)
    if not verifier.told_by(first):
        return False
    verifier.take(0, view)
    return verifier.integrity.verified == "whole"
