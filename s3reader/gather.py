"""Gathering: many ranges of many objects, each byte straight to its place, told as they come.

Whoever gathers says what is wanted as parts, one request each, and is asked for a part's places
just before it is sent. Parts of all objects are on their way together, as many as keep the
connections busy. What has come of them is told piece by piece, of all parts in turn, so that it can
be looked at while it is in the processor's cache and the rest is on its way. When the last part is
sent, connections without one relieve those that have long to go (see ``s3reader._ext.relief``).
Memory belongs to the caller, who may hold a part back until there is some.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from s3reader._ext.scatter import Scatter
from s3reader._ext.transfer import Lane, Transfer

from .errors import IncompleteDataError, S3Exception

if TYPE_CHECKING:
    from s3reader._ext.fetcher import Fetcher

    from .session import Session
    from .source import ObjectSource

PARTS_PER_CONNECTION = 3
"""Parts on their way for each connection: one running, and enough behind it that the I/O thread
finds work while the caller is busy with what came."""

PIECE = 4 * 1024 * 1024
"""Bytes of a part that are told at once, at least, while more of it is on its way."""


@dataclass(eq=False)
class Part:
    """One request: bytes ``[start, stop)`` of an object.

    Args:
        source: the object.
        start, stop: half-open, in bytes; not empty.
        items: whatever the caller wants to find there.
        missing: bytes that have not been told yet; kept by `gather`.
    """

    source: ObjectSource
    start: int
    stop: int
    items: list[Any] = field(default_factory=list)
    missing: int = 0


Place = Callable[[Part, bool], "Scatter | None"]
"""Gives the places of a part's bytes, or None to be asked again when others have come. The second
argument says that nothing else is on its way, so that waiting would not help."""

Piece = tuple[Part, int, int]
"""A part and of its bytes ``[start, stop)``."""


def gather(session: Session, parts: Iterable[Part], place: Place) -> Generator[Piece, None, None]:
    """Fetch ``parts``; tell each of their bytes once, when it is in its place.

    What is on its way is cancelled when the generator is closed, and when anything raises. The
    part that failed is then the exception's ``part``.

    Raises:
        S3Exception: bytes could not be had, or the object is shorter or another than it was.
    """
    return _Gathering(session, place).run(parts)


@dataclass(eq=False, slots=True)
class _Flight:
    """A part on its way; ``told`` of its transfer's bytes the caller knows of."""

    part: Part
    transfer: Transfer
    told: int = 0


class _Gathering:
    def __init__(self, session: Session, place: Place) -> None:
        self._session = session
        self._place = place
        self._lanes = _Lanes(session)
        self._running: dict[_Flight, None] = {}  # in the order in which they are sent
        self._spares: list[Transfer] = []
        self._sent = 0
        self._most = session.fetcher.max_connections

    def run(self, parts: Iterable[Part]) -> Generator[Piece, None, None]:
        waiting = iter(parts)
        following = next(waiting, None)
        part = following
        window = PARTS_PER_CONNECTION * self._most
        try:
            watch = self._session.crew.watch(self._lanes.fetchers)
            while self._running or following is not None:
                started = []
                while following is not None and len(self._running) < window:
                    scatter = self._place(following, not self._running)
                    if scatter is None:
                        break
                    started.append(self._take_off(following, scatter))
                    following = next(waiting, None)
                if not self._running:
                    raise RuntimeError("a part was held back although nothing is on its way")
                self._lanes.submit(started, next(iter(self._running)).transfer)
                if following is None and started:
                    self._offer_spares()
                told = False
                # Those behind are not sent yet, or have hardly begun.
                for flight in list(itertools.islice(self._running, 2 * self._most)):
                    part = flight.part
                    for start, stop in self._arrived(flight):
                        part.missing -= stop - start
                        told = True
                        yield part, start, stop
                    if not part.missing and flight.transfer.settled:
                        del self._running[flight]
                if not told:
                    self._wait()
            watch.end()
        except S3Exception as error:
            if part is not None and not hasattr(error, "part"):
                error.part = part  # type: ignore[attr-defined]
            raise
        finally:
            self._lanes.cancel()
            # A traceback may keep the transfers: the caller's memory is not theirs any more.
            for flight in self._running:
                if flight.transfer.scatter is not None:
                    flight.transfer.scatter.release()

    def _take_off(self, part: Part, scatter: Scatter) -> Transfer:
        part.missing = part.stop - part.start
        lane = self._lanes.next_of(part.source)
        transfer = _transfer(self._session, lane, part.source, part.start, part.stop, scatter)
        for counters in (part.source.counters, self._session.counters):
            counters.count_requested(part.missing)
        self._running[_Flight(part, transfer)] = None
        self._sent += 1
        return transfer

    def _offer_spares(self) -> None:
        """Have connections that come free help with what runs longest.

        Not where there are fewer parts than connections, or none larger than a client's usual
        ones: whoever cut them so wants no more requests than that.
        """
        if self._sent < self._most:
            return
        usual = self._session.config.part_size
        long = [each for each in self._running if each.part.missing > usual]
        for flight in long[-self._most :]:
            source, lane = flight.part.source, flight.transfer.lane
            spare = _transfer(self._session, lane, source, 0, 0, None)
            spare.sign(self._session.signer.sign(source.request))
            self._lanes.fetcher_of(spare).offer([spare])
            self._spares.append(spare)

    def _arrived(self, flight: _Flight) -> Generator[tuple[int, int], None, None]:
        """What has come of a part since it was looked at last.

        Raises:
            S3Exception: the part failed.
        """
        part, transfer = flight.part, flight.transfer
        settled = transfer.settled  # looked at before how much has come
        received = transfer.received
        if transfer.failed:
            raise transfer.error
        if settled and not transfer.done:
            self._lanes.fetcher_of(transfer).wait_done(transfer)  # says why it was cancelled
        if settled or (received and not flight.told):
            _check(part, transfer)
        if received - flight.told >= (1 if settled else PIECE):
            start, flight.told = part.start + flight.told, received
            yield start, part.start + received
        if not settled or not part.missing:
            return
        for spare in self._spares_of(flight):
            self._spares.remove(spare)
            for counters in (part.source.counters, self._session.counters):
                counters.count_request("GetObject")
            if spare.failed:
                raise spare.error
            _check(part, spare)
            yield spare.start or 0, spare.stop or 0

    def _spares_of(self, flight: _Flight) -> list[Transfer]:
        """Those that relieved a part and have come to their end."""
        part = flight.part
        return [
            spare
            for spare in self._spares
            if spare.settled
            and spare.lane is flight.transfer.lane
            and part.start <= (spare.start or 0) < part.stop
        ]

    def _wait(self) -> None:
        """Until something has come, or a part has settled."""
        for flight in self._running:
            transfer = flight.transfer
            if not transfer.settled:
                fetcher = self._lanes.fetcher_of(transfer)
                fetcher.wait_received(transfer, flight.told + PIECE)
                return
        for flight in self._running:  # what is missing is with spares
            self._lanes.fetcher_of(flight.transfer).wait_settled(flight.transfer.lane)


class _Lanes:
    """A lane of each object at each of the session's fetchers, which take parts in turn."""

    def __init__(self, session: Session) -> None:
        self.fetchers = session.crew.fetchers
        self._session = session
        self._lanes: dict[tuple[ObjectSource, int], Lane] = {}
        self._fetchers: dict[Lane, Fetcher] = {}
        self._turn = 0

    def next_of(self, source: ObjectSource) -> Lane:
        """A lane of the object at the fetcher whose turn it is."""
        self._turn = (self._turn + 1) % len(self.fetchers)
        lane = self._lanes.get((source, self._turn))
        if lane is None:
            lane = self._lanes[source, self._turn] = self._session.lane(source.counters)
            self._fetchers[lane] = self.fetchers[self._turn]
        return lane

    def fetcher_of(self, transfer: Transfer) -> Fetcher:
        """The fetcher that carries a transfer out."""
        return self._fetchers[transfer.lane]

    def submit(self, transfers: list[Transfer], awaited: Transfer) -> None:
        """Start transfers, each at its fetcher; this thread waits for ``awaited`` next."""
        waits = self.fetcher_of(awaited)
        for fetcher in self.fetchers:
            own = [each for each in transfers if self.fetcher_of(each) is fetcher]
            if own:
                self._session.submit(fetcher, own, attended=fetcher is waits)

    def cancel(self) -> None:
        """Stop all transfers."""
        for lane, fetcher in self._fetchers.items():
            fetcher.cancel(lane)


def _transfer(
    session: Session,
    lane: Lane,
    source: ObjectSource,
    start: int,
    stop: int,
    scatter: Scatter | None,
) -> Transfer:
    return Transfer(
        lane,
        source.request,
        session.pool,
        start,
        stop,
        etag=source.etag or "",
        total=source.size,
        scatter=scatter,
    )


def _check(part: Part, transfer: Transfer) -> None:
    """Raise unless a transfer is of the version that is read, and that has all of the part."""
    source = part.source
    source.learn(transfer.total, transfer.etag)
    if transfer.total is not None and transfer.total < part.stop:
        raise IncompleteDataError(
            f"GetObject s3://{source.bucket}/{source.key} bytes {part.start}-{part.stop - 1}: the "
            f"object has only {transfer.total} bytes.",
            bucket=source.bucket,
            key=source.key,
            operation="GetObject",
            range=(part.start, part.stop),
        )
