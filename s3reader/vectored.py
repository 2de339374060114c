"""Vectored reads: many ranges of one object on their way together, each byte straight to its place.

The thread that reads has a window of requests on their way and takes note of those that have come;
the I/O thread puts their bytes into the caller's buffers (see ``s3reader._ext.vector``).
"""

from __future__ import annotations

import operator
import sys
from typing import TYPE_CHECKING

from .errors import InvalidRangeError

if TYPE_CHECKING:
    from s3reader._ext.vector import Vector

    from .session import Session
    from .source import ObjectSource

BYTES_PER_CONNECTION = 85e6
"""Bytes a second that S3 gives one connection (85-90 MB/s, Amazon S3's performance guidelines)."""

LEAST_GAP = 128 * 1024
"""Bytes that cost as much CPU time as a request: some 25 us, at 0.19 s a GB."""

MOST_GAP = 2 * 1024 * 1024
"""Bytes that S3 gives one connection in the 25 ms that its first byte takes."""

USUAL_GAP = 1024 * 1024
"""Bytes between ranges that are fetched while nobody knows the server's times."""

PARTS_PER_CONNECTION = 4
"""Parts on their way for each connection: one running, and enough behind it that the I/O thread
finds work while the caller takes note of what came."""


def fetch_ranges(source: ObjectSource, vector: Vector, max_gap: int | None) -> None:
    """Put the bytes of all ranges into their buffers.

    Args:
        source: the object.
        vector: the ranges.
        max_gap: bytes between two ranges that are fetched rather than asked around; None for as
            many as come in the time that another request's first byte would take.

    Raises:
        InvalidRangeError: a range ends past the object's end.
        S3Exception: bytes could not be had; what is in the buffers is undefined.
    """
    if not len(vector):
        return
    session = source.session
    fetcher = session.fetcher
    check_end(source.bucket, source.key, vector, source.size)
    gap = usual_gap(session) if max_gap is None else max_gap
    parts = vector.parts(gap, session.config.part_size)
    lane = session.lane(source.counters, collects=True)
    window = PARTS_PER_CONNECTION * fetcher.max_connections
    sent = running = 0
    try:
        while running or sent < len(parts):
            # Several at once: each submission wakes the I/O thread.
            if running <= window // 2:
                batch = [
                    source.transfer(lane, start, stop, scatter=vector.scatter)
                    for start, stop in parts[sent : sent + window - running]
                ]
                sent += len(batch)
                running += len(batch)
                session.submit(fetcher, batch, attended=True)
            for transfer in fetcher.wait_some(lane):
                running -= 1
                if transfer.failed:
                    raise transfer.error
                source.learn(transfer.total, transfer.etag or None)
                # The last part is the one that is cut.
                if transfer.stop == source.size:
                    check_end(source.bucket, source.key, vector, source.size)
    finally:
        fetcher.cancel(lane)
    check_end(source.bucket, source.key, vector, source.size)
    source.counters.count_requested(vector.nbytes)
    session.counters.count_requested(vector.nbytes)


def usual_gap(session: Session) -> int:
    """Bytes that are received in the time that a request's first byte takes, lately."""
    times = session.counters.snapshot()["time_to_first_byte"]
    if not times["count"]:
        return USUAL_GAP
    return min(MOST_GAP, max(LEAST_GAP, int(times["p50"] * BYTES_PER_CONNECTION)))


def check_end(bucket: str, key: str, vector: Vector, size: int | None) -> None:
    """Raise for a range that ends past the object's end, as far as that is known.

    Raises:
        InvalidRangeError: one does.
    """
    past = None if size is None else vector.past(size)
    if past is None:
        return
    number, start, stop = past
    raise InvalidRangeError(
        f"readinto_ranges of s3://{bucket}/{key}: ranges[{number}], bytes [{start}, {stop}), ends "
        f"past the object's end: it has {size} bytes. Nothing of the buffers is to be used.",
        bucket=bucket,
        key=key,
        operation="GetObject",
        range=(start, stop),
    )


def checked_gap(max_gap: int | None) -> int | None:
    """``max_gap`` as `S3Reader.readinto_ranges` takes it.

    Raises:
        TypeError, ValueError: it is none.
    """
    if max_gap is None:
        return None
    try:
        gap = operator.index(max_gap)
    except TypeError:
        raise TypeError(
            f"max_gap takes an int (bytes) or None, not {type(max_gap).__name__}"
        ) from None
    if gap < 0:
        raise ValueError(f"max_gap takes a number of bytes, 0 or more, not {gap}")
    return min(gap, sys.maxsize)
