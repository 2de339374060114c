"""The verifier: holds what streams hand out to the checksum that S3 told about the whole object.

The checksum comes from responses that were made anyway: a HEAD that somebody asked for, or a GET
whose range was the whole object. Of a partial range S3 tells at most that range's own checksum,
and some servers wrongly the object's, so those are not looked at.

Streams give each run of bytes as they hand it out, on the reading thread, while later parts are
still on their way: the bytes are warm and the thread would only wait. CRCs are taken in any
order and joined in the end; hashes only from the first byte on. Bytes that are fetched again
replace what was known of them, so that "verified" is never said of bytes that were not looked at.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ._ext.crc import combine
from .checksums import (
    ALGORITHMS,
    NONE_TOLD,
    Algorithm,
    Checksum,
    ChecksumError,
    choose,
    crc_function,
    encode,
    new_hash,
)
from .results import HeadObjectResult, parse_headers, told_checksums

if TYPE_CHECKING:
    from s3reader._ext.transfer import Transfer

OFF = "checksum_mode is off"
MOST_RUNS = 64
"""Runs that are remembered before and after the newest: who reads an object here and there for
long will hardly read the whole of it, and looking through the runs must not grow."""

FOREIGN = "get_stream is not the client's own: its bytes come without checksums"


@dataclass(frozen=True)
class Integrity:
    """What is known of the bytes that a reader gave.

    Args:
        verified: "whole" when every byte of the object was fetched and has the checksum that S3
            keeps with it, else "none".
        algorithm: of that checksum: "crc32", "crc32c", "crc64nvme", "sha1" or "sha256"; None when
            S3 told none.
        type: "FULL_OBJECT" or "COMPOSITE"; None when not told.
        reason: why nothing is verified; "" when the whole is.
    """

    verified: str = "none"
    algorithm: str | None = None
    type: str | None = None
    reason: str = ""


class _Run(NamedTuple):
    """Bytes ``[start, end)`` that were handed out, and their CRC (0 for hashes)."""

    start: int
    end: int
    crc: int


class _Seen(NamedTuple):
    """What was handed out so far. Replaced as one, never changed: streams of other threads and
    `Verifier.restore` may meet any of them, but none that is half done.

    Args:
        runs: sorted, none overlaps another.
        running: the hash of the first run, for algorithms that are no CRC.
        verified: whether the runs are the whole object and have its checksum.
        computed: the wrong value of the latest whole, until there is a right one; else "".
    """

    runs: tuple[_Run, ...] = ()
    running: hashlib._Hash | None = None
    verified: bool = False
    computed: str = ""


_NOTHING_SEEN = _Seen()

_NOTHING_TOLD = Checksum(None, None, "", NONE_TOLD)


class Verifier:
    """The checksum of one object, and how much of it the bytes handed out have confirmed.

    Args:
        bucket, key: for messages.
        reason: why nothing can be verified; "" where that depends on what S3 tells.
    """

    def __init__(self, bucket: str, key: str, reason: str = "") -> None:
        self._bucket = bucket
        self._key = key
        self._off = bool(reason)
        self._checksum = Checksum(None, None, "", reason) if reason else _NOTHING_TOLD
        self._algorithm: Algorithm | None = None  # set while there is something to verify
        self._total = 0
        self._seen = _NOTHING_SEEN

    @property
    def active(self) -> bool:
        """Whether there is a checksum to hold bytes to."""
        return self._algorithm is not None

    @property
    def in_order(self) -> bool:
        """Whether bytes count only in order from the object's first: a hash's, and those that are
        read again because the object was wrong."""
        hashes = self._algorithm is not None and not self._algorithm.polynomial
        return hashes or self.failed

    @property
    def failed(self) -> bool:
        """Whether bytes were handed out that turned out to be wrong."""
        return bool(self._seen.computed)

    @property
    def integrity(self) -> Integrity:
        """What was verified so far."""
        told = self._checksum
        if self._seen.verified:
            return Integrity("whole", told.algorithm, told.type)
        return Integrity("none", told.algorithm, told.type, self._reason())

    def _reason(self) -> str:
        if self._algorithm is None:
            return self._checksum.reason
        if self._seen.computed:
            return f"expected {self._checksum.text}, computed {self._seen.computed}"
        if not self._total:
            return "the object is empty"
        count = sum(run.end - run.start for run in self._seen.runs)
        return (
            f"{count} of {self._total} bytes were read since the checksum is known"
            f"{'' if self._algorithm.polynomial else ', in order from the first'}"
        )

    # What is to be verified.

    def told(self, info: HeadObjectResult) -> None:
        """Take the checksum that a HEAD told."""
        self._expect(info.checksums, info.checksum_type, info.etag, info.size)

    def told_by(self, part: Transfer) -> bool:
        """Take the checksum that a settled part's response told, if that was of the whole object.

        Returns:
            Whether it was, and told for the first time what can be verified: then the part's bytes
            are the whole object's, and the caller gives all of them to `take`.
        """
        total = part.total
        if self._off or self._algorithm is not None or part.start != 0 or part.stop != total:
            return False
        assert total is not None
        if not part.tells_checksum:
            return False
        # A part that was resumed has the head of its last piece.
        headers = parse_headers(part.head)
        whole = f"bytes 0-{total - 1}/{total}"
        if part.status != 200 and headers.get("content-range", "").lower() != whole:
            return False
        kind = headers.get("x-amz-checksum-type")
        return self._expect(told_checksums(headers), kind, part.etag, total)

    def _expect(self, told: Mapping[str, str], kind: str | None, etag: str, total: int) -> bool:
        if self._off or self._algorithm is not None or not told:
            return False
        self._checksum = choose(told, kind, etag)
        if self._checksum.reason:
            return False
        assert self._checksum.algorithm is not None
        self._algorithm = ALGORITHMS[self._checksum.algorithm]
        self._total = total
        return True

    # What was handed out.

    def mark(self) -> _Seen:
        """What was handed out by now, to go back to with `restore`."""
        return self._seen

    def restore(self, mark: _Seen) -> None:
        """Forget the bytes since `mark`: they were not handed out after all."""
        if mark.computed == self._seen.computed:
            self._seen = mark

    def take(self, start: int, view: memoryview) -> None:
        """Take note that the bytes from ``start`` on are being handed out.

        Raises:
            ChecksumError: they complete the object, and it is not what its checksum is of; or it
                was not, and these bytes do not belong to reading it again from its start.
        """
        algorithm = self._algorithm
        if algorithm is None or not len(view):
            return
        seen = self._seen
        if seen.computed and start and not _continues(seen.runs, start):
            raise self._error(seen.computed)
        take = _with_crc if algorithm.polynomial else _with_hash
        seen = take(algorithm, seen, start, view)
        if _is_whole(seen.runs, self._total):
            value = _value(algorithm, seen)
            verified = value == base64.b64decode(self._checksum.text)
            if not verified:
                self._seen = _Seen(computed=encode(value))
                raise self._error(self._seen.computed)
            seen = seen._replace(verified=True, computed="")
        self._seen = seen

    def _error(self, computed: str) -> ChecksumError:
        assert self._algorithm is not None
        return ChecksumError(
            f"reading s3://{self._bucket}/{self._key}: the {self._total} bytes received are not "
            f"what was stored: expected {self._algorithm.title} {self._checksum.text}, computed "
            f"{computed}. What was read of it so far is not to be used. Read it again from "
            "its start; if it persists, look for what changes bytes between S3 and here (a proxy, "
            "memory), or for an object stored with a wrong checksum.",
            algorithm=self._algorithm.name,
            expected=self._checksum.text,
            computed=computed,
            bucket=self._bucket,
            key=self._key,
            operation="GetObject",
            range=(0, self._total),
        )


def _continues(runs: tuple[_Run, ...], start: int) -> bool:
    """Whether ``start`` is where the run from the object's start has come to."""
    return bool(runs) and runs[0].start == 0 and runs[0].end == start


def _is_whole(runs: tuple[_Run, ...], total: int) -> bool:
    """Whether the runs adjoin each other and are all of the object."""
    end = 0
    for run in runs:
        if run.start != end:
            return False
        end = run.end
    return end == total


def _with_crc(algorithm: Algorithm, seen: _Seen, start: int, view: memoryview) -> _Seen:
    """What was seen, with the bytes from ``start`` on, which replace those seen there before."""
    update = crc_function(algorithm.name)
    assert update is not None
    end = start + len(view)
    before = [run for run in seen.runs if run.end <= start]
    after = [run for run in seen.runs if run.start >= end]
    if before and before[-1].end == start:
        last = before.pop()
        run = _Run(last.start, end, update(view, last.crc))
    else:
        run = _Run(start, end, update(view, 0))
    runs = (*before[-MOST_RUNS:], run, *after[:MOST_RUNS])
    return seen._replace(runs=runs, verified=False)


def _with_hash(algorithm: Algorithm, seen: _Seen, start: int, view: memoryview) -> _Seen:
    """The same for a hash, which only goes on from the object's start."""
    if start == 0:
        running = new_hash(algorithm.name)
    elif seen.running is not None and _continues(seen.runs, start):
        running = seen.running.copy()
    elif seen.runs and start < seen.runs[0].end:
        return _Seen(computed=seen.computed)  # fetched again
    else:
        return seen
    running.update(view)
    return _Seen((_Run(0, start + len(view), 0),), running, computed=seen.computed)


def _value(algorithm: Algorithm, seen: _Seen) -> bytes:
    """The checksum of the runs, which are the whole."""
    if seen.running is not None:
        return seen.running.digest()
    crc = 0
    for run in seen.runs:
        length = run.end - run.start
        crc = combine(crc, run.crc, length, algorithm.polynomial, 8 * algorithm.size)
    return crc.to_bytes(algorithm.size, "big")
