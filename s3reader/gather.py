"""Gathering: many ranges of many objects, each byte straight to its place, finished in order.

Whoever gathers says what is wanted as parts, one request each, and is asked for a part's places
just before it is sent. Parts of all objects are on their way together, as many as keep the
connections busy; they are given back in the order they were asked for, so that what spans several
of them is complete with its last. Memory belongs to the caller, who may hold a part back until
there is some.
"""

from __future__ import annotations

from collections import deque
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


@dataclass(eq=False)
class Part:
    """One request: bytes ``[start, stop)`` of an object.

    Args:
        source: the object.
        start, stop: half-open, in bytes; not empty.
        items: whatever the caller wants to find there.
    """

    source: ObjectSource
    start: int
    stop: int
    items: list[Any] = field(default_factory=list)


Place = Callable[[Part, bool], "Scatter | None"]
"""Gives the places of a part's bytes, or None to be asked again when others have come. The second
argument says that nothing else is on its way, so that waiting would not help."""


def gather(session: Session, parts: Iterable[Part], place: Place) -> Generator[Part, None, None]:
    """Fetch ``parts``; each is given back, in order, when its bytes are in their places.

    What is on its way is cancelled when the generator is closed, and when anything raises. An
    error of a part comes when it is that part's turn; the part is then the exception's ``part``.

    Raises:
        S3Exception: bytes could not be had, or the object is shorter or another than it was.
    """
    lanes = _Lanes(session)
    running: deque[tuple[Part, Transfer]] = deque()
    window = PARTS_PER_CONNECTION * session.fetcher.max_connections
    waiting = iter(parts)
    following = next(waiting, None)
    try:
        with session.crew.watch(lanes.fetchers):
            while running or following is not None:
                started = []
                while following is not None and len(running) < window:
                    scatter = place(following, not running)
                    if scatter is None:
                        break
                    transfer = _transfer(
                        session, lanes.next_of(following.source), following, scatter
                    )
                    started.append(transfer)
                    running.append((following, transfer))
                    following = next(waiting, None)
                if not running:
                    raise RuntimeError("a part was held back although nothing is on its way")
                part, transfer = running[0]
                lanes.submit(started, transfer)
                lanes.fetcher_of(transfer).wait_done(transfer)
                _check(part, transfer)
                running.popleft()
                yield part
    except S3Exception as error:
        if running and not hasattr(error, "part"):
            error.part = running[0][0]  # type: ignore[attr-defined]
        raise
    finally:
        lanes.cancel()
        # A traceback may keep the transfers: the caller's memory is not theirs any more.
        for _, transfer in running:
            if transfer.scatter is not None:
                transfer.scatter.release()


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


def _transfer(session: Session, lane: Lane, part: Part, scatter: Scatter) -> Transfer:
    source = part.source
    source.counters.count_requested(part.stop - part.start)
    session.counters.count_requested(part.stop - part.start)
    return Transfer(
        lane,
        source.request,
        session.pool,
        part.start,
        part.stop,
        etag=source.etag or "",
        total=source.size,
        scatter=scatter,
    )


def _check(part: Part, transfer: Transfer) -> None:
    """Raise unless a settled transfer brought all of the part, of the version that is read."""
    if transfer.failed:
        raise transfer.error
    source = part.source
    source.learn(transfer.total, transfer.etag)
    if transfer.stop != part.stop:
        raise IncompleteDataError(
            f"GetObject s3://{source.bucket}/{source.key} bytes {part.start}-{part.stop - 1}: the "
            f"object has only {transfer.total} bytes.",
            bucket=source.bucket,
            key=source.key,
            operation="GetObject",
            range=(part.start, part.stop),
        )
