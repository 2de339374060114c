"""What there is to read under a URI: the objects that a benchmark may use."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from s3reader import AccessDeniedError, ObjectInfo, ObjectNotFoundError, S3Client
from s3reader.config import MiB

SMALL_SIZE = 4 * MiB
"""Bytes up to which an object counts as small: it is asked for with one request at any part size
that makes sense, and what it takes is mostly waiting."""

FEWEST_SMALL = 16
"""Small objects from which on they are a load of their own; fewer lie beside the large ones."""

MOST_LISTED = 10_000
LONGEST_LISTING = 5.0  # seconds

ARCHIVED = ("GLACIER", "DEEP_ARCHIVE")


class NothingToRead(Exception):
    """There is nothing to measure with; the message says what was found."""


@dataclass
class Found:
    """Objects under a URI.

    Attributes:
        bucket, prefix: what the URI names.
        large, small: by size; empty and archived objects are in neither.
        left_out: how many are in neither.
        whole: whether the listing came to its end.
    """

    bucket: str
    prefix: str
    large: list[ObjectInfo] = field(default_factory=list)
    small: list[ObjectInfo] = field(default_factory=list)
    left_out: int = 0
    whole: bool = True

    def add(self, objects: Iterable[ObjectInfo]) -> None:
        for info in objects:
            restored = info.restore_status and not info.restore_status.in_progress
            if not info.size or (info.storage_class in ARCHIVED and not restored):
                self.left_out += 1
            else:
                (self.small if info.size <= SMALL_SIZE else self.large).append(info)

    @property
    def size(self) -> int:
        """Bytes of all of them."""
        return sum(info.size for info in (*self.large, *self.small))


def parse_place(uri: str) -> tuple[str, str]:
    """Bucket and key or prefix, which may be empty.

    Raises:
        ValueError: it is no URI of S3.
    """
    scheme, separator, rest = uri.partition("://")
    bucket, _, prefix = rest.partition("/")
    if scheme.lower() != "s3" or not separator or not bucket:
        raise ValueError(f"a place in S3 is s3://bucket, s3://bucket/prefix or /key, not {uri!r}")
    return bucket, prefix


def find_objects(client: S3Client, bucket: str, prefix: str) -> Found:
    """The object of that key if there is one, else what a listing gives in a few seconds.

    Raises:
        NothingToRead: there is nothing, or nothing that can be read.
        S3Exception: S3 does not tell.
    """
    found = Found(bucket, prefix)
    if prefix and not prefix.endswith("/"):
        try:
            head = client.head_object(bucket, prefix)
        except (ObjectNotFoundError, AccessDeniedError):
            pass  # a prefix; if it is neither, the listing's error says more
        else:
            status = (head.storage_class, head.restore_status)
            found.add([ObjectInfo(prefix, head.etag, head.size, head.last_modified, *status)])
            return _checked(found)
    until = time.monotonic() + LONGEST_LISTING
    count = 0
    for page in client.list_objects(bucket, prefix):
        found.add(page.object_info)
        count += len(page.object_info)
        if count >= MOST_LISTED or time.monotonic() > until:
            found.whole = False
            break
    return _checked(found)


def _checked(found: Found) -> Found:
    place = f"s3://{found.bucket}/{found.prefix}"
    if not found.large and not found.small:
        if found.left_out:
            raise NothingToRead(f"{place}: only empty or archived objects ({found.left_out})")
        raise NothingToRead(f"{place}: no objects. Check the prefix; `aws s3 ls {place}` lists it.")
    return found
