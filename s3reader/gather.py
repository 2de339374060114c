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
    fetcher = session.fetcher
    lanes: dict[ObjectSource, Lane] = {}
    running: deque[tuple[Part, Transfer]] = deque()
    window = PARTS_PER_CONNECTION * fetcher.max_connections
    waiting = iter(parts)
    following = next(waiting, None)
    try:
        while running or following is not None:
            started = []
            while following is not None and len(running) < window:
                scatter = place(following, not running)
                if scatter is None:
                    break
                transfer = _transfer(session, lanes, following, scatter)
                started.append(transfer)
                running.append((following, transfer))
                following = next(waiting, None)
            if started:
                session.submit(fetcher, started, attended=True)
            if not running:
                raise RuntimeError("a part was held back although nothing is on its way")
            part, transfer = running[0]
            fetcher.wait_done(transfer)
            _check(part, transfer)
            running.popleft()
            yield part
    except S3Exception as error:
        if running and not hasattr(error, "part"):
            error.part = running[0][0]  # type: ignore[attr-defined]
        raise
    finally:
        for lane in lanes.values():
            fetcher.cancel(lane)
        # A traceback may keep the transfers: the caller's memory is not theirs any more.
        for _, transfer in running:
            if transfer.scatter is not None:
                transfer.scatter.release()


def _transfer(
    session: Session, lanes: dict[ObjectSource, Lane], part: Part, scatter: Scatter
) -> Transfer:
    source = part.source
    lane = lanes.get(source)
    if lane is None:
        lane = lanes[source] = session.lane(source.counters)
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
