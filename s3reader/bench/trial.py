"""One trial: a candidate at work with a client of its own, measured between two moments.

The first of them comes when the connections are open and bytes flow; what is opened and asked for
until then is not what a training job spends its day with.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from s3reader import S3Client

from .candidates import Candidate
from .loads import Load, Work

WARM_UP = 0.3  # of a trial's time
STEP = 0.05  # seconds between two looks at what goes on
LONGEST_SILENCE = 20.0  # seconds until the first byte must have come


@dataclass(frozen=True)
class Outcome:
    """What a candidate did: `bytes` and `objects` (reads, of large objects) in `seconds`, with
    `cpu` seconds of this process; `first_byte` is the median of its requests, in seconds."""

    candidate: Candidate
    seconds: float
    bytes: int
    objects: int
    cpu: float
    first_byte: float
    requests: int
    retries: int
    throttles: int
    spent: int
    """Bytes that were fetched in all, the warm-up's included."""

    @property
    def rate(self) -> float:
        """Bytes a second."""
        return self.bytes / self.seconds

    @property
    def objects_rate(self) -> float:
        """Objects a second."""
        return self.objects / self.seconds

    @property
    def cpu_per_gigabyte(self) -> float:
        """CPU seconds for 10**9 bytes."""
        return self.cpu * 1e9 / self.bytes if self.bytes else float("nan")


class Silent(Exception):
    """No byte came."""


@dataclass(frozen=True)
class _Moment:
    time: float
    cpu: float
    objects: int
    stats: dict[str, Any]

    @property
    def bytes(self) -> int:
        received: int = self.stats["bytes_received"]
        return received

    def total(self, name: str) -> int:
        return sum(self.stats[name].values())


def measure(
    client: S3Client, load: Load, candidate: Candidate, seconds: float, most_bytes: int
) -> Outcome:
    """Let `candidate` work for so long, or until so many bytes have come; closes the client.

    Raises:
        S3Exception: S3 gave an error that retries did not cure.
        Silent: no byte came.
    """
    work = load.start(client, candidate)
    try:
        before = _look(client, work)
        began, base = before.time, before
        while before.bytes == 0 or before.time < began + WARM_UP * seconds:
            if before.bytes == 0 and before.time > began + LONGEST_SILENCE:
                raise Silent(f"no byte came within {LONGEST_SILENCE:g} s")
            if before.bytes > most_bytes // 2:
                break
            before = _next(client, work)
        now = before
        while now.time < before.time + (1 - WARM_UP) * seconds or now.bytes == before.bytes:
            if now.bytes > most_bytes and now.bytes > before.bytes:
                break
            if now.time > before.time + LONGEST_SILENCE + seconds:
                raise Silent(f"no byte came within {LONGEST_SILENCE:g} s")
            now = _next(client, work)
    finally:
        work.end()
    return Outcome(
        candidate,
        now.time - before.time,
        now.bytes - before.bytes,
        now.objects - before.objects,
        now.cpu - before.cpu,
        now.stats["time_to_first_byte"]["p50"] or 0.0,
        now.total("requests") - base.total("requests"),
        now.total("retries") - base.total("retries"),
        now.stats["throttles"],
        client.stats()["bytes_received"],
    )


def _next(client: S3Client, work: Work) -> _Moment:
    time.sleep(STEP)
    if work.failure is not None:
        raise work.failure
    return _look(client, work)


def _look(client: S3Client, work: Work) -> _Moment:
    return _Moment(time.perf_counter(), time.process_time(), work.done, client.stats())
